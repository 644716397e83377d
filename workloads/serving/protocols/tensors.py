"""JSON values as arrays of a model's datatypes, and arrays as JSON.

Strict: a value that is bent to fit its type is another question.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.serving.client.messages import Tensor
from workloads.serving.protocols.refusal import wrong

NUMPY: dict[str, type[np.generic]] = {
    "BOOL": np.bool_,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}
"""Datatypes of the open inference protocol that numpy has."""
DEEPEST = 32
"""Axes of an array; numpy 1 has no more."""
_JSON_TYPES = {str: "a string", dict: "an object", bool: "a boolean", int: "a number", float: "a number"}


def array(name: str, value: object, datatype: str) -> Tensor:
    """Nested lists, or one value, as an array of the shape that they have. Raises Refusal.

    A number with a fraction is no integer, an integer that a float would round is no float, nothing is cut off at a
    type's limit. BYTES are strings, as UTF-8, or `{"b64": "…"}`.
    """
    flat, shape = _flat(name, value)
    return _convert(name, flat, datatype).reshape(shape)


def shaped(name: str, value: object, datatype: str, shape: list[int]) -> Tensor:
    """The same with a shape that is given, for which nesting does not matter."""
    flat, _ = _flat(name, value)
    return _reshape(name, _convert(name, flat, datatype), shape)


def unpacked(name: str, content: bytes, datatype: str, shape: list[int]) -> Tensor:
    """An array from the bytes that the binary extension and gRPC send: little-endian, strings after their lengths."""
    kind = _known(name, datatype)
    if datatype != "BYTES":
        if len(content) % np.dtype(kind).itemsize:
            raise wrong(f"input {name!r}: {len(content)} bytes are no whole number of {datatype}")
        return _reshape(name, np.frombuffer(content, kind), shape)
    found: list[bytes] = []
    at = 0
    while at < len(content):
        end = at + 4 + int.from_bytes(content[at : at + 4], "little")
        if at + 4 > len(content) or end > len(content):
            raise wrong(f"input {name!r}: the bytes end within string {len(found)}")
        found.append(content[at + 4 : end])
        at = end
    return _reshape(name, _objects(found), shape)


def _flat(name: str, value: object) -> tuple[list[Any], list[int]]:
    """All values in order, and the shape. Each level is taken at once: lists may be long."""
    level: list[Any] = [value]
    shape: list[int] = []
    while level and type(level[0]) is list:
        if set(map(type, level)) != {list}:
            raise wrong(f"input {name!r}: lists and values are mixed at depth {len(shape)}")
        lengths = set(map(len, level))
        if len(lengths) > 1:
            few, many = min(lengths), max(lengths)
            raise wrong(f"input {name!r}: lists of {few} and of {many} at depth {len(shape)}; expected equal ones")
        if len(shape) == DEEPEST:
            raise wrong(f"input {name!r}: nested more than {DEEPEST} deep")
        shape.append(lengths.pop())
        level = list(itertools.chain.from_iterable(level))
    if list in set(map(type, level)):
        raise wrong(f"input {name!r}: lists and values are mixed at depth {len(shape)}")
    return level, shape


def _known(name: str, datatype: str) -> type[np.generic]:
    if datatype not in NUMPY:
        raise wrong(f"input {name!r}: datatype {datatype!r:.40}; expected one of {', '.join(NUMPY)}")
    return NUMPY[datatype]


def _convert(name: str, flat: list[Any], datatype: str) -> NDArray[Any]:
    kind = _known(name, datatype)
    if datatype == "BYTES":
        _expect(name, flat, (str, dict, bytes), 'a string or {"b64": …}')
        return _objects([_bytes(name, item) for item in flat])
    if datatype == "BOOL":
        _expect(name, flat, (bool,), "true or false")
        return np.array(flat, kind)
    if issubclass(kind, np.integer):
        _expect(name, flat, (int,), f"a whole number, {datatype}")
        limits = np.iinfo(kind)
        if flat and not limits.min <= min(flat) <= max(flat) <= limits.max:
            bad = next(item for item in flat if not limits.min <= item <= limits.max)
            raise wrong(f"input {name!r}: {_short(bad)} is out of range; {datatype} is {limits.min} to {limits.max}")
        return np.array(flat, kind)
    _expect(name, flat, (int, float), f"a number, {datatype}")
    exact = 2 ** (np.finfo(np.dtype(kind)).nmant + 1)
    for item in flat if int in set(map(type, flat)) else ():
        if type(item) is int and abs(item) >= exact:
            raise wrong(f"input {name!r}: {_short(item)} loses precision as {datatype}")
    wide = np.array(flat, np.float64)
    with np.errstate(over="ignore"):
        narrow = wide.astype(kind)
    if (lost := np.isinf(narrow) & ~np.isinf(wide)).any():
        raise wrong(f"input {name!r}: {wide[lost][0]} is out of range of {datatype}")
    return narrow


def _expect(name: str, flat: list[Any], kinds: tuple[type, ...], wanted: str) -> None:
    if not set(map(type, flat)) <= set(kinds):
        bad = next(item for item in flat if type(item) not in kinds)
        said = f", {_JSON_TYPES[type(bad)]}" if type(bad) in _JSON_TYPES else ""
        raise wrong(f"input {name!r}: {_short(bad)}{said}; expected {wanted}")


def _bytes(name: str, item: str | bytes | dict[str, Any]) -> bytes:
    if isinstance(item, bytes):
        return item
    try:
        if isinstance(item, str):
            return item.encode()
        if is_base64(item):
            # Some encoders leave the padding away.
            return base64.b64decode(item["b64"] + "=" * (-len(item["b64"]) % 4), validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError) as error:
        raise wrong(f"input {name!r}: {_short(item)}: {error}") from None
    raise wrong(f'input {name!r}: {_short(item)}: expected a string or {{"b64": "…"}}')


def is_base64(value: object) -> bool:
    """Whether it is `{"b64": "…"}`, which stands for bytes."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _objects(items: list[bytes]) -> NDArray[Any]:
    # Filled in afterwards: numpy would make one string of equally long ones.
    made = np.empty(len(items), np.object_)
    made[:] = items
    return made


