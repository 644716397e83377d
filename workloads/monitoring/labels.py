"""Joins labels, which come late, twice or never, to the requests that they are of; says how complete that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from workloads.monitoring.baseline import Window
from workloads.monitoring.quality import Estimate, estimate
from workloads.monitoring.tables import Rows

UNALIKE = 0.2
"""Standard deviations: if labelled requests' own loss differs by more from the others', they are no sample of them."""


@dataclass(frozen=True)
class Labelled:
    """The measured loss of a version in a window."""

    version: int
    window: Window
    loss: Estimate
    requests: int
    """Of the version in the window, as far as they are logged."""
    in_time: int
    """Of those with a label that came within `wait_s` of the request."""
    late: int
    """With one that came later; they are not in `loss`, which so stays what it was when it was first told."""
    closed: bool
    """Whether no more labels in time can come."""
    warning: str = ""

    @property
    def completeness(self) -> float:
        return self.in_time / self.requests if self.requests else 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "start_s": self.window.start_s,
            "end_s": self.window.end_s,
            "loss": self.loss.as_json(),
            "requests": self.requests,
            "in_time": self.in_time,
            "late": self.late,
            "completeness": round(self.completeness, 4),
            "closed": self.closed,
            **({"warning": self.warning} if self.warning else {}),
        }


def joined(
    requests: Rows, labels: Rows, window: Window, *, wait_s: float, now_s: float, kind: str = "bits_per_byte"
) -> list[Labelled]:
    """By version, in order. Labels of other requests, of other kinds and of the future (after `now_s`) are left alone.

    Of several labels in time of one request the latest counts; a label that is there twice counts once. So it does not
    matter in which order, or how often, labels were written.
    """
    requests = requests.select(window.contains(requests["time"]))
    values, came = _matched(requests, labels, now_s, kind, wait_s)
    found = []
    for version in sorted(set(requests["version"].tolist())):
        of_version = requests["version"] == version
        in_time = of_version & np.isfinite(values)
        late = of_version & ~in_time & np.isfinite(came)
        loss = estimate(values[in_time], 1 / requests["sampling_rate"][in_time])
        found.append(
            Labelled(
                int(version),
                window,
                loss,
                int(of_version.sum()),
                int(in_time.sum()),
                int(late.sum()),
                now_s >= window.end_s + wait_s,
                _unalike(requests["bits_per_byte"], in_time, of_version & ~in_time),
            )
        )
    return found


def losses(requests: Rows, labels: Rows, *, wait_s: float, now_s: float, kind: str = "bits_per_byte") -> np.ndarray:
    """Of each request the loss that its label in time gives; NaN of those without."""
    return _matched(requests, labels, now_s, kind, wait_s)[0]


def _matched(requests: Rows, labels: Rows, now_s: float, kind: str, wait_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Of each request the value of its label in time, and when its first label came; NaN where there is none."""
    values, came = np.full(len(requests), np.nan), np.full(len(requests), np.nan)
    where = {request: i for i, request in enumerate(requests["request_id"].tolist())}
    known = labels.select((labels["kind"] == kind) & (labels["time"] <= now_s)) if len(labels) else labels
    # Equal times are told apart by value, so that the order in which they were written does not matter.
    for j in np.lexsort((known["value"], known["time"])):
        i = where.get(known["request_id"][j])
        if i is None:
            continue
        if not np.isfinite(came[i]):
            came[i] = known["time"][j]
        if known["time"][j] <= requests["time"][i] + wait_s:
            values[i] = known["value"][j]
    return values, came


def _unalike(own_loss: np.ndarray, labelled: np.ndarray, others: np.ndarray) -> str:
    """That labels come for easier or harder requests makes their mean another one."""
    known = np.isfinite(own_loss)
    some, rest = own_loss[labelled & known], own_loss[others & known]
    if min(len(some), len(rest)) < 30:
        return ""
    deviation = float(np.concatenate([some, rest]).std())
    apart = float(some.mean() - rest.mean())
    if abs(apart) <= UNALIKE * deviation:
        return ""
    return (
        f"requests with a label are {'harder' if apart > 0 else 'easier'} for the model than those without "
        f"({apart:+.2f} bits per byte of its own): their loss is not that of all"
    )
