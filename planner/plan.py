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
        """Read ResourceV3 JSON; PlanError where it has no URN or type."""
        if not isinstance(state, dict):
            raise PlanError(f"a resource is {type(state).__name__}: {json.dumps(state)[:120]}; expected an object")
        for key in ("urn", "type"):
            if not isinstance(state.get(key), str) or not state[key]:
                raise PlanError(f"a resource without {key!r}: {json.dumps(state)[:120]}")
        return cls(
            urn=state["urn"],
            type=state["type"],
            custom=bool(state.get("custom", False)),
            id=state.get("id") or "",
            inputs=_without_envelopes(state.get("inputs") or {}),
            outputs=_without_envelopes(state.get("outputs") or {}),
            parent=state.get("parent") or "",
            provider=state.get("provider") or "",
            dependencies=tuple(state.get("dependencies") or ()),
            property_dependencies={k: tuple(v or ()) for k, v in (state.get("propertyDependencies") or {}).items()},
            protect=bool(state.get("protect")),
            external=bool(state.get("external")),
            retain_on_delete=bool(state.get("retainOnDelete")),
            deleted_with=state.get("deletedWith") or "",
            delete_before_replace=bool(state.get("deleteBeforeReplace")),
            import_id=state.get("importID") or "",
            aliases=tuple(state.get("aliases") or ()),
            ignore_changes=tuple(state.get("ignoreChanges") or ()),
            replace_on_changes=tuple(state.get("replaceOnChanges") or ()),
            additional_secret_outputs=tuple(state.get("additionalSecretOutputs") or ()),
            custom_timeouts=dict(state.get("customTimeouts") or {}),
            source_position=state.get("sourcePosition") or "",
        )


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
        return [resource for resource in self.resources if resource.type in types]

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
    ) -> Plan:
        return cls(project, stack, tuple(sorted(resources, key=lambda r: r.urn)), tuple(diagnostics), config or {})

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        """Read a plan.json, a `pulumi stack export` or a `pulumi preview --json` file. PlanError says what is wrong."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PlanError(f"{path}: cannot be read: {error}") from error
        try:
            return cls.from_json(text)
        except PlanError as error:
            raise PlanError(f"{path}: {error}") from None

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """As `read`, from text."""
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise PlanError(
                f"not JSON (line {error.lineno}, column {error.colno}: {error.msg}); is it cut off?"
            ) from None
        if not isinstance(document, dict):
            raise PlanError(f"expected a JSON object, found {type(document).__name__}")
        if "deployment" in document:
            return cls._from_export(document)
        if "steps" in document:
            return cls._from_preview(document)
        raise PlanError(
            "neither a plan.json or `pulumi stack export` (key 'deployment') nor a `pulumi preview --json` "
            f"(key 'steps'); found the keys {sorted(document)[:8]}"
        )

    @classmethod
    def _from_export(cls, document: Mapping[str, Any]) -> Plan:
        version = document.get("version")
        if version not in EXPORT_VERSIONS:
            raise PlanError(f"version {version!r} of a stack export; this reads {EXPORT_VERSIONS}")
        deployment = document["deployment"]
        if not isinstance(deployment, dict) or not isinstance(deployment.get("resources"), list | type(None)):
            raise PlanError("'deployment.resources' is not a list")
        own = document.get("aicloud") or {}
        states = [s for s in deployment.get("resources") or [] if not (isinstance(s, dict) and s.get("delete"))]
        return cls._of_states(states, [Diagnostic(**d) for d in own.get("diagnostics", ())], own)

    @classmethod
    def _from_preview(cls, document: Mapping[str, Any]) -> Plan:
        if not isinstance(document["steps"], list):
            raise PlanError("'steps' is not a list")
        states = [step["newState"] for step in document["steps"] if isinstance(step, dict) and step.get("newState")]
        found = [
            Diagnostic(d.get("severity", "info").split("#")[0], d.get("message", "").strip(), d.get("urn", ""))
            for d in document.get("diagnostics") or ()
        ]
        return cls._of_states(states, found, {"config": document.get("config")})

    @classmethod
    def _of_states(cls, states: list[Any], diagnostics: list[Diagnostic], own: Mapping[str, Any]) -> Plan:
        # A replacement is two steps on one URN; both carry the same new state.
        resources = {resource.urn: resource for resource in map(Resource.from_state, states)}
        try:
            parts = [urns.parse(urn) for urn in resources][:1]
        except ValueError as error:
            raise PlanError(str(error)) from None
        return cls.of(
            own.get("project") or "".join(part.project for part in parts),
            own.get("stack") or "".join(part.stack for part in parts),
            resources.values(),
            diagnostics,
            own.get("config"),
        )


_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"


def _without_envelopes(value: Any) -> Any:
    """An export's secret envelopes (ciphertext or plaintext alike) as `[secret]`."""
    if isinstance(value, dict):
        if value.get(_SIGNATURE) == _SECRET_SIGNATURE:
            return SECRET
        return {key: _without_envelopes(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_envelopes(item) for item in value]
    return value
