"""Metrics for Prometheus: each room declares all of its own in one table, and serves them from a registry of its own.

    METRICS = {"rollout_decisions_total": Metric("decisions, by what was decided", ("rollout", "action"), COUNTER)}
    metrics = Metrics(METRICS)
    metrics["rollout_decisions_total"].labels("mlp", "promote").inc()
    with metrics.serve(9100): ...

The tables are what dashboards and alerts may name: tests/components/test_metric_contract.py reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from workloads.telemetry.errors import TelemetryError

try:
    import prometheus_client as prometheus
except ModuleNotFoundError:  # what declares metrics, and tells nobody of them, does without
    prometheus = None  # type: ignore[assignment]

GAUGE, COUNTER, HISTOGRAM = "Gauge", "Counter", "Histogram"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of a histogram of seconds, from an answer out of a cache to one that a client gives up on."""


@dataclass(frozen=True)
class Metric:
    """One family. Its name has its unit: `_seconds`, `_bytes`, `_ratio`; of a counter `_total`."""

    help: str
    labels: tuple[str, ...] = ()
    kind: str = GAUGE
    buckets: tuple[float, ...] = SECONDS
    """Of a histogram."""


class Metrics:
    """The families of a table, by name; `registry` has them and nothing else, unless one is handed in."""

    def __init__(self, declared: Mapping[str, Metric], registry: Any = None) -> None:
        """Raises TelemetryError if prometheus-client is not there."""
        if prometheus is None:
            raise TelemetryError("metrics need the package prometheus-client")
        self.registry = prometheus.CollectorRegistry() if registry is None else registry
        self._families = {name: self._made(name, metric) for name, metric in declared.items()}

    def _made(self, name: str, metric: Metric) -> Any:
        options = {"buckets": metric.buckets} if metric.kind == HISTOGRAM else {}
        return getattr(prometheus, metric.kind)(name, metric.help, metric.labels, registry=self.registry, **options)

    def __getitem__(self, name: str) -> Any:
        """The family as prometheus_client has it."""
        return self._families[name]

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return prometheus.generate_latest(self.registry)

    def serve(self, port: int, address: str = "0.0.0.0") -> Served:
        """At http://ADDRESS:PORT/metrics from now on; port 0 takes a free one. Raises TelemetryError if it is taken."""
        try:
            server, thread = prometheus.start_http_server(port, address, registry=self.registry)
        except OSError as error:
            raise TelemetryError(f"{address}:{port}: {error.strerror or error}") from error
        return Served(server, thread)


class Served:
    """A server of metrics, until it is closed."""

    def __init__(self, server: Any, thread: Any) -> None:
        self._server, self._thread = server, thread
        self.port: int = server.server_port

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Served:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
