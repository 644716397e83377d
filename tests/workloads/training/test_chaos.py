"""A run that is killed, stopped and started again ends where an undisturbed one does."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import workloads.training.run  # noqa: F401  so that forks have it
from tests.workloads.training import leaving
from tests.workloads.training.chaos import Outcome, Run, disturbed, undisturbed
from tests.workloads.training.small import command, make_data
from workloads.training.errors import STOPPED

EVERY = 10
NARROW = {"layers": 1, "width": 32, "heads": 2, "key_value_heads": 2, "feed_forward": 64}


def run(tokens: Path, output: Path, steps: int, forked: bool) -> Run:
    options = {"training": {"steps": steps, "evaluate_every": 25}, "checkpoint": {"every": EVERY}, "model": NARROW}
    return Run(command(tokens, output, **options), output, 2, forked)


def check(calm: Outcome, chaos: Outcome) -> None:
    assert calm.exit_code == chaos.exit_code == 0, chaos.log
    assert chaos.losses == calm.losses  # to the bit, at every step
    assert all(lost == 0 for lost in chaos.lost("SIGTERM")), chaos.blows
    # A save takes a while: what is committed may be the one before the last.
    assert all(0 <= lost < 2 * EVERY for lost in chaos.lost("SIGKILL")), chaos.blows


def test_kills_and_preemptions_leave_no_trace_in_the_losses(tmp_path: Path) -> None:
    tokens = make_data(tmp_path)
    calm = undisturbed(run(tokens, tmp_path / "calm", 25, forked=True))
    kinds = {"SIGKILL rank": 2, "SIGTERM rank": 1, "SIGTERM agent": 1}
    chaotic = run(tokens, tmp_path / "chaos", 25, forked=True)
    chaos = disturbed(chaotic, random.Random(3), kinds, peace_s=(0.2, 0.6), at_most=3, limit_s=240)
    check(calm, chaos)
    assert chaos.blows


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_two_minutes_of_chaos(seed: int, tmp_path: Path) -> None:
    tokens = make_data(tmp_path)
    calm = undisturbed(run(tokens, tmp_path / "calm", 400, forked=True))
    chance = random.Random(seed)
    kinds = {"SIGKILL rank": 6, "SIGTERM rank": 1, "SIGTERM agent": 1}
    # On a fast machine all steps are through in ten seconds: peace is short, that some blows fall.
    peace_s, most = (0.1, 1.0), 25
    struck = run(tokens, tmp_path / "chaos", 400, forked=True)
    chaos = disturbed(struck, chance, kinds, peace_s=peace_s, at_most=most, limit_s=900)
    check(calm, chaos)
    assert len(chaos.blows) > 3


@pytest.mark.parametrize("times", [1, pytest.param(50, marks=pytest.mark.slow)])
def test_every_phase_is_left_within_half_of_the_notice(times: int, tmp_path: Path) -> None:
    phases = tuple(leaving.PHASES) if times > 1 else ("evaluation",)
    left = leaving.measure(times, random.Random(times), make_data(tmp_path), phases)
    assert all(one.in_time for one in left), [one for one in left if not one.in_time]
    assert all(one.lost == 0 for one in left if one.exit_code == STOPPED), left
    assert {one.phase for one in left if one.exit_code == STOPPED} >= {*phases} - {"compilation", "save"}
