"""Pulumi's resource names: `urn:pulumi:<stack>::<project>::<parent type$...$type>::<name>`."""

from __future__ import annotations

from typing import NamedTuple

STACK_TYPE = "pulumi:pulumi:Stack"
PROVIDER_PREFIX = "pulumi:providers:"


class Urn(NamedTuple):
    """The parts of a URN. A name may itself contain `::`, a type may not."""

    stack: str
    project: str
    qualified_type: str
    """The types from the outermost component to the resource itself, joined with `$`."""
    name: str

    @property
    def type(self) -> str:
        return self.qualified_type.rsplit("$", 1)[-1]

    def __str__(self) -> str:
        return f"urn:pulumi:{self.stack}::{self.project}::{self.qualified_type}::{self.name}"


def parse(urn: str) -> Urn:
    """Take a URN apart. ValueError where it is not one."""
    parts = urn.split("::", 3)
    if len(parts) != 4 or not parts[0].startswith("urn:pulumi:"):
        raise ValueError(f"not a URN: {urn!r}; expected urn:pulumi:<stack>::<project>::<type>::<name>")
    return Urn(parts[0][len("urn:pulumi:") :], *parts[1:])


def create(*, stack: str, project: str, parent: str, type: str, name: str) -> str:
    """The URN of a new resource. The stack's own type never becomes a prefix of its children's."""
    if parent:
        parent_type = parse(parent).qualified_type
        if parent_type != STACK_TYPE:
            type = f"{parent_type}${type}"
    return f"urn:pulumi:{stack}::{project}::{type}::{name}"


def provider_urn(reference: str) -> str:
    """The URN in a provider reference, which is `<urn>::<id>`."""
    return reference.rsplit("::", 1)[0]
