"""A checkpoint costs training a copy of its state in memory, and no more.

Claims, for a state of 57 MB (4.7 M parameters with Adam) and steps of about 290 ms: the call of `save`, with what
`staged` still has to wait for before the next optimizer step, takes at most 0.06 of a step and at most 1.5 times a
memcpy of the state. Beside it, what torch itself offers, the last with the options that come nearest to a memcpy:
`DefaultStager` in shared memory with asynchronous staging and a process. Everything saves from the same loop, one after
the other in rounds, so whatever else the machine does falls on all alike. `step after`: the step that follows a save,
against one that does not, where the writing beside it shows.

Run: `make bench`, or `.venv/bin/python benchmarks/bench_checkpoint.py [ROUNDS]` (8; two minutes).
"""

from __future__ import annotations

import logging
import os
import socket
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from measure import table, verdict
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType

from workloads.training.checkpoint import Checkpointer

BETWEEN = 3
"""Steps from one save to the next: enough for what writes beside them."""


class Training:
    """Something to save: six transformer layers, and steps that take what the claim says on a core of a server."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        layers = [
            torch.nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(6)
        ]
        self.model = torch.nn.Sequential(*layers)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, foreach=True)
        self.sequences = 4
        self.step()
        took = min(self.step() for _ in range(3))
        self.sequences = max(1, round(4 * 0.29 / took))

    def step(self, before_update: Callable[[], float] = lambda: 0.0) -> float:
        """Seconds of a step without those of `before_update`, which runs when the gradients are there."""
        begun = time.perf_counter()
        self.optimizer.zero_grad()
        self.model(torch.randn(self.sequences, 64, 256)).pow(2).mean().backward()
        waited = before_update()
        self.optimizer.step()
        return time.perf_counter() - begun - waited

    def state(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def tensors(self) -> list[torch.Tensor]:
        moments = [v for s in self.optimizer.state.values() for v in s.values() if torch.is_tensor(v)]
        return [p.detach() for p in self.model.parameters()] + moments


class Way:
    """How a state can be saved: `save` is timed, and `staged`, and what they have cost; `wait` is not."""

    def __init__(self, save: Callable[[int], Any], staged: Callable[[Any], Any], wait: Callable[[Any], Any]) -> None:
        self._save, self._staged, self._wait = save, staged, wait
        self.stalls: list[float] = []
        self.after: list[float] = []

    def round(self, training: Training, number: int) -> None:
        begun = time.perf_counter()
        running = self._save(number)
        called = time.perf_counter() - begun
        waits = [0.0]

        def staged() -> float:
            begun = time.perf_counter()
            self._staged(running)
            waits.append(time.perf_counter() - begun)
            return waits[-1]

        step = training.step(staged)
        for _ in range(BETWEEN - 1):
            training.step()
        self._wait(running)
        if number:  # the first one allocates and starts processes
            self.stalls.append(called + waits[-1])
            self.after.append(step)


def ways(training: Training, directory: Path, checkpointer: Checkpointer, stager: DefaultStager) -> dict[str, Way]:
    copies = [torch.empty_like(tensor) for tensor in training.tensors()]
    none = lambda _: None  # noqa: E731
    result = lambda running: running.result()  # noqa: E731

    def memcpy(_: int) -> None:
        torch._foreach_copy_(copies, training.tensors())

    def at(name: str, number: int) -> str:
        return str(directory / f"{name}-{number % 2}")

    return {
        "memcpy": Way(memcpy, none, none),
        "Checkpointer": Way(
            lambda number: checkpointer.save(number, training.state(), {"step": number}),
            lambda _: checkpointer.staged(),
            lambda _: checkpointer.wait(),
        ),
        "dcp.async_save, process, DefaultStager": Way(
            lambda number: dcp.async_save(
                training.state(),
                checkpoint_id=at("staged", number),
                async_checkpointer_type=AsyncCheckpointerType.PROCESS,
                async_stager=stager,
            ),
            lambda running: running.staging_completion.result(),
            lambda running: running.upload_completion.result(),
        ),
        "dcp.async_save, process": Way(
            lambda number: dcp.async_save(
                training.state(),
                checkpoint_id=at("process", number),
                async_checkpointer_type=AsyncCheckpointerType.PROCESS,
            ),
            none,
            result,
        ),
        "dcp.async_save, thread": Way(
            lambda number: dcp.async_save(training.state(), checkpoint_id=at("thread", number)), none, result
        ),
        "dcp.save": Way(lambda number: dcp.save(training.state(), checkpoint_id=at("plain", number)), none, none),
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Without what torch's own process says of each request, and of each directory that it writes to again."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)


@contextmanager
def group() -> Iterator[None]:
    """torch's own process needs one, if only of one rank, and the environment of a launcher."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
    dist.init_process_group("gloo", rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def main(rounds: int = 8) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    options = StagingOptions(
        use_pinned_memory=False, use_shared_memory=True, use_async_staging=True, use_non_blocking_copy=False
    )
    with quiet(), group(), tempfile.TemporaryDirectory() as place:
        training, stager = Training(), DefaultStager(options)
        with Checkpointer(Path(place) / "ours", keep=1) as checkpointer:
            found = ways(training, Path(place), checkpointer, stager)
            alone: list[float] = []
            for number in range(rounds + 1):
                alone += [training.step() for _ in range(2)]
                for way in found.values():
                    way.round(training, number)
        stager.close()
    step, memcpy = statistics.median(alone), statistics.median(found["memcpy"].stalls)
    size = sum(tensor.nbytes for tensor in training.tensors())
    print(f"state {size / 1e6:.0f} MB, step {step * 1000:.0f} ms, memcpy {memcpy * 1000:.1f} ms\n")
    stall = {name: statistics.median(way.stalls) for name, way in found.items()}
    table(
        ["", "stall ms", "/ step", "/ memcpy", "step after"],
        [
            [name, stall[name] * 1000, stall[name] / step, stall[name] / memcpy, statistics.median(way.after) / step]
            for name, way in found.items()
        ],
    )
    verdict("stall of a checkpoint against a step", stall["Checkpointer"] / step, 0.06)
    verdict("stall of a checkpoint against a memcpy of the state", stall["Checkpointer"] / memcpy, 1.5)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
