"""How a rule of the pack is declared: where it looks, what must hold there, what is at stake, why, and what to do.

A check yields what is wrong; it returns nothing and raises nothing. A value that only the cloud knows (`UNKNOWN`) is
never wrong by itself. The same declarations run over a Plan in process (planner/checks/policies.py) and as a Pulumi
policy pack (policies/pack.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from planner.finding import Rule
from planner.inventory import Inventory
from planner.plan import UNKNOWN, Resource
from planner.rules import Rules, RulesError

RISKS = ("critical", "high", "medium", "low")
"""How much is at stake, as Pulumi's `Severity` names it. Whether it stops a deployment is the rule's level."""

Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong."""

    message: str
    """One sentence: what is there, and what was expected instead."""
    resource: Resource | None = None
    """Where; None: the environment as a whole."""
    subject: str = ""
    """Tells violations at one resource apart, such as a container's name; never a quantity."""


@dataclass(frozen=True)
class Policy:
    """One property that must hold, of each resource of some types or of the whole stack."""

    rule: Rule
    risk: str
    types: frozenset[str]
    """Of a resource policy: the resources that it looks at. Empty: a stack policy, which is shown all of them."""
    check: Callable[[Any, Parameters], Iterator[str | Violation]]

    @property
    def name(self) -> str:
        """The rule's name."""
        return self.rule.name

    @property
    def whole(self) -> bool:
        """Whether it judges the stack as a whole."""
        return not self.types

    def of_resource(self, resource: Resource, parameters: Parameters) -> Iterator[Violation]:
        """What is wrong with one resource. Its `inputs` are what the program asks for."""
        for found in self.check(resource, parameters):
            yield Violation(found, resource) if isinstance(found, str) else found

    def of_stack(self, inventory: Inventory, parameters: Parameters) -> Iterator[Violation]:
        """What is wrong with the stack."""
        for found in self.check(inventory, parameters):
            yield Violation(found) if isinstance(found, str) else found

    def parameters(self, rules: Rules) -> dict[str, Any]:
        """Its parameters in an environment, and the day (`today`). RulesError where one is of another type."""
        given = {name: rules.parameter(self.rule, name) for name in self.rule.parameters}
        for name, default in self.rule.parameters.items():
            if not _alike(given[name], default):
                wanted = _TYPES.get(type(default), "text")
                raise RulesError(f"rules:parameters.{self.name}.{name}: got {given[name]!r}; expected a {wanted}")
        return given | {"today": rules.today}


_TYPES: Mapping[type, str] = {bool: "boolean", int: "number", float: "number", list: "list", dict: "map", str: "text"}


def _alike(value: Any, default: Any) -> bool:
    return _TYPES.get(type(value)) == _TYPES.get(type(default))


def resource_policy(
    name: str,
    holds: str,
    *,
    types: tuple[str, ...],
    risk: str,
    why: str,
    fix: str,
    level: str = "error",
    parameters: dict[str, object] | None = None,
) -> Callable[[Callable[[Resource, Parameters], Iterator[str | Violation]]], Policy]:
    """Declare a rule that each resource of `types` keeps by itself; the function yields what is wrong with one.

    `holds`: what holds where it is kept, in a sentence; `why`: address of the reason; `fix`: what to do about it.
    """
    assert types, f"{name}: a resource policy says which types it looks at"
    return _declare(name, holds, frozenset(types), risk, why, fix, level, parameters)


def stack_policy(
    name: str,
    holds: str,
    *,
    risk: str,
    why: str,
    fix: str,
    level: str = "error",
    parameters: dict[str, object] | None = None,
) -> Callable[[Callable[[Inventory, Parameters], Iterator[str | Violation]]], Policy]:
    """Declare a rule that takes more than one resource to judge; the function yields a `Violation` at each resource."""
    return _declare(name, holds, frozenset(), risk, why, fix, level, parameters)


def _declare(name, holds, types, risk, why, fix, level, parameters):
    rule = Rule(name, holds, level, why, fix, parameters or {})
    assert risk in RISKS, f"{name}: {risk!r} is none of {RISKS}"
    return lambda check: Policy(rule, risk, types, check)


def at(value: Any, path: str, default: Any = None) -> Any:
    """The value under a path such as `spec.template.spec` or `rules.0.id`: default where there is none.

    UNKNOWN where it, or what it lies in, is not known yet. `value` is a Resource (its inputs), a mapping or a list.
    """
    if isinstance(value, Resource):
        value = value.inputs
    for key in path.split("."):
        if value == UNKNOWN:
            return UNKNOWN
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list | tuple) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return default
    return default if value is None else value


def each(value: Any, path: str = "") -> list[Mapping[str, Any]]:
    """The mappings in a list under a path. A single mapping counts as a list of one; what is not known, as none."""
    found = at(value, path) if path else value
    if isinstance(found, Mapping):
        return [found]
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list | tuple) else []


def texts(value: Any, path: str = "") -> list[str]:
    """The texts in a list under a path, without those that are not known. A single text counts as a list of one."""
    found = at(value, path) if path else value
    found = [found] if isinstance(found, str) else found
    items = found if isinstance(found, list | tuple) else []
    return [item for item in items if isinstance(item, str) and item != UNKNOWN]


def off(value: Any) -> bool:
    """Whether a switch is known to be off, or was never touched."""
    return value in (None, False, "", "false")


def on(value: Any) -> bool:
    """Whether a switch is known to be on."""
    return value in (True, "true")
