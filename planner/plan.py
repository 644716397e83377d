"""The Plan: every resource that an environment would have, in Pulumi's own state shape.

It is read from the simulated engine, from `pulumi preview --json` or from `pulumi stack export`, and everything that
judges an environment (checks, cost, diagram, diff, report) is a function of it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from planner import urn as urns

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What Pulumi writes for a value that only the cloud can tell (pulumi/sdk: `plugin.UnknownStringValue`)."""

SECRET = "[secret]"
"""What stands in a plan for a secret; the value itself is never written."""

EXPORT_VERSIONS = (3, 4)
"""Versions of `pulumi stack export` that are understood (apitype.DeploymentSchemaVersion*)."""


class PlanError(ValueError):
    """A plan file that cannot be read: says which file, what was found and what is accepted."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One message of a preview: `severity` is info, warning or error; `place` is `file:line` or empty."""

    severity: str
    message: str
    urn: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource, as in apitype.ResourceV3. Property names inside `inputs` and `outputs` are Pulumi's (camelCase)."""

    urn: str
    type: str
    custom: bool = True
    id: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    parent: str = ""
    provider: str = ""
    """Provider reference, `<urn>::<id>`; empty for components."""
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    protect: bool = False
    external: bool = False
    """Read (`get`), not managed."""
    retain_on_delete: bool = False
    deleted_with: str = ""
    delete_before_replace: bool = False
    import_id: str = ""
    aliases: tuple[str, ...] = ()
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    additional_secret_outputs: tuple[str, ...] = ()
    custom_timeouts: Mapping[str, float] = field(default_factory=dict)
    source_position: str = ""
    """`project:///stacks/environment.py#41`, as Pulumi writes it."""

    @property
    def name(self) -> str:
        return self.urn.split("::", 3)[3]

    @property
    def package(self) -> str:
        """`aws`, `gcp`, `kubernetes`, `pulumi`, or a component's own package."""
        if self.type.startswith(urns.PROVIDER_PREFIX):
            return self.type.split(":")[2]
        return self.type.split(":", 1)[0]

    @property
    def is_provider(self) -> bool:
        return self.type.startswith(urns.PROVIDER_PREFIX)

    @property
    def is_managed(self) -> bool:
        """Whether it is something that the stack makes: no component, no provider, and not only read."""
        return self.custom and not self.is_provider and not self.external

    @property
    def place(self) -> str:
        """Where the program made it, `stacks/environment.py:41`, or empty."""
        return place_of(self.source_position)

    def to_state(self) -> dict[str, Any]:
        """The resource as ResourceV3 JSON: keys that are empty are left out, as Pulumi does."""
        state: dict[str, Any] = {
            "urn": self.urn,
            "custom": self.custom,
            "id": self.id,
            "type": self.type,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "parent": self.parent,
            "protect": self.protect,
            "external": self.external,
            "dependencies": list(self.dependencies),
            "provider": self.provider,
            "propertyDependencies": {key: list(value) for key, value in self.property_dependencies.items()},
            "retainOnDelete": self.retain_on_delete,
            "deletedWith": self.deleted_with,
            "deleteBeforeReplace": self.delete_before_replace,
            "importID": self.import_id,
            "aliases": list(self.aliases),
            "ignoreChanges": list(self.ignore_changes),
            "replaceOnChanges": list(self.replace_on_changes),
            "additionalSecretOutputs": list(self.additional_secret_outputs),
            "customTimeouts": self.custom_timeouts,
            "sourcePosition": self.source_position,
        }
        return {key: value for key, value in state.items() if key in ("urn", "custom", "type") or value}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Resource:
        """Read ResourceV3 JSON; PlanError says what is missing or of a wrong type."""
        from planner import reading

        return reading.resource(state)


def place_of(source_position: str) -> str:
    """`project:///stacks/environment.py#41,5` as `stacks/environment.py:41`."""
    path, _, line = source_position.removeprefix("project://").lstrip("/").partition("#")
    return f"{path}:{line.split(',')[0]}" if line else path


