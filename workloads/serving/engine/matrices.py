"""Products with matrices as they are stored: float32, bfloat16, or int8 with a scale for each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from workloads.serving.engine.files import SCALE

Product = Callable[[Tensor], Tensor]
"""(rows, inputs) to (rows, outputs)."""


class Float:
    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class DynamicInt8:
    """int8 weights times activations that are rounded to 7 bits as they come, over the range of the whole batch.

    7 bits and not 8: without VNNI, the processor adds pairs of products in 16 bits, and 8 bits could overflow there
    (FBGEMM calls it `reduce_range`). On x86 alone.
    """

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        zero = torch.zeros(len(scale), dtype=torch.long)
        quantized = torch._make_per_channel_quantized_tensor(weight, scale.double(), zero, 0)
        self.packed = torch.ops.quantized.linear_prepack(quantized, bias)
        self.product = torch.ops.quantized.linear_dynamic

    def __call__(self, x: Tensor) -> Tensor:
        return self.product(x, self.packed, True)


class WeightOnlyInt8:
    """int8 weights that become float as they are used: a quarter of the memory, on any device, and no faster."""

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        self.weight, self.scale, self.bias = weight, scale, bias

    def __call__(self, x: Tensor) -> Tensor:
        out = F.linear(x, self.weight.to(x.dtype)) * self.scale
        return out if self.bias is None else out + self.bias


def has_fast_int8(device: torch.device) -> bool:
    return device.type == "cpu" and "fbgemm" in torch.backends.quantized.supported_engines


def product(weights: Mapping[str, Tensor], names: Sequence[str], rows: Tensor | None = None) -> Product:
    """The matrices of those names under one another, as one product. `rows`: the order that its rows then have."""

    def together(ending: str) -> Tensor | None:
        if names[0] + ending not in weights:
            return None
        whole = torch.cat([weights[name + ending] for name in names])
        return (whole if rows is None else whole[rows]).contiguous()

    weight, bias, scale = together(".weight"), together(".bias"), together(".weight" + SCALE)
    assert weight is not None, names
    if scale is None:
        return Float(weight, bias)
    kind = DynamicInt8 if has_fast_int8(weight.device) else WeightOnlyInt8
    return kind(weight, scale, bias)


def lookup(weights: Mapping[str, Tensor], name: str, dtype: torch.dtype) -> Product:
    """(rows,) of token ids to (rows, width)."""
    weight, scale = weights[name + ".weight"], weights.get(name + ".weight" + SCALE)
    if scale is None:
        return lambda tokens: F.embedding(tokens, weight)
    column = scale[:, None].to(dtype)
    return lambda tokens: F.embedding(tokens, weight).to(dtype).mul_(F.embedding(tokens, column))
