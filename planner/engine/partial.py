"""What a preview knows of an object that a program gave in part: what it gave; the rest is for the cloud to say."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, get_args, get_origin

from pulumi import _types

from planner.engine import schema
from planner.engine.values import SECRET_SIGNATURE, SIGNATURE
from planner.plan import UNKNOWN


def with_unknown_fields(type: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs as a preview gives them back: fields that a nested object has and was not given are unknown.

    At the top the SDK takes what is absent as unknown by itself; inside an object it would take it as None, and a
    cluster's `vpc_config.cluster_security_group_id` is no such thing. Which of them a cloud really leaves empty, the
    SDK does not tell. Kubernetes objects come back as they were given.
    """
    changed = {
        key: filled
        for key, annotation in _objects(type)
        if key in inputs and (filled := _filled(inputs[key], annotation)) is not inputs[key]
    }
    return {**inputs, **changed} if changed else inputs


@functools.cache
def _objects(type: str) -> tuple[tuple[str, Any], ...]:
    """The outputs of a resource type that hold objects, with their annotations."""
    if type.startswith("kubernetes:"):
        return ()
    try:
        outputs = schema.resource_schema(type).outputs
    except schema.UnknownType:
        return ()
    return tuple((key, annotation) for key, annotation in outputs.items() if _object(annotation) is not None)


@functools.cache
def _object(annotation: Any) -> Any:
    """The output class in an annotation, bare or as the element of a list; None without one."""
    for one in schema.alternatives(annotation):
        if isinstance(one, type) and _types.is_output_type(one):
            return one
        origin = get_origin(one)
        if isinstance(origin, type) and not issubclass(origin, Mapping):
            for element in get_args(one):
                if (found := _object(element)) is not None:
                    return found
    return None


def _filled(value: Any, annotation: Any) -> Any:
    if isinstance(value, list):
        filled = [_filled(item, annotation) for item in value]
        return filled if any(new is not old for new, old in zip(filled, value, strict=True)) else value
    if not isinstance(value, dict):
        return value
    if SIGNATURE in value:
        if value[SIGNATURE] != SECRET_SIGNATURE:
            return value
        inner = _filled(value.get("value"), annotation)
        return value if inner is value.get("value") else {**value, "value": inner}
    kind = _object(annotation)
    if kind is None:
        return value
    properties = schema.output_properties(kind)
    missing = {key: UNKNOWN for key in properties if key not in value}
    nested = {
        key: filled
        for key, item in value.items()
        if key in properties and (filled := _filled(item, properties[key])) is not item
    }
    return {**value, **missing, **nested} if missing or nested else value