@dataclass(frozen=True)
class Plan:
    """All resources of one environment, sorted by URN, with what the preview said about them."""

    project: str
    stack: str
    resources: tuple[Resource, ...]
    diagnostics: tuple[Diagnostic, ...] = ()
    config: Mapping[str, str] = field(default_factory=dict)
    """Fully qualified key -> value as text or JSON, without secrets; empty where a file doesn't tell."""
    simulated: bool = False
    """Whether what only a cloud can know is made up, also of resources that are only read."""

    def __iter__(self) -> Iterator[Resource]:
        return iter(self.resources)

    def __len__(self) -> int:
        return len(self.resources)

    @cached_property
    def by_urn(self) -> Mapping[str, Resource]:
        return {resource.urn: resource for resource in self.resources}

    @cached_property
    def children(self) -> Mapping[str, tuple[Resource, ...]]:
        """Parent URN -> children; roots are under the empty string."""
        found: dict[str, list[Resource]] = {}
        for resource in self.resources:
            found.setdefault(resource.parent, []).append(resource)
        return {parent: tuple(children) for parent, children in found.items()}

    def of_type(self, *types: str) -> list[Resource]:
        """Resources whose type is one of `types`, such as `aws:ec2/vpc:Vpc`."""
        found = [resource for type in dict.fromkeys(types) for resource in self._by_type.get(type, ())]
        return found if len(types) < 2 else sorted(found, key=lambda resource: resource.urn)

    @cached_property
    def _by_type(self) -> Mapping[str, list[Resource]]:
        found: dict[str, list[Resource]] = {}
        for resource in self.resources:
            found.setdefault(resource.type, []).append(resource)
        return found

    def one(self, type: str, name: str | None = None) -> Resource:
        """The only resource of a type (and name). LookupError otherwise, naming what there is."""
        found = [r for r in self.of_type(type) if name is None or r.name == name]
        if len(found) != 1:
            there = [r.name for r in self.of_type(type)]
            raise LookupError(f"expected one {type} {name or ''}, found {len(found)}; the plan has {there}")
        return found[0]

    def under(self, urn: str) -> Iterator[Resource]:
        """Every descendant of a resource."""
        for child in self.children.get(urn, ()):
            yield child
            yield from self.under(child.urn)

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The stack's exports."""
        return next((r.outputs for r in self.resources if r.type == urns.STACK_TYPE), {})

    @property
    def kinds(self) -> Counter[str]:
        return Counter(resource.type for resource in self.resources)

    @property
    def errors(self) -> list[Diagnostic]:
        return [d for d in self.diagnostics if d.severity == "error"]

    @property
    def warnings(self) -> list[Diagnostic]:
        return [d for d in self.diagnostics if d.severity == "warning"]

    # ---- writing

    def to_json(self) -> str:
        """The plan in the shape of `pulumi stack export`, sorted: two previews of the same program are the same bytes.

        Diagnostics ride along under a key that Pulumi ignores.
        """
        document = {
            "version": 3,
            "deployment": {
                "manifest": {"time": "0001-01-01T00:00:00Z", "magic": "", "version": ""},
                "resources": [resource.to_state() for resource in self.resources],
            },
            "aicloud": {
                "project": self.project,
                "stack": self.stack,
                "config": dict(self.config),
                **({"simulated": True} if self.simulated else {}),
                "diagnostics": [
                    {k: getattr(d, k) for k in ("severity", "message", "urn", "place") if getattr(d, k)}
                    for d in self.diagnostics
                ],
            },
        }
        return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    # ---- reading

    @classmethod
    def of(
        cls,
        project: str,
        stack: str,
        resources: Iterable[Resource],
        diagnostics: Iterable[Diagnostic] = (),
        config: Mapping[str, str] | None = None,
        *,
        simulated: bool = False,
    ) -> Plan:
        ordered = tuple(sorted(resources, key=lambda r: r.urn))
        return cls(project, stack, ordered, tuple(diagnostics), config or {}, simulated)

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        """Read a plan.json, a `pulumi stack export` or a `pulumi preview --json` file. PlanError says what is wrong."""
        from planner import reading

        try:
            return reading.plan_of(reading.read_document(path))
        except PlanError as error:
            raise PlanError(f"{path}: {error}") from None

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """As `read`, from text."""
        from planner import reading

        return reading.plan_of(reading.document(text))
