"""How well the model predicts held-out text: loss per token, and bits per byte, the same unit for any tokenizer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from workloads.data.loader import TokenLoader
from workloads.training.parallel import Replica, World
from workloads.training.preemption import Agreement


@dataclass
class Evaluation:
    """The same held-out text each time."""

    world: World
    loader: Callable[[], TokenLoader]
    """The held-out batches, from the first on."""
    batches: int
    micro_batches: list[int]
    token_bytes: Tensor
    """(vocabulary,), int64: bytes of text that each token stands for."""
    stopping: Agreement

    @torch.no_grad()
    def run(self, replica: Replica) -> dict[str, float]:
        """`held_out_loss` in nats per token and `held_out_bits_per_byte`; nothing if a notice came meanwhile."""
        replica.eval()
        nats = tokens_seen = bytes_seen = 0.0
        with self.loader() as loader:
            for batch in islice(loader, self.batches):
                tokens = batch.tokens.to(self.world.device, non_blocking=True)
                for micro in tokens.split(self.micro_batches):
                    nats += replica(micro[:, :-1], micro[:, 1:]).item() * micro[:, 1:].numel()
                tokens_seen += tokens[:, 1:].numel()
                bytes_seen += self.token_bytes[batch.tokens[:, 1:]].sum().item()
                if self.stopping():
                    return {}
        replica.train()
        nats, tokens_seen, bytes_seen = self.world.mean(nats, tokens_seen, bytes_seen)
        return {"held_out_loss": nats / tokens_seen, "held_out_bits_per_byte": nats / math.log(2) / bytes_seen}
