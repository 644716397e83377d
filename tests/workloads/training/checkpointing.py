"""States that anybody can make anew from their step, and savers that are forked: an import of torch takes seconds."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import torch

from workloads.training.checkpoint import Checkpointer
from workloads.training.checkpoints import saver
from workloads.training.checkpoints.saver import Saver

SIZE = 50_000
"""Elements of the largest tensor: above what is copied within the call of `save`."""


class Forked:
    """A saver as `subprocess.Popen` would start it, without the imports."""

    def __init__(self, descriptor: int) -> None:
        parent = os.getpid()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid:
            return
        try:
            # As after an exec: nothing of the parent's stays open, its end of the socket above all.
            os.closerange(3, descriptor)
            os.closerange(descriptor + 1, 4096)
            saver.main(descriptor, parent)
        finally:
            os._exit(0)

    def wait(self, timeout: float | None = None) -> int:
        until = time.monotonic() + (timeout or 60)
        while self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > until:
                raise TimeoutError(f"saver {self.pid} has not ended")
            else:
                time.sleep(0.002)
        return self.returncode

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def forked() -> Saver:
    return Saver(Forked)


def opened(directory: Path, **options: Any) -> Checkpointer:
    options.setdefault("new_saver", forked)
    return Checkpointer(directory, **options)


def state(step: int) -> dict[str, Any]:
    """Of several dtypes and shapes, one tensor in two places, values that are no tensors; all of it says its step."""
    generator = torch.Generator().manual_seed(step)
    weight = torch.randn(SIZE, generator=generator)
    return {
        "model": {
            "weight": weight,
            "tied": weight,
            "across": torch.randn(100, 300, generator=generator).t(),
            "half": torch.randn(3, 5, generator=generator).bfloat16(),
            "empty": torch.empty(0, 4),
        },
        "optimizer": {
            "state": {"weight": {"step": torch.tensor(float(step)), "exp_avg": torch.randn(SIZE, generator=generator)}},
            "param_groups": [{"lr": 1 / (step + 1), "betas": (0.9, 0.95), "params": ["weight"], "fused": None}],
        },
    }


def tensors(of: Any) -> list[torch.Tensor]:
    if isinstance(of, torch.Tensor):
        return [of]
    inner = of.values() if isinstance(of, dict) else of if isinstance(of, list | tuple) else ()
    return [tensor for value in inner for tensor in tensors(value)]


def same(a: Any, b: Any) -> bool:
    """Bitwise: what is no tensor equal, tensors of one dtype, shape and bytes."""
    if isinstance(a, torch.Tensor):
        return (
            isinstance(b, torch.Tensor)
            and (a.dtype, a.shape) == (b.dtype, b.shape)
            and a.contiguous().flatten().view(torch.uint8).equal(b.contiguous().flatten().view(torch.uint8))
        )
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return a == b


def blank() -> dict[str, Any]:
    """A state of the same structure with nothing of it."""
    found = state(10**6)
    for tensor in tensors(found):
        tensor.zero_()
    found["optimizer"]["param_groups"][0]["lr"] = -1.0
    return found


def saved(checkpointer: Checkpointer, step: int, **extra: Any) -> None:
    checkpointer.save(step, state(step), {"step": step, **extra})
    checkpointer.wait()
