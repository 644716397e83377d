"""Property values between Pulumi's wire format (protobuf Struct) and plain Python, and what a plan may show of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import struct_pb2
from pulumi.runtime import rpc

from planner.plan import SECRET, UNKNOWN

SIGNATURE = rpc._special_sig_key
"""The key that marks a dict as a special value: a secret, an asset, an archive, a resource reference, an output."""
SECRET_SIGNATURE = rpc._special_secret_sig
RESOURCE_SIGNATURE = rpc._special_resource_sig
OUTPUT_SIGNATURE = rpc._special_output_value_sig

assert rpc.UNKNOWN == UNKNOWN, "the plan's unknown marker must be the SDK's"


def decode(struct: struct_pb2.Struct) -> dict[str, Any]:
    """A Struct as a dict; special values stay as dicts with `SIGNATURE`, whole numbers become int."""
    return {key: _decode(value) for key, value in struct.fields.items()}


def _decode(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "struct_value":
        return {key: _decode(item) for key, item in value.struct_value.fields.items()}
    if kind == "list_value":
        return [_decode(item) for item in value.list_value.values]
    if kind == "bool_value":
        return value.bool_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    return None


def encode(values: Mapping[str, Any]) -> struct_pb2.Struct:
    """A dict as a Struct. A None at the top is an absent property, as the engine sends it."""
    struct = struct_pb2.Struct()
    for key, value in values.items():
        if value is not None:
            _encode(struct.fields[key], value)
    return struct


def _encode(out: struct_pb2.Value, value: Any) -> None:
    if isinstance(value, bool):
        out.bool_value = value
    elif isinstance(value, str):
        out.string_value = value
    elif isinstance(value, int | float):
        out.number_value = value
    elif isinstance(value, Mapping):
        out.struct_value.SetInParent()
        for key, item in value.items():
            _encode(out.struct_value.fields[key], item)
    elif isinstance(value, list | tuple):
        out.list_value.SetInParent()
        for item in value:
            _encode(out.list_value.values.add(), item)
    else:
        assert value is None, f"cannot be sent: {value!r}"
        out.null_value = struct_pb2.NULL_VALUE


def secret(value: Any) -> dict[str, Any]:
    """Wrap a value as a secret; one that is a secret already is left alone."""
    return value if is_secret(value) else {SIGNATURE: SECRET_SIGNATURE, "value": value}


def is_secret(value: Any) -> bool:
    return isinstance(value, dict) and value.get(SIGNATURE) == SECRET_SIGNATURE


def plain(value: Any) -> Any:
    """The value without its secret and output envelopes, for code that computes with it. Never show the result."""
    if isinstance(value, dict):
        if value.get(SIGNATURE) in (SECRET_SIGNATURE, OUTPUT_SIGNATURE):
            return plain(value.get("value", UNKNOWN))
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def redact(value: Any) -> Any:
    """What a plan may contain: secrets as `[secret]`, references to resources as their URN or id."""
    if isinstance(value, dict):
        signature = value.get(SIGNATURE)
        if signature is None:
            return {key: redact(item) for key, item in value.items()}
        if signature == SECRET_SIGNATURE:
            return SECRET
        if signature == RESOURCE_SIGNATURE:
            return value.get("id") or value.get("urn")
        if signature == OUTPUT_SIGNATURE:
            return SECRET if value.get("secret") else redact(value.get("value", UNKNOWN))
        return value
    if isinstance(value, list):
        return [redact(item) for item in value]
    return value


def has_unknown(value: Any) -> bool:
    if isinstance(value, dict):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(has_unknown(item) for item in value)
    return value == UNKNOWN


def secret_texts(value: Any) -> Iterable[str]:
    """Every text inside a secret, so that messages can be cleaned of it."""
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET_SIGNATURE:
            yield from _texts(value.get("value"))
        else:
            for item in value.values():
                yield from secret_texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from secret_texts(item)


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        if value != UNKNOWN:
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
