"""The outputs that a cloud would answer for a resource, made up: what `--simulate-up` shows instead of unknowns.

Real formats where programs take values apart (ARNs, ids, links, addresses, certificates), and for the rest a
placeholder of the type that the SDK declares. Everything is a function of the arguments.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin

import pulumi
from pulumi import _types

from planner.engine import schema
from planner.engine.simulated import aws_resources, gcp_resources, kubernetes_resources, other_resources
from planner.engine.simulated.made import ACCOUNT, AWS_REGION, GCP_REGION, MOMENT, PROJECT, Made, under_id

_DEPTH = 2
"""How many objects inside one another a placeholder fills: a GKE cluster has hundreds, the deep ones hardly read."""

_DESCRIBED_BY: Mapping[str, Callable[[Made], tuple[str, dict[str, Any]]]] = {
    "aws": aws_resources.describe,
    "gcp": gcp_resources.describe,
    "kubernetes": kubernetes_resources.describe,
}


def synthesize(
    token: str,
    name: str,
    urn: str,
    inputs: Mapping[str, Any],
    region: str | None,
    *,
    account: str = ACCOUNT,
    project: str = PROJECT,
    existing: str = "",
) -> tuple[str, dict[str, Any]]:
    """The id and the outputs of a resource that has just been made: its inputs, and what the cloud would add.

    `inputs` have Pulumi's names (camelCase) and no secret envelopes. `existing` is the id of a resource that is only
    read. Never raises: what nothing is known about gets an id, and its inputs back.
    """
    made = Made(
        token=token,
        seed=urn,
        base=name,
        inputs=inputs,
        region=region or (GCP_REGION if token.startswith("gcp:") else AWS_REGION),
        account=account,
        project=str(inputs.get("project") or project),
    )
    describe = _DESCRIBED_BY.get(made.package, other_resources.describe)
    id, known = describe(made)
    id, known = existing or id, under_id(known, id, existing)
    try:
        described = schema.resource_schema(token)
    except schema.UnknownType:
        return id, {**inputs, **known}
    declared = described.outputs
    outputs = {key: value for key, value in inputs.items() if value is not None}
    # An input that the provider completes (a network configuration, a status) replaces the one that was given.
    outputs |= {key: value for key, value in known.items() if key in declared or not declared}
    made = replace(made, name=str(known.get("name") or name)).knowing(id=id)
    for key in sorted(always_set(described.cls) & declared.keys() - outputs.keys() - {"id", "urn"}):
        value = placeholder(declared[key], key, made, computed=key not in (described.inputs or ()))
        if value is not None:
            outputs[key] = value
    return id, outputs


# ---- placeholders by type


def placeholder(annotation: Any, key: str, made: Made, *, computed: bool = False, depth: int = 0) -> Any:
    """A value of the type that the SDK declares for `key`; None where there is nothing to say.

    Lists are empty, except those of objects that only the provider can fill (`computed`): they get one, since programs
    reach for `[0]`.
    """
    kinds = schema.alternatives(annotation)
    if str in kinds:
        return _text(key, made)
    for kind in kinds:
        origin = get_origin(kind) or kind
        if origin is Literal:
            return get_args(kind)[0]
        if not isinstance(origin, type):
            continue
        if issubclass(origin, enum.Enum):
            return next(iter(origin)).value
        if origin is bool:
            return False
        if origin in (int, float):
            return 0
        if issubclass(origin, Sequence):
            return _list(kind, made, depth) if computed else []
        if issubclass(origin, Mapping):
            return dict(made.inputs.get("tags") or {}) if key == "tagsAll" else {}
        if _types.is_output_type(origin) and depth < _DEPTH:
            return object_placeholder(origin, made, depth)
    return None


def object_placeholder(kind: type, made: Made, depth: int = 0) -> dict[str, Any]:
    """An SDK output type with every property that is always there."""
    properties = schema.output_properties(kind)
    values = {
        key: placeholder(properties[key], key, made, depth=depth + 1)
        for key in sorted(always_set(kind) & set(properties))
    }
    return {key: value for key, value in values.items() if value is not None}


def _list(kind: Any, made: Made, depth: int) -> list[Any]:
    for element in schema.alternatives((get_args(kind) or (Any,))[0]):
        if isinstance(element, type) and _types.is_output_type(element):
            return [object_placeholder(element, made, depth)] if depth < _DEPTH else []
    return []


@functools.cache
def always_set(cls: type) -> frozenset[str]:
    """The properties that an SDK class declares without Optional, by Pulumi's names."""
    found = set()
    for base in cls.__mro__:
        for attribute in vars(base).values():
            if isinstance(attribute, property) and attribute.fget is not None:
                name = getattr(attribute.fget, _types._PULUMI_NAME, None)
                hint = attribute.fget.__annotations__.get("return")
                if name and not _OPTIONAL.match(_shown(hint)):
                    found.add(name)
    return frozenset(found)


_OPTIONAL = re.compile(r"((pulumi\.)?(output\.)?Output\[)?['\"]?(typing\.)?Optional\[")


def _shown(hint: Any) -> str:
    if get_origin(hint) is pulumi.Output and get_args(hint):
        hint = get_args(hint)[0]
    return hint if isinstance(hint, str) else str(hint)


# ---- text by name


_BY_NAME: Sequence[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), template)
    for pattern, template in (
        (r"^id$", "{id}"),
        (r"^name$", "{name}"),
        (r"([iI]pv6|[pP]refix$|[dD]escription$|^comment$)", ""),
        (r"^region$", "{region}"),
        (r"^project$", "{project}"),
        (r"^(owner|account|registry)Id$", "{account}"),
        (r"^(zone|availabilityZone)$", "{zone}"),
        (r"[pP]ort$", "443"),
        (r"(Time|Date|At|Timestamp|^notAfter|^notBefore)$", MOMENT),
        (r"([cC]idr|[cC]idrBlock|[cC]idrRange)$", "10.0.0.0/16"),
        (r"[dD]nsName$|[dD]omainName$|[hH]ostname$", "{label}.sim.invalid"),
        (r"([eE]ndpoint|[uU]rl|[uU]ri)$", "https://{label}.sim.invalid"),
        (r"^public(Ip|IpAddress)$|^(natIp|externalIp)$", "{public_ip}"),
        (r"([iI]p|[iI]pAddress|[iI]pv4Address)$", "{private_ip}"),
        (r"([eE]tag|[fF]ingerprint)$", "{hex32}"),
        (r"^(status|state)$", "ACTIVE"),
        (r"([uU]uid|^uid)$", "{uuid}"),
    )
]
"""The text of properties that every cloud calls the same. `.invalid` names never resolve (RFC 2606)."""

_AWS_ID_PREFIXES = {
    "vpcId": "vpc",
    "subnetId": "subnet",
    "securityGroupId": "sg",
    "networkInterfaceId": "eni",
    "routeTableId": "rtb",
    "imageId": "ami",
    "instanceId": "i",
    "volumeId": "vol",
    "snapshotId": "snap",
}


def _text(key: str, made: Made) -> str:
    if made.package == "aws":
        if key == "arn" or key.endswith("Arn"):
            return made.format("arn:{partition}:{service}:{region}:{account}:{thing}/{label}")
        if key in _AWS_ID_PREFIXES:
            return f"{_AWS_ID_PREFIXES[key]}-{made.hex(17, key)}"
    for pattern, template in _BY_NAME:
        if pattern.search(key):
            return made.format(template)
    return f"{key}-{made.hex(8, key)}"
