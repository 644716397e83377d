"""What stands beside a resource: clouds keep many of its properties in resources of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from planner.inventory import Inventory
from planner.plan import UNKNOWN, Resource
from policies.declare import at, each, texts


@dataclass(frozen=True)
class Attached:
    """Resources that configure others, by the URN of what they configure."""

    by_urn: Mapping[str, list[Resource]] = field(default_factory=dict)
    certain: bool = True
    """False where one of them configures what only the cloud knows: then nothing can be said to lack it."""

    def to(self, resource: Resource) -> list[Resource]:
        """Those that configure a resource."""
        return self.by_urn.get(resource.urn, [])

    def lacks(self, resource: Resource) -> bool:
        """Whether none configures a resource, and none could."""
        return self.certain and not self.to(resource)


def attached(inventory: Inventory, path: str, owner: str, *types: str) -> Attached:
    """The resources of `types` by the `owner`s that their property at `path` names."""
    found: dict[str, list[Resource]] = {}
    certain = True
    for setting in inventory.plan.of_type(*types):
        named = inventory.references(setting, path, owner)
        for resource in named:
            found.setdefault(resource.urn, []).append(setting)
        certain = certain and (bool(named) or not unclear(at(setting, path)))
    return Attached(found, certain)


def unclear(value: Any) -> bool:
    """Whether something in a value is not known, or it is no value at all."""
    if isinstance(value, Mapping):
        return any(unclear(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(unclear(item) for item in value)
    return value is None or (isinstance(value, str) and UNKNOWN in value)


def managed(inventory: Inventory, *types: str) -> Iterator[Resource]:
    """The resources of these types that the stack manages, not those that it only reads."""
    return (resource for resource in inventory.plan.of_type(*types) if not resource.external)


def statements(document: Any) -> list[Mapping[str, Any]]:
    """The statements of an AWS policy document, as text or as a mapping; none where it cannot be read."""
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError:
            return []
    return each(document, "Statement")


def allows(statement: Mapping[str, Any]) -> bool:
    """Whether a statement gives rather than takes."""
    return statement.get("Effect") == "Allow"


def principals(statement: Mapping[str, Any]) -> list[str]:
    """Whom a statement speaks of."""
    principal = statement.get("Principal")
    if isinstance(principal, Mapping):
        return [name for value in principal.values() for name in texts(value)]
    return texts(principal)


def tls_only(document: Any) -> bool:
    """Whether a policy document refuses whoever comes without TLS."""
    return any(
        statement.get("Effect") == "Deny"
        and "*" in principals(statement)
        and str(at(statement, "Condition.Bool.aws:SecureTransport")).lower() == "false"
        for statement in statements(document)
    )
