"""`instances` and `inputs`, `predictions` and `outputs`: the JSON that KServe v1 and TensorFlow Serving have in common.

In rows, each instance is one row of every input; in columns, each input is given as a whole. Of one input or output the
name is left away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workloads.serving.client.messages import Parameter, Tensor
from workloads.serving.protocols.refusal import Refusal, wrong
from workloads.serving.protocols.tensors import Encode, array, is_base64
from workloads.serving.protocols.triton import Field, Signature


@dataclass(frozen=True)
class Asked:
    """A body as tensors."""

    inputs: Mapping[str, Tensor]
    rows: int | None
    """How many instances; None of columns."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """Of the request, such as `max_tokens`: an addition to both protocols, whose servers ignore it."""


def document(body: bytes) -> dict[str, Any]:
    """A body as a JSON object; `NaN` and `Infinity` are numbers. Raises Refusal."""
    if not body:
        raise wrong("JSON Parse error: The document is empty")
    try:
        found = json.loads(body.decode())
    except UnicodeDecodeError as error:
        raise wrong(f"JSON Parse error: not UTF-8 at byte {error.start}: {error.reason}") from None
    except (ValueError, RecursionError) as error:
        raise wrong(f"JSON Parse error: {error}") from None
    if not isinstance(found, dict):
        raise wrong(f"JSON Value: {json.dumps(found):.80} is not an object")
    return found


def read(found: Mapping[str, Any], signature: Signature) -> Asked:
    """Raises Refusal, which names what is wrong with which input."""
    if "instances" in found and "inputs" in found:
        raise wrong("both 'instances' and 'inputs'; expected one of them")
    given = parameters(found.get("parameters", {}))
    if "instances" in found:
        instances = found["instances"]
        if not isinstance(instances, list) or not instances:
            raise wrong("'instances': expected a list with at least one instance")
        return Asked(_rows(instances, signature), len(instances), given)
    if "inputs" in found:
        return Asked(_columns(found["inputs"], signature), None, given)
    raise wrong("Missing 'inputs' or 'instances' key")


def _rows(instances: list[Any], signature: Signature) -> dict[str, Tensor]:
    objects = [isinstance(item, dict) and not is_base64(item) for item in instances]
    if not any(objects):
        only = _only(signature, "instances")
        return {only.name: _fitted(array(only.name, instances, only.datatype), only)}
    if not all(objects):
        raise wrong(f"'instances': {objects.index(not objects[0])} differs from 0; expected objects only, or none")
    names = instances[0].keys()
    _check(names, signature)
    for index, item in enumerate(instances):
        if item.keys() != names:
            raise wrong(f"'instances': {index} has {sorted(item)}, 0 has {sorted(names)}; expected the same inputs")
    return {
        each.name: _fitted(array(each.name, [item[each.name] for item in instances], each.datatype), each)
        for each in signature.inputs
        if each.name in names
    }


def _columns(value: Any, signature: Signature) -> dict[str, Tensor]:
    if not isinstance(value, dict) or is_base64(value):
        value = {_only(signature, "inputs").name: value}
    _check(value.keys(), signature)
    return {
        each.name: _fitted(array(each.name, value[each.name], each.datatype), each)
        for each in signature.inputs
        if each.name in value
    }


def _only(signature: Signature, key: str) -> Field:
    """The input that needs no name."""
    required = [each for each in signature.inputs if not each.optional]
    candidates = required or list(signature.inputs)
    if len(candidates) != 1:
        names = ", ".join(each.name for each in candidates)
        raise wrong(f"{key!r} has no names, and {signature.model} has the inputs {names}; expected objects with these")
    return candidates[0]


def _check(names: Any, signature: Signature) -> None:
    known = {each.name: each for each in signature.inputs}
    if unknown := sorted(set(names) - set(known)):
        raise wrong(f"{signature.model} has no input {unknown[0]!r:.80}; expected some of {', '.join(known)}")
    if missing := [each.name for each in signature.inputs if not each.optional and each.name not in names]:
        raise wrong(f"Missing named input: {missing[0]}")


def _fitted(found: Tensor, field: Field) -> Tensor:
    """With the last axis of a field of shape (…, 1), for who sends plain values for rows of one."""
    if field.shape and field.shape[-1] == 1 and found.ndim == len(field.shape) - 1:
        return found[..., None]
    return found


def parameters(found: Any) -> dict[str, Parameter]:
    """Of a request. Raises Refusal."""
    if not isinstance(found, dict):
        raise wrong(f"'parameters': {json.dumps(found):.80}; expected an object")
    for name, value in found.items():
        if not isinstance(value, str | int | float | bool):
            raise wrong(f"'parameters': {name!r:.80} is {json.dumps(value):.80}; expected a string, number or boolean")
    return found


def answer(outputs: Mapping[str, Tensor], rows: int | None, encode: Encode) -> dict[str, Any]:
    """The body of an answer. `rows`: of what was asked. Raises Refusal where outputs are no rows."""
    encoded = {name: encode(name, found) for name, found in outputs.items()}
    if rows is None:
        return {"outputs": encoded if len(encoded) > 1 else next(iter(encoded.values()))}
    for name, found in outputs.items():
        if found.ndim == 0 or len(found) != rows:
            raise Refusal(
                400,
                f"output {name!r} has the shape {list(found.shape)} for {rows} instances, so it cannot be told which "
                "is whose; expected one row for each, or a question with 'inputs'",
            )
    if len(encoded) == 1:
        return {"predictions": next(iter(encoded.values()))}
    return {"predictions": [{name: found[row] for name, found in encoded.items()} for row in range(rows)]}
