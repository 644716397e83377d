"""The files that TensorFlow Serving is configured by, in protobuf's text format.

Fields: tensorflow/serving 2.20.0, tensorflow_serving/config/{model_server_config,monitoring_config}.proto, and
servables/tensorflow/session_bundle_config.proto (BatchingParameters).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DIRECTORY = "/etc/tensorflow-serving"
MODELS, MONITORING, BATCHING = "models.config", "monitoring.config", "batching.config"
METRICS_PATH = "/monitoring/prometheus/metrics"


@dataclass(frozen=True)
class SavedModel:
    """A model, with the versions that are served side by side."""

    name: str
    versions: tuple[int, ...]
    labels: Mapping[str, int]
    """Names that requests may use for versions, such as `stable`."""


def model_config(models: Sequence[SavedModel], repository: str) -> str:
    """A ModelServerConfig: just these versions, and not the newest that happens to lie there."""
    return _message("model_config_list", [_model(model, repository) for model in models])


def monitoring_config() -> str:
    """A MonitoringConfig: metrics for Prometheus, on the REST port."""
    return _message("prometheus_config", ["enable: true", f"path: {_text(METRICS_PATH)}"])


def batching_parameters(
    max_batch_size: int,
    batch_timeout_ms: float,
    max_enqueued_batches: int,
    num_batch_threads: int,
    allowed_batch_sizes: Sequence[int],
) -> str:
    """BatchingParameters, which hold for all models of a server together."""
    values = {
        "max_batch_size": max_batch_size,
        "batch_timeout_micros": round(batch_timeout_ms * 1000),
        "max_enqueued_batches": max_enqueued_batches,
        "num_batch_threads": num_batch_threads,
    }
    lines = [f"{name} {{ value: {value} }}" for name, value in values.items()]
    return "".join(f"{line}\n" for line in (*lines, *(f"allowed_batch_sizes: {size}" for size in allowed_batch_sizes)))


def _model(model: SavedModel, repository: str) -> str:
    versions = _message("specific", [f"versions: {version}" for version in model.versions])
    labels = [
        _message("version_labels", [f"key: {_text(label)}", f"value: {version}"])
        for label, version in sorted(model.labels.items())
    ]
    return _message(
        "config",
        [
            f"name: {_text(model.name)}",
            f"base_path: {_text(f'{repository}/{model.name}')}",
            'model_platform: "tensorflow"',
            _message("model_version_policy", [versions]),
            *labels,
        ],
    )


def _message(name: str, content: Sequence[str]) -> str:
    lines = [f"  {line}" for part in content for line in part.splitlines()]
    return "\n".join([f"{name} {{", *lines, "}"]) + "\n"


def _text(value: str) -> str:
    # Names and labels have neither quotes nor backslashes (server_arguments, tensorflow_arguments).
    return f'"{value}"'
