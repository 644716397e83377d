"""The transformer as it is served: one pass takes the next token of many sequences and parts of new prompts at once.

Numbers are those of `workloads.training.model`, in fewer and larger operations, as each costs microseconds whatever its
size: matrices that read the same input are one, both parts of a cache line are written at once, and all tokens of a
step, of whichever sequence, are rows of one matrix. Only attention tells sequences apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from workloads.serving.engine.files import Description, torch_type
from workloads.serving.engine.matrices import Product, lookup, product
from workloads.serving.errors import ArgumentError
from workloads.training.config import Model


@dataclass(frozen=True)
class Part:
    """Tokens `start` up to `end` of the prompt of the sequence in a slot."""

    slot: int
    start: int
    end: int


@dataclass(frozen=True)
class _Block:
    attention_norm: Product
    query_key_value: Product
    output: Product
    feed_forward_norm: Product
    up: Product
    """With a gate: the gate's rows, then those of the other matrix."""
    down: Product


def cache_bytes(model: Model, slots: int, context: int, precision: str = "float32") -> int:
    """Memory that keys and values of that many sequences take, all of it from the start."""
    line = 2 * model.key_value_heads * (model.width // model.heads)
    return model.layers * slots * context * line * torch_type(precision).itemsize


class Decoder:
    """A model with a cache of `slots` sequences of at most `context` tokens."""

    def __init__(
        self,
        description: Description,
        weights: Mapping[str, Tensor],
        *,
        slots: int,
        context: int,
        device: torch.device | str = "cpu",
    ) -> None:
        """Raises ArgumentError if the model knows no positions up to `context`."""
        model = self.model = description.model
        self.slots, self.context, self.device = slots, context, torch.device(device)
        self.dtype = torch_type(description.precision)
        weights = {name: self._placed(tensor) for name, tensor in weights.items()}
        self.heads, self.shared = model.heads, model.key_value_heads
        self.head_width = model.width // model.heads
        self._embedding = lookup(weights, "embedding", self.dtype)
        self._positions = weights.get("positions.weight")
        if self._positions is not None and context > len(self._positions):
            raise ArgumentError(f"context {context}: the model has positions for {len(self._positions)} tokens")
        self._angles = self._rotation() if self._positions is None else None
        order = self._interleaved() if self._angles is not None else None
        self._blocks = [self._block(weights, f"blocks.{layer}.", order) for layer in range(model.layers)]
        self._norm = self._norm_of(weights, "norm")
        self._output = product(weights, ["embedding" if model.tied else "output"])
        # A finite value everywhere: what is masked is still multiplied by zero.
        self.cache = torch.zeros(
            model.layers, slots, 2 * self.shared, context, self.head_width, dtype=self.dtype, device=self.device
        )
        self._layers = list(self.cache)
        self._keys = [layer[:, : self.shared] for layer in self._layers]
        self._values = [layer[:, self.shared :] for layer in self._layers]
        self._lines = torch.arange(2 * self.shared, device=self.device)
        self._places = torch.arange(context, device=self.device)

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype)

    def _rotation(self) -> Tensor:
        """Of each position (context, 1, head width / 2) complex numbers of length 1 (Su et al. 2021)."""
        width = self.head_width
        frequencies = self.model.rotary_base ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
        angles = torch.outer(torch.arange(self.context, dtype=torch.float32), frequencies)
        return torch.polar(torch.ones_like(angles), angles)[:, None].to(self.device)

    def _interleaved(self) -> Tensor:
        """An order of the rows of query, key and value that puts what is rotated together side by side.

        The model rotates pairs (i, i + half the head's width), as two halves; side by side they are a complex number.
        Scores are sums over a head's width, so its order is free as long as queries and keys share it.
        """
        width, rotated = self.head_width, self.heads + self.shared
        pairs = torch.arange(width).view(2, width // 2).t().reshape(-1)
        turned = torch.arange(rotated)[:, None] * width + pairs
        rest = torch.arange(rotated * width, (rotated + self.shared) * width)
        return torch.cat((turned.reshape(-1), rest)).to(self.device)

    def _block(self, weights: Mapping[str, Tensor], place: str, order: Tensor | None) -> _Block:
        gated = self.model.activation == "swiglu"
        attention, feed_forward = place + "attention.", place + "feed_forward."
        return _Block(
            self._norm_of(weights, place + "attention_norm"),
            product(weights, [attention + name for name in ("query", "key", "value")], order),
            product(weights, [attention + "output"]),
            self._norm_of(weights, place + "feed_forward_norm"),
            product(weights, [feed_forward + name for name in (("gate", "up") if gated else ("up",))]),
            product(weights, [feed_forward + "down"]),
        )

    def _norm_of(self, weights: Mapping[str, Tensor], name: str) -> Product:
        weight, bias = weights[name + ".weight"], weights.get(name + ".bias")
        shape, epsilon = (self.model.width,), self.model.norm_epsilon
        if self.model.norm == "rms":
            if self.dtype != torch.float32:
                return lambda x: F.rms_norm(x, shape, weight, epsilon)
            # The same in half the operations: x / sqrt(|x|^2 + width * epsilon) * sqrt(width) * weight.
            least = torch.tensor(math.sqrt(shape[0] * epsilon), device=self.device)
            scaled = weight * math.sqrt(shape[0])
            length = torch.linalg.vector_norm
            return lambda x: x.div(torch.hypot(length(x, dim=-1, keepdim=True), least)).mul_(scaled)
        return lambda x: F.layer_norm(x, shape, weight, bias, epsilon)

    @torch.inference_mode()
    def forward(
        self, tokens: Sequence[int], positions: Sequence[int], parts: Sequence[Part] = (), *, logits: Sequence[int] = ()
    ) -> Tensor:
        """Logits in float32, a row for each sequence that is being answered and then for each row that `logits` names.

        `tokens`: the next one of the sequences in slots 0, 1, …, and after them those of `parts`. `positions`: where
        the former stand in their sequences, so their number says how many are being answered.
        """
        answering = len(positions)
        where, slots = list(positions), list(range(answering))
        for part in parts:
            where += range(part.start, part.end)
            slots += [part.slot] * (part.end - part.start)
        place = torch.tensor(where, device=self.device)
        x = self._embedding(torch.tensor(tokens, device=self.device))
        turn = None
        if self._positions is not None:
            x = x + F.embedding(place, self._positions)
        else:
            assert self._angles is not None
            turn = self._angles[place]
        cached = (torch.tensor(slots, device=self.device)[:, None], self._lines, place[:, None])
        longest = max(positions, default=0) + 1
        mask = None
        if answering > 1:
            hidden = self._places[:longest] > place[:answering, None]
            mask = torch.zeros(hidden.shape, dtype=self.dtype, device=self.device).masked_fill_(hidden, -torch.inf)
            mask = mask[:, None, None]
        prompts = [(part, self._prompt_mask(part)) for part in parts]
        for layer, block in enumerate(self._blocks):
            heads = block.query_key_value(block.attention_norm(x))
            heads = heads.view(len(where), self.heads + 2 * self.shared, self.head_width)
            if turn is not None:
                self._rotate(heads[:, : self.heads + self.shared], turn)
            self._layers[layer].index_put_(cached, heads[:, self.heads :])
            mixed = self._attention(layer, heads, answering, longest, mask, prompts)
            x = block.output(mixed).add_(x)
            x = block.down(self._activated(block.up(block.feed_forward_norm(x)))).add_(x)
        if parts:
            x = x[torch.tensor([*range(answering), *logits], dtype=torch.long, device=self.device)]
        return self._output(self._norm(x)).float()

    def _prompt_mask(self, part: Part) -> Tensor | None:
        """What of a prompt its part may see, where that is not simply causal: (tokens of the part, end), bool."""
        if part.start == 0:
            return None
        return self._places[: part.end] <= self._places[part.start : part.end, None]

    def _rotate(self, heads: Tensor, turn: Tensor) -> None:
        """In place. `heads`: (rows, heads, head width)."""
        pairs = heads.unflatten(-1, (-1, 2))
        if self.dtype == torch.float32:
            torch.view_as_complex(pairs).mul_(turn)
        else:
            pairs.copy_(torch.view_as_real(torch.view_as_complex(pairs.float()) * turn))

    def _attention(
        self,
        layer: int,
        heads: Tensor,
        answering: int,
        longest: int,
        mask: Tensor | None,
        prompts: Sequence[tuple[Part, Tensor | None]],
    ) -> Tensor:
        """(rows, width). What is new is in the cache already."""
        keys, values = self._keys[layer], self._values[layer]
        mixed = []
        if answering:
            # Queries that share a key are rows of one product: there is no need to repeat keys.
            query = heads[:answering, : self.heads].view(answering, self.shared, -1, self.head_width)
            found = F.scaled_dot_product_attention(
                query, keys[:answering, :, :longest], values[:answering, :, :longest], attn_mask=mask
            )
            mixed.append(found.reshape(answering, -1))
        row = answering
        for part, seen in prompts:
            count = part.end - part.start
            found = F.scaled_dot_product_attention(
                heads[row : row + count, : self.heads].transpose(0, 1)[None],
                keys[part.slot, :, : part.end][None],
                values[part.slot, :, : part.end][None],
                attn_mask=seen,
                is_causal=seen is None,
                enable_gqa=self.heads != self.shared,
            )
            mixed.append(found[0].transpose(0, 1).reshape(count, -1))
            row += count
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed)

    def _activated(self, x: Tensor) -> Tensor:
        if self.model.activation == "gelu":
            return F.gelu(x, approximate="tanh")
        gate, up = x.chunk(2, dim=-1)
        return F.silu(gate).mul_(up)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens that are cached in one slot to another."""
        self.cache[:, target, :, :length] = self.cache[:, source, :, :length]

    def clear(self, slot: int) -> None:
        """Forget a slot that has values which are no numbers: they would spoil whoever has it next."""
        self.cache[:, slot] = 0
