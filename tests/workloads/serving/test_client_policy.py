"""Holds the client's decisions to what is safe: nothing that may have run is run again unless it may be."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.serving.client.failures import Kind, of_grpc, of_http
from workloads.serving.client.policy import (
    Again,
    Allowance,
    GiveUp,
    Health,
    Policy,
    Progress,
    after,
    due,
    heard,
    hedge_delay,
    order,
)

POLICY = Policy()
MAY_HAVE_RUN = (Kind.LOST, Kind.TIMED_OUT)
kinds = st.sampled_from(list(Kind))


def decide(kind: Kind, progress: Progress, endpoints: int = 2, endpoint: int = 0, **options: object) -> Again | GiveUp:
    given_ = {"policy": POLICY, "left_s": 10.0, "affordable": True, "chance": 0.5} | options
    return after(kind, endpoint, progress, range(endpoints), **given_)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", MAY_HAVE_RUN)
def test_what_may_have_run_is_repeated_only_if_it_is_idempotent(kind: Kind) -> None:
    assert isinstance(decide(kind, Progress(idempotent=False)), GiveUp)
    assert isinstance(decide(kind, Progress(idempotent=True)), Again)


@pytest.mark.parametrize("kind", [Kind.UNSENT, Kind.BUSY, Kind.NOT_HERE, Kind.NOT_NOW])
def test_what_surely_did_not_run_is_asked_elsewhere_at_once(kind: Kind) -> None:
    step = decide(kind, Progress(idempotent=False))
    assert isinstance(step, Again)
    assert (step.endpoint, step.delay_s) == (1, 0.0)


def test_a_request_that_is_at_fault_is_not_repeated() -> None:
    assert decide(Kind.WRONG, Progress(idempotent=True)) == GiveUp("")


def test_only_what_makes_more_work_is_paid_for() -> None:
    assert [kind for kind in Kind if isinstance(step := decide(kind, Progress(True)), Again) and step.costs] == [
        Kind.BUSY,
        Kind.TIMED_OUT,
    ]
    assert isinstance(decide(Kind.BUSY, Progress(True), affordable=False), GiveUp)
    assert isinstance(decide(Kind.LOST, Progress(True), affordable=False), Again)


def test_pauses_double_once_every_endpoint_has_had_its_turn() -> None:
    progress, endpoint, delays = Progress(True), 0, []
    for _ in range(12):
        step = decide(Kind.UNSENT, progress, endpoint=endpoint, chance=1.0, left_s=100.0)
        assert isinstance(step, Again)
        delays.append(step.delay_s)
        progress, endpoint = step.progress, step.endpoint
    assert delays == [0, 0.05, 0, 0.1, 0, 0.2, 0, 0.4, 0, 0.8, 0, 1.6]


def test_an_endpoint_without_the_model_is_not_asked_again() -> None:
    step = decide(Kind.NOT_HERE, Progress(True), endpoints=2)
    assert isinstance(step, Again)
    step = decide(Kind.UNSENT, step.progress, endpoint=step.endpoint)
    assert isinstance(step, Again)
    assert step.endpoint == 1
    assert isinstance(decide(Kind.NOT_HERE, step.progress, endpoint=1), GiveUp)


@given(
    st.lists(kinds, min_size=1, max_size=60),
    st.booleans(),
    st.integers(1, 4),
    st.floats(0, 1, exclude_max=True),
    st.floats(0.001, 5),
)
def test_a_request_reaches_servers_so_often_and_no_more(
    failures: list[Kind], idempotent: bool, endpoints: int, chance: float, left_s: float
) -> None:
    """Whatever happens, in any order: the bound on attempts, the deadline, and the rule on repetition hold."""
    progress, endpoint, sent = Progress(idempotent), 0, 0
    for kind in failures:
        sent += kind is not Kind.UNSENT and kind is not Kind.NOT_HERE
        step = decide(kind, progress, endpoints, endpoint, chance=chance, left_s=left_s)
        if isinstance(step, GiveUp):
            return
        assert idempotent or kind not in MAY_HAVE_RUN
        assert kind is not Kind.WRONG
        assert sent < POLICY.attempts
        assert 0 <= step.delay_s < left_s
        assert step.endpoint in range(endpoints)
        assert step.endpoint not in step.progress.absent
        progress, endpoint = step.progress, step.endpoint


# ---- endpoints


def test_an_endpoint_that_broke_is_left_alone_for_longer_each_time() -> None:
    health, now, spans = Health(), 100.0, []
    for _ in range(8):
        health = heard(health, Kind.LOST, now, POLICY, chance=0.5)
        assert health.aside_until is not None
        spans.append(health.aside_until - now)
        now = health.aside_until
    assert spans == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_hundred_requests_that_break_at_once_count_as_one() -> None:
    health = heard(Health(), Kind.LOST, 100.0, POLICY, chance=0.5)
    for _ in range(99):
        health = heard(health, Kind.LOST, 100.1, POLICY, chance=0.5)
    assert health == Health(0, 1, 101.0)


def test_slow_answers_put_an_endpoint_aside_only_in_a_row() -> None:
    health = Health()
    for kind in (Kind.TIMED_OUT, Kind.TIMED_OUT, None, Kind.TIMED_OUT, Kind.TIMED_OUT):
        health = heard(health, kind, 0.0, POLICY, 0.5)
        assert health.aside_until is None
    assert heard(health, Kind.TIMED_OUT, 0.0, POLICY, 0.5).aside_until == 1.0


@pytest.mark.parametrize("kind", [Kind.BUSY, Kind.WRONG, Kind.NOT_HERE, Kind.NOT_NOW])
def test_a_refusal_shows_that_an_endpoint_is_alive_but_does_not_bring_it_back(kind: Kind) -> None:
    assert heard(Health(timeouts=2), kind, 0.0, POLICY, 0.5) == Health()
    aside = Health(0, 1, 5.0)
    assert heard(aside, kind, 0.0, POLICY, 0.5) == aside
    assert heard(aside, None, 0.0, POLICY, 0.5) == Health()


def test_endpoints_in_use_come_in_the_order_they_were_given_and_the_others_by_when_they_may_be_back() -> None:
    healths = [Health(0, 1, 9.0), Health(), Health(0, 1, 5.0), Health()]
    assert order(healths) == [1, 3, 2, 0]
    assert due(healths, 6.0) == [2]
    assert due(healths, 4.0) == []


# ---- the rest


def test_the_allowance_is_spent_and_earned_again() -> None:
    allowance = Allowance(POLICY.extra_reserve)
    for _ in range(20):
        assert allowance.affordable
        allowance = allowance.spent()
    assert not allowance.affordable
    for _ in range(5):
        allowance = allowance.earned(POLICY)
    assert allowance.affordable
    for _ in range(1000):
        allowance = allowance.earned(POLICY)
    assert allowance.left == POLICY.extra_reserve


def test_a_hedge_waits_for_the_quantile_once_enough_answers_are_known() -> None:
    hedging = Policy(hedge_quantile=0.9)
    assert hedge_delay(hedging, {"m": [0.1] * 49}, "m") is None
    assert hedge_delay(hedging, {"m": [float(n) for n in range(100)]}, "m") == 90.0
    assert hedge_delay(hedging, {"m": [0.1] * 100}, "other") is None
    assert hedge_delay(POLICY, {"m": [0.1] * 100}, "m") is None
    assert hedge_delay(Policy(hedge_after_s=0.2, hedge_quantile=0.9), {}, "m") == 0.2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("deadline_s", 0),
        ("deadline_s", math.nan),
        ("deadline_s", None),
        ("attempts", 0),
        ("attempts", 1.5),
        ("attempts", None),
        ("hedge_quantile", 1.0),
        ("backoff_s", -1.0),
        ("extra", math.inf),
        ("attempt_s", 0.0),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^Policy\.{name}: .*; expected "):
        Policy(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        ("UNAVAILABLE", "failed to connect to all addresses; last error: Connection refused", Kind.UNSENT),
        ("UNAVAILABLE", "DNS resolution failed for nowhere:8001", Kind.UNSENT),
        ("UNAVAILABLE", "Socket closed", Kind.LOST),
        ("UNAVAILABLE", "recvmsg:Connection reset by peer", Kind.LOST),
        ("UNAVAILABLE", "[request id: 1] Exceeds maximum queue size", Kind.BUSY),
        ("NOT_FOUND", "Request for unknown model: 'm' has no available versions", Kind.NOT_NOW),
        ("NOT_FOUND", "Request for unknown model: 'm' is not found", Kind.NOT_HERE),
        ("NOT_FOUND", "Request for unknown model: 'm' version 7 is not found", Kind.NOT_HERE),
        ("INTERNAL", "Stub process 'm_0_0' is not healthy.", Kind.LOST),
        ("INTERNAL", "Failed to process the request(s) for model 'm': RuntimeError: no", Kind.WRONG),
        ("INVALID_ARGUMENT", "unexpected shape for input 'x'", Kind.WRONG),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", Kind.TIMED_OUT),
        ("RESOURCE_EXHAUSTED", "Received message larger than max", Kind.WRONG),
        ("UNAUTHENTICATED", "", Kind.WRONG),
        ("UNKNOWN", "", Kind.WRONG),
    ],
)
def test_kinds_of_grpc(code: str, details: str, kind: Kind) -> None:
    assert of_grpc(code, details).kind is kind


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, "unexpected shape for input 'x'", Kind.WRONG),
        (404, "Request for unknown model: 'm' is not found", Kind.NOT_HERE),
        (404, "Request for unknown model: 'm' has no available versions", Kind.NOT_NOW),
        (404, "Not Found", Kind.WRONG),
        (429, "", Kind.BUSY),
        (500, "RuntimeError", Kind.WRONG),
        (500, "Stub process 'm_0_0' is not healthy.", Kind.LOST),
        (502, "", Kind.LOST),
        (503, "no healthy upstream", Kind.UNSENT),
        (503, "upstream connect error or disconnect/reset before headers", Kind.LOST),
        (503, "[request id: 1] Exceeds maximum queue size", Kind.BUSY),
        (504, "upstream request timeout", Kind.TIMED_OUT),
        (302, "", Kind.WRONG),
    ],
)
def test_kinds_of_http(status: int, body: str, kind: Kind) -> None:
    assert of_http(status, body).kind is kind
