"""The same policies as objects of Pulumi's policy SDK, for `pulumi preview --policy-pack policies`.

Pulumi hands a pack the stack's whole configuration in PULUMI_CONFIG (sdk/go/common/resource/plugin/analyzer_plugin.go,
`constructEnv`; read November 2026), so levels, parameters and exceptions come from the same `rules:*` keys. What a
person gives with `--policy-pack-config` goes over them (pkg/resource/analyzer/config.go, `ReconcilePolicyPackConfig`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    PolicyConfigSchema,
    ResourceValidationPolicy,
    Severity,
    StackValidationPolicy,
)
from pulumi_policy.proxy import _DictProxy, _is_unknown, _ListProxy

from planner import urn as urns
from planner.inventory import Inventory
from planner.plan import UNKNOWN, Plan, Resource
from planner.rules import Rules
from policies import POLICIES
from policies.declare import Policy

LEVELS = {
    "error": EnforcementLevel.MANDATORY,
    "warning": EnforcementLevel.ADVISORY,
    "info": EnforcementLevel.ADVISORY,
    "off": EnforcementLevel.DISABLED,
}
_SCHEMA_TYPES = {bool: "boolean", int: "number", float: "number", list: "array", dict: "object", str: "string"}


def configuration() -> dict[str, str]:
    """The stack's configuration, as Pulumi hands it to the pack's process."""
    return json.loads(os.environ.get("PULUMI_CONFIG") or "{}")


def rules() -> Rules:
    """What the stack asks of its rules. Names of rules that the pack does not have belong to the planner's checks."""
    return Rules.of(configuration(), today=date.today())


def initial_config() -> dict[str, dict[str, Any]]:
    """Level and parameters of every policy in this stack."""
    asked = rules()
    found: dict[str, dict[str, Any]] = {}
    for policy in POLICIES:
        given = policy.parameters(asked)
        # A level must always be there: without one, the protocol reads "advisory".
        level = LEVELS[asked.levels.get(policy.name, policy.rule.severity)]
        found[policy.name] = {"enforcementLevel": level} | {name: given[name] for name in policy.rule.parameters}
    return found


def policies() -> list[ResourceValidationPolicy | StackValidationPolicy]:
    """Every policy, as Pulumi's SDK wants it."""
    asked = rules()
    return [_as_pulumi(policy, asked) for policy in POLICIES]


def _as_pulumi(policy: Policy, asked: Rules) -> ResourceValidationPolicy | StackValidationPolicy:
    def parameters(args: Any) -> dict[str, Any]:
        return {**policy.parameters(asked), **plain(dict(args.get_config()))}

    def excused(urn: str) -> bool:
        name = urn.split("::", 3)[3] if urn.count("::") >= 3 else ""
        return any(exempt.covers(policy.name, name, asked.today) for exempt in asked.exceptions)

    def validate_resource(args: Any, report: Any) -> None:
        if args.resource_type in policy.types and not excused(args.urn):
            for violation in policy.of_resource(_resource(args), parameters(args)):
                report(violation.message)

    def validate_stack(args: Any, report: Any) -> None:
        for violation in policy.of_stack(Inventory(_plan(args.resources)), parameters(args)):
            urn = violation.resource.urn if violation.resource else ""
            if not excused(urn):
                report(violation.message, urn)

    kind, validate = (
        (StackValidationPolicy, validate_stack) if policy.whole else (ResourceValidationPolicy, validate_resource)
    )
    return kind(
        name=policy.name,
        description=policy.rule.title,
        validate=validate,
        enforcement_level=LEVELS[policy.rule.severity],
        config_schema=PolicyConfigSchema(
            {
                name: {"type": _SCHEMA_TYPES[type(default)], "default": default}
                for name, default in policy.rule.parameters.items()
            }
        ),
        severity=Severity(policy.risk),
        remediation_steps=policy.rule.remediation,
        url=policy.rule.url,
    )


def plain(value: Any) -> Any:
    """A value as a Plan holds it: out of the SDK's proxies, which raise at what is unknown; 1.0 as the 1 it was."""
    if isinstance(value, _DictProxy | _ListProxy):
        value = value["__target"]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return UNKNOWN if _is_unknown(value) else value


def _resource(args: Any) -> Resource:
    """A resource as Pulumi shows it: to a resource policy its inputs, to a stack policy its planned state."""
    properties = plain(args.props)
    provider = args.provider
    own_id = properties.get("id")
    return Resource(
        urn=args.urn,
        type=args.resource_type,
        custom=provider is not None or args.resource_type.startswith(urns.PROVIDER_PREFIX),
        id=own_id if isinstance(own_id, str) else "",
        inputs=properties,
        outputs=properties,
        parent=args.opts.parent or "",
        provider=f"{provider.urn}::" if provider else "",
        protect=bool(args.opts.protect),
    )


def _plan(resources: list[Any]) -> Plan:
    """A stack as Pulumi shows it, as a Plan."""
    return Plan.of(
        os.environ.get("PULUMI_PROJECT", ""),
        os.environ.get("PULUMI_STACK", ""),
        [_with_links(args) for args in resources],
        config=configuration(),
    )


def _with_links(args: Any) -> Resource:
    return replace(
        _resource(args),
        parent=args.parent.urn if args.parent else "",
        dependencies=tuple(other.urn for other in args.dependencies),
        property_dependencies={
            key: tuple(other.urn for other in others) for key, others in args.property_dependencies.items()
        },
    )
