"""MLflow and OpenTelemetry: what arrives there, and that training does without them when they are away."""

from __future__ import annotations

import functools
import json
import logging
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tests.collector import Collector
from tests.workloads.training.checkpointing import forked
from tests.workloads.training.small import command, make_data, metrics
from workloads.data.dataset import open_dataset
from workloads.data.tokenizer import BytePairTokenizer
from workloads.training import checkpoint, cli, run, tracking
from workloads.training.config import tiny
from workloads.training.metrics import HELP
from workloads.training.train import Trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"), ("json", "logging"))


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(run, "Checkpointer", functools.partial(checkpoint.Checkpointer, new_saver=forked))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cut(Exception):
    """As a power cut."""


@pytest.mark.slow
def test_mlflow_has_one_run_across_restarts_and_a_registered_model(data, tmp_path, monkeypatch, capsys):
    import mlflow

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    output, once = tmp_path / "run", {"training": {"steps": 8}, "checkpoint": {"every": 4}, "tracking": {"mlflow": uri}}
    monkeypatch.setenv("TRAINING_REVISION", "abc123")
    seed = Trainer._seed

    def cut(trainer, step):
        seed(trainer, step)
        if step == 6:
            raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_seed", cut)
        # Until the database is made, which takes seconds.
        patch.setattr(tracking, "CLOSE_S", 120.0)
        with pytest.raises(Cut):
            cli.main(command(data, output, **once))
    client = mlflow.MlflowClient(uri, uri)
    experiment = client.get_experiment_by_name("training").experiment_id
    assert [found.info.status for found in client.search_runs([experiment])] == ["SCHEDULED"]
    assert cli.main(command(data, output, **once)) == 0
    assert "mlflow: registered as version 1 of tiny" in capsys.readouterr().out

    (found,) = client.search_runs([experiment])
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "tiny"
    parameters = found.data.params
    assert parameters["training.steps"] == "8"
    assert parameters["optimizer.learning_rate"] == "0.003"
    assert parameters["model.vocabulary"] == "257"
    history = {m.step: m.value for m in client.get_metric_history(found.info.run_id, "loss")}
    lines = metrics(output)
    assert history == {line["step"]: line["loss"] for line in lines}
    assert found.data.metrics.keys() == lines[-1].keys() - {"step", "time"}

    version = client.get_model_version("tiny", "1")
    assert version.run_id == found.info.run_id
    assert version.tags["data_fingerprint"] == open_dataset(data / "train").fingerprint
    assert version.tags["git_revision"] == "abc123"
    assert float(version.tags["held_out_loss"]) == lines[-1]["held_out_loss"]
    assert version.tags["step"] == "8"
    place = mlflow.artifacts.download_artifacts(version.source, tracking_uri=uri, dst_path=str(tmp_path / "there"))
    checkpoint.export(output / "checkpoints", tmp_path / "here.safetensors")
    here, there = load_file(tmp_path / "here.safetensors"), load_file(f"{place}/model.safetensors")
    assert here.keys() == there.keys()
    assert all(here[name].equal(there[name]) for name in here)
    said = json.loads(Path(place, "config.json").read_text())
    assert (said["model"]["width"], said["tokenizer"]["kind"]) == (64, "bytes")
    assert {found.path for found in client.list_artifacts(found.info.run_id)} == {"model", "metrics.jsonl"}

    # The same command again has nothing to do, here neither.
    assert cli.main(command(data, output, **once)) == 0
    assert len(client.search_model_versions("name = 'tiny'")) == 1
    assert len(client.search_runs([experiment])) == 1


def test_a_tracking_server_that_is_away_stops_nothing(data, tmp_path, monkeypatch, capsys, caplog):
    uri = f"http://127.0.0.1:{closed_port()}"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(tracking, "RETRY_S", 0.05)
    begun = time.monotonic()
    with caplog.at_level(logging.WARNING, tracking.__name__):
        assert cli.main(command(data, tmp_path / "run", training={"steps": 12}, tracking={"mlflow": uri})) == 0
    assert time.monotonic() - begun < 60
    warned = [record.getMessage() for record in caplog.records if record.name == tracking.__name__]
    assert len(warned) == 1
    assert f"{uri}: " in warned[0]
    assert "training goes on" in warned[0]
    said = capsys.readouterr().out
    assert "done: 12 steps" in said
    assert f"mlflow: {uri}: the model was not registered (" in said
    assert [line["step"] for line in metrics(tmp_path / "run")] == list(range(1, 13))


