"""Whether all ranks stop, decided at the same step even if only one of them had a notice."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from workloads.training.metadata import Notice

if TYPE_CHECKING:
    from workloads.training.preemption import Notices


def agree(stop: bool, group: dist.ProcessGroup | None = None) -> bool:
    """Whether any rank wants to stop: one all-reduce of a number, to be called by all ranks at the same point.

    group: of gloo or NCCL; default: all ranks. With NCCL the answer waits for the GPU; `Agreement` does not.
    """
    if not dist.is_available() or not dist.is_initialized():
        return stop
    flag = torch.tensor([int(stop)], dtype=torch.int32, device=_device(group))
    dist.all_reduce(flag, dist.ReduceOp.MAX, group=group)
    return bool(flag.item())


class Agreement:
    """`agree` for loops, in the background: a call begins to ask, a later call reads the answer, so none waits for it.

    All ranks call it equally often, and the answer is the same on all of them at the same call: the second after the
    notice, where every call asks. Where steps are so short that even that costs more than `share` of them, every k-th
    call does. A stop gives each rank the notice, with what is left of it, so that all have the deadline.

    Asking happens on the CPU over gloo, on a group of its own: it waits neither for a GPU nor behind a checkpoint.
    within_s: between two askings, even if steps suddenly take SLOWDOWN times as long.
    One object for each kind of loop: k comes from how long its calls lie apart. Once one has said to stop, all do.
    """

    def __init__(
        self,
        notices: Notices,
        *,
        share: float = 0.01,
        within_s: float = 2.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.notices, self.share, self.within_s, self.clock = notices, share, within_s, clock
        self.every = 1
        self._calls = 0
        self._asked_at: float | None = None
        self._cost_s = 0.0  # of the last asking, to this rank's loop
        self._asked: tuple[Any, torch.Tensor] | None = None
        self._group: dist.ProcessGroup | None = None
        self._alone = not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1
        if not self._alone:
            self._group = dist.new_group(backend="gloo")

    def __call__(self) -> bool:
        """Whether to stop now: the same on all ranks at the same call."""
        if self._alone:
            return self.notices.notice is not None
        if self.notices.agreed:
            return True
        self._calls += 1
        if self._calls % self.every:
            return False
        began = self.clock()
        stop = self._answered()
        if not stop:
            self._ask(began)
            self._cost_s = self.clock() - began
        return stop

    def _ask(self, now: float) -> None:
        step_s = 0.0 if self._asked_at is None else (now - self._asked_at) / self._calls
        self._asked_at, self._calls = now, 0
        notice = self.notices.notice
        left = self.notices.left()
        seconds = notice.seconds if notice else math.inf
        who = float(dist.get_rank()) if notice else -1.0
        # One reduction by MAX carries all of it: the largest of -x is the smallest x. The least cost is that of the
        # rank that came last: the others also waited for it, as they would have in the next gradient's reduction.
        told = torch.tensor([who, -left, -seconds, step_s, -self._cost_s], dtype=torch.float64)
        work = dist.all_reduce(told, dist.ReduceOp.MAX, group=self._group, async_op=True)
        self._asked = (work, told)

    def _answered(self) -> bool:
        if self._asked is None:
            return False
        work, told = self._asked
        work.wait()
        first, minus_left, minus_seconds, step_s, minus_cost = told.tolist()
        if first >= 0:
            self.notices.give(Notice(f"rank {int(first)} has a notice", -minus_seconds), left_s=-minus_left)
            self.notices.agreed = True
            return True
        self.every = period(-minus_cost, step_s, self.share, self.within_s)
        return False


SLOWDOWN = 100
"""A step of 5 ms took 2 s where two checkpoint writers started on two processors; asking must still be in time then."""


def period(cost_s: float, step_s: float, share: float, within_s: float) -> int:
    """Every how many steps to ask: so rarely that it costs at most `share`, but often enough.

    Where both cannot be had, leaving in time counts more: with steps SLOWDOWN times as long, it is still asked every
    `within_s` seconds. From steps of 20 ms on, with the defaults, every step asks.
    """
    if step_s <= 0:
        return 1
    seldom = math.ceil(min(cost_s / (share * step_s), 1e9))
    often = math.floor(min(within_s / (SLOWDOWN * step_s), 1e9))
    return max(1, min(seldom, often))


def _device(group: dist.ProcessGroup | None) -> torch.device:
    """Where a small tensor must lie for this group."""
    if "cpu" in dist.get_backend_config(group):
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())
