"""The gate lets fit nodes pass and names the one that is slow, wrong, absent, or on another transport than it seems."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workloads.training.gang import gang
from workloads.training import health
from workloads.training.health import Asked, Report, Verdict, bus_gbps, judge, pairings, table
from workloads.training.transport import Used, over_tcp, parse_nccl, tcp_bytes, unmet

# ---- pairs


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 40))
def test_pairs_are_disjoint_and_never_meet_twice(units: int, at_least: int) -> None:
    found = pairings(units, at_least)
    for pairs in found:
        members = list(itertools.chain(*pairs))
        assert len(members) == len(set(members)) == units - units % 2
        assert all(0 <= a < b < units for a, b in pairs)
    every = list(itertools.chain(*found))
    assert len(every) == len(set(every))
    met = [sum(unit in pair for pair in every) for unit in range(units)]
    assert all(min(at_least, units - 1) <= count <= at_least + units % 2 for count in met)


def test_bus_bandwidth_is_nccl_tests_own() -> None:
    # 1 GB in 10 ms on 8 ranks: 100 GB/s algorithm bandwidth, 175 GB/s on the bus
    assert bus_gbps(10**9, 0.01, 8) == pytest.approx(175 * 8)
    assert bus_gbps(10**9, 0.01, 1) == 0


# ---- the verdict


def gang_of(nodes: int, per_node: int = 2, slow: set[int] = frozenset(), link: float = 100.0) -> list[Report]:  # type: ignore[assignment]
    """What ranks measure where the network's links have `link` Gbit/s, and those of slow nodes a tenth."""
    found = []
    for node in range(nodes):
        pairs = {
            f"n{a if b == node else b}": link / 10 if slow & {a, b} else link
            for pairs in pairings(nodes, health.ROUNDS)
            for a, b in pairs
            if node in (a, b)
        }
        for local in range(per_node):
            bus = link / 10 if slow else link
            rank = node * per_node + local
            found.append(Report(rank, f"n{node}", "H100", True, 700.0, bus, pairs, Used("nccl", ("efa", "p2p"))))
    return found


@settings(deadline=None)
@given(st.integers(5, 20), st.data())
def test_slow_nodes_are_named_and_no_others(nodes: int, data: st.DataObject) -> None:
    slow = data.draw(st.sets(st.integers(0, nodes - 1), min_size=1, max_size=2))
    verdict = judge(gang_of(nodes, slow=slow), Asked(80.0, 500.0, ("efa",)))
    assert verdict.exit_code == health.SLOW
    assert set(verdict.bad_nodes) == {f"n{node}" for node in slow}


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 8))
def test_a_fit_gang_is_healthy(nodes: int, per_node: int) -> None:
    assert judge(gang_of(nodes, per_node), Asked(80.0, 500.0, ("nccl", "efa"))) == Verdict(health.HEALTHY)


def test_of_two_nodes_neither_can_be_blamed() -> None:
    verdict = judge(gang_of(2, slow={1}), Asked(80.0))
    assert verdict.exit_code == health.SLOW
    assert verdict.bad_nodes == ()
    assert "all nodes are: none stands out" in verdict.reasons


def test_a_network_that_is_slow_only_when_all_use_it_is_nobodys_fault() -> None:
    reports = [replace(one, bus_gbps=10.0) for one in gang_of(4)]
    verdict = judge(reports, Asked(80.0))
    assert verdict.exit_code == health.SLOW
    assert verdict.bad_nodes == ()
    assert "no rank is slow in all of its pairs: it is the network between them" in verdict.reasons


def test_a_gpu_that_computes_slowly_or_wrongly_is_found() -> None:
    reports = gang_of(3)
    reports[3] = replace(reports[3], tflops=90.0)
    verdict = judge(reports, Asked(80.0, 500.0))
    assert (verdict.exit_code, verdict.bad_nodes) == (health.SLOW, ("n1",))
    assert verdict.reasons == ("rank 3 on n1: 90 TFLOP/s, at least 500 asked for",)
    reports[5] = replace(reports[5], correct=False)
    verdict = judge(reports, Asked(80.0, 500.0))
    assert (verdict.exit_code, verdict.bad_nodes) == (health.WRONG_RESULT, ("n2",))