def test_a_server_that_comes_back_is_told_all_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "RETRY_S", 0.01)
    told, fails, warned = [], [True, True], []

    class Run(tracking.Run):
        def metrics(self, records):
            if fails:
                fails.pop()
                raise ConnectionError("away")
            told.extend(record["step"] for record in records)

        def pause(self):
            told.append("paused")

    monkeypatch.setattr(tracking, "Run", Run)
    sink = tracking.MLflow(tiny(), tmp_path, warned.append)
    for step in range(20):
        sink.record({"step": step, "time": 0.0})
        time.sleep(0.003)
    sink.close()
    assert told == [*range(20), "paused"]
    assert len(warned) == 1


def test_the_tokenizer_of_a_registered_model_has_its_merges(data, tmp_path, monkeypatch):
    found = {}
    monkeypatch.setattr(checkpoint, "export", lambda _, path: path.write_bytes(b"weights"))
    monkeypatch.setattr(tracking, "_register", lambda *_: "1")

    class Run(tracking.Run):
        client = SimpleNamespace(
            log_artifacts=lambda _, place, __: found.update(merges=Path(place, "tokenizer.json").read_bytes()),
            log_artifact=lambda *_: None,
            set_terminated=lambda *_: None,
        )

        def open(self):
            pass

    monkeypatch.setattr(tracking, "Run", Run)
    (tmp_path / "metrics.jsonl").write_text('{"step": 3}\n')
    pairs, said = BytePairTokenizer([*(bytes([byte]) for byte in range(256)), b"th"]), []
    tracking.publish(tiny(), tmp_path, open_dataset(data / "train").manifest, pairs, said.append)
    assert said == ["mlflow: registered as version 1 of tiny"]
    assert found["merges"] == pairs.file()[1]


# ---- OpenTelemetry


def test_opentelemetry_sends_every_metric_of_a_run_and_each_step_as_a_trace(data, tmp_path, monkeypatch):
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        assert cli.main(command(data, tmp_path / "run", training={"steps": 3}, tracking={"opentelemetry": "true"})) == 0
    (resource,) = collector.metrics[-1].resource_metrics
    assert ("service.name", "training-tiny") in {(a.key, a.value.string_value) for a in resource.resource.attributes}
    points = {m.name: m.gauge.data_points[-1] for scope in resource.scope_metrics for m in scope.metrics}
    sent = {name: getattr(point, point.WhichOneof("value")) for name, point in points.items()}
    last = metrics(tmp_path / "run")[-1]
    assert sent == pytest.approx({f"training.{name}": value for name, value in last.items()})
    assert sent.keys() <= {f"training.{name}" for name in HELP}

    steps = [span for span in collector.spans if span.name == "training step"]
    assert [step.attributes["step"] for step in steps] == ["1", "2", "3"]
    assert {step.service for step in steps} == {"training-tiny"}
    for step, told in zip(steps, metrics(tmp_path / "run"), strict=True):
        phases = [span for span in collector.spans if span.parent == step.id]
        assert {"data", "compute", "update", "checkpoint", "logging"} <= {phase.name for phase in phases}
        assert all(phase.trace == step.trace for phase in phases)
        # What the metrics tell of a step is what its spans took, up to what making them takes.
        computing = sum(phase.seconds for phase in phases if phase.name == "compute")
        assert computing == pytest.approx(told["compute_seconds"], abs=0.05)


def test_a_collector_that_is_away_stops_nothing(data, tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    begun = time.monotonic()
    assert cli.main(command(data, tmp_path / "run", training={"steps": 3}, tracking={"opentelemetry": "true"})) == 0
    assert len(metrics(tmp_path / "run")) == 3
    assert time.monotonic() - begun < 60
