"""Reads the policies' fixtures: small stacks that keep one policy, and small stacks that break it.

`tests/policies/fixtures/<policy>.yaml` has the lists `passing` and `failing`. An entry is a resource (`type`, `inputs`;
`name`, `outputs`, `id`, `parent`, `protect`, `dependencies` by name), or a list of resources that make up a stack. Each
entry is judged by itself, with the policy's defaults, or with the `parameters` and `config` beside the lists, on the
day `today`.
The word UNKNOWN stands for a value that only the cloud knows.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from planner import urn as urns
from planner.inventory import Inventory
from planner.plan import UNKNOWN, Plan, Resource
from planner.rules import Rules
from policies.declare import Policy, Violation

FOLDER = Path(__file__).parent / "fixtures"


def load(name: str) -> dict[str, Any]:
    """The fixtures of a policy; KeyError-free: lists that are missing are empty."""
    path = FOLDER / f"{name}.yaml"
    document = yaml.safe_load(path.read_text()) if path.exists() else {}
    unknown = document.keys() - {"passing", "failing", "parameters", "config", "today"}
    assert not unknown, f"{path.name}: {unknown}"
    return {"passing": [], "failing": [], "parameters": {}, "config": {}, "today": date.min} | document


def plan_of(entry: Any) -> Plan:
    """The stack that an entry describes."""
    described = [_known(item) for item in (entry if isinstance(entry, list) else [entry])]
    for index, item in enumerate(described):
        item.setdefault("name", f"resource-{index}")
    urn_of = {item["name"]: _urn(item) for item in described}
    return Plan.of("fixtures", "test", [_resource(item, urn_of) for item in described])


def violations(policy: Policy, plan: Plan, found: dict[str, Any]) -> list[Violation]:
    """What a policy finds in a stack, on the terms of its fixtures."""
    given = policy.parameters(Rules(parameters={policy.name: found["parameters"]}, today=found["today"]))
    plan = replace(plan, config={key: json.dumps(value) for key, value in found["config"].items()})
    if policy.whole:
        return list(policy.of_stack(Inventory(plan), given))
    return [v for r in plan if r.type in policy.types for v in policy.of_resource(r, given)]


def _urn(item: dict[str, Any]) -> str:
    return urns.create(stack="test", project="fixtures", parent="", type=item["type"], name=item["name"])


def _resource(item: dict[str, Any], urn_of: dict[str, str]) -> Resource:
    dependencies = [urn_of[name] for name in item.get("dependencies", ())]
    unknown = item.keys() - {"type", "name", "inputs", "outputs", "id", "parent", "protect", "dependencies"}
    assert not unknown, f"{item['name']}: {unknown}"
    return Resource(
        urn=_urn(item),
        type=item["type"],
        id=item.get("id", ""),
        inputs=item.get("inputs", {}),
        outputs=item.get("outputs", {}),
        parent=urn_of[item["parent"]] if "parent" in item else "",
        protect=item.get("protect", False),
        dependencies=tuple(dependencies),
    )


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_known(item) for item in value]
    return UNKNOWN if value == "UNKNOWN" else value
