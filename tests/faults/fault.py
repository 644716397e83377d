"""A planted fault: one realistic slip in an environment's plan, and the rule that has to find it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from planner.plan import Plan, Resource

State = dict[str, Any]
"""A resource as `pulumi stack export` writes it."""


@dataclass(frozen=True)
class Fault:
    """What somebody could do wrong."""

    name: str
    environment: str
    rule: str
    """The rule that must find it."""
    at: str
    """Part of the finding's URN or subject."""
    mutate: Callable[[list[State]], None]
    """Edits the resources of the simulated environment, `Resource.to_state()` each, in place."""

    def __str__(self) -> str:
        return self.name

    def plant(self, plan: Plan) -> Plan:
        """The plan with the fault in it. What it leaves alone is not read anew: plans are large, and faults many."""
        before, copy = _states(plan)
        states: list[State] = pickle.loads(copy)
        self.mutate(states)
        assert states != [state for _, state in before.values()], f"{self.name} changes nothing"
        resources = []
        for state in states:
            same, was = before.get(state.get("urn"), (None, None))
            resources.append(same if same is not None and state == was else Resource.from_state(state))
        return replace(plan, resources=tuple(resources))


_Read = tuple[dict[str, tuple[Resource, State]], bytes]
_READ: list[tuple[Plan, _Read]] = []
"""Of the environments' plans: by identity, for a plan has no hash."""


def _states(plan: Plan) -> _Read:
    """URN -> resource and its state, and all states pickled, which makes a copy in a fraction of JSON's time."""
    for known, read in _READ:
        if known is plan:
            return read
    states = json.loads(json.dumps([resource.to_state() for resource in plan]))
    read = {one.urn: (one, state) for one, state in zip(plan, states, strict=True)}, pickle.dumps(states)
    _READ.append((plan, read))
    del _READ[:-8]
    return read


def all_of(states: list[State], type: str, name_part: str = "") -> list[State]:
    """Resources of a type, such as `aws:eks/nodeGroup:NodeGroup`, with a part in their name; LookupError if none."""
    found = [s for s in states if s["type"] == type and name_part in s["urn"].split("::", 3)[3]]
    if not found:
        raise LookupError(f"no {type} {name_part}")
    return found


def the(states: list[State], type: str, name_part: str = "") -> State:
    """The only one of `all_of`; of several the one whose Kubernetes object has exactly that name."""
    found = all_of(states, type, name_part)
    if len(found) > 1:
        found = [s for s in found if s["inputs"].get("metadata", {}).get("name") == name_part] or found
    if len(found) != 1:
        raise LookupError(f"{len(found)} of {type} {name_part}: {[s['urn'].split('::', 3)[3] for s in found]}")
    return found[0]


def remove(states: list[State], type: str, name_part: str = "") -> None:
    """Take resources out of the plan, and every mention of them in dependencies."""
    gone = {state["urn"] for state in all_of(states, type, name_part)}
    states[:] = [state for state in states if state["urn"] not in gone]
    for state in states:
        if "dependencies" in state:
            state["dependencies"] = [urn for urn in state["dependencies"] if urn not in gone]
        for key, urns in state.get("propertyDependencies", {}).items():
            state["propertyDependencies"][key] = [urn for urn in urns if urn not in gone]
