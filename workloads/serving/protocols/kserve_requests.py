"""Requests of KServe's v2 as arrays: typed, raw, and of the binary extension; checked where kserve trusts them."""

from __future__ import annotations

from typing import Any

import numpy as np
from kserve import InferInput, InferRequest
from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER
from kserve.protocol.infer_type import RequestedOutput
from kserve.protocol.rest.v2_datamodels import InferenceRequest

from workloads.serving.client.messages import Tensor
from workloads.serving.protocols import rows, tensors
from workloads.serving.protocols.refusal import wrong


def tensor(given: InferInput) -> Tensor:
    """Raises Refusal where the values are not of the type or shape that they are said to be."""
    if isinstance(given.data, np.ndarray):
        return given.data
    # Of gRPC's raw contents, which kserve makes public nowhere else.
    if given._raw_data is not None:
        return tensors.unpacked(given.name, bytes(given._raw_data), given.datatype, given.shape)
    return tensors.shaped(given.name, given.data, given.datatype, given.shape)


def binary(body: bytes, length: str | None, model: str) -> InferRequest:
    """A request of the binary extension: JSON, then the bytes of those inputs that have no `data`."""
    if length is not None and (not length.isdecimal() or int(length) > len(body)):
        raise wrong(f"{INFERENCE_CONTENT_LENGTH_HEADER}: {length!r:.40} of a body of {len(body)} bytes")
    at = len(body) if length is None else int(length)
    found = rows.document(body[:at])
    # What is binary has no data in the JSON; all else is checked as kserve does.
    inputs = found.get("inputs")
    for each in inputs if isinstance(inputs, list) else ():
        if isinstance(each, dict) and "binary_data_size" in (each.get("parameters") or {}):
            each["data"] = []
    try:
        checked = InferenceRequest.model_validate(found)
    except ValueError as error:
        raise wrong(f"not an inference request: {reasons(error)}") from None
    made = []
    for each in checked.inputs:
        size = (each.parameters or {}).get("binary_data_size")
        if size is None:
            value = tensors.shaped(each.name, each.data, each.datatype, each.shape)
        elif type(size) is not int or not 0 <= size <= len(body) - at:
            raise wrong(f"input {each.name!r}: binary_data_size {size!r:.40}, and {len(body) - at} bytes are left")
        else:
            value = tensors.unpacked(each.name, body[at : at + size], each.datatype, each.shape)
            at += size
        made.append(InferInput(each.name, each.shape, each.datatype, value, each.parameters))
    if at != len(body):
        raise wrong(f"{len(body) - at} bytes are left after the last input")
    outputs = [RequestedOutput(each.name, each.parameters) for each in checked.outputs or ()]
    return InferRequest(
        model, made, request_id=checked.id, parameters=checked.parameters, request_outputs=outputs or None
    )


def reasons(error: Any) -> str:
    """What pydantic found, each with its place. Of a body that may be one of several forms, it tells of all."""
    found = []
    for each in error.errors():
        if each["type"] == "json_invalid":
            return f"JSON Parse error: {each['ctx']['error']} at character {each['loc'][-1]}"
        if each["type"] == "missing" and each["loc"] == ("body",):
            return "JSON Parse error: The document is empty"
        place = ".".join(str(part) for part in each["loc"] if part not in ("body", "InferenceRequest", "bytes"))
        if each["loc"][-1:] != ("bytes",):
            found.append(f"{place}: {each['msg']}" if place else each["msg"])
    return "; ".join(found)[:500] or "not what was expected"
