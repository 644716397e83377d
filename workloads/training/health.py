"""Tells whether the nodes of a gang are fit before it starts: computation, bandwidth, and the transport really used.

    torchrun --nnodes 16 --nproc-per-node 8 ... -m workloads.training.health \\
        --minimum-gbps 1600 --expect-transport efa --report /dev/termination-log

All ranks sum a buffer together (the bandwidth that training will see); then nodes exchange it in pairs that change, so
that a slow node is told from one whose partner was slow. NCCL on GPUs, gloo without. The NCCL path has not been run by
its authors' tests, which have no GPUs; the reading of its log is tested on recorded lines.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from workloads.training.transport import EXPECTED, NCCL_ENVIRONMENT, Used, over_tcp, parse_nccl, tcp_bytes, unmet
from workloads.training.watch import StoreBoard, Watch

HEALTHY, WRONG_ARGUMENTS, SLOW, WRONG_TRANSPORT, WRONG_RESULT, ABSENT = 0, 2, 3, 4, 5, 6

EXIT_CODES = """exit codes, of all ranks alike: 0 healthy; 2 wrong arguments; 3 slower than asked for;
4 another transport than expected; 5 wrong results; 6 a rank did not come, or hung"""

ROUNDS = 3
"""Pairs that each node is tried in at least. It is slow if all of them are: up to two slow nodes accuse no other."""


@dataclass(frozen=True)
class Asked:
    minimum_gbps: float = 0.0
    minimum_tflops: float = 0.0
    expect: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What one rank measured. Bandwidths in Gbit/s."""

    rank: int
    node: str
    device: str
    correct: bool
    """Whether products of matrices and sums over ranks were exactly right."""
    tflops: float
    bus_gbps: float
    pairs: dict[str, float] = field(default_factory=dict)
    """By the partner's node: what went each way at the same time."""
    used: Used = field(default_factory=lambda: Used(""))

    @property
    def best_pair_gbps(self) -> float:
        return max(self.pairs.values(), default=0.0)


@dataclass(frozen=True)
class Verdict:
    exit_code: int
    reasons: tuple[str, ...] = ()
    bad_nodes: tuple[str, ...] = ()


# ---- judging: pure


def bus_gbps(size_bytes: int, seconds: float, world: int) -> float:
    """Bus bandwidth of an all-reduce: what each link carries, comparable between world sizes and with a NIC's speed.

    https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md#allreduce
    """
    return 8e-9 * size_bytes / seconds * 2 * (world - 1) / world


