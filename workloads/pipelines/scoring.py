"""How well a model predicts whole documents: bits and bytes of each, which add up to bits per byte of any part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from workloads.data.dataset import open_dataset
from workloads.serving import variants
from workloads.serving.engine.files import FILE
from workloads.serving.models import text
from workloads.training.run import token_bytes

BATCH = 16


def held_out(dataset: Path, chosen: Sequence[int], most: int) -> list[np.ndarray]:
    """The tokens of some of the held-out documents, by their number, each cut to `most` tokens and without its end."""
    with open_dataset(dataset / "validation") as found:
        tokens = np.concatenate([found.acquire(index) for index in range(len(found.manifest.shards))])
        end = found.manifest.tokenizer.end_of_text
    ends = np.flatnonzero(tokens == end)
    begins = np.concatenate([[0], ends[:-1] + 1])
    return [tokens[begins[index] : min(ends[index], begins[index] + most)].astype(np.int64) for index in chosen]


@torch.inference_mode()
def score(model: Path, documents: Sequence[np.ndarray]) -> list[tuple[float, int]]:
    """Bits that a model needs for each document, and the document's bytes. `model`: a directory of it.

    A document that is longer than what the model was trained on is scored in pieces, each after the last token of the
    one before, the first after the end of a text.
    """
    settings, tokenizer = text.read(model)
    transformer, sizes = variants.eager(model / FILE), token_bytes(tokenizer)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    transformer.to(device)
    pieces: list[tuple[int, torch.Tensor]] = []
    for index, tokens in enumerate(documents):
        whole = torch.from_numpy(np.concatenate([[tokenizer.end_of_text], tokens]))
        for first in range(0, len(tokens), settings.context):
            pieces.append((index, whole[first : first + settings.context + 1]))
    # Of like lengths together: less is computed of what only fills up.
    pieces.sort(key=lambda piece: len(piece[1]))
    nats = [0.0] * len(documents)
    for first in range(0, len(pieces), BATCH):
        group = pieces[first : first + BATCH]
        batch = torch.nn.utils.rnn.pad_sequence([tokens for _, tokens in group], batch_first=True).to(device)
        logits = transformer(batch[:, :-1]).float()
        losses = F.cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none").double().cpu()
        for (index, piece), line in zip(group, losses, strict=True):
            nats[index] += line[: len(piece) - 1].sum().item()
    return [
        (total / math.log(2), int(sizes[torch.from_numpy(tokens)].sum()))
        for total, tokens in zip(nats, documents, strict=True)
    ]
