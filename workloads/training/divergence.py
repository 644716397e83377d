"""Whether a step's loss is bad, and what is then done."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from workloads.training.config import Training
from workloads.training.errors import Diverged

HISTORY = 32
"""Losses that the next one is held against: enough for a steady median, few enough to follow the curve."""


def judge(loss: float, norm: float, recent: Sequence[float], factor: float) -> str:
    """What is wrong with a step's loss and gradient norm; nothing: "".

    `recent`: losses of the last good steps. `factor`: times their median is a leap; 0: never. Below HISTORY losses
    there is no telling, early ones fall too fast.
    """
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    if not math.isfinite(norm):
        return f"the gradient's length is {norm}"
    if factor and len(recent) >= HISTORY and loss > factor * (usual := statistics.median(recent)):
        return f"the loss leapt to {loss:.3f} from about {usual:.3f}"
    return ""


def decide(step: int, bad: str, count: int, config: Training) -> str:
    """What is done about it, for people. Raises Diverged where the run is to end."""
    if config.on_bad_loss == "stop":
        raise Diverged(f"step {step}: {bad}; the last checkpoint is as it was; training.on_bad_loss may be skip")
    if count > config.bad_losses:
        raise Diverged(f"step {step}: {bad}, {count} times by now: more than training.bad_losses, {config.bad_losses}")
    done = {"skip": "the step is left out", "roll-back": "back to the last checkpoint, past this data"}
    return f"step {step}: {bad}: {done[config.on_bad_loss]} ({count} of {config.bad_losses})"
