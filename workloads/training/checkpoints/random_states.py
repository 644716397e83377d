"""The random states of a process as JSON, so that a resumed run draws what the killed one would have drawn."""

from __future__ import annotations

import base64
import json
import random
import sys
from typing import Any

import torch


def capture() -> bytes:
    """Python's, torch's on the CPU and on the current GPU, and numpy's where it has been imported."""
    version, internal, gauss = random.getstate()
    found: dict[str, Any] = {"python": [version, internal, gauss], "torch": _text(torch.get_rng_state())}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["cuda"] = _text(torch.cuda.get_rng_state())
    if "numpy" in sys.modules:
        kind, keys, *rest = sys.modules["numpy"].random.get_state()
        found["numpy"] = [kind, keys.tolist(), *rest]
    return json.dumps(found).encode()


def restore(text: bytes) -> None:
    found = json.loads(text)
    version, internal, gauss = found["python"]
    random.setstate((version, tuple(internal), gauss))
    torch.set_rng_state(_tensor(found["torch"]))
    if "cuda" in found and torch.cuda.is_available():
        torch.cuda.set_rng_state(_tensor(found["cuda"]))
    if "numpy" in found and "numpy" in sys.modules:
        kind, keys, *rest = found["numpy"]
        numpy = sys.modules["numpy"]
        numpy.random.set_state((kind, numpy.array(keys, dtype="uint32"), *rest))


def _text(state: torch.Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode()


def _tensor(text: str) -> torch.Tensor:
    return torch.tensor(list(base64.b64decode(text)), dtype=torch.uint8)
