"""The next token of each sequence, from its logits: the likeliest, or drawn by a number that its own seed gives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from workloads.serving.engine.requests import Request

FEW = 1024
"""Likeliest tokens among which a nucleus is looked for first: sorting a large vocabulary costs more than the model."""


def choose(logits: Tensor, requests: Sequence[Request], uniform: Sequence[float]) -> list[int | None]:
    """A token for each row of `logits` (rows, vocabulary), float32; None where it holds what is no number.

    `uniform`: for each row a number in [0, 1), which alone says what is drawn; not looked at where temperature is 0.
    """
    highest, likeliest = logits.max(dim=-1)
    tokens: list[int | None] = list(likeliest.tolist())
    drawn = [row for row, request in enumerate(requests) if request.temperature]
    if drawn:
        limited = [row for row in drawn if requests[row].top_k or requests[row].top_p < 1]
        everything = [row for row in drawn if not requests[row].top_k and requests[row].top_p >= 1]
        for rows, draw in ((everything, _from_all), (limited, _from_likeliest)):
            if rows:
                picked = [requests[row] for row in rows]
                scaled = (logits[rows] - highest[rows, None]) / _column([r.temperature for r in picked], logits)
                for row, token in zip(rows, draw(scaled, picked, [uniform[r] for r in rows]), strict=True):
                    tokens[row] = token
    for row, value in enumerate(highest.tolist()):
        if not math.isfinite(value):
            tokens[row] = None
    return tokens


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device, dtype=torch.float64).to(like.dtype)[:, None]


def _from_all(scaled: Tensor, _: Sequence[Request], uniform: Sequence[float]) -> list[int]:
    return _invert(scaled.softmax(dim=-1).cumsum(dim=-1, dtype=torch.float64), uniform).tolist()


def _from_likeliest(scaled: Tensor, requests: Sequence[Request], uniform: Sequence[float]) -> list[int]:
    """Of the k likeliest those that together have probability p, the one that crosses it included.

    (Fan et al. 2018; Holtzman et al. 2020.)
    """
    vocabulary = scaled.shape[-1]
    chances = scaled.softmax(dim=-1)
    ks = torch.tensor([[r.top_k or vocabulary] for r in requests], device=scaled.device)
    count = min(vocabulary, max(min(r.top_k or FEW, vocabulary) for r in requests))
    while True:
        sorted_chances, order = chances.topk(count, dim=-1)
        inside = torch.arange(count, device=scaled.device) < ks
        total = sorted_chances.cumsum(dim=-1, dtype=torch.float64)
        # Top-p is a share of what top-k leaves.
        whole = total.gather(1, ks.clamp(max=count) - 1)
        whole = torch.where(ks > count, 1.0, whole)
        aim = torch.tensor([[r.top_p] for r in requests], device=scaled.device, dtype=torch.float64) * whole
        if count == vocabulary or bool(((ks <= count) | (total[:, -1:] >= aim)).all()):
            break
        count = vocabulary
    kept = torch.where(inside & (total - sorted_chances < aim), sorted_chances, 0.0)
    kept[:, 0] = sorted_chances[:, 0]
    place = _invert(kept.cumsum(dim=-1, dtype=torch.float64), uniform)
    return order.gather(1, place[:, None])[:, 0].tolist()


def _invert(total: Tensor, uniform: Sequence[float]) -> Tensor:
    """Of each row of cumulated probabilities (need not end at 1) the first that is above its number: (rows,), int64."""
    aim = torch.tensor(uniform, device=total.device, dtype=torch.float64)[:, None] * total[:, -1:]
    return torch.searchsorted(total, aim, right=True)[:, 0].clamp_(max=total.shape[-1] - 1)
