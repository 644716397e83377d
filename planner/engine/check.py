"""Checks a resource's inputs: against the types of its SDK, and against what is known beyond them.

The SDKs take any dict where an object is meant, so a mistyped key, a missing block or a string in place of a list is
found by a provider at best, halfway through an update.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping
from typing import Any

from pulumi import _types

from planner.engine import curated
from planner.engine.checkers import Problem, Report, checker_of, is_list
from planner.engine.schema import Property, alternatives, object_properties, resource_schema
from planner.engine.values import SECRET_SIGNATURE, SIGNATURE
from planner.plan import UNKNOWN
from planner.urn import PROVIDER_PREFIX

__all__ = ["Problem", "check_inputs"]

_NATIVE = frozenset({"kubernetes", "aws-native", "azure-native", "google-native"})
"""Packages whose APIs take no "3" for 3. The others are bridged from Terraform or components: there it is converted.
Source: makeTerraformInput and typechecker.go in pulumi-terraform-bridge."""

_PROVIDER_OPTIONS = ("version", "pluginDownloadURL")
"""What the engine adds to the inputs of every provider."""


def check_inputs(token: str, inputs: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the inputs of a resource; empty when nothing is.

    `inputs` are wire values: camelCase keys, UNKNOWN for what only the cloud can tell, special values (secrets, assets,
    references) as dicts with Pulumi's signature key. An unknown value passes anywhere; a secret is never shown.

    Raises:
        planner.engine.schema.UnknownType: no installed SDK has the type.
    """
    schema = resource_schema(token)
    report = Report(native=token.split(":", 1)[0] in _NATIVE)
    if token.startswith(PROVIDER_PREFIX):
        inputs = _decoded(inputs, schema.inputs or {})
    if schema.args is not None:
        checker_of(schema.args).check(inputs, None, report)
    for path, message, severity in curated.check(token, inputs):
        report.problems.append(Problem(path, message, severity))
    return report.problems


def _decoded(inputs: Mapping[str, Any], properties: Mapping[str, Property]) -> dict[str, Any]:
    """The inputs of a provider as they were meant: SDKs send all that isn't a string as JSON in a string."""
    decoded = {}
    for name, value in inputs.items():
        if name in _PROVIDER_OPTIONS:
            continue
        if name == "kubeconfig" and isinstance(value, dict) and SIGNATURE not in value:
            continue  # Kubernetes takes an object too (parseKubeconfigPropertyValue), as eks.Cluster has it
        known = properties.get(name)
        if known is not None and str not in alternatives(known.type):
            value = _parsed(value, alternatives(known.type))
        decoded[name] = value
    return decoded


def _parsed(value: Any, types: list[Any]) -> Any:
    if isinstance(value, dict) and value.get(SIGNATURE) == SECRET_SIGNATURE:
        return {**value, "value": _parsed(value.get("value"), types)}
    if not isinstance(value, str) or value == UNKNOWN:
        return value
    try:
        value = json.loads(value)
    except json.JSONDecodeError:
        return value
    # Pulumi translates no keys here; the bridge takes role_arn as it takes roleArn.
    objects = [one for one in types if isinstance(one, type) and _types.is_input_type(one)]
    items = [item for one in types if is_list(one) for item in alternatives(typing.get_args(one)[0])]
    if isinstance(value, list):
        return [_translated(item, items) for item in value]
    return _translated(value, objects)


def _translated(value: Any, types: list[Any]) -> Any:
    objects = [one for one in types if isinstance(one, type) and _types.is_input_type(one)]
    if not objects or not isinstance(value, dict):
        return value
    names = {known.python_name: name for name, known in object_properties(objects[0]).items()}
    return {names.get(key, key): item for key, item in value.items()}
