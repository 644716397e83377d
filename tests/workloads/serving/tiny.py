"""Language models that are small enough for tests, with weights that nobody trained."""

from __future__ import annotations

import dataclasses

import torch

from workloads.training.config import Model
from workloads.training.model import Transformer, initialize

GPT = {"norm": "layer", "positions": "learned", "activation": "gelu", "bias": True, "key_value_heads": 4}
VARIANTS = {"llama": {}, "gpt": GPT, "untied": {"tied": False}, "one key head": {"key_value_heads": 1}}
VOCABULARY = 61
CONTEXT = 48


def model(seed: int = 1, **changes) -> Transformer:
    """Weights are large enough that what comes next depends on all that came before."""
    config = dataclasses.replace(Model(layers=2, width=32, feed_forward=48, vocabulary=VOCABULARY), **changes)
    made = Transformer(config, CONTEXT)
    initialize(made, seed)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.startswith("blocks") and parameter.ndim > 1:
                parameter.mul_(60.0 if name.endswith(("attention.output.weight", "down.weight")) else 12.0)
            elif name.endswith("bias"):
                parameter.normal_(0.0, 0.5, generator=torch.Generator().manual_seed(seed))
    return made.eval()


@torch.no_grad()
def logits(made: Transformer, tokens: list[int]) -> torch.Tensor:
    """After each token, as the model that was trained says: (length, vocabulary)."""
    return made(torch.tensor([tokens]))[0]


def alone(made: Transformer, prompt: list[int], count: int) -> list[int]:
    """The likeliest answer, without any cache."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(logits(made, tokens)[-1].argmax()))
    return tokens[len(prompt) :]
