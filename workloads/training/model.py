"""A decoder-only transformer, with what GPT-2 and Llama differ in chosen by its configuration.

Nothing in it knows of devices or processes: parallel.py spreads it.
"""

from __future__ import annotations

import hashlib
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils.checkpoint import checkpoint

from workloads.training.config import Model

STANDARD_DEVIATION = 0.02
"""Of all matrices at first (Radford et al. 2019, GPT-2)."""


def norm(config: Model) -> nn.Module:
    if config.norm == "rms":
        return nn.RMSNorm(config.width, eps=config.norm_epsilon)
    return nn.LayerNorm(config.width, eps=config.norm_epsilon, bias=config.bias)


def rotation(length: int, width: int, base: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions (Su et al. 2021), each (length, width / 2), in float32.

    Made anew in each pass rather than kept: it costs next to nothing, and what is not kept need not be spread or saved.
    """
    frequencies = base ** (-torch.arange(0, width, 2, device=device, dtype=torch.float32) / width)
    angles = torch.outer(torch.arange(length, device=device, dtype=torch.float32), frequencies)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each pair (i, i + width / 2) of `x`, (batch, heads, length, width), by its position's angle."""
    cosine, sine = angles
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1).type_as(x)


class Attention(nn.Module):
    """Causal self-attention; groups of query heads share a key and a value head (Ainslie et al. 2023)."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.head_width = config.width // config.heads
        self.dropout = config.dropout
        shared = config.key_value_heads * self.head_width
        self.query = nn.Linear(config.width, config.width, bias=config.bias)
        self.key = nn.Linear(config.width, shared, bias=config.bias)
        self.value = nn.Linear(config.width, shared, bias=config.bias)
        self.output = nn.Linear(config.width, config.width, bias=config.bias)

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor] | None) -> Tensor:
        batch, length, _ = x.shape
        # The number of heads is left open: under tensor parallelism a process has some of them.
        query, key, value = (
            part(x).view(batch, length, -1, self.head_width).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            value,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=True,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return self.output(mixed.transpose(1, 2).reshape(batch, length, -1))


class FeedForward(nn.Module):
    """Two matrices around a GELU, or three with a gate (SwiGLU, Shazeer 2020)."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.feed_forward, bias=config.bias)
        self.gate = (
            nn.Linear(config.width, config.feed_forward, bias=config.bias) if config.activation == "swiglu" else None
        )
        self.down = nn.Linear(config.feed_forward, config.width, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.gate is None:
            return self.down(F.gelu(self.up(x), approximate="tanh"))
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    def __init__(self, config: Model) -> None:
        super().__init__()
        self.attention_norm, self.attention = norm(config), Attention(config)
        self.feed_forward_norm, self.feed_forward = norm(config), FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor] | None) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), angles))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class Transformer(nn.Module):
    """Tokens in, loss out; see `forward`."""

    def __init__(self, config: Model, sequence_length: int, *, activation_checkpointing: bool = False) -> None:
        """`sequence_length`: the longest, in tokens. `config.vocabulary` must be known."""
        super().__init__()
        assert config.vocabulary, "the vocabulary of the data must be known by now"
        self.config, self.activation_checkpointing = config, activation_checkpointing
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        learned = config.positions == "learned"
        self.positions = nn.Embedding(sequence_length, config.width) if learned else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = norm(config)
        # Tied, there is one parameter in one place: saved once, sharded once.
        self.output = None if config.tied else nn.Linear(config.width, config.vocabulary, bias=False)

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Tensor:
        """Mean cross entropy of `targets` in nats, a float32 scalar; without them logits (batch, length, vocabulary).

        `tokens` and `targets`: (batch, length), int64.
        """
        length, config = tokens.shape[1], self.config
        x = self.embedding(tokens)
        angles = None
        if self.positions is not None:
            x = x + self.positions(torch.arange(length, device=tokens.device))
        else:
            angles = rotation(length, config.width // config.heads, config.rotary_base, tokens.device)
        for block in self.blocks:
            if self.activation_checkpointing and self.training:
                x = checkpoint(block, x, angles, use_reentrant=False)
            else:
                x = block(x, angles)
        x = self.norm(x)
        logits = F.linear(x, self.embedding.weight) if self.output is None else self.output(x)
        if targets is None:
            return logits
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def initialize(model: Transformer, seed: int) -> None:
    """Give each parameter its first value, a closed form of the seed and its name.

    So weights are the same whatever the number of processes and however they share the model: each makes the whole
    parameter, one at a time, and keeps its part. The two matrices of a block that write to the residual stream start
    smaller, so that its variance does not grow with depth (GPT-2).
    """
    residual = STANDARD_DEVIATION / math.sqrt(2 * model.config.layers)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue  # A base gives it.
        if name.endswith(("bias", "lora_b")):
            nn.init.zeros_(parameter)
        elif parameter.ndim == 1:
            nn.init.ones_(parameter)
        else:
            digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
            generator = torch.Generator(parameter.device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
            small = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
            deviation = residual if small else STANDARD_DEVIATION
            if name.endswith("lora_a"):
                # What an adapter hands on is as large as what comes in.
                deviation = parameter.shape[1] ** -0.5
            whole = torch.empty(parameter.shape, device=parameter.device)
            fill(parameter, whole.normal_(0.0, deviation, generator=generator))


@torch.no_grad()
def fill(parameter: nn.Parameter, whole: Tensor) -> None:
    """Give a parameter its value, or of one that processes share this process's part. All of them have `whole`."""
    whole = whole.to(parameter.device)
    if isinstance(parameter, DTensor):
        # Nothing needs to be sent.
        whole = distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)
    parameter.copy_(whole)
