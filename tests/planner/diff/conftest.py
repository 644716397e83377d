"""Real environments, simulated up, and edits of them."""

from collections.abc import Callable
from functools import cache

import pytest

from planner.engine import preview
from planner.engine.project import load
from planner.plan import Plan, Resource
from tests.faults.fault import State
from tests.support import ROOT


@pytest.fixture(scope="session")
def simulated() -> Callable[[str], Plan]:
    """dev, staging and prod with plausible outputs, each previewed once."""
    return cache(lambda name: preview(load(ROOT, name), simulate_up=True))


@pytest.fixture(scope="session")
def edit() -> Callable[..., Plan]:
    """A copy of a plan with its resources edited in place."""

    def edited(plan: Plan, *edits: Callable[[list[State]], None]) -> Plan:
        import json

        states = json.loads(plan.to_json())["deployment"]["resources"]
        for one in edits:
            one(states)
        resources = map(Resource.from_state, states)
        return Plan.of(plan.project, plan.stack, resources, plan.diagnostics, plan.config)

    return edited
