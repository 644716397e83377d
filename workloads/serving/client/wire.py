"""What both protocols make of a request before it is sent; tritonclient has the same classes twice."""

from __future__ import annotations

from typing import Any

from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from workloads.serving.client.messages import Request
from workloads.serving.errors import ArgumentError


def inputs(request: Request, kind: Any) -> list[Any]:
    """As tritonclient's InferInput, of the protocol's `kind`."""
    made = []
    for name, value in request.inputs.items():
        dtype = np_to_triton_dtype(value.dtype)
        if dtype is None:
            raise ArgumentError(f"input {name!r}: dtype {value.dtype}, which Triton has not")
        tensor = kind(name, value.shape, dtype)
        try:
            tensor.set_data_from_numpy(value)
        except InferenceServerException as error:
            raise ArgumentError(f"input {name!r}: {error.message()}") from None
        made.append(tensor)
    return made


def outputs(request: Request, kind: Any) -> list[Any] | None:
    """As tritonclient's InferRequestedOutput; None: all of them."""
    return [kind(name) for name in request.outputs] or None
