"""What Prometheus is told of the pipeline: read from the runs' own markers, so no step has to be there to be asked."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterable
from typing import Any

from workloads.pipelines.definition import RETRAIN, Pipeline
from workloads.pipelines.errors import ArgumentError, PipelineError
from workloads.pipelines.run import FILE, Run
from workloads.pipelines.status import FAILED, REGISTERED, REJECTED, UNFINISHED, Status, status
from workloads.pipelines.store import open_store

log = logging.getLogger(__name__)

HELP = {
    "pipeline_runs_total": "runs, by what they have come to",
    "pipeline_step_duration_seconds": "how long a step took in the run in which it was done last",
    "pipeline_step_cost_usd": "what that cost at the prices that the run was given",
    "pipeline_last_success_timestamp_seconds": "when a run last ended with a registered version, in Unix time",
}
"""Every metric."""
OUTCOMES = (REGISTERED, REJECTED, FAILED, UNFINISHED)
FINAL = (REGISTERED, REJECTED)
"""Nothing comes after these: such a run is read once."""


class Runs:
    """A collector of prometheus_client over all runs below a directory or URL."""

    def __init__(self, url: str, pipeline: Pipeline = RETRAIN, warn: Callable[[str], None] = log.warning) -> None:
        self.url, self.pipeline, self._warn = url.rstrip("/"), pipeline, warn
        self._store = open_store(self.url)
        self._known: dict[str, Status] = {}

    def statuses(self) -> list[Status]:
        """Of each run, in the order in which they began. One that cannot be read is warned of and left out."""
        found = []
        for name in self._store.children(""):
            if name not in self._known:
                if self._store.read(f"{name}/{FILE}") is None:
                    continue
                try:
                    one = status(Run.open(f"{self.url}/{name}", self.pipeline))
                except (PipelineError, ValueError, KeyError, TypeError) as error:
                    self._warn(f"{self.url}/{name}: left out: {error}")
                    continue
                if one.outcome in FINAL:
                    self._known[name] = one
                found.append(one)
            else:
                found.append(self._known[name])
        return sorted(found, key=lambda one: one.begun)

    def collect(self) -> Iterable[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        statuses, name = self.statuses(), self.pipeline.name
        runs = CounterMetricFamily("pipeline_runs", HELP["pipeline_runs_total"], labels=["pipeline", "outcome"])
        for outcome in OUTCOMES:
            runs.add_metric([name, outcome], sum(one.outcome == outcome for one in statuses))
        yield runs
        newest = {step: done for one in statuses for step, done in one.steps.items() if done}
        for metric, value in (
            ("pipeline_step_duration_seconds", lambda done: done.wall_s),
            ("pipeline_step_cost_usd", lambda done: done.cost_usd),
        ):
            family = GaugeMetricFamily(metric, HELP[metric], labels=["pipeline", "step"])
            for step, done in newest.items():
                family.add_metric([name, step], value(done))
            yield family
        last = "pipeline_last_success_timestamp_seconds"
        family = GaugeMetricFamily(last, HELP[last], labels=["pipeline"])
        if ends := [one.ended for one in statuses if one.outcome == REGISTERED and one.ended]:
            family.add_metric([name], max(ends))
        yield family


def serve(url: str, port: int) -> int:
    """Serve the metrics of all runs below `url` until SIGTERM or SIGINT."""
    import prometheus_client

    registry = prometheus_client.CollectorRegistry()
    registry.register(Runs(url))
    try:
        server, thread = prometheus_client.start_http_server(port, registry=registry)
    except OSError as error:
        raise ArgumentError(f"--port {port}: {error.strerror or error}") from None
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    print(f"http://0.0.0.0:{port}/metrics: runs at {url}", flush=True)
    stopped.wait()
    server.shutdown()
    thread.join()
    return 0