def test_one_node_on_another_transport_is_named_all_are_nobodys_fault() -> None:
    reports = gang_of(3)
    reports[0] = replace(reports[0], used=Used("nccl", ("p2p", "tcp")))
    verdict = judge(reports, Asked(expect=("efa",)))
    assert (verdict.exit_code, verdict.bad_nodes) == (health.WRONG_TRANSPORT, ("n0",))
    assert verdict.reasons == ("rank 0 on n0: expected efa, used p2p, tcp",)
    verdict = judge([replace(one, used=reports[0].used) for one in reports], Asked(expect=("efa",)))
    assert (verdict.exit_code, verdict.bad_nodes) == (health.WRONG_TRANSPORT, ())


def test_the_table_marks_the_bad_node() -> None:
    reports = gang_of(5, 1, slow={3})
    lines = table(reports, judge(reports, Asked(80.0))).splitlines()
    assert [line.endswith("BAD") for line in lines[1:6]] == [False, False, False, True, False]
    assert lines[-1] == "NOT HEALTHY"


# ---- transports

EFA = """\
node:6310:6318 [0] NCCL INFO NET/OFI Initializing aws-ofi-nccl 1.14.0
node:6310:6318 [0] NCCL INFO NET/OFI Selected Provider is efa (found 16 nics)
node:6310:6318 [0] NCCL INFO Using network Libfabric
node:6310:6400 [0] NCCL INFO Channel 00/0 : 15[7] -> 0[0] [receive] via NET/Libfabric/0/GDRDMA/Shared
node:6310:6400 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM
"""
OLD_EFA = """\
ip-10-0-0-1:35480:35545 [0] NCCL INFO NET/OFI Selected Provider is efa
ip-10-0-0-1:35480:35545 [0] NCCL INFO Ring 00 : 15 -> 0 [receive] via NET/AWS Libfabric/0
ip-10-0-0-1:35480:35545 [0] NCCL INFO Ring 00 : 8[0] -> 9[1] via P2P/IPC
"""
SOCKETS = """\
node:83:83 [0] NCCL INFO NET/IB : No device found.
node:83:83 [0] NCCL INFO NET/Socket : Using [0]eth0:10.0.0.4<0>
node:83:83 [0] NCCL INFO Using network Socket
node:83:99 [0] NCCL INFO Channel 00/0 : 1[0] -> 0[0] [receive] via NET/Socket/0
"""


@pytest.mark.parametrize(
    ("log", "kinds"),
    [
        (EFA, ("efa", "p2p")),
        (OLD_EFA, ("efa", "p2p")),
        (SOCKETS, ("tcp",)),
        (EFA.replace("is efa (", "is tcp ("), ("libfabric-tcp", "p2p")),
        ("x NCCL INFO Channel 01/0 : 3[1] -> 1[1] [send] via NET/IB/2/GDRDMA", ("ib",)),
        ("x NCCL INFO Channel 01/0 : 3[1] -> 1[1] [send] via NET/gIB/2/GDRDMA", ("ib",)),
        ("x NCCL INFO Channel 01 : 4[40] -> 0[40] [receive] via NET/FastSocket/0", ("tcp",)),
        ("x NCCL INFO Channel 01/0 : 4[4] -> 0[0] [receive] via NET/GPUDirectTCPX_v7/0", ("gpudirect-tcpx",)),
        ("x NCCL INFO Channel 01/0 : 4[4] -> 0[0] [receive] via NET/FasTrak/0", ("gpudirect-tcpxo",)),
        ("x NCCL INFO Channel 00/0 : 0[0] -> 1[1] via SHM/direct/direct", ("shm",)),
        ("x NCCL INFO Ring 00 : 0[1b000] -> 7[41000] via direct shared memory", ("shm",)),
        ("x NCCL INFO Channel 00/0 : 0[0] -> 1[1] via NET/Carrier Pigeon/0", ("carrier pigeon",)),
        ("", ()),
    ],
)
def test_nccls_words_are_understood(log: str, kinds: tuple[str, ...]) -> None:
    assert parse_nccl(log).kinds == kinds


