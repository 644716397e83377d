"""Products with matrices as they are stored: float32, bfloat16, int8 with a scale a row, int4 with one a group."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from workloads.serving.engine.files import INT4_GROUP, SCALE
from workloads.serving.errors import ArgumentError

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
        with warnings.catch_warnings():
            # torch means to give such tensors up; the version is pinned, and nothing else is as fast on this processor:
            # torchao's int8 took 1.2 to 16 times as long as float32 where this takes a third to a half.
            warnings.filterwarnings("ignore", "torch.quantize_per_tensor")
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


class Int4:
    """int4 weights times bfloat16 activations; about as fast as float32, at a seventh of its size. On CPUs alone.

    In groups of INT4_GROUP inputs, a weight is (q - 8) * scale + zero; `scale`: (outputs, groups, 2), both of them.
    """

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        if weight.device.type != "cpu":
            raise ArgumentError(f"precision int4 on {weight.device}: expected a CPU")
        # One value a byte, two in one: the lower half is the first.
        values = torch.stack((weight & 15, weight >> 4), dim=-1).flatten(1).to(torch.int32)
        self.packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(values, 1)
        self.scale = scale.transpose(0, 1).contiguous().bfloat16()
        self.bias, self.product = bias, torch.ops.aten._weight_int4pack_mm_for_cpu

    def __call__(self, x: Tensor) -> Tensor:
        # In float32 the same kernel takes ten times as long.
        out = self.product(x.bfloat16(), self.packed, INT4_GROUP, self.scale).to(x.dtype)
        return out if self.bias is None else out.add_(self.bias)


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
    if weight.dtype == torch.uint8:
        return Int4(weight, scale, bias)
    return (DynamicInt8 if has_fast_int8(weight.device) else WeightOnlyInt8)(weight, scale, bias)


def lookup(weights: Mapping[str, Tensor], name: str, dtype: torch.dtype) -> Product:
    """(rows,) of token ids to (rows, width)."""
    weight, scale = weights[name + ".weight"], weights.get(name + ".weight" + SCALE)
    if scale is None:
        return lambda tokens: F.embedding(tokens, weight)
    column = scale[:, None].to(dtype)
    return lambda tokens: F.embedding(tokens, weight).to(dtype).mul_(F.embedding(tokens, column))
