"""Holds a rollout's specification to what it says: read whole, or refused with place, value and what is accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.rollout import simulated
from workloads.rollout import spec as module
from workloads.rollout.errors import SpecError, StateError
from workloads.rollout.observation import BUCKETS, Arm, Observation, bucket_of, histogram, lower_bound_s
from workloads.rollout.spec import Step, parse, read
from workloads.serving.manifest import ModelVersion


def test_the_example_in_the_docstring_is_one() -> None:
    text = "\n".join(line[4:] for line in (module.__doc__ or "").splitlines() if line.startswith("    "))
    spec = read(text, "rollout.yaml")
    assert (spec.baseline, spec.candidate) == (ModelVersion("shakespeare", 1), ModelVersion("shakespeare", 2))
    assert [step.weight for step in spec.all_steps] == [0.05, 0.25, 0.5]
    assert spec.alpha == pytest.approx(0.05)
    assert spec.mirror == 0.1


@pytest.mark.parametrize("strategy", simulated.STRATEGIES)
def test_json_of_a_specification_reads_as_the_same(strategy: str) -> None:
    spec = simulated.spec(strategy)
    assert read(json.dumps(spec.to_json()), "spec.json") == spec


def test_steps_follow_from_the_strategy() -> None:
    assert [step.weight for step in simulated.spec("rolling").all_steps] == [0.25, 0.5, 0.75]
    assert simulated.spec("blue-green").all_steps == (Step(100.0, 3),)
    assert simulated.spec("blue-green", steps=[]).all_steps == (Step(100.0, 5),)
    assert simulated.spec("shadow").all_steps == ()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown field": ({"stepz": []}, "no such field 'stepz'"),
    "no guardrail": ({"guardrails": {}}, "guardrails: none"),
    "an unknown guardrail": ({"guardrails": {"cost": {}}}, "expected some of errors, p50_latency"),
    "a guardrail without alpha": ({"guardrails": {"errors": {"margin": 0.1}}}, "guardrails.errors: without 'alpha'"),
    "a margin that is text": ({"guardrails": {"errors": {"margin": "1 %", "alpha": 0.1}}}, "margin: '1 %'"),
    "a margin of nothing": ({"guardrails": {"errors": {"margin": 0, "alpha": 0.1}}}, "a number above 0"),
    "a latency margin within a bucket": ({"guardrails": {"p99_latency": {"margin": 0.04, "alpha": 0.1}}}, "from 0.05"),
    "alphas beyond a half": (
        {"guardrails": {name: {"margin": 0.1, "alpha": 0.3} for name in ("errors", "p50_latency")}},
        "sum to 0.6",
    ),
    "another model": ({"candidate": "other:2"}, "candidate: other:2: expected another version of model:1"),
    "the same version": ({"candidate": "model:1"}, "expected another version"),
    "a version that is none": ({"baseline": "model"}, "baseline: model 'model': expected NAME:VERSION"),
    "a version that is a number": ({"baseline": 3}, "expected NAME:VERSION"),
    "an unknown strategy": ({"strategy": "big-bang"}, "strategy: 'big-bang': expected one of canary, blue-green"),
    "no steps": ({"steps": []}, "expected at least one for a canary"),
    "steps that are none": ({"steps": 5}, "steps: 5: expected a list"),
    "a step that is none": ({"steps": [5]}, r"steps\[0\]: 5: expected an object"),
    "steps that go down": (
        {"steps": [{"percent": 20}, {"percent": 10}]},
        r"steps\[1\].percent: 10: expected more than",
    ),
    "a step with all traffic": ({"steps": [{"percent": 100}]}, "less than 100"),
    "a step without looks": ({"steps": [{"percent": 5, "looks": 0}]}, r"steps\[0\].looks: 0: expected a whole number"),
    "a step of true": ({"steps": [{"percent": True}]}, r"percent: True: expected a number"),
    "a step of infinity": ({"steps": [{"percent": 5, "duration_s": float("inf")}]}, "duration_s: inf"),
    "quality without mirroring": ({"mirror_percent": 0}, "quality is compared on mirrored requests"),
    "shadow without mirroring": (
        {
            "mirror_percent": 0,
            "strategy": "shadow",
            "steps": [],
            "guardrails": {"errors": {"margin": 1e-2, "alpha": 0.1}},
        },
        "mirror_percent: 0: expected more: shadow",
    ),
    "an objective for a canary": ({"objective": "errors"}, "objective: 'errors'"),
    "an A/B test without objective": ({"strategy": "ab", "steps": [{"percent": 50}]}, "objective: None"),
    "rolling without replicas": ({"strategy": "rolling", "steps": []}, "replicas: 0: expected a whole number from 2"),
    "replicas for a canary": ({"replicas": 3}, "replicas: 3: expected none for canary"),
    "no harm at all": ({"harm_budget_requests": 0}, "harm_budget_requests: 0: expected a number above 0"),
    "an unknown way out": ({"on_inconclusive": "promote"}, "expected one of hold, rollback"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_followed_is_refused(name: str) -> None:
    change, message = WRONG[name]
    with pytest.raises(SpecError, match=message):
        parse({**simulated.DOCUMENT, **change})


@pytest.mark.parametrize("text", ["[", "{", "name: [a", "- a", "", "\x00"])
def test_what_is_no_specification_names_its_place(text: str) -> None:
    with pytest.raises(SpecError, match=r"^rollout\.yaml: "):
        read(text, "rollout.yaml")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(simulated.DOCUMENT)), JSON)
def test_a_field_is_accepted_or_refused_and_nothing_else(field: str, value: Any) -> None:
    document = {**simulated.DOCUMENT, field: value}
    try:
        spec = parse(document)
    except SpecError:
        return
    assert parse(spec.to_json()) == spec


# ---- observations


@given(st.floats(1e-4, 1600.0))
def test_a_latency_lies_in_its_bucket(seconds: float) -> None:
    bucket = bucket_of(seconds)
    assert 0 <= bucket < BUCKETS
    assert lower_bound_s(bucket) <= seconds * (1 + 1e-12)
    assert seconds <= lower_bound_s(bucket + 1) * (1 + 1e-12)


@given(st.lists(st.floats(0, 1e6)), st.lists(st.floats(0, 1e6)))
def test_arms_add_up(one: list[float], other: list[float]) -> None:
    arms = [Arm(len(each) + 1, 1, histogram(each)) for each in (one, other)]
    assert arms[0] + arms[1] == Arm(len(one) + len(other) + 2, 2, histogram(one + other))
    assert Arm.from_json(json.loads(json.dumps((arms[0] + arms[1]).to_json()))) == arms[0] + arms[1]


@pytest.mark.parametrize(
    "arm",
    [
        (1, 2),
        (-1, 0),
        (2, 1, ((3, 2),)),
        (5, 0, ((4, 1), (3, 1))),
        (5, 0, ((BUCKETS, 1),)),
        (5, 0, ((3, -1),)),
        (1.5, 0),
    ],
)
def test_counts_that_cannot_be_are_refused(arm: Any) -> None:
    with pytest.raises(StateError, match="arm: "):
        Arm(*arm)


def test_an_observation_is_read_as_it_was_written_or_refused() -> None:
    seen = Observation(1.0, Arm(3, 1, ((3, 2),)), pairs=((1.0, 2.0),), candidate_ready=True, baseline_weight=0.05)
    assert Observation.from_json(json.loads(json.dumps(seen.to_json()))) == seen
    for broken in (
        {},
        {**seen.to_json(), "pairs": [1]},
        {**seen.to_json(), "later": 1},
        {**seen.to_json(), "baseline": 1},
    ):
        with pytest.raises(StateError, match="observation: not one"):
            Observation.from_json(broken)
    for wrong in ({"at": float("nan")}, {"request": "promote"}, {"baseline_weight": 0}, {"candidate_replicas": -1}):
        with pytest.raises(StateError, match="observation"):
            Observation(**{"at": 1.0, **wrong})
