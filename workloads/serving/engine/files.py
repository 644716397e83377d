"""A model in one safetensors file that says of itself what it is: what an export writes and the engine reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workloads.serving.errors import DiskFailed, VerificationFailed, on_disk
from workloads.training.config import Model

FILE = "model.safetensors"
FORMAT = "aicloud-language-model-1"
PRECISIONS = ("float32", "bfloat16", "int8", "int4")
SCALE = ".scale"
"""What int8 and int4 matrices are multiplied with has their name with this behind it."""
INT4_GROUP = 32
"""Inputs that share a scale."""


@dataclass(frozen=True)
class Description:
    """What must be known of weights to compute with them."""

    model: Model
    sequence_length: int
    """Tokens that the model was trained on at once; 0: unknown."""
    precision: str = "float32"
    """How matrices are stored: one of PRECISIONS."""


def described(model: nn.Module) -> tuple[Description, dict[str, Tensor]]:
    """Description and weights of a `workloads.training.model.Transformer`, in float32. ServingError for others."""
    from workloads.training.model import Transformer

    if not isinstance(model, Transformer):
        raise VerificationFailed(f"model: {type(model).__name__}: expected a Transformer, or the path of an export")
    weights = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    if adapters := [name for name in weights if "lora_" in name]:
        raise VerificationFailed(f"model: {adapters[0]}: expected weights with their adapters merged")
    positions = weights.get("positions.weight")
    return Description(model.config, 0 if positions is None else len(positions)), weights


def save(path: Path, description: Description, weights: Mapping[str, Tensor]) -> None:
    """Write a model as one file. DiskFailed where it cannot be."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    metadata = {
        "format": FORMAT,
        "model": json.dumps(asdict(description.model)),
        "sequence_length": str(description.sequence_length),
        "precision": description.precision,
    }
    with on_disk(path):
        try:
            save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path, metadata=metadata)
        except SafetensorError as error:
            raise DiskFailed(f"{path}: {error}") from error
        _sort_metadata(path)


def _sort_metadata(path: Path) -> None:
    """The same model is the same file: safetensors writes metadata in another order each time.

    A file begins with the length of its header, eight bytes, and the header, JSON that ends in spaces.
    """
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
        assert len(text) == size, "the same words in another order"
        file.seek(8)
        file.write(text)


def load(path: Path) -> tuple[Description, dict[str, Tensor]]:
    """A model from its file, or from the directory that has it. DiskFailed or VerificationFailed otherwise."""
    from safetensors import SafetensorError, safe_open

    path = path / FILE if path.is_dir() else path
    with on_disk(path):
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        except SafetensorError as error:
            raise VerificationFailed(f"{path}: {error}") from error
    description = _description(metadata, path)
    _check(description, weights, path)
    return description, weights


def _description(metadata: Mapping[str, Any], path: Path) -> Description:
    if metadata.get("format") != FORMAT:
        raise VerificationFailed(f"{path}: format {metadata.get('format')!r}; this reads {FORMAT}")
    precision = metadata.get("precision")
    if precision not in PRECISIONS:
        raise VerificationFailed(f"{path}: precision {precision!r}; expected one of {', '.join(PRECISIONS)}")
    try:
        known = json.loads(metadata["model"])
        unknown = set(known) ^ {field.name for field in fields(Model)}
        if unknown:
            raise VerificationFailed(f"{path}: model: {min(unknown)!r} is missing or not known to this version")
        return Description(Model(**known), int(metadata["sequence_length"]), precision)
    except (KeyError, TypeError, ValueError) as error:
        raise VerificationFailed(f"{path}: its description cannot be read: {error!r}") from error


def _check(description: Description, weights: Mapping[str, Tensor], path: Path) -> None:
    """Raises VerificationFailed if these are not the weights of such a model."""
    from workloads.training.model import Transformer

    with torch.device("meta"):
        model = Transformer(description.model, max(description.sequence_length, 1))
    for name, expected in model.state_dict().items():
        shape = tuple(expected.shape)
        if name not in weights:
            raise VerificationFailed(f"{path}: {name} is missing")
        kind, scaled = weights[name].dtype, shape[:1]
        if kind == torch.uint8 and len(shape) == 2:
            # int4, two to a byte.
            scaled, shape = (shape[0], shape[1] // INT4_GROUP, 2), (shape[0], shape[1] // 2)
        if tuple(weights[name].shape) != shape:
            raise VerificationFailed(f"{path}: {name} is {tuple(weights[name].shape)}; expected {shape}")
        if (kind in (torch.int8, torch.uint8)) != (name + SCALE in weights):
            raise VerificationFailed(f"{path}: {name} is {kind}; int8 and int4 need a scale, and others have none")
        if name + SCALE in weights and tuple(weights[name + SCALE].shape) != scaled:
            raise VerificationFailed(
                f"{path}: {name + SCALE} is {tuple(weights[name + SCALE].shape)}; expected {scaled}"
            )


def size(weights: Mapping[str, Tensor]) -> int:
    """Bytes of all weights."""
    return sum(tensor.numel() * tensor.element_size() for tensor in weights.values())


def torch_type(precision: str) -> torch.dtype:
    """Of activations and the cache: those of int8 and int4 weights are float32."""
    return torch.bfloat16 if precision == "bfloat16" else torch.float32
