"""The lakehouse's tables: their columns, and how a request, a label and their rows look.

A table only ever gains columns, at the end and optional: then older writers go on writing, and older files are read
with nothing in the new ones.
"""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from workloads.monitoring import features
from workloads.monitoring.errors import ArgumentError

ANSWERED = "answered"
FEATURES = features.Features._fields
"""Columns that are features of the request's text."""


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    """string, long, double, date, timestamptz or floats."""
    required: bool = False


def _columns(required: str, optional: str) -> tuple[Column, ...]:
    """From `name:type` words."""
    return tuple(
        Column(name, kind, needed)
        for words, needed in ((required, True), (optional, False))
        for name, kind in (word.split(":") for word in words.split())
    )


REQUESTS = _columns(
    "request_id:string time:timestamptz day:date model:string version:long sampling_rate:double draw:double",
    "outcome:string arm:string latency_s:double tokens:double bits_per_byte:double answer_bytes:double "
    + " ".join(f"{name}:double" for name in FEATURES)
    + " embedding:floats embedding_kind:string text:string answer:string",
)
LABELS = _columns(
    # The day is that of the request, so that a label leaves with it.
    "request_id:string day:date model:string time:timestamptz kind:string value:double",
    "request_time:timestamptz",
)
TABLES: Mapping[str, tuple[Column, ...]] = {"requests": REQUESTS, "labels": LABELS}


@dataclass(frozen=True)
class Request:
    """One request and its answer, as whoever served it saw them."""

    id: str
    """Its own: the same request tried again is the same."""
    time_s: float
    """When it came, in Unix time."""
    model: str
    version: int
    text: str
    answer: str = ""
    outcome: str = ANSWERED
    """`answered`, or in a word why not."""
    latency_s: float | None = None
    tokens: float | None = None
    bits_per_byte: float | None = None
    """The model's own, of the request's text."""
    arm: str = ""
    """Of a rollout: which of its versions this was for."""
    embedding: Sequence[float] | None = None
    """The model's own, if it gives one; otherwise trigrams of the text are hashed."""
    embedding_kind: str = field(default="")
    """Says of which model and layer `embedding` is: those of different kinds are never compared."""


@dataclass(frozen=True)
class Label:
    """What became known later of an answer: how bad it was."""

    request_id: str
    request_time_s: float
    model: str
    time_s: float
    """When it became known. A label of the same request and kind that comes later replaces this."""
    value: float
    """A loss: lower is better. Bits per byte, unless `kind` says otherwise."""
    kind: str = "bits_per_byte"


def day_of(time_s: float) -> datetime.date:
    """In UTC."""
    return moment(time_s).date()


def moment(time_s: float) -> datetime.datetime:
    try:
        return datetime.datetime.fromtimestamp(time_s, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        raise ArgumentError(f"time {time_s!r}: expected Unix seconds") from None


def request_row(request: Request, *, rate: float, draw: float, redact: Callable[[str], str] | None) -> dict[str, Any]:
    """The row of a request. `redact` is what texts go through if they may be kept; None if they may not."""
    seen = features.features(request.text)
    embedding, kind = request.embedding, request.embedding_kind or "model"
    if embedding is None:
        embedding, kind = features.embedding(request.text).tolist(), features.EMBEDDING
    return {
        "request_id": str(request.id),
        "time": moment(request.time_s),
        "day": day_of(request.time_s),
        "model": str(request.model),
        "version": int(request.version),
        "sampling_rate": rate,
        "draw": draw,
        "outcome": str(request.outcome),
        "arm": str(request.arm),
        **{
            name: None if value is None or math.isnan(value) else float(value)
            for name, value in (
                ("latency_s", request.latency_s),
                ("tokens", request.tokens),
                ("bits_per_byte", request.bits_per_byte),
            )
        },
        "answer_bytes": math.log1p(len(request.answer.encode(errors="replace"))),
        **seen._asdict(),
        "embedding": [float(x) for x in embedding],
        "embedding_kind": kind,
        "text": redact(request.text) if redact else None,
        "answer": redact(request.answer) if redact else None,
    }


def label_row(label: Label) -> dict[str, Any]:
    if not math.isfinite(label.value):
        raise ArgumentError(f"label of request {label.request_id!r}: value {label.value!r}: expected a finite number")
    return {
        "request_id": label.request_id,
        "request_time": moment(label.request_time_s),
        "day": day_of(label.request_time_s),
        "model": label.model,
        "time": moment(label.time_s),
        "kind": label.kind,
        "value": label.value,
    }


class Rows:
    """Columns of equal length by name. Numbers are float64 with NaN for none, times Unix seconds, the rest objects."""

    def __init__(self, columns: Mapping[str, np.ndarray]) -> None:
        self.columns = dict(columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def select(self, which: np.ndarray) -> Rows:
        """By a mask or by indices."""
        return Rows({name: values[which] for name, values in self.columns.items()})

    def thinned(self) -> Rows:
        """As if all had been sampled at the lowest rate among them.

        Whether a request is logged depends on its draw alone, so those that a lower rate would have kept are among
        those that a higher one did.
        """
        if not len(self):
            return self
        rate = self["sampling_rate"].min()
        kept = self.select(self["draw"] < rate)
        return Rows({**kept.columns, "sampling_rate": np.full(len(kept), rate)})

    def embeddings(self, kind: str) -> np.ndarray:
        """(rows of that kind, dimensions)."""
        found = [
            e for e, k in zip(self["embedding"], self["embedding_kind"], strict=True) if k == kind and e is not None
        ]
        # Of another length is another embedding, whatever it is called.
        usual = Counter(map(len, found)).most_common(1)[0][0] if found else 0
        return np.array([e for e in found if len(e) == usual], np.float32).reshape(-1, usual)


def empty(columns: Sequence[Column]) -> Rows:
    return Rows({c.name: np.empty(0, float if numeric(c) else object) for c in columns})


def numeric(column: Column) -> bool:
    return column.type in ("long", "double", "timestamptz")
