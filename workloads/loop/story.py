"""What the events of a run come to: the one thing that both the live view and the page draw."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from workloads.loop.events import Event

WAITING, RUNNING, DONE, FAILED, STOPPED = "waiting", "running", "done", "failed", "stopped"


@dataclass
class Stage:
    name: str
    title: str
    state: str = WAITING
    began: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    says: str = ""
    log: str = ""


@dataclass
class Story:
    """Lists are in the order of time; everything else is as it is after the last event."""

    began: float = 0.0
    now: float = 0.0
    state: str = WAITING
    says: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=dict)
    told: dict[str, list[Event]] = field(default_factory=dict)
    """Events by their kind."""

    def take(self, event: Event) -> None:
        """One event more. What it does not know, it keeps: a page may be drawn by an older program."""
        kind = event["kind"]
        self.now = max(self.now, event["at"])
        self.told.setdefault(kind, []).append(event)
        if kind == "run":
            self.state, self.says = event["state"], event.get("says", "")
            if event["state"] == RUNNING:
                self.began = event["at"]
                self.settings, self.machine = event["settings"], event["machine"]
                self.stages = {name: Stage(name, title) for name, title in event["stages"]}
        elif kind == "stage":
            stage = self.stages.setdefault(event["stage"], Stage(event["stage"], event["stage"]))
            stage.state, stage.says = event["state"], event.get("says", stage.says)
            if event["state"] == RUNNING:
                stage.began = event["at"]
            else:
                stage.seconds, stage.cpu_seconds = event["seconds"], event["cpu_seconds"]
                stage.log = event.get("log", "")
        elif kind == "say" and event["stage"] in self.stages:
            self.stages[event["stage"]].says = event["text"]
        elif kind in ("trigger", "decision") and self.running:
            self.running.says = event["says"]

    def of(self, kind: str) -> list[Event]:
        return self.told.get(kind, [])

    def last(self, kind: str) -> Event | None:
        """The newest event of a kind."""
        return self.told[kind][-1] if kind in self.told else None

    @property
    def seconds(self) -> float:
        return self.now - self.began

    @property
    def running(self) -> Stage | None:
        return next((stage for stage in self.stages.values() if stage.state == RUNNING), None)


def story(events: Iterable[Event]) -> Story:
    told = Story()
    for event in events:
        told.take(event)
    return told