def test_expectations() -> None:
    assert unmet(["nccl", "efa"], parse_nccl(EFA)) == ""
    assert unmet(["efa"], parse_nccl(SOCKETS)) == "expected efa, used tcp"
    assert unmet(["efa"], parse_nccl(EFA + SOCKETS)) == "expected efa alone, used tcp too"
    assert unmet(["gloo"], parse_nccl(EFA)) == "expected gloo, the backend is nccl"
    assert unmet(["efa"], Used("nccl")) == "expected efa, used nothing that left a trace"


def test_the_kernel_counts_what_goes_over_tcp() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        client = socket.create_connection(server.getsockname())
        other, _ = server.accept()
        with closing(client), closing(other):
            before = tcp_bytes()
            client.sendall(b"x" * 100_000)
            left = 100_000
            while left:
                left -= len(other.recv(left))
            time.sleep(0.1)
            moved = over_tcp(before, tcp_bytes(), 200_000)
            assert moved == {"127.0.0.1": 200_000}  # sent and received by this one process
            assert over_tcp(before, tcp_bytes(), 10_000_000) == {}


# ---- real processes


def _port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return server.getsockname()[1]


def _gate(rank: int, _: Callable[..., None], world: int, port: int, fault: str, at: int, arguments: list[str]) -> None:
    os.environ.update(WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), NODE_NAME=f"node-{rank}")
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if rank == at:
        if fault == "slow":
            swap = dist.batch_isend_irecv
            dist.batch_isend_irecv = lambda work: (time.sleep(0.1), swap(work))[1]  # type: ignore[assignment]
            add = dist.all_reduce
            dist.all_reduce = lambda *a, **b: (time.sleep(0.1), add(*a, **b))[1]
        if fault == "wrong":
            equal = torch.equal
            torch.equal = lambda a, b: chance.random() < 0.5 and equal(a, b)  # type: ignore[assignment]
            chance = random.Random(1)
        if fault == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
    sys.exit(health.main(["--size-mib", "1", "--repeat", "3", "--warm-up", "1", *arguments]))


@pytest.mark.parametrize(
    ("fault", "arguments", "code", "bad"),
    [
        ("none", ["--expect-transport", "gloo", "--expect-transport", "tcp"], health.HEALTHY, []),
        ("none", ["--expect-transport", "efa"], health.WRONG_TRANSPORT, []),
        ("none", ["--minimum-gbps", "1e6"], health.SLOW, []),
        ("none", ["--minimum-tflops", "1e6"], health.SLOW, ["node-0", "node-1", "node-2", "node-3"]),
        ("slow", ["--minimum-gbps", "0.12"], health.SLOW, ["node-2"]),
        ("wrong", [], health.WRONG_RESULT, ["node-2"]),
    ],
)
def test_the_gate(fault: str, arguments: list[str], code: int, bad: list[str], tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    arguments = [*arguments, "--report", str(report)]
    with gang(4, _gate, 4, _port(), fault, 2, arguments, timeout_s=0) as ranks:
        assert ranks.exit_codes(60) == [code] * 4
    found = json.loads(report.read_text())
    assert found["exit_code"] == code
    assert found["bad_nodes"] == bad
    assert [one["rank"] for one in found["ranks"]] == [0, 1, 2, 3]
    assert all(one["used"]["kinds"] == ["tcp"] for one in found["ranks"])


def test_a_rank_that_does_not_come_is_waited_for_no_longer_than_asked() -> None:
    began = time.monotonic()
    with gang(3, _gate, 3, _port(), "stopped", 1, ["--timeout-s", "2"], timeout_s=0) as ranks:
        for rank in (0, 2):
            ranks.processes[rank].join(30)
        assert [ranks.processes[rank].exitcode for rank in (0, 2)] == [health.ABSENT] * 2
    assert time.monotonic() - began < 15


def test_alone_the_computation_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    with gang(1, _gate, 1, _port(), "none", -1, [], timeout_s=0) as ranks:
        assert ranks.exit_codes(30) == [health.HEALTHY]
    with pytest.raises(SystemExit) as left:
        health.main(["--repeat", "0"])
    assert left.value.code == health.WRONG_ARGUMENTS
    assert "--repeat" in capsys.readouterr().err
