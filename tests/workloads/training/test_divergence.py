"""Bad losses: what counts as one, and what is done."""

from __future__ import annotations

import dataclasses

import pytest

from workloads.training.config import Training
from workloads.training.divergence import HISTORY, decide, judge
from workloads.training.errors import Diverged

STEADY = [2.0] * HISTORY


@pytest.mark.parametrize(
    ("loss", "norm", "recent", "factor", "bad"),
    [
        (2.1, 1.0, STEADY, 3.0, ""),
        (6.1, 1.0, STEADY, 3.0, "the loss leapt to 6.100 from about 2.000"),
        (6.1, 1.0, STEADY, 0.0, ""),
        (6.1, 1.0, STEADY[1:], 3.0, ""),
        (6.1, 1.0, [2.0] * 20 + [9.0] * 12, 3.0, "the loss leapt to 6.100 from about 2.000"),
        (float("nan"), 1.0, [], 0.0, "the loss is nan"),
        (float("inf"), 1.0, [], 0.0, "the loss is inf"),
        (2.0, float("inf"), [], 0.0, "the gradient's length is inf"),
    ],
)
def test_a_loss_is_bad_when_it_is_no_number_or_leaps(loss, norm, recent, factor, bad):
    assert judge(loss, norm, recent, factor) == bad


def test_what_is_done_is_what_is_configured():
    skip = Training(on_bad_loss="skip", bad_losses=2)
    assert decide(7, "the loss is nan", 2, skip) == "step 7: the loss is nan: the step is left out (2 of 2)"
    with pytest.raises(Diverged, match=r"step 7: the loss is nan, 3 times by now: more than training.bad_losses, 2"):
        decide(7, "the loss is nan", 3, skip)
    with pytest.raises(Diverged, match="the last checkpoint is as it was"):
        decide(7, "the loss is nan", 1, dataclasses.replace(skip, on_bad_loss="stop"))
