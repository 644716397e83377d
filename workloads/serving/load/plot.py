"""Draws a load test: how latency went over time, and how it is spread. matplotlib is imported only here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workloads.serving.errors import ArgumentError, on_disk
from workloads.serving.load.run import Outcome

_BLUE, _RED, _GREY = "#2563eb", "#dc2626", "#6b7280"
FORMATS = (".png", ".svg", ".pdf")


def check(path: Path) -> None:
    """Before the test is run rather than after: whether it can be drawn there."""
    if path.suffix not in FORMATS:
        raise ArgumentError(f"--plot {path}: expected a name that ends in {', '.join(FORMATS)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ArgumentError("--plot: matplotlib is not installed; expected the extra `serving`") from None


def plot(outcomes: Sequence[Outcome], path: Path, title: str, objective_s: float | None = None) -> None:
    """Write a picture of three parts: latency over time, its percentiles, and rates over time."""
    from matplotlib.figure import Figure  # without pyplot: no display and no global state

    figure = Figure(figsize=(10, 9), layout="constrained")
    over_time, spread, rates = figure.subplots(3, 1)
    figure.suptitle(title)
    answered = [outcome for outcome in outcomes if outcome.answered]
    failed = [outcome for outcome in outcomes if not outcome.answered]
    milliseconds = [1e3 * outcome.latency_s for outcome in answered]

    over_time.scatter([o.due_s for o in answered], milliseconds, s=4, color=_BLUE, alpha=0.5, label="answered")
    if failed:
        spent = [1e3 * (o.end_s - o.due_s) for o in failed]
        over_time.scatter([o.due_s for o in failed], spent, s=16, color=_RED, marker="x", label="failed")
    over_time.set(
        xlabel="due, seconds", ylabel="latency, ms", yscale="log" if any(m > 0 for m in milliseconds) else "linear"
    )
    over_time.legend(loc="upper right")

    # As many nines to the right as there were requests to tell them by; those that failed never come.
    share = np.arange(1, len(answered) + 1) / max(len(outcomes), 1)
    nines = -np.log10(np.maximum(1 - share, 1 / (2 * max(len(outcomes), 1))))
    spread.step(nines, sorted(milliseconds), where="post", color=_BLUE)
    ticks = [q for q in (0.5, 0.9, 0.99, 0.999, 0.9999) if 1 / (1 - q) <= max(len(outcomes), 2)]
    spread.set_xticks([-math.log10(1 - q) for q in ticks], [f"p{100 * q:g}" for q in ticks])
    spread.set(xlabel="share of all requests", ylabel="latency, ms")

    end = max((o.end_s for o in outcomes), default=1.0)
    bins = np.linspace(0, max(end, 1e-3), 61)
    width = bins[1] - bins[0]
    for name, times, color in (
        ("due", [o.due_s for o in outcomes], _GREY),
        ("answered", [o.end_s for o in answered], _BLUE),
        ("failed", [o.end_s for o in failed], _RED),
    ):
        if times:
            rates.stairs(np.histogram(times, bins)[0] / width, bins, color=color, label=name)
    rates.set(xlabel="seconds", ylabel="a second", ylim=(0, None))
    rates.legend(loc="upper right")
    if objective_s is not None:
        for axes in (over_time, spread):
            axes.axhline(1e3 * objective_s, color=_RED, linewidth=1, linestyle="--")
    with on_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
