"""The kinds of rule that `curated` is written in: small functions that say what is wrong with one value, or nothing."""

from __future__ import annotations

import functools
import importlib.util
import ipaddress
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from planner.engine.schema import did_you_mean
from planner.engine.values import OUTPUT_SIGNATURE, SECRET_SIGNATURE, SIGNATURE
from planner.plan import UNKNOWN

Rule = Callable[[Any], str | None]
"""What is wrong with a value; None where nothing is, or where the value's type is already wrong."""


def values_at(
    value: Any, steps: tuple[str, ...], path: str = "", hidden: bool = False
) -> Iterator[tuple[Any, str, bool]]:
    """Every known value at a path such as ("ingress", "[]", "fromPort"): value, place, whether it is secret."""
    if isinstance(value, dict) and value.get(SIGNATURE) in (SECRET_SIGNATURE, OUTPUT_SIGNATURE):
        secret = value[SIGNATURE] == SECRET_SIGNATURE or bool(value.get("secret"))
        yield from values_at(value.get("value"), steps, path, hidden or secret)
    elif value is None or value == UNKNOWN or (isinstance(value, dict) and SIGNATURE in value):
        return
    elif not steps:
        yield value, path, hidden
    elif steps[0] == "[]":
        for index, item in enumerate(value if isinstance(value, list) else ()):
            yield from values_at(item, steps[1:], f"{path}[{index}]", hidden)
    elif isinstance(value, Mapping) and steps[0] in value:
        yield from values_at(value[steps[0]], steps[1:], f"{path}.{steps[0]}" if path else steps[0], hidden)


def steps(path: str) -> tuple[str, ...]:
    """`ingress[].fromPort` as ("ingress", "[]", "fromPort"); an empty path is the resource itself."""
    return tuple(path.replace("[]", ".[]").split(".")) if path else ()


# ---- rules made from a parameter


def matches(pattern: str, accepts: str, length: int = 0) -> Rule:
    """Text that matches a regular expression entirely, of at most `length` characters; `accepts` says it in words."""
    expression = re.compile(pattern)

    def rule(value: Any) -> str | None:
        if not isinstance(value, str):
            return None
        if length and len(value) > length:
            return f"{len(value)} characters long; at most {length} are accepted"
        return None if expression.fullmatch(value) else f"expected {accepts}"

    return rule


def between(low: float, high: float) -> Rule:
    """A number in a closed interval."""

    def rule(value: Any) -> str | None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return f"expected {low} to {high}" if number and not low <= value <= high else None

    return rule


def one_of(*accepted: Any) -> Rule:
    """One of a closed list of values."""

    def rule(value: Any) -> str | None:
        if isinstance(value, dict | list) or value in accepted:
            return None
        hint = did_you_mean(value, map(str, accepted)) if isinstance(value, str) else ""
        return f"expected one of {', '.join(map(str, accepted))}{hint}"

    return rule


# ---- rules


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@functools.lru_cache(4096)
def _network(text: str) -> tuple[Network | None, str | None]:
    """A network, or what is wrong with it."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None, "expected a network in CIDR notation, such as 10.0.0.0/16"
    if "/" not in text:
        return network, f"a network needs a prefix length; did you mean {network}?"
    if ipaddress.ip_interface(text).ip != network.network_address:
        return network, f"has host bits set; did you mean {network}?"
    return network, None


def cidr(value: Any) -> str | None:
    """A network in CIDR notation, without bits set beyond its prefix."""
    return _network(value)[1] if isinstance(value, str) else None


def address_or_cidr(value: Any) -> str | None:
    """An address, or a network where the cloud itself masks host bits."""
    wrong = isinstance(value, str) and _network(value)[0] is None
    return "expected an IP address or a network in CIDR notation" if wrong else None


def vpc_cidr(value: Any) -> str | None:
    """What AWS takes for a VPC or a subnet: IPv4, /16 to /28."""
    if not isinstance(value, str):
        return None
    network, wrong = _network(value)
    if wrong or network is None:
        return wrong
    return None if network.version == 4 and 16 <= network.prefixlen <= 28 else "expected an IPv4 network, /16 to /28"


def json_text(value: Any) -> str | None:
    """Text that is a JSON object or list."""
    parsed, wrong = _json(value)
    return wrong or (None if isinstance(parsed, dict | list) else "expected a JSON object or list in this text")


def policy_document(value: Any) -> str | None:
    """An IAM policy document: JSON with statements that have an effect and name actions."""
    if isinstance(value, dict):
        document = value
    elif not isinstance(value, str) or not value:
        return None
    else:
        document, wrong = _json(value)
        if wrong:
            return wrong
    if not isinstance(document, dict):
        return f"expected a policy document (a JSON object), found a JSON {type(document).__name__}"
    statements = document.get("Statement")
    if not isinstance(statements, dict | list) or not statements:
        return f"a policy document needs Statement; found {', '.join(map(str, document)) or 'nothing'}"
    for number, statement in enumerate([statements] if isinstance(statements, dict) else statements):
        if not isinstance(statement, dict):
            return f"Statement[{number}] is not an object"
        if statement.get("Effect") not in ("Allow", "Deny", UNKNOWN):
            return f"Statement[{number}].Effect is {statement.get('Effect')!r}; expected Allow or Deny"
        if "Action" not in statement and "NotAction" not in statement:
            return f"Statement[{number}] has neither Action nor NotAction{_actions_hint(statement)}"
    return None


def _actions_hint(statement: Mapping[str, Any]) -> str:
    return " (did you mean 'Action'?)" if "Actions" in statement or "action" in statement else ""


def _json(text: Any) -> tuple[Any, str | None]:
    if not isinstance(text, str):
        return {}, None
    try:
        return json.loads(text), None
    except json.JSONDecodeError as error:
        return None, f"not JSON (line {error.lineno}, column {error.colno}: {error.msg})"


def bucket_name(value: Any) -> str | None:
    """Source: docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html."""
    if not isinstance(value, str):
        return None
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", value):
        return "a bucket's name is 3 to 63 of a-z 0-9 . -, and begins and ends with a letter or digit"
    if ".." in value or re.fullmatch(r"(\d+\.){3}\d+", value) or value.startswith(("xn--", "sthree-")):
        return "not a bucket's name: two dots in a row, an IP address, or a prefix that AWS keeps for itself"
    return None


def role_name(value: Any) -> str | None:
    """A role's name, where its ARN is often given."""
    if isinstance(value, str) and value.startswith("arn:"):
        return "expected the role's name, got its ARN"
    return matches(r"[\w+=,.@-]+", "letters, digits and _+=,.@-", 64)(value)


