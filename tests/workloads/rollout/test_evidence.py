"""Holds what is known about the guardrails to what was seen."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.rollout import simulated
from workloads.rollout import evidence, sequential
from workloads.rollout.observation import Arm, bucket_of, histogram, lower_bound_s

ERRORS = simulated.spec(guardrails={"errors": {"margin": 0.01, "alpha": 0.05}})
QUALITY = simulated.spec(guardrails={"quality": {"margin": 0.05, "alpha": 0.05}})


def learned(spec: Any, *looks: tuple[Arm, Arm], known: Any = None, pairs: Any = ()) -> Any:
    known = known or evidence.begin(spec)
    for baseline, candidate in looks:
        known = evidence.learn(spec, known, baseline, candidate, pairs)
    return known


@given(st.lists(st.floats(1e-3, 100.0), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_the_threshold_is_the_quantile_to_a_bucket(latencies: list[float], quantile: float) -> None:
    arm = Arm(len(latencies), 0, histogram(latencies))
    limit = evidence.threshold(arm, quantile)
    over = sum(bucket_of(latency) >= limit for latency in latencies)
    assert over <= (1 - quantile) * len(latencies) + 1e-6
    one_more = sum(bucket_of(latency) >= limit - 1 for latency in latencies)
    assert limit == 0 or one_more > (1 - quantile) * len(latencies) - 1e-6


def test_a_margin_is_rounded_down_to_whole_buckets() -> None:
    for margin, buckets in ((0.05, 1), (0.1, 2), (0.2, 4), (1.0, 16)):
        assert evidence.buckets_of(margin) == buckets
        assert lower_bound_s(buckets) / lower_bound_s(0) <= 1 + margin + 1e-9


def test_counts_wait_until_both_arms_have_been_asked() -> None:
    together = learned(ERRORS, (Arm(19, 1), Arm(1, 1)))
    one_by_one = learned(ERRORS, *[(Arm(1, int(first)), Arm()) for first in [True] + [False] * 18], (Arm(), Arm(1, 1)))
    assert json.dumps(one_by_one) == json.dumps(together)
    waiting = learned(ERRORS, (Arm(5, 1), Arm()))
    assert waiting["pending"]["baseline"]["requests"] == 5
    assert waiting["tests"] == evidence.begin(ERRORS)["tests"]


@given(st.integers(0, 60), st.integers(0, 60))
def test_more_errors_of_the_candidate_raise_the_alarm_and_lower_the_proof(one: int, other: int) -> None:
    few, many = sorted((one, other))
    alarms, proofs = [], []
    for errors in (few, many):
        test = learned(ERRORS, (Arm(60, 3), Arm(60, errors)))["tests"]["errors"]
        alarms.append(sequential.log_e_value(np.array(test["alarm"])))
        proofs.append(sequential.log_e_value(np.array(test["proof"])))
    assert alarms[0] <= alarms[1] + 1e-9
    assert proofs[0] >= proofs[1] - 1e-9


def test_all_is_proven_without_a_single_error() -> None:
    """A relative margin could never be: it would be a margin of nothing."""
    known = learned(ERRORS, *[(Arm(570, 0), Arm(30, 0))] * 20)
    assert evidence.verdict(ERRORS, known).proven


def test_what_is_proven_raises_no_alarm_and_is_soon_lost_again() -> None:
    # 1.3 % of errors where 1 % are usual, and 2 % would be too many.
    known = learned(ERRORS, *[(Arm(3000, 30), Arm(3000, 39))] * 3)
    assert evidence.verdict(ERRORS, known).proven
    raised = {**known["tests"]["errors"], "alarm": (np.array(known["tests"]["errors"]["alarm"]) + 20).tolist()}
    loud = {**known, "tests": {"errors": raised}}
    assert evidence.verdict(ERRORS, loud).worse == ""
    worse = learned(ERRORS, (Arm(3000, 30), Arm(3000, 110)), known=known)
    assert not evidence.verdict(ERRORS, worse).proven
    assert evidence.verdict(ERRORS, worse).worse == "errors"


def test_alarms_add_up() -> None:
    """Two guardrails, neither of which would do alone."""
    spec = simulated.spec(guardrails={name: {"margin": 0.1, "alpha": 0.025} for name in ("errors", "p50_latency")})
    known = evidence.begin(spec)
    almost = np.log(sequential.ODDS_WEIGHTS) + math.log(0.5 / 0.025)
    for name in known["tests"]:
        known["tests"][name]["alarm"] = almost.tolist()
    verdict = evidence.verdict(spec, known)
    assert (verdict.alarm, verdict.worse) == (pytest.approx(1.0), "errors")
    known["tests"]["errors"]["alarm"] = (almost - 0.01).tolist()
    assert evidence.verdict(spec, known).worse == ""


def test_pairs_of_the_same_model_are_proven_and_never_alarm() -> None:
    pairs = [(2.0 + index / 100, 2.0 + index / 100) for index in range(40)]
    known = learned(QUALITY, (Arm(), Arm()), pairs=pairs)
    verdict = evidence.verdict(QUALITY, known)
    assert (verdict.proven, verdict.worse) == (True, "")
    assert evidence.summary(QUALITY, known)["quality"]["pairs"] == 40


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), max_size=40), st.integers(0, 40))
def test_pairs_may_come_in_any_number_of_looks(pairs: list[tuple[float, float]], cut: int) -> None:
    at_once = evidence.learn(QUALITY, evidence.begin(QUALITY), Arm(), Arm(), pairs)
    known = evidence.learn(QUALITY, evidence.begin(QUALITY), Arm(), Arm(), pairs[:cut])
    assert evidence.learn(QUALITY, known, Arm(), Arm(), pairs[cut:]) == at_once


def test_healthy_latencies_of_any_form_raise_no_alarm() -> None:
    """Heaps, gaps and a heavy tail; both quantiles at once, 120 rollouts, a look a minute."""
    spec = simulated.spec(guardrails={name: {"margin": 0.1, "alpha": 0.025} for name in evidence.QUANTILES})
    rng, caught = np.random.default_rng(6), 0

    def arm(requests: int) -> Arm:
        kind = rng.choice(3, requests, p=[0.6, 0.38, 0.02])
        return Arm(
            requests,
            0,
            histogram(np.choose(kind, [0.02, rng.exponential(0.05, requests), 1 + rng.pareto(1, requests)])),
        )

    for _ in range(120):
        known: Any = evidence.learn_baseline(evidence.begin(spec), arm(100))
        for _ in range(12):
            known = evidence.learn(spec, known, arm(180), arm(20), ())
            if evidence.verdict(spec, known).worse:
                caught += 1
                break
    assert caught <= 6


def test_a_candidate_alone_is_held_to_what_the_baseline_did() -> None:
    spec = simulated.spec(
        guardrails={"errors": {"margin": 0.01, "alpha": 0.02}, "p99_latency": {"margin": 0.2, "alpha": 0.02}}
    )
    rng = np.random.default_rng(7)
    known = evidence.learn_baseline(evidence.begin(spec), simulated.arm(6000, rng))
    fine = slow = failing = known
    for _ in range(10):
        fine = evidence.learn_alone(spec, fine, simulated.arm(1200, rng))
        slow = evidence.learn_alone(spec, slow, simulated.arm(1200, rng, slower=1.5))
        failing = evidence.learn_alone(spec, failing, simulated.arm(1200, rng, errors=0.05))
    found = [evidence.verdict(spec, each).worse for each in (fine, slow, failing)]
    assert found == ["", "p99_latency", "errors"]


def test_what_begins_with_a_step_is_found_sooner() -> None:
    """After 400 healthy looks the candidate cannot bear the next step."""
    usual = Arm(1140, 11), Arm(60, 0), Arm(60, 1)
    known = learned(ERRORS, *[(usual[0], usual[1 + (look % 5 < 3)]) for look in range(400)])

    def looks(known: Any) -> int:
        for look in range(1, 100):
            known = evidence.learn(ERRORS, known, usual[0], Arm(60, 3), ())
            if evidence.verdict(ERRORS, known).worse:
                return look
        return 100

    unproven = {**known, "tests": {"errors": {**known["tests"]["errors"], "proven": False}}}
    begun = evidence.begin_step(unproven)
    before, after = (sequential.log_e_value(np.array(each["tests"]["errors"]["alarm"])) for each in (unproven, begun))
    assert after == pytest.approx(before)
    assert looks(begun) < looks(unproven)
