"""The loop while it runs: a picture that renews itself in a terminal, plain lines anywhere else."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Mapping
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from workloads.loop import story as stories
from workloads.loop.charts import clock, sparkline
from workloads.loop.events import Event
from workloads.loop.story import Story

SIGNS = {
    stories.WAITING: ("·", "dim"),
    stories.RUNNING: ("▸", "bold cyan"),
    stories.DONE: ("✓", "green"),
    stories.FAILED: ("✗", "bold red"),
}
ARMS = {"champion": "blue", "candidate": "yellow"}
"""Colours."""
BAR = 40


class View:
    """Listens to a log. A context manager; what it shows last stays on the screen."""

    def __init__(self, out: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        self.story = Story()
        self._lock = threading.Lock()
        self._live: Live | None = None
        if self.out.isatty():
            # It asks for the picture by itself, so that seconds run on where nothing happens.
            self._live = Live(
                console=Console(file=self.out), refresh_per_second=4, get_renderable=self._picture, transient=False
            )

    def __enter__(self) -> View:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def take(self, event: Event) -> None:
        with self._lock:
            self.story.take(event)
        if not self._live:
            for line in plain(event, self.story):
                print(line, file=self.out, flush=True)

    def _picture(self) -> RenderableType:
        with self._lock:
            return picture(self.story)


def picture(story: Story) -> RenderableType:
    """Stages, traffic, and what is being decided."""
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(width=1)
    table.add_column(width=18, no_wrap=True)
    table.add_column(width=5, justify="right", no_wrap=True)
    table.add_column(ratio=1, overflow="ellipsis", no_wrap=True)
    for stage in story.stages.values():
        sign, style = SIGNS[stage.state]
        took = stage.seconds if stage.state != stories.RUNNING else story.now - stage.began
        table.add_row(
            Text(sign, style),
            Text(stage.title, style),
            Text(f"{took:.0f} s" if stage.state != stories.WAITING else "", "dim"),
            Text(stage.says, "" if stage.state == stories.RUNNING else "dim"),
        )
    head = Text.assemble(("The closed loop", "bold"), f"  {clock(story.seconds)}")
    return Group(head, Text(), table, Text(), *_traffic(story), *_decision(story))


def _traffic(story: Story) -> list[RenderableType]:
    traffic = story.last("traffic")
    if not traffic:
        return []
    rows: list[RenderableType] = []
    bad = traffic["failed"] + traffic["harmed"]
    line = Text.assemble(("traffic   ", "bold"), f"{traffic['asked']:,} requests, ")
    line.append(f"{traffic['failed']} failed", "red" if traffic["failed"] else "green")
    if bad:
        line.append(f", {traffic['harmed']} harmed by a bad candidate", "yellow")
    rows.append(line.append(f"; {traffic['prose']:.0%} of them English"))
    if weights := story.last("weights"):
        bar = Text.assemble(("weights   ", "bold"))
        for arm, share in _arms(weights["weights"]):
            bar.append("█" * round(share * BAR), ARMS.get(arm, "magenta"))
        bar.append("  " + ", ".join(f"{arm} {share:.0%}" for arm, share in _arms(weights["weights"])))
        rows.append(bar)
    recent = story.of("traffic")[-BAR:]
    shown = {
        arm: [event["arms"][arm]["bits"] if arm in event["arms"] else math.nan for event in recent] for arm in ARMS
    }
    bits = [value for values in shown.values() for value in values if value == value]
    for arm, values in shown.items():
        # Before it had requests at all, a candidate has no line.
        if any(value == value for value in values):
            last = [value for value in values if value == value][-1]
            rows.append(
                Text.assemble(
                    ("quality   ", "bold"), (sparkline(values, min(bits), max(bits)).ljust(BAR), ARMS[arm]),
                    f"  {arm} {last:.2f} bits per byte",
                )
            )  # fmt: skip
    return rows


def _arms(weights: Mapping[str, float]) -> list[tuple[str, float]]:
    return [(arm, weights[arm]) for arm in ARMS if arm in weights]


def _decision(story: Story) -> list[RenderableType]:
    newest = [event for kind in ("trigger", "decision", "outcome") if (event := story.last(kind))]
    if not newest:
        return []
    event = max(newest, key=lambda each: each["at"])
    return [Text.assemble(("decision  ", "bold"), headline(event))]


def headline(event: Event) -> str:
    """A trigger, a decision or an outcome in a line."""
    if event["kind"] == "trigger":
        return f"{'retrain' if event['fired'] else 'no retraining'}: {event['says']}"
    if event["kind"] == "outcome":
        return f"{event['rollout']}: {event['says']}"
    words = f"{event['rollout']}: {event['action']} ({event['reason']}): {event['says']}"
    tests = {name.replace("_", " "): one for name, one in event["guardrails"].items()}
    if alarm := [name for name, one in tests.items() if one["alarm"] >= 1]:
        return f"{words}; worse: {', '.join(alarm)}"
    if not any(one["proof"] for one in tests.values()):
        return words
    told = [
        f"{name} {'yes' if one['proven'] else format(max(0.0, one['proof']), '.0%')}" for name, one in tests.items()
    ]
    return f"{words}; proven no worse: {', '.join(told)}"


def _same(event: Event, story: Story) -> bool:
    """Whether the one before was decided alike, for the same reason."""
    alike = ("rollout", "action", "fired", "reason")
    before = story.of(event["kind"])[-2:-1]
    return any(all(event.get(name) == one.get(name) for name in alike) for one in before)


def plain(event: Event, story: Story) -> list[str]:
    """What a log says of an event; nothing of those that come every second."""
    at = clock(event["at"] - story.began) if story.began else "0:00"
    kind = event["kind"]
    if kind == "stage":
        stage = story.stages[event["stage"]]
        if event["state"] == stories.RUNNING:
            return [f"{at}  {stage.title}"]
        mark = "done" if event["state"] == stories.DONE else event["state"].upper()
        return [f"{at}  {stage.title}: {mark} in {event['seconds']:.1f} s: {stage.says}"]
    if kind == "say":
        return [f"{at}    {event['text']}"]
    if kind in ("trigger", "decision") and _same(event, story):
        return []
    if kind in ("trigger", "decision", "outcome"):
        return [f"{at}    {headline(event)}"]
    if kind == "weights":
        return [f"{at}    weights: " + ", ".join(f"{a} {w:.0%}" for a, w in _arms(event["weights"]))]
    if kind == "run" and event["state"] != stories.RUNNING:
        return [f"{at}  {event['state']}: {event.get('says', '')}"]
    return []
