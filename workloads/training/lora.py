"""Fine-tuning with low-rank adapters (LoRA, Hu et al. 2021): beside a matrix that stays as it is, two small ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.training.config import Lora
from workloads.training.model import Transformer

PLACES = {"query": "attention", "key": "attention", "value": "attention", "output": "attention"}
"""Where in a block a matrix is; the others are in `feed_forward`."""


class AdaptedLinear(nn.Linear):
    """x W^T + b + alpha / rank x A^T B^T. W and b keep their names, so that a base's weights fit; A and B are trained.

    x: (..., in_features); A: (rank, in_features), B: (out_features, rank), zeros at first.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        with torch.device("meta"):
            super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None)
            self.lora_a = nn.Parameter(torch.empty(rank, linear.in_features))
            self.lora_b = nn.Parameter(torch.empty(linear.out_features, rank))
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.scale * F.linear(F.linear(x, self.lora_a), self.lora_b)


def adapt(model: Transformer, config: Lora) -> None:
    """Freeze a model without memory (`meta`) and put adapters beside the matrices that are configured."""
    model.requires_grad_(False)
    for block in model.blocks:
        for name in config.matrices:
            around = block.get_submodule(PLACES.get(name, "feed_forward"))
            linear = getattr(around, name)
            # GELU has no gate.
            if linear is not None:
                setattr(around, name, _adapted(linear, config))


def _adapted(linear: nn.Linear, config: Lora) -> AdaptedLinear:
    adapted = AdaptedLinear(linear, config.rank, config.alpha)
    adapted.weight.requires_grad_(False)
    if adapted.bias is not None:
        adapted.bias.requires_grad_(False)
    return adapted
