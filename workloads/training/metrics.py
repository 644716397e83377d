"""What a run tells: metrics.jsonl, Prometheus, OpenTelemetry and MLflow as sinks behind one Recorder."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from workloads.telemetry.errors import TelemetryError
from workloads.telemetry.metrics import Metric, Metrics
from workloads.training.config import Config, Tracking
from workloads.training.errors import ConfigError, on_disk
from workloads.training.tracking import MLflow

HELP = {
    "step": "optimizer steps so far",
    "time": "when the step ended, in Unix time",
    "loss": "mean cross entropy of the step's tokens, in nats",
    "learning_rate": "learning rate of the step",
    "gradient_norm": "length of the gradient before clipping",
    "step_seconds": "the whole step",
    "data_wait_seconds": "waiting for the step's tokens",
    "compute_seconds": "forward and backward",
    "update_seconds": "clipping and the optimizer",
    "checkpoint_stall_seconds": "waiting for a checkpoint's copy of the state, or starting it",
    "checkpoint_age_seconds": "since the newest checkpoint that is whole, or since the process began: work at risk",
    "tokens_per_second": "tokens of all processes",
    "model_flops_utilization": "operations that the model needs, of those that the devices could do",
    "goodput": "seconds of steps that count, of the seconds since the run was first started",
    "tokens": "tokens learnt from so far",
    "bad_losses": "steps left out, or gone back, because of their loss",
    "gpu_memory_bytes": "most that torch has held on this process's GPU",
    "held_out_loss": "mean cross entropy of held-out tokens, in nats",
    "held_out_bits_per_byte": "bits that the model needs for a byte of held-out text",
}
"""Every metric, by its name in metrics.jsonl; outside it is called `training_<name>`."""
METRICS = {f"training_{name}": Metric(help) for name, help in HELP.items()}


class Sink(Protocol):
    def record(self, values: Mapping[str, float]) -> None:
        """Take the metrics of a step, or of an evaluation after it."""

    def back(self, step: int) -> None:
        """The run has gone back to `step` and goes on from there."""

    def close(self) -> None: ...


class JsonLines:
    """Appends an object a line. Raises DiskError."""

    def __init__(self, path: Path, step: int) -> None:
        """Of a run that continues after `step`: what was written of later ones is dropped, each is there once."""
        self.path = path
        self._continue(step)

    def _continue(self, step: int) -> None:
        with on_disk(self.path):
            kept = [line for line in _lines(self.path) if json.loads(line)["step"] <= step]
            new = self.path.with_suffix(".new")
            new.write_text("".join(kept), encoding="utf-8")
            os.replace(new, self.path)
            self._file = self.path.open("a", encoding="utf-8", buffering=1)

    def back(self, step: int) -> None:
        self.close()
        self._continue(step)

    def record(self, values: Mapping[str, float]) -> None:
        with on_disk(self.path):
            self._file.write(json.dumps(values) + "\n")

    def close(self) -> None:
        with on_disk(self.path):
            self._file.close()


def _lines(path: Path) -> Iterator[str]:
    """Whole lines; a run that was killed may have left half a one at the end."""
    if path.exists():
        with path.open(encoding="utf-8") as file:
            yield from (line for line in file if line.endswith("\n"))


class Prometheus:
    """Serves the newest values at http://0.0.0.0:PORT/metrics."""

    def __init__(self, port: int) -> None:
        try:
            self._metrics = Metrics(METRICS)
            self._served = self._metrics.serve(port)
        except TelemetryError as error:
            raise ConfigError(f"tracking.prometheus_port: {error}") from error

    def record(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._metrics[f"training_{name}"].set(value)

    def back(self, step: int) -> None:
        """Whoever reads sees it."""

    def close(self) -> None:
        self._served.close()


class OpenTelemetry:
    """Gauges through the OTLP exporter over HTTP, to where OTEL_EXPORTER_OTLP_ENDPOINT says."""

    def __init__(self, name: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
            from opentelemetry.sdk.resources import Resource
        except ModuleNotFoundError as error:
            raise ConfigError(
                "tracking.opentelemetry: needs the package opentelemetry-exporter-otlp-proto-http"
            ) from error
        self._provider = MeterProvider(
            [PeriodicExportingMetricReader(OTLPMetricExporter())], Resource.create({"service.name": f"training-{name}"})
        )
        meter = self._provider.get_meter("workloads.training")
        self._gauges = {name: meter.create_gauge(f"training.{name}", description=help) for name, help in HELP.items()}

    def record(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._gauges[name].set(value)

    def back(self, step: int) -> None:
        """Whoever reads sees it."""

    def close(self) -> None:
        # A collector that is away has had its time: a node that is taken away has little.
        self._provider.shutdown(timeout_millis=5000)


class Recorder:
    """Hands each record to all sinks; `sinks` is empty in processes that do not speak for the run."""

    def __init__(self, sinks: Sequence[Sink] = ()) -> None:
        self.sinks = list(sinks)

    def record(self, step: int, values: Mapping[str, float]) -> None:
        for sink in self.sinks:
            sink.record({"step": step, **values})

    def back(self, step: int) -> None:
        for sink in self.sinks:
            sink.back(step)

    def close(self) -> None:
        """Once; later calls do nothing."""
        sinks, self.sinks = self.sinks, []
        with contextlib.ExitStack() as stack:
            for sink in sinks:
                stack.callback(sink.close)


def sinks(config: Config, output: Path, step: int) -> list[Sink]:
    """Those that the configuration asks for, of a run that continues after `step`. Raises ConfigError, DiskError."""
    tracking: Tracking = config.tracking
    made: list[Sink] = [JsonLines(output / "metrics.jsonl", step)]
    if tracking.prometheus_port:
        made.append(Prometheus(tracking.prometheus_port))
    if tracking.opentelemetry:
        made.append(OpenTelemetry(config.name))
    if tracking.mlflow:
        made.append(MLflow(config, output))
    return made
