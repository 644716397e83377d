"""How well a model predicts texts, in bits per byte: many texts at once, by the model itself or by a graph of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from workloads.data.tokenizer import Tokenizer
from workloads.serving import variants
from workloads.serving.engine.files import FILE
from workloads.serving.errors import VerificationFailed
from workloads.serving.models.text import Settings

FILES = {"eager": FILE, "torch-export": variants.TORCH_EXPORT, "onnx": variants.ONNX}
"""What runs the model -> the file that it runs."""


class Unscorable(ValueError):
    """A text that has no score; the message says why."""


@dataclass(frozen=True)
class Scored:
    bits_per_byte: float
    tokens: int


class Scorer:
    """One model, with whatever runs it."""

    def __init__(self, directory: Path, settings: Settings, tokenizer: Tokenizer) -> None:
        """`directory` has one of FILES. Raises VerificationFailed if it has none, and what reading it raises."""
        found = [directory / name for name in FILES.values() if (directory / name).is_file()]
        if not found:
            raise VerificationFailed(f"{directory}: none of {', '.join(FILES.values())} is there")
        self._score = _eager(found[0]) if found[0].name == FILE else variants.load(found[0], threads=settings.threads)
        self._context, self._tokenizer = settings.context, tokenizer

    def tokens(self, text: bytes) -> Tensor:
        """What is given to the model: the end of the text before it, which every text of training began after, then
        this one. Raises Unscorable."""
        try:
            encoded = self._tokenizer.encode(text.decode())
        except UnicodeDecodeError as error:
            raise Unscorable(f"text_input is not UTF-8: {error.reason} at byte {error.start}") from None
        if not len(encoded):
            raise Unscorable("text_input is empty; a score is per byte")
        if len(encoded) > self._context:
            raise Unscorable(f"text_input has {len(encoded)} tokens; at most {self._context} are scored at once")
        return torch.tensor([self._tokenizer.end_of_text, *encoded.tolist()])

    def score(self, texts: Sequence[Tensor], sizes: Sequence[int]) -> list[Scored]:
        """`texts`: as `tokens` gives them. `sizes`: their bytes. Shorter ones are filled up behind their end, which a
        model that looks back alone does not see."""
        batch = torch.nn.utils.rnn.pad_sequence(list(texts), batch_first=True)
        logits = self._score(batch[:, :-1])
        nats = F.cross_entropy(logits.float().transpose(1, 2), batch[:, 1:], reduction="none")
        return [
            Scored(one[: len(text) - 1].sum().item() / math.log(2) / size, len(text) - 1)
            for one, text, size in zip(nats, texts, sizes, strict=True)
        ]


def _eager(path: Path) -> variants.Score:
    model = variants.eager(path)
    return torch.inference_mode()(lambda tokens: model(tokens))
