"""MLflow: one run across restarts, told in the background, and at the end a registered model.

A tracking server that is slow or away costs training nothing: it is warned of once, and told later what it has missed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from workloads.data.manifest import Manifest
from workloads.data.tokenizer import BPE_FILE, Tokenizer
from workloads.training import checkpoint
from workloads.training.config import Config
from workloads.training.errors import ConfigError, TrainingError, on_disk

log = logging.getLogger(__name__)

RETRY_S = 30.0
"""Until a server that did not answer is asked again."""
CLOSE_S = 10.0
"""Most that is waited for it when the run leaves: a node that is taken away has no more to give."""
MOST = 10_000
"""Steps kept for a server that is away; metrics.jsonl has all of them."""
OPEN_S = 60.0
"""Most that is waited for it before a model is registered: of a database, MLflow itself would wait for an hour."""
A_REQUEST = 1000
"""Metrics that MLflow takes at once."""
ROOT = Path(__file__).parents[2]


class Run:
    """The run in MLflow, made on first use and found again by `mlflow.json` in the output directory.

    Every method may raise whatever MLflow, its store or the network raises.
    """

    def __init__(self, config: Config, output: Path) -> None:
        if importlib.util.find_spec("mlflow") is None:
            raise ConfigError("tracking.mlflow: needs the package mlflow")
        self._config, self._known = config, output / "mlflow.json"
        self._client: Any = None
        self.id = ""

    @property
    def client(self) -> Any:
        self.open()
        return self._client

    def open(self) -> None:
        if self.id:
            return
        # Its own are made for people who wait: minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        # Takes seconds, and is done while the first steps are.
        import mlflow

        tracking = self._config.tracking
        client = mlflow.MlflowClient(tracking.mlflow, tracking.mlflow)
        if run := self.known.get("run"):
            client.update_run(run, status="RUNNING")
        else:
            found = client.get_experiment_by_name(tracking.experiment)
            experiment = found.experiment_id if found else client.create_experiment(tracking.experiment, self._place())
            run = client.create_run(experiment, run_name=self._config.name).info.run_id
            self.note(run=run)
            parameters = [mlflow.entities.Param(name, str(value)) for name, value in flat(self._config.to_json())]
            client.log_batch(run, params=parameters)
        self._client, self.id = client, run

    def _place(self) -> str | None:
        """Of artifacts: beside a database that is a file, and not where somebody happens to be."""
        kind, _, path = self._config.tracking.mlflow.partition(":///")
        return (Path(path).absolute().parent / "mlruns").as_uri() if kind == "sqlite" else None

    @property
    def known(self) -> dict[str, Any]:
        """What is known of the run at this server."""
        if not self._known.exists():
            return {}
        known = json.loads(self._known.read_text(encoding="utf-8"))
        return known if known["uri"] == self._config.tracking.mlflow else {}

    def note(self, **facts: Any) -> None:
        new = self._known.with_suffix(".new")
        with on_disk(new):
            known = {**self.known, "uri": self._config.tracking.mlflow, **facts}
            new.write_text(json.dumps(known), encoding="utf-8")
            os.replace(new, self._known)

    def metrics(self, records: list[Mapping[str, float]]) -> None:
        client = self.client
        from mlflow.entities import Metric

        found = [
            Metric(name, float(value), int(1000 * record["time"]), int(record["step"]))
            for record in records
            for name, value in record.items()
            if name not in ("time", "step")
        ]
        for first in range(0, len(found), A_REQUEST):
            client.log_batch(self.id, found[first : first + A_REQUEST])

    def pause(self) -> None:
        """It has been left before its end, and will be continued."""
        self.client.update_run(self.id, status="SCHEDULED")


def flat(found: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names, as they are on the command line."""
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


