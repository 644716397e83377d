"""Every policy finds what it is there for, and nothing where there is nothing."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from planner.plan import UNKNOWN, Plan
from policies import POLICIES
from policies.declare import Policy
from tests.policies import fixtures

BY_NAME = {policy.name: policy for policy in POLICIES}


@pytest.fixture(params=POLICIES, ids=lambda policy: policy.name)
def policy(request: pytest.FixtureRequest) -> Policy:
    return request.param


def test_names_are_unique_and_read_like_names() -> None:
    assert [name for name, count in Counter(policy.name for policy in POLICIES).items() if count > 1] == []
    assert [policy.name for policy in POLICIES if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", policy.name)] == []


def test_no_fixtures_without_a_policy() -> None:
    assert {path.stem for path in fixtures.FOLDER.glob("*.yaml")} <= BY_NAME.keys()


def test_a_policy_says_why_and_what_to_do(policy: Policy) -> None:
    assert policy.rule.url.startswith("https://")
    assert len(policy.rule.title) > 20
    assert len(policy.rule.remediation) > 20


def test_a_policy_passes_its_passing_fixtures(policy: Policy) -> None:
    found = fixtures.load(policy.name)
    assert found["passing"], f"tests/policies/fixtures/{policy.name}.yaml has nothing that passes"
    for entry in found["passing"]:
        plan = fixtures.plan_of(entry)
        assert fixtures.violations(policy, plan, found) == [], entry
        assert policy.whole or any(r.type in policy.types for r in plan), f"the policy doesn't look at {entry}"


def test_a_policy_fails_its_failing_fixtures(policy: Policy) -> None:
    found = fixtures.load(policy.name)
    assert found["failing"], f"tests/policies/fixtures/{policy.name}.yaml has nothing that fails"
    for entry in found["failing"]:
        violations = fixtures.violations(policy, fixtures.plan_of(entry), found)
        assert violations, entry
        assert all(violation.message and violation.message[0] != " " for violation in violations)


def test_a_policy_survives_what_is_not_known(policy: Policy) -> None:
    """Each value of each fixture, one at a time, becomes unknown, empty, or of a shape that nobody expects."""
    found = fixtures.load(policy.name)
    for entry in [*found["passing"], *found["failing"]]:
        plan = fixtures.plan_of(entry)
        for resource in plan:
            for path in _paths(resource.inputs):
                for value in (UNKNOWN, None, "", [], {}, 7, [UNKNOWN], {"a": UNKNOWN}):
                    odd = replace(resource, inputs=_with(resource.inputs, path, value))
                    other = Plan.of("p", "s", [r for r in plan if r is not resource] + [odd])
                    fixtures.violations(policy, other, found)


def test_a_policy_lets_pass_what_passes_when_it_is_not_known(policy: Policy) -> None:
    found = fixtures.load(policy.name)
    for entry in found["passing"]:
        plan = fixtures.plan_of(entry)
        for resource in plan:
            for path in _paths(resource.inputs):
                unknown = replace(resource, inputs=_with(resource.inputs, path, UNKNOWN))
                other = Plan.of("p", "s", [r for r in plan if r is not resource] + [unknown])
                found_now = fixtures.violations(policy, other, found)
                assert found_now == [], (resource.name, path)


def _paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*before, key)
        yield from _paths(item, (*before, key))


def _with(inputs: Mapping[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(dict(inputs))
    place: Any = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed
