"""Drift alone never trains again; nor does anything else without a loss, a cool-down, a budget and data."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.monitoring.errors import ArgumentError
from workloads.monitoring.quality import Estimate
from workloads.monitoring.trigger import FIRED, REASONS, Evidence, RetrainPolicy, State, decide, ended

NOW_S = datetime(2026, 11, 15, tzinfo=UTC).timestamp()
POLICY = RetrainPolicy()
WORSE, SAME, UNSURE = Estimate(0.3, 0.02, 500), Estimate(0.0, 0.01, 500), Estimate(0.1, 0.2, 500)
HEALTHY = Evidence(NOW_S, 1000, 5000, own=SAME)


def test_each_reason() -> None:
    worse = replace(HEALTHY, own=WORSE)
    month = State(month="2026-11")
    cases: dict[str, tuple[State, Evidence]] = {
        "measured_loss": (State(), replace(HEALTHY, measured=WORSE, completeness=0.5)),
        "own_loss": (State(), worse),
        "predicted_loss": (State(), replace(HEALTHY, own=None, predicted=WORSE)),
        "already_running": (replace(month, running=True), worse),
        "cooling_down": (replace(month, last_started_s=NOW_S - 3600), worse),
        "runs_spent": (replace(month, runs=8), worse),
        "budget_spent": (replace(month, spent_usd=950.0), worse),
        "too_little_data": (State(), replace(worse, new_bytes=1000.0)),
        "no_data": (State(), replace(worse, rows=50)),
        "healthy": (State(), HEALTHY),
        "input_drift_only": (State(), replace(HEALTHY, drifted=("digits",))),
        "inconclusive": (State(), replace(HEALTHY, own=UNSURE)),
    }
    assert set(cases) == set(REASONS)
    for reason, (state, evidence) in cases.items():
        decision = decide(POLICY, state, evidence)
        assert decision.reason == reason, decision.explanation
        assert decision.fire == (reason in FIRED)
        assert REASONS[reason] in decision.explanation
        assert json.loads(json.dumps(decision.as_json(), allow_nan=False))["reason"] == reason


def test_what_kept_it_from_firing_is_said_with_what_it_would_have_fired_for() -> None:
    decision = decide(POLICY, State(running=True), replace(HEALTHY, own=WORSE))
    assert decision.loss == "own_loss"
    assert "otherwise it would have fired" in decision.explanation
    assert "+0.267 to +0.333" in decision.explanation


def test_labels_settle_what_a_prediction_only_supposes() -> None:
    evidence = replace(HEALTHY, own=None, measured=SAME, completeness=0.5, predicted=WORSE, drifted=("digits",))
    assert decide(POLICY, State(), evidence).reason == "input_drift_only"
    # But those of an earlier window say nothing of this one.
    assert decide(POLICY, State(), replace(evidence, measured_before=True)).reason == "predicted_loss"
    # Nor do few of them.
    assert decide(POLICY, State(), replace(evidence, completeness=0.01)).reason == "predicted_loss"
    assert decide(POLICY, State(), replace(evidence, measured=replace(SAME, count=5))).reason == "predicted_loss"


def test_labels_that_leave_it_open_are_not_overruled_by_less() -> None:
    evidence = replace(HEALTHY, measured=UNSURE, completeness=0.5)
    assert decide(POLICY, State(), evidence).reason == "inconclusive"
    assert decide(POLICY, State(), replace(evidence, own=WORSE)).reason == "own_loss"


def test_what_does_not_count_is_not_looked_at() -> None:
    deaf = RetrainPolicy(own_loss_counts=False, predicted_loss_counts=False)
    assert decide(deaf, State(), replace(HEALTHY, own=WORSE, predicted=WORSE)).reason == "healthy"


estimates = st.none() | st.builds(
    Estimate,
    st.floats(-2, 2) | st.just(math.nan),
    st.floats(0, 2) | st.just(math.inf),
    st.floats(0, 1000),
)
evidences = st.builds(
    Evidence,
    st.floats(1.6e9, 2e9),
    st.integers(0, 2000),
    st.integers(0, 2000),
    st.lists(st.sampled_from(["digits", "embedding"]), unique=True).map(tuple),
    estimates,
    st.floats(0, 1),
    st.booleans(),
    estimates,
    estimates,
    st.floats(0, 1e7) | st.just(math.inf),
)
states = st.builds(
    State,
    st.none() | st.floats(1.6e9, 2e9),
    st.booleans(),
    st.sampled_from(["", "2026-11", "2030-01"]),
    st.integers(0, 10),
    st.floats(0, 2000),
)


@given(states, evidences)
def test_whatever_is_found(state: State, evidence: Evidence) -> None:
    decision = decide(POLICY, state, evidence)
    assert decision.reason in REASONS
    assert decision.fire == (decision.reason in FIRED)
    assert decision == decide(POLICY, state, evidence)
    json.dumps(decision.as_json(), allow_nan=False)
    if decision.fire:
        assert not state.running
        assert state.last_started_s is None or evidence.time_s - state.last_started_s >= POLICY.cooldown_s
        assert decision.state.runs <= POLICY.runs_a_month
        assert decision.state.spent_usd <= POLICY.usd_a_month
        assert evidence.new_bytes >= POLICY.least_new_bytes
        assert decision.bounds[decision.reason][0] > POLICY.tolerated_loss
        assert decision.state.running
    else:
        assert decision.state.last_started_s == state.last_started_s
        assert decision.state.running == state.running


@given(states, evidences)
def test_input_drift_makes_no_difference_to_firing(state: State, evidence: Evidence) -> None:
    with_, without = (decide(POLICY, state, replace(evidence, drifted=d)) for d in (("digits", "embedding"), ()))
    assert with_.fire == without.fire
    no_loss = replace(evidence, measured=None, own=None, predicted=None, drifted=("digits",))
    assert not decide(POLICY, state, no_loss).fire


@given(states, evidences, st.floats(0, 1))
def test_a_greater_loss_fires_whenever_a_smaller_does(state: State, evidence: Evidence, more: float) -> None:
    def worse(change: Estimate | None) -> Estimate | None:
        return change and replace(change, mean=change.mean + more)

    greater = replace(
        evidence, measured=worse(evidence.measured), own=worse(evidence.own), predicted=worse(evidence.predicted)
    )
    if decide(POLICY, state, evidence).fire:
        assert decide(POLICY, state, greater).fire


@given(st.lists(st.floats(0, 2 * 86400), min_size=1, max_size=60), st.floats(0, 500))
def test_however_often_it_is_asked_the_month_s_budget_holds(steps_s: list[float], cost_usd: float) -> None:
    state, now_s, starts = State(), NOW_S, []
    for step in steps_s:
        now_s += step
        decision = decide(POLICY, state, replace(HEALTHY, own=WORSE, time_s=now_s))
        state = decision.state
        if decision.fire:
            starts.append(now_s)
            state = ended(POLICY, state, cost_usd)
        assert State.from_json(json.loads(json.dumps(state.as_json()))) == state
    assert all(b - a >= POLICY.cooldown_s for a, b in pairwise(starts))
    for month in {datetime.fromtimestamp(each, UTC).month for each in starts}:
        count = sum(datetime.fromtimestamp(each, UTC).month == month for each in starts)
        assert count <= POLICY.runs_a_month
        # The last may cost more than was expected, none is begun after.
        assert (count - 1) * cost_usd <= POLICY.usd_a_month


def test_a_clock_that_goes_back_gives_no_budget_anew() -> None:
    state = State(month="2026-12", runs=8)
    assert decide(POLICY, state, replace(HEALTHY, own=WORSE)).reason == "runs_spent"


def test_a_run_that_has_ended() -> None:
    fired = decide(POLICY, State(), replace(HEALTHY, own=WORSE)).state
    assert (fired.running, fired.runs, fired.spent_usd) == (True, 1, 100.0)
    assert ended(POLICY, fired, 40.0) == replace(fired, running=False, spent_usd=40.0)
    assert ended(POLICY, fired).spent_usd == 100.0
    assert ended(POLICY, State(), 40.0) == State()


@pytest.mark.parametrize(
    ("name", "value"), [("tolerated_loss", -1.0), ("confidence", 0.4), ("confidence", 1.0), ("least_completeness", 2.0)]
)
def test_wrong_policies(name: str, value: float) -> None:
    with pytest.raises(ArgumentError, match=name):
        RetrainPolicy(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="state"):
        State.from_json({"runing": True})