def pairings(units: int, at_least: int) -> list[list[tuple[int, int]]]:
    """Rounds of disjoint pairs, none twice, until each unit has met `at_least` others (or all of them).

    A round-robin tournament by the circle method. With an odd number one unit sits out a round, hence one round more.
    """
    even = units + units % 2
    found = []
    for turn in range(min(at_least + units % 2, even - 1)):
        circle = [0, *((turn + i) % (even - 1) + 1 for i in range(even - 1))]
        pairs = [(circle[i], circle[even - 1 - i]) for i in range(even // 2)]
        found.append([(min(pair), max(pair)) for pair in pairs if max(pair) < units])
    return found


def judge(reports: Sequence[Report], asked: Asked) -> Verdict:
    """What the ranks' measurements say of their nodes. The gravest finding gives the exit code."""
    wrong = [one for one in reports if not one.correct]
    if wrong:
        return Verdict(WRONG_RESULT, _each(wrong, lambda _: "computes wrong results"), _nodes(wrong))
    other = [(one, reason) for one in reports if (reason := unmet(asked.expect, one.used))]
    if other:
        return Verdict(
            WRONG_TRANSPORT,
            tuple(f"{_named(one)}: {reason}" for one, reason in other),
            # What all of them do is nobody's fault.
            _nodes(one for one, _ in other) if len(other) < len(reports) else (),
        )
    idle = [one for one in reports if one.tflops < asked.minimum_tflops]
    reasons = _each(idle, lambda one: f"{one.tflops:.3g} TFLOP/s, at least {asked.minimum_tflops:g} asked for")
    slow: list[Report] = []
    least = min(one.bus_gbps for one in reports)
    if len(reports) > 1 and least < asked.minimum_gbps:
        slow = [one for one in reports if one.pairs and one.best_pair_gbps < asked.minimum_gbps]
        reasons += (f"all ranks together: {least:.3g} Gbit/s, at least {asked.minimum_gbps:g} asked for",)
        reasons += _each(slow, lambda one: f"{one.best_pair_gbps:.3g} Gbit/s in the best of its pairs")
        if not slow:
            reasons += ("no rank is slow in all of its pairs: it is the network between them",)
        elif len(_nodes(slow)) == len(_nodes(reports)):
            reasons += ("all nodes are: none stands out",)
    bad = _nodes([*idle, *slow])
    return Verdict(SLOW if reasons else HEALTHY, reasons, bad if len(bad) < len(_nodes(reports)) or idle else ())


def _nodes(reports: Iterable[Report]) -> tuple[str, ...]:
    return tuple(sorted({one.node for one in reports}))


def _named(one: Report) -> str:
    return f"rank {one.rank} on {one.node}"


def _each(reports: Iterable[Report], reason: Callable[[Report], str]) -> tuple[str, ...]:
    return tuple(f"{_named(one)}: {reason(one)}" for one in reports)


def table(reports: Sequence[Report], verdict: Verdict) -> str:
    """For people: a line a rank, then the verdict."""
    head = ("rank", "node", "device", "TFLOP/s", "bus Gbit/s", "best pair", "transport", "")
    rows = [
        (
            str(one.rank),
            one.node,
            one.device,
            f"{one.tflops:.3g}",
            f"{one.bus_gbps:.3g}",
            f"{one.best_pair_gbps:.3g}" if one.pairs else "-",
            "+".join((one.used.backend, *one.used.kinds)),
            "BAD" if one.node in verdict.bad_nodes else "",
        )
        for one in reports
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)]
    return "\n".join([*lines, *verdict.reasons, "healthy" if verdict.exit_code == HEALTHY else "NOT HEALTHY"])


# ---- measuring


@dataclass(frozen=True)
class Gate:
    """One rank's part. `node`: its name; ranks with the same name share a machine."""

    rank: int
    world: int
    node: str
    device: torch.device
    size_bytes: int
    repeat: int
    warm_up: int

    def run(self, watch: Watch) -> Report:
        watch.at(0, "matrix products")
        correct, tflops = self.compute()
        watch.at(0, "all-reduce")
        summed, gbps, used = self.all_reduce()
        watch.at(0, "pairs")
        pairs = self.exchange()
        device = torch.cuda.get_device_name(self.device) if self.cuda else platform.machine()
        return Report(self.rank, self.node, device, correct and summed, tflops, gbps, pairs, used)

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    def compute(self) -> tuple[bool, float]:
        """Whether products of small whole numbers are exact and repeatable, and TFLOP/s of large ones."""
        generator = torch.Generator().manual_seed(self.rank)
        left, right = torch.randint(-8, 9, (2, 256, 256), generator=generator)
        exact = (left @ right).to(torch.float32)  # whole numbers, in the processor's integer units
        found = (left.to(self.device, torch.float32) @ right.to(self.device, torch.float32)).cpu()
        width, dtype = (8192, torch.bfloat16) if self.cuda else (256, torch.float32)
        a = torch.randn(width, width, generator=generator).to(self.device, dtype)
        first = a @ a
        seconds = []
        for _ in range(self.repeat):
            began = self._now()
            again = a @ a
            seconds.append(self._now() - began)
            if not torch.equal(first, again):
                return False, 0.0
        return torch.equal(exact, found), 2 * width**3 / statistics.median(seconds) * 1e-12

    def all_reduce(self) -> tuple[bool, float, Used]:
        """Whether sums are exact, the bus bandwidth, and what carried it."""
        buffer = torch.empty(self.size_bytes // 4, dtype=torch.float32, device=self.device)
        correct, seconds = True, []
        before = tcp_bytes()
        for turn in range(self.warm_up + self.repeat):
            buffer.fill_(self.rank + 1)
            began = self._now()
            dist.all_reduce(buffer)
            took = self._now() - began
            if turn >= self.warm_up:
                seconds.append(took)
            expected = self.world * (self.world + 1) / 2
            correct &= bool((buffer == expected).all())
        moved = (self.warm_up + self.repeat) * self.size_bytes * 4 * (self.world - 1) / max(1, self.world)
        used = self._used(over_tcp(before, tcp_bytes(), moved) if self.world > 1 else {})
        return correct, bus_gbps(self.size_bytes, statistics.median(seconds), self.world), used

    def exchange(self) -> dict[str, float]:
        """Send to and receive from one partner after another, Gbit/s each way; nodes pair up, or ranks on one node."""
        nodes: list[str] = [""] * self.world
        store = dist.distributed_c10d._get_default_store()
        store.set(f"health/node/{self.rank}", self.node)
        for rank in range(self.world):
            nodes[rank] = store.get(f"health/node/{rank}").decode()
        names = list(dict.fromkeys(nodes))
        groups = [[r for r, node in enumerate(nodes) if node == name] for name in names]
        if len(groups) == 1:
            groups, names = [[r] for r in range(self.world)], [f"rank {r}" for r in range(self.world)]
        mine = next(i for i, group in enumerate(groups) if self.rank in group)
        found = {}
        send = torch.full((self.size_bytes // 4,), float(self.rank), device=self.device)
        receive = torch.empty_like(send)
        for pairs in pairings(len(groups), ROUNDS):
            dist.barrier()  # all pairs at the same time, as in training
            partner = next((a if b == mine else b for a, b in pairs if mine in (a, b)), None)
            if partner is None or groups[mine].index(self.rank) >= len(groups[partner]):
                continue
            peer = groups[partner][groups[mine].index(self.rank)]
            seconds = []
            for _ in range(self.warm_up + self.repeat):
                began = self._now()
                for work in dist.batch_isend_irecv(
                    [dist.P2POp(dist.isend, send, peer), dist.P2POp(dist.irecv, receive, peer)]
                ):
                    work.wait()
                seconds.append(self._now() - began)
            found[names[partner]] = 8e-9 * self.size_bytes / statistics.median(seconds[self.warm_up :])
        return found

    def _now(self) -> float:
        if self.cuda:
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _used(self, tcp: Mapping[str, int]) -> Used:
        backend = dist.get_backend()
        if backend != "nccl":
            return Used(backend, ("tcp",) if tcp else (), {f"tcp {address}": count for address, count in tcp.items()})
        log = Path(os.environ["NCCL_DEBUG_FILE"].replace("%p", str(os.getpid())).replace("%h", platform.node()))
        used = parse_nccl(log.read_text(errors="replace") if log.exists() else "")
        # Whatever NCCL says: what the kernel saw go over TCP went over TCP.
        kinds = sorted({*used.kinds, *(["tcp"] if tcp else [])})
        return Used(backend, tuple(kinds), {**used.detail, **{f"tcp {a}": count for a, count in tcp.items()}})


# ---- command line


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("python -m workloads.training.health", description=__doc__, epilog=EXIT_CODES)
    root.add_argument(
        "--minimum-gbps", type=float, default=0.0, metavar="GBITS", help="floor of the bus bandwidth, in Gbit/s"
    )
    root.add_argument("--minimum-tflops", type=float, default=0.0, metavar="TFLOPS", help="floor for each device")
    root.add_argument(
        "--expect-transport",
        action="append",
        default=[],
        choices=EXPECTED,
        help="what must have carried the bytes; a network must have done so alone; may be given several times",
    )
    root.add_argument("--size-mib", type=float, default=0.0, help="of the buffer (default: 1024 on GPUs, 16 without)")
    root.add_argument("--repeat", type=int, default=10, help="measurements, of which the median counts")
    root.add_argument("--warm-up", type=int, default=3, help="repetitions before them")
    root.add_argument("--timeout-s", type=float, default=300.0, help="until a rank that does not come is given up")
    root.add_argument("--report", type=Path, metavar="FILE", help="write everything measured there, as JSON")
    root.add_argument("--json", action="store_true", help="print JSON rather than a table")
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    root = parser()
    options = root.parse_args(arguments)
    if options.repeat < 1 or options.warm_up < 0 or options.size_mib < 0 or options.timeout_s <= 0:
        root.error("expected --repeat from 1, --warm-up and --size-mib from 0, --timeout-s above 0")
    asked = Asked(options.minimum_gbps, options.minimum_tflops, tuple(options.expect_transport))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
        logs = tempfile.mkdtemp(prefix="nccl-")
        os.environ.update(NCCL_ENVIRONMENT, NCCL_DEBUG_FILE=f"{logs}/%p.log")
    for name, alone in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}.items():
        os.environ.setdefault(name, alone)
    timeout = timedelta(seconds=options.timeout_s)
    try:
        dist.init_process_group("nccl" if cuda else "gloo", timeout=timeout, device_id=device if cuda else None)
    except (RuntimeError, ValueError) as error:
        print(f"health: the ranks did not find each other: {error}", file=sys.stderr)
        return ABSENT
    rank, world = dist.get_rank(), dist.get_world_size()
    gate = Gate(
        rank,
        world,
        # In a pod the host's name is the pod's; the downward API gives the node's.
        os.environ.get("NODE_NAME") or platform.node(),
        device,
        int((options.size_mib or (1024 if cuda else 16)) * 2**20) // 4 * 4,
        options.repeat,
        options.warm_up,
    )
    watch = Watch(
        StoreBoard(),
        rank=rank,
        world_size=world,
        hang_s=options.timeout_s / 2,
        every_s=min(1.0, options.timeout_s / 20),
        leave=True,
        end=lambda _: os._exit(ABSENT),
    )
    try:
        with watch:
            return _share(gate.run(watch), asked, options, world)
    except RuntimeError as error:
        print(f"health: rank {rank} on {gate.node}: {watch.where()}: {error}", file=sys.stderr)
        return ABSENT
    finally:
        dist.destroy_process_group()


def _share(mine: Report, asked: Asked, options: argparse.Namespace, world: int) -> int:
    """Bring the ranks' reports together through the store; all of them return the same code."""
    store = dist.distributed_c10d._get_default_store()
    store.set(f"health/report/{mine.rank}", json.dumps(asdict(mine)))
    if mine.rank == 0:
        reports = [_report(json.loads(store.get(f"health/report/{rank}"))) for rank in range(world)]
        verdict = judge(reports, asked)
        whole = json.dumps({**asdict(verdict), "asked": asdict(asked), "ranks": list(map(asdict, reports))}, indent=2)
        if options.report:
            options.report.write_text(whole + "\n", encoding="utf-8")
        print(whole if options.json else table(reports, verdict), flush=True)
        store.set("health/verdict", str(verdict.exit_code))
    code = int(store.get("health/verdict"))
    # The store may live in rank 0's process: it leaves last.
    dist.barrier()
    return code


def _report(found: dict[str, Any]) -> Report:
    used = found.pop("used")
    return Report(**found, used=Used(used["backend"], tuple(used["kinds"]), used["detail"]))


if __name__ == "__main__":
    sys.exit(main())
