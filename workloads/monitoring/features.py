"""What is kept of a text when the text itself is not: numbers by which a drift of the traffic shows."""

from __future__ import annotations

import math
import string
import zlib
from typing import NamedTuple

import numpy as np

MOST_BYTES = 16384
"""Of a longer text only so many bytes are looked at, but for its length."""
DIMENSIONS = 32
EMBEDDING = f"hashed-trigrams-{DIMENSIONS}"
"""Name of the embedding below; those of different names are never compared."""


class Features(NamedTuple):
    """Of a text. Shares are of its bytes, 0 to 1; all are 0 for an empty text."""

    text_bytes: float
    """Natural logarithm of 1 + bytes: lengths spread over orders of magnitude."""
    non_ascii: float
    digits: float
    whitespace: float
    capitals: float
    punctuation: float
    line_bytes: float
    """Natural logarithm of 1 + bytes of a line, on average."""
    byte_entropy: float
    """Bits, of single bytes: 0 to 8."""
    compressibility: float
    """What zlib leaves of the bytes; above 1 for short texts."""


_CLASS = np.zeros((5, 256), bool)
_CLASS[0, 128:] = True
_ASCII = (b"0123456789", b" \t\r\n", string.ascii_uppercase.encode(), string.punctuation.encode())
for _row, _bytes in enumerate(_ASCII, 1):
    _CLASS[_row, list(_bytes)] = True


def features(text: str) -> Features:
    encoded = text.encode(errors="replace")
    seen = encoded[:MOST_BYTES]
    if not seen:
        return Features(*(0.0 for _ in Features._fields))
    counts = np.bincount(np.frombuffer(seen, np.uint8), minlength=256)
    shares = counts / len(seen)
    # Whole numbers are added up: shares would come to a bit more than 1.
    non_ascii, digits, whitespace, capitals, punctuation = (_CLASS @ counts / len(seen)).tolist()
    some = shares[counts > 0]
    return Features(
        math.log1p(len(encoded)),
        non_ascii,
        digits,
        whitespace,
        capitals,
        punctuation,
        math.log1p(len(seen) / (int(counts[10]) + 1)),
        float(-some @ np.log2(some)),
        len(zlib.compress(seen, 1)) / len(seen),
    )


def embedding(text: str) -> np.ndarray:
    """Counts of hashed byte trigrams with random signs, of length 1: (DIMENSIONS,), zeros if there is none.

    Texts that share trigrams point the same way (the hashing trick: Weinberger et al., 2009, "Feature hashing for large
    scale multitask learning"). Where the model itself gives an embedding, that one says more.
    """
    data = np.frombuffer(text.encode(errors="replace")[:MOST_BYTES], np.uint8).astype(np.uint32)
    if len(data) < 3:
        return np.zeros(DIMENSIONS, np.float32)
    trigrams = data[:-2] << np.uint32(16) | data[1:-1] << np.uint32(8) | data[2:]
    # Multiplicative hashing (Knuth): the upper bits are mixed best.
    mixed = (trigrams * np.uint32(2654435761)) >> np.uint32(26)
    sums = np.bincount(mixed & 31, weights=np.where(mixed & 32, 1.0, -1.0), minlength=DIMENSIONS)
    length = np.linalg.norm(sums)
    return (sums / length if length else sums).astype(np.float32)