def tags(value: Any) -> str | None:
    """AWS tags. Source: docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html."""
    if not isinstance(value, dict):
        return None
    if len(value) > 50:
        return f"{len(value)} tags; AWS takes 50"
    for key, text in value.items():
        if not 1 <= len(key) <= 128 or key.lower().startswith("aws:"):
            return f"tag key {key!r} is empty, longer than 128 or begins with 'aws:'"
        if isinstance(text, str) and len(text) > 256:
            return f"the value of tag {key!r} is longer than 256"
    return None


def labels(value: Any) -> str | None:
    """Labels of Google Cloud. Source: cloud.google.com/resource-manager/docs/labels-overview#requirements."""
    if not isinstance(value, dict):
        return None
    if len(value) > 64:
        return f"{len(value)} labels; Google Cloud takes 64"
    for key, text in value.items():
        if not 1 <= len(key) <= 63 or key != key.lower() or not re.fullmatch(r"[^\W\d_][\w-]*", key):
            return f"label key {key!r}: expected lower-case letters, digits, _ and - after a letter, at most 63"
        if isinstance(text, str) and text != UNKNOWN and not re.fullmatch(r"[\w-]{0,63}", text.lower()):
            return f"value {text!r} of label {key!r}: expected lower-case letters, digits, _ and -, at most 63"
        if isinstance(text, str) and text != UNKNOWN and text != text.lower():
            return f"value {text!r} of label {key!r}: expected lower case"
    return None


EC2_INSTANCE_TYPE = matches(r"[a-z][a-z0-9-]*\.[a-z0-9-]+", "<family>.<size>, such as g6.xlarge")


def listed_instance_type(value: Any) -> str | None:
    """An EC2 instance type that the installed pulumi_aws lists. New ones may be missing there: good for a warning."""
    known = _ec2_instance_types()
    if not isinstance(value, str) or value in known or not known or EC2_INSTANCE_TYPE(value):
        return None
    return f"not among the EC2 instance types that pulumi_aws lists{did_you_mean(value, known)}"


@functools.cache
def _ec2_instance_types() -> Collection[str]:
    # Read as text: importing the module would execute all of pulumi_aws.ec2.
    spec = importlib.util.find_spec("pulumi_aws")
    for folder in (spec and spec.submodule_search_locations) or ():
        text = (Path(folder) / "ec2" / "_enums.py").read_text(encoding="utf-8")
        text = text.partition("class InstanceType(")[2].partition("\nclass ")[0]
        return frozenset(re.findall(r'= "([a-z0-9-]+\.[a-z0-9-]+)"', text))
    return frozenset()


_ACCELERATOR_LABEL = "aicloud.dev/accelerator"
_ACCELERATOR_TAINTS = ("nvidia.com/gpu", "google.com/tpu", "aws.amazon.com/neuron")


def accelerator_taint(value: Any) -> str | None:
    """Machines that this project's components label as having an accelerator also keep other pods off it.

    `value` holds a pool's labels and taints: a GKE node config, an EKS node group, a Karpenter NodePool's template.
    """
    if not isinstance(value, Mapping):
        return None
    metadata, spec = value.get("metadata"), value.get("spec")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else value.get("labels")
    taints = spec.get("taints") if isinstance(spec, Mapping) else value.get("taints")
    accelerator = labels.get(_ACCELERATOR_LABEL) if isinstance(labels, Mapping) else None
    if not isinstance(accelerator, str) or accelerator == UNKNOWN or taints == UNKNOWN:
        return None
    keys = [taint.get("key") for taint in taints or () if isinstance(taint, Mapping)]
    if UNKNOWN in keys or any(key in _ACCELERATOR_TAINTS for key in keys):
        return None
    accepted = ", ".join(_ACCELERATOR_TAINTS)
    return f"machines with {accelerator} have no taint, so any pod may fill them; expected one of {accepted}"