def _reshape(name: str, found: NDArray[Any], shape: list[int]) -> Tensor:
    if any(size < 0 for size in shape) or len(shape) > DEEPEST or int(np.prod(shape, dtype=object)) != found.size:
        raise wrong(f"input {name!r}: {found.size} values for shape {shape!s:.200}")
    return found.reshape(shape)


def _short(value: object) -> str:
    """As JSON has it, and no longer than a message should be."""
    try:
        said = json.dumps(value)
    except (TypeError, ValueError):
        said = repr(value)
    return said if len(said) <= 80 else f"{said[:79]}…"


# ---- arrays as JSON

Encode = Callable[[str, Tensor], Any]


def values(name: str, found: Tensor) -> Any:
    """Nested lists of Python's values."""
    if found.dtype == np.object_:
        return _nested([_text(name, item) for item in found.reshape(-1)], found)
    return found.tolist()


def literals(name: str, found: Tensor) -> Any:
    """Nested lists of JSON literals, as TensorFlow Serving writes them.

    Floats with the six digits of `%g` if they say it all, else with as many as it takes; always with a point or an
    exponent; `NaN` and `Infinity` for what JSON has no word for (tensorflow_serving/util/json_tensor.cc).
    """
    if found.dtype == np.object_:
        said = [json.dumps(_text(name, item), ensure_ascii=False) for item in found.reshape(-1)]
    elif found.dtype == np.bool_:
        said = ["true" if item else "false" for item in found.reshape(-1).tolist()]
    elif found.dtype.kind == "f":
        said = _floats(found.reshape(-1))
    else:
        said = list(map(str, found.reshape(-1).tolist()))
    return _nested(said, found)


def _floats(flat: NDArray[Any]) -> list[str]:
    wide = flat if flat.dtype == np.float64 else flat.astype(np.float32)
    items = wide.tolist()
    said = [f"{item:.6g}" for item in items]
    digits = 17 if wide.dtype == np.float64 else 9
    for index in np.flatnonzero(np.array(list(map(float, said))).astype(wide.dtype) != wide).tolist():
        said[index] = f"{items[index]:.{digits}g}"
    special = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return [special.get(each) or (each if "." in each or "e" in each else f"{each}.0") for each in said]


def _text(name: str, item: Any) -> str | dict[str, str]:
    """A string; base64 if the output's name says that it holds bytes, or if it is no text."""
    content = item if isinstance(item, bytes) else str(item).encode()
    if not name.endswith("_bytes"):
        try:
            return content.decode()
        except UnicodeDecodeError:
            # TensorFlow Serving writes the bytes as they are, which no parser takes.
            pass
    return {"b64": base64.b64encode(content).decode()}


def _nested(flat: list[Any], like: Tensor) -> Any:
    made = np.empty(len(flat), np.object_)
    made[:] = flat
    return made.reshape(like.shape).tolist()


def joined(literal: Any) -> str:
    """JSON of nested lists and dictionaries of literals."""
    if isinstance(literal, list) and literal and all(isinstance(each, str) for each in literal):
        return f"[{', '.join(literal)}]"
    if isinstance(literal, list):
        return f"[{', '.join(map(joined, literal))}]"
    if isinstance(literal, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {joined(item)}" for key, item in literal.items()) + "}"
    return str(literal)
