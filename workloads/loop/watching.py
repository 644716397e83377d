"""Looks at the logged requests as monitoring does in a cluster every hour, only that a window is seconds long."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workloads.loop.events import Log
from workloads.loop.settings import MODEL, Settings
from workloads.monitoring.baseline import BaselinePolicy, Window
from workloads.monitoring.files import read_json, write_json
from workloads.monitoring.lakehouse import Lake
from workloads.monitoring.policy import WatchPolicy
from workloads.monitoring.report import Report
from workloads.monitoring.trigger import RetrainPolicy, State, ended
from workloads.monitoring.watch import Hook, watch

FLUSH_S, LATE_S = 4.0, 6.5
"""How long a request waits to be written to the lake, and until it is surely there."""


def lake_properties(directory: Path, warehouse: str, endpoint: str) -> dict[str, str]:
    """pyiceberg's, of tables in the bucket and a catalog in SQLite."""
    directory.mkdir(parents=True, exist_ok=True)
    return {
        "type": "sql",
        "uri": f"sqlite:///{directory}/catalog.db",
        "warehouse": warehouse,
        "s3.endpoint": endpoint,
        "s3.region": "us-east-1",
        "s3.access-key-id": "local",
        "s3.secret-access-key": "local",
    }


def policy(settings: Settings) -> WatchPolicy:
    """Monitoring's own, with seconds for hours."""
    return WatchPolicy(
        window_s=settings.window_s,
        label_wait_s=settings.window_s,
        # A day of this world is no longer than the loop: there is no season to go by.
        baseline=BaselinePolicy(reference_s=45.0, gap_s=settings.shift_s, seasons_s=(), least_rows=100),
        retrain=RetrainPolicy(
            tolerated_loss=0.15,
            least_rows=100,
            cooldown_s=600.0,
            usd_a_month=1.0,
            usd_a_run=0.01,
            least_new_bytes=10_000,
        ),
    )


class Watching:
    """One model's traffic, looked at again and again."""

    def __init__(
        self,
        settings: Settings,
        log: Log,
        properties: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings, self._log, self._clock, self._sleep = settings, log, clock, sleep
        self._lake, self._policy = Lake(properties), policy(settings)
        self._state = settings.output / "monitoring/state.json"
        self._reports = settings.output / "monitoring/reports"

    def look(self, hook: Hook | None = None) -> Report:
        """Judge the newest window that is surely logged, and tell what was found."""
        end = self._clock() - LATE_S
        window = Window(end - self._policy.window_s, end)
        report = watch(
            self._lake, self._policy, MODEL, window, end, state_file=self._state, output=self._reports, hook=hook
        )
        self._tell(report.as_json(), report.decision.fire)
        return report

    def until(self, seconds: float, wanted: Callable[[Report], bool], every_s: float) -> Report | None:
        """Look every so often until a report is what is wanted; None if none was within `seconds`."""
        deadline = self._clock() + seconds
        while True:
            report = self.look()
            if wanted(report):
                return report
            if self._clock() + every_s > deadline:
                return None
            self._sleep(every_s)

    def ended(self, cost_usd: float) -> None:
        """The run that was started has ended."""
        found = State.from_json(read_json(self._state))
        write_json(self._state, ended(self._policy.retrain, found, cost_usd).as_json())

    def _tell(self, found: dict[str, Any], fired: bool) -> None:
        decision = found["decision"]
        rows = [
            {"column": column["column"], "effects": column["effects"], "q": column["q"], "drifted": column["drifted"]}
            for column in found["drift"]
            if not column.get("skipped")
        ]
        own = found["own"]
        means = [own[side]["mean"] for side in ("reference", "current")]
        evidence = decision["evidence"]
        self._log.add(
            "drift", rows=rows, drifted=found["drifted"], own=means,
            says=f"{evidence['rows']} requests against {evidence['baseline_rows']} before",
        )  # fmt: skip
        self._log.add("trigger", fired=fired, reason=decision["reason"], says=decision["explanation"])
