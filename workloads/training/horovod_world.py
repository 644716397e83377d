"""Horovod in the place of torch's own collectives: who takes part, as `horovodrun` says, and how gradients are summed.

    horovodrun -np 2 --gloo python -m workloads.training --config tiny --output DIR

Gradients go through Horovod and nothing else does: what ranks tell each other about stops and checkpoints goes, as in
any run, over a gloo group of torch's.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from datetime import timedelta
from types import ModuleType
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from workloads.training.errors import ConfigError


def started_by(environment: Mapping[str, str]) -> bool:
    """Whether horovodrun has started this process."""
    return "HOROVOD_RANK" in environment


def package() -> ModuleType:
    try:
        import horovod.torch
    except ImportError as error:
        raise ConfigError(
            f"parallel.strategy: horovod: needs the package horovod ({error}); workloads/training/build_horovod.sh "
            "builds it"
        ) from error
    return horovod.torch


@contextlib.contextmanager
def joined(environment: Mapping[str, str], timeout: timedelta) -> Iterator[tuple[int, int]]:
    """Rank and size, with Horovod started and torch's default group made, over gloo."""
    hvd = package()
    hvd.init()
    try:
        rank, size = hvd.rank(), hvd.size()
        # Rank 0 takes a port and tells the others: horovodrun knows of none.
        store, place = None, None
        if rank == 0:
            store = dist.TCPStore("0.0.0.0", 0, size, is_master=True, wait_for_workers=False, timeout=timeout)
            place = environment.get("HOROVOD_HOSTNAME", socket.gethostname()), store.port
        # By default the name is that of the object's type, which differs: all would wait for ever.
        host, port = hvd.broadcast_object(place, root_rank=0, name="store")
        if store is None:
            store = dist.TCPStore(host, port, size, is_master=False, timeout=timeout)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timeout)
        try:
            yield rank, size
        finally:
            dist.destroy_process_group()
    finally:
        hvd.shutdown()


class Averaging:
    """Averages each gradient over all processes as soon as it is there, beside the backward pass that makes the next.

    As Horovod's DistributedOptimizer does it, but for the loop's own optimizer and gradient accumulation.
    """

    def __init__(self, model: nn.Module) -> None:
        self._hvd = package()
        self._running: list[Any] = []
        self._last = False
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(lambda found, name=name: self._begin(name, found))

    def _begin(self, name: str, parameter: Tensor) -> None:
        if self._last:
            self._running.append(self._hvd.allreduce_async_(parameter.grad, op=self._hvd.Average, name=name))

    @contextlib.contextmanager
    def around(self, last: bool) -> Iterator[None]:
        """Forward and backward of a micro-batch: of the last one, until all gradients are averaged."""
        self._last = last
        yield
        while self._running:
            self._hvd.synchronize(self._running.pop())
