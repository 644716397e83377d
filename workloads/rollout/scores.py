"""Reads a scoring model's `bits_per_byte` out of an answer of the Open Inference Protocol, JSON or binary."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

OUTPUT = "bits_per_byte"
HEADER_LENGTH = "Inference-Header-Content-Length"
"""Header of an answer with binary tensors: how many bytes of it are JSON."""
_TYPES = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}


def decoded(headers: Mapping[str, str], body: bytes, most: int) -> bytes | None:
    """A body without its Content-Encoding, as a client may have asked Triton for; None where it is broken, or longer
    than `most`."""
    encoding = headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "deflate"):
        return None
    try:
        # Of zlib or of gzip, as its first bytes say.
        unpacking = zlib.decompressobj(wbits=47)
        found = unpacking.decompress(body, most)
    except zlib.error:
        return None
    return found if unpacking.eof else None


def bits_per_byte(headers: Mapping[str, str], body: bytes) -> float | None:
    """The mean over an answer's rows; None for whatever is no such answer."""
    try:
        length = int(headers.get(HEADER_LENGTH, len(body)))
        document = json.loads(body[:length])
        values = _output(document, body[length:])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if values is None or not values.size:
        return None
    mean = float(values.mean())
    return mean if math.isfinite(mean) else None


def _output(document: Any, binary: bytes) -> Any:
    if OUTPUT in document:  # of Triton's generate extension
        return np.atleast_1d(np.asarray(document[OUTPUT], np.float64))
    begin = 0
    for each in document["outputs"]:
        size = each.get("parameters", {}).get("binary_data_size")
        if each["name"] == OUTPUT:
            if size is None:
                return np.asarray(each["data"], np.float64)
            return np.frombuffer(binary[begin : begin + size], _TYPES[each["datatype"]]).astype(np.float64)
        begin += size or 0
    return None
