"""What a window is compared with: requests of the same part of the week, earlier.

Traffic at four in the morning is not that of noon, and Sunday's is not Monday's; compared with all of the past, every
night would be a drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workloads.monitoring.errors import ArgumentError
from workloads.monitoring.tables import Rows

HOUR_S, DAY_S, WEEK_S = 3600.0, 86400.0, 604800.0


@dataclass(frozen=True)
class Window:
    """From `start_s` to before `end_s`, in Unix time."""

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if not self.start_s < self.end_s:
            raise ArgumentError(f"window from {self.start_s} to {self.end_s}: expected an end after the start")

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s

    def contains(self, time_s: np.ndarray) -> np.ndarray:
        return (time_s >= self.start_s) & (time_s < self.end_s)


@dataclass(frozen=True)
class BaselinePolicy:
    """How far back a baseline reaches, and when it is large enough."""

    reference_s: float = 4 * WEEK_S
    gap_s: float = 0.0
    """Between the baseline's end and the window: what drifts slowly must not be its own baseline."""
    seasons_s: tuple[float, ...] = (WEEK_S, DAY_S)
    """Periods in which traffic repeats, the one that tells most first."""
    least_rows: int = 500
    least_periods: int = 2
    """Of a season, in which the baseline must have rows: one Monday is no pattern."""

    def __post_init__(self) -> None:
        if self.reference_s <= 0 or self.gap_s < 0:
            raise ArgumentError("reference_s: expected above 0, gap_s from 0")
        if any(season <= 0 for season in self.seasons_s):
            raise ArgumentError(f"seasons_s {self.seasons_s}: expected periods above 0")

    def reference(self, window: Window) -> Window:
        end = window.start_s - self.gap_s
        return Window(end - self.reference_s, end)


@dataclass(frozen=True)
class Baseline:
    rows: Rows
    season_s: float | None
    """The period by which rows were chosen; None if all of the reference period is taken."""
    warnings: tuple[str, ...] = ()


def baseline(policy: BaselinePolicy, reference: Rows, window: Window) -> Baseline:
    """Of rows of the reference period those at the window's place in the longest season that has enough of them.

    Falls back to shorter seasons, then to all, and says so in `warnings`.
    """
    within = reference.select(policy.reference(window).contains(reference["time"]))
    warnings: list[str] = []
    for season in policy.seasons_s:
        if window.length_s >= season:
            continue  # the window has all of it
        same = same_part(within["time"], window, season)
        periods = len(np.unique((within["time"][same] - window.start_s) // season))
        rows = int(same.sum())
        if rows >= policy.least_rows and periods >= policy.least_periods:
            return Baseline(within.select(same), season, tuple(warnings))
        warnings.append(
            f"only {rows} requests in {periods} earlier periods of {_words(season)} at this time, fewer than "
            f"{policy.least_rows} in {policy.least_periods}: not compared with those"
        )
    if len(within) < policy.least_rows:
        warnings.append(f"only {len(within)} requests in the reference period, fewer than {policy.least_rows}")
    return Baseline(within, None, tuple(warnings))


def same_part(time_s: np.ndarray, window: Window, season_s: float) -> np.ndarray:
    """Whether times are at the window's place in a period."""
    return (time_s - window.start_s) % season_s < window.length_s


def windows(start_s: float, end_s: float, length_s: float) -> Sequence[Window]:
    """Whole windows that fit, aligned so that they are the same whenever they are asked for."""
    if not length_s > 0:
        raise ArgumentError(f"length_s {length_s!r}: expected above 0")
    first, last = -(-start_s // length_s), end_s // length_s
    return [Window(i * length_s, (i + 1) * length_s) for i in range(int(first), int(last))]


def _words(seconds: float) -> str:
    for unit, name in ((WEEK_S, "week"), (DAY_S, "day"), (HOUR_S, "hour")):
        if seconds >= unit:
            count = seconds / unit
            return f"a {name}" if count == 1 else f"{count:g} {name}s"
    return f"{seconds:g} s"
