"""What really carried the bytes of a collective: NCCL's own words about its channels, and the kernel's count for TCP.

A gang that was given EFA and talks TCP all the same trains, at a tenth of its speed, and says nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

NETWORKS = ("efa", "ib", "gpudirect-tcpx", "gpudirect-tcpxo", "tcp")
"""Between nodes. `ib` is InfiniBand or RoCE through NCCL's verbs (also Google's gIB)."""

LOCAL = ("p2p", "shm")
"""Within a node: from GPU to GPU (NVLink or PCIe), through shared memory."""

BACKENDS = ("nccl", "gloo")

EXPECTED = (*BACKENDS, *NETWORKS, *LOCAL)

NCCL_ENVIRONMENT = {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT,NET,GRAPH,P2P,SHM"}
"""What makes NCCL tell; to be set before its first communicator, with NCCL_DEBUG_FILE (%p is the process).
https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/env.html#nccl-debug"""

# `Channel 00/0 : 0[0] -> 8[0] [send] via NET/AWS Libfabric/0/GDRDMA`; older versions say `Ring 00`.
_CHANNEL = re.compile(r"(?:Channel|Ring|Tree) \d+.* -> .* via (?P<link>\S.*?)\s*$")
_PROVIDER = re.compile(r"NET/OFI Selected [Pp]rovider is (?P<provider>[\w;-]+)")
_NETWORK = re.compile(r"Using network (?P<network>.+?)\s*$")


@dataclass(frozen=True)
class Used:
    """What carried the bytes of one rank."""

    backend: str
    kinds: tuple[str, ...] = ()
    detail: dict[str, int] = field(default_factory=dict)
    """NCCL's links and how many channels took each; or `tcp ADDRESS`, and the bytes through it."""


def unmet(expected: Iterable[str], used: Used) -> str:
    """Why what was used is not what was expected; empty if it is.

    A network is met only if no other network carried anything: half of the channels over TCP is a fault.
    """
    for kind in expected:
        said = ", ".join(used.kinds) or "nothing that left a trace"
        if kind in BACKENDS:
            if kind != used.backend:
                return f"expected {kind}, the backend is {used.backend}"
        elif kind not in used.kinds:
            return f"expected {kind}, used {said}"
        elif kind in NETWORKS and (others := [k for k in used.kinds if k in NETWORKS and k != kind]):
            return f"expected {kind} alone, used {', '.join(others)} too"
    return ""


def parse_nccl(log: str) -> Used:
    """Read NCCL's debug output (NCCL_ENVIRONMENT) of one process."""
    links: Counter[str] = Counter()
    provider = network = ""
    for line in log.splitlines():
        if found := _CHANNEL.search(line):
            links[found["link"]] += 1
        elif found := _PROVIDER.search(line):
            provider = found["provider"]
        elif found := _NETWORK.search(line):
            network = found["network"]
    kinds = {_kind(link, provider, network) for link in links}
    return Used("nccl", tuple(sorted(kinds - {""})), dict(links))


def _kind(link: str, provider: str, network: str) -> str:
    """`NET/IB/3/GDRDMA` -> `ib`; unknown ones keep their own name, so that they match nothing by accident."""
    family, _, rest = link.partition("/")
    if family == "P2P":
        return "p2p"
    if family == "SHM" or link == "direct shared memory":
        return "shm"
    if family != "NET":
        return family.lower()
    # Newer versions number the network only (`NET/0`) and name it once.
    name = rest.split("/")[0]
    name = (network if not name or name.isdecimal() else name).lower()
    if "libfabric" in name or name == "ofi":
        return "efa" if provider.startswith("efa") else f"libfabric-{provider or 'unknown'}"
    if "fastrak" in name or "tcpxo" in name:
        return "gpudirect-tcpxo"
    if "tcpx" in name:
        return "gpudirect-tcpx"
    if "socket" in name:
        return "tcp"
    return "ib" if name in ("ib", "gib", "ibext") or name.startswith(("ibext", "nccl rdma")) else name


def tcp_bytes() -> dict[str, int]:
    """Bytes that this process has moved over TCP, both ways, by its own address: as the kernel counted them.

    Linux's struct tcp_info has tcpi_bytes_acked and tcpi_bytes_received at 120 and 128 (since 4.1).
    https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/include/uapi/linux/tcp.h
    """
    moved: Counter[str] = Counter()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile, or not TCP
            if not os.readlink(path).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(path.name))) as connection:
                information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
                if len(information) < 136:
                    continue
                count = sum(int.from_bytes(information[at : at + 8], "little") for at in (120, 128))
                moved[connection.getsockname()[0].removeprefix("::ffff:")] += count
    return dict(moved)


def over_tcp(before: dict[str, int], after: dict[str, int], expected_bytes: float) -> dict[str, int]:
    """The addresses through which at least a tenth of `expected_bytes` went, with their bytes."""
    grown = {address: count - before.get(address, 0) for address, count in after.items()}
    return {address: count for address, count in grown.items() if count >= expected_bytes / 10}