class MLflow:
    """A sink of metrics; see metrics.Sink."""

    def __init__(self, config: Config, output: Path, warn: Callable[[str], None] = log.warning) -> None:
        self._run, self._warn = Run(config, output), warn
        self._uri = config.tracking.mlflow
        self._waiting: list[Mapping[str, float]] = []
        self._changed, self._closing = threading.Condition(), False
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def record(self, values: Mapping[str, float]) -> None:
        with self._changed:
            self._waiting.append(values)
            del self._waiting[:-MOST]
            self._changed.notify_all()

    def back(self, step: int) -> None:
        """MLflow keeps both values of a step, with their times."""

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self._warn(
                f"tracking.mlflow: {self._uri} has not answered within {CLOSE_S:g} s; metrics.jsonl has all of it"
            )

    def _work(self) -> None:
        warned = False
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                records, self._waiting = self._waiting, []
            try:
                if records:
                    self._run.metrics(records)
                    continue
                self._run.pause()
                return
            except Exception as error:  # noqa: BLE001 whatever it is, training goes on
                if not warned:
                    self._warn(
                        f"tracking.mlflow: {self._uri}: {_short(error)}; training goes on, and it is tried again"
                    )
                warned = True
            with self._changed:
                self._waiting = (records + self._waiting)[-MOST:]
                if self._closing:
                    return
                self._changed.wait_for(lambda: self._closing, RETRY_S)


def publish(config: Config, output: Path, data: Manifest, tokenizer: Tokenizer, say: Callable[[str], None]) -> None:
    """At the end of a run: its artifacts, and a version of the registered model. Once, also if it is called again.

    What goes wrong is told and nothing else: the model is in the run's checkpoints.
    """
    run, tracking = Run(config, output), config.tracking
    try:
        figures = _last(output / "metrics.jsonl")
        if run.known.get("published") == figures.get("step"):
            return
        _within(OPEN_S, run.open)
        with tempfile.TemporaryDirectory(dir=output, prefix=".mlflow-") as place:
            model = Path(place) / "model"
            model.mkdir()
            checkpoint.export(output / "checkpoints", model / "model.safetensors")
            about, merges = tokenizer.file()
            (model / "config.json").write_text(json.dumps({**config.to_json(), "tokenizer": vars(about)}, indent=1))
            # Bytes have no merges.
            (model / BPE_FILE).write_bytes(merges or json.dumps(vars(about)).encode())
            run.client.log_artifacts(run.id, str(model), "model")
        run.client.log_artifact(run.id, str(output / "metrics.jsonl"))
        name = tracking.registered_model or config.name
        version = _register(run, name, {**_tags(config, data), **figures})
        run.client.set_terminated(run.id, "FINISHED")
        run.note(published=figures.get("step"))
    except Exception as error:  # noqa: BLE001 the run itself is done
        say(f"mlflow: {tracking.mlflow}: the model was not registered ({_short(error)}); the same command tries again")
    else:
        say(f"mlflow: registered as version {version} of {name}")


def _within(seconds: float, function: Callable[[], None]) -> None:
    """Raises what it raises, or TimeoutError."""
    raised: list[BaseException] = [TimeoutError(f"no answer within {seconds:g} s")]

    def call() -> None:
        try:
            function()
            raised.clear()
        except Exception as error:  # noqa: BLE001 it is raised by who waits
            raised[0] = error

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]


def _register(run: Run, name: str, tags: Mapping[str, Any]) -> str:
    from mlflow.exceptions import MlflowException

    try:
        run.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"{run.client.get_run(run.id).info.artifact_uri}/model"
    texts = {key: str(value) for key, value in tags.items()}
    return str(run.client.create_model_version(name, source, run.id, tags=texts).version)


def _tags(config: Config, data: Manifest) -> dict[str, str]:
    tags = {"data_fingerprint": data.fingerprint, "git_revision": revision(), "config": config.name}
    return {**tags, **({"lora_base": config.lora.base} if config.lora.rank else {})}


def _last(path: Path) -> dict[str, float]:
    """The figures of the last step, and of its evaluation."""
    with on_disk(path):
        lines = path.read_text(encoding="utf-8").splitlines()
    found = json.loads(lines[-1]) if lines else {}
    names = ("step", "tokens", "loss", "goodput", "held_out_loss", "held_out_bits_per_byte")
    return {name: found[name] for name in names if name in found}


def revision() -> str:
    """The program's: TRAINING_REVISION, which an image may set, or git's, with `-dirty` if it was changed since."""
    if found := os.environ.get("TRAINING_REVISION"):
        return found
    command = ["git", "-C", str(ROOT), "describe", "--always", "--exclude=*", "--dirty", "--abbrev=40"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
    return "unknown"


def _short(error: Exception) -> str:
    text = str(error) if isinstance(error, TrainingError) else f"{type(error).__name__}: {error}"
    return text.strip().splitlines()[0][:200]
