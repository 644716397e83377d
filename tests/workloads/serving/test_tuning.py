"""Holds the search to a real server: it measures what it says, leaves the best loaded, and gives back what it found."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workloads.serving import tuning
from workloads.serving.commands import tune as subcommand
from workloads.serving.errors import ArgumentError
from workloads.serving.fetch import fetch
from workloads.serving.manifest import ModelVersion
from workloads.serving.repository import read_config, write_version
from workloads.serving.serve import newest
from workloads.serving.simulator import Service
from workloads.serving.store import Repository
from workloads.serving.triton import Triton
from workloads.serving.tune import Configuration, Objective, Space, exhaustive, tune

# 10 ms a batch, whatever its size: batching is worth as many times as there are clients.
CONFIG = """
name: "steady"
backend: "python"
max_batch_size: 2
input [{ name: "x" data_type: TYPE_FP32 dims: [ 4 ] }]
output [{ name: "y" data_type: TYPE_FP32 dims: [ 4 ] }]
instance_group [{ kind: KIND_CPU count: 1 }]
dynamic_batching { }
"""
MODEL = """
import time
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        time.sleep(0.02)
        found = [pb.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb.InferenceResponse([pb.Tensor("y", x * 2)]) for x in found]
"""


@pytest.fixture
def steady(add_model: Callable[..., None]) -> str:
    add_model("steady", CONFIG, MODEL)
    return "steady"


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    subcommand.arguments(parser)
    return parser.parse_args(words)


def command_line(triton: Triton, *words: str) -> list[str]:
    headers = [f"--header={name}={value}" for name, value in triton.admin.items()]
    return ["--endpoint", f"http://{triton.http}", "--model", "steady", *headers, *words]


def loaded(triton: Triton) -> dict[str, Any]:
    return tuning.Admin(f"http://{triton.http}", {}).config("steady")


def test_the_best_that_was_measured_is_left_loaded(
    triton: Triton, steady: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--random-input", "x=float32:1,4", "--concurrency", "8", "--instances", "1", "--batch", "1,8"]
    words += ["--delay-us", "0", "--seconds", "1", "--share", "1", "--json", str(tmp_path / "best.json")]
    assert tuning.command(options(*command_line(triton, *words))) == 0
    found = json.loads((tmp_path / "best.json").read_text())
    assert found["max_batch_size"] == loaded(triton)["max_batch_size"] == 8
    shown = capsys.readouterr()
    assert "1 instance, batch 8" in shown.out
    assert "measured 2 of 2 configurations" in shown.out
    assert shown.err.count("tune: ") >= 3
    assert steady == "steady"


@pytest.fixture
def steady_repository(tmp_path: Path) -> Path:
    """A repository with one version of that model."""

    def fill(directory: Path) -> None:
        (directory / "model.py").write_text(MODEL)

    write_version(str(tmp_path / "repository"), "steady", read_config(CONFIG, "the test"), fill, {"a": 1})
    return tmp_path / "repository"


def test_what_is_found_on_a_server_of_its_own_is_the_next_version(
    steady_repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--repository", str(steady_repository), "--model", "steady", "--random-input", "x=float32:1,4"]
    words += ["--concurrency", "8", "--instances", "1", "--batch", "1,8", "--delay-us", "0", "--seconds", "1"]
    words += ["--share", "1", "--write"]
    assert tuning.command(options(*words, "--latency-s", "0.001")) == 1
    assert newest(str(steady_repository), "steady").version == 1  # nothing meets that, so nothing is written
    assert tuning.command(options(*words)) == 0
    assert f"steady:2 in {steady_repository}: steady:1 with this configuration" in capsys.readouterr().out
    manifest = Repository(f"file://{steady_repository}").manifest(ModelVersion("steady", 2))
    said = manifest.provenance["tuned"]
    assert (manifest.provenance["a"], said["of"]) == (1, "steady:1")
    fetch(f"file://{steady_repository}", tmp_path / "copy", [ModelVersion("steady", 2)])
    config = read_config((tmp_path / "copy/steady/config.pbtxt").read_text(), "the copy")
    assert (config.max_batch_size, [each.name for each in config.input]) == (8, ["x"])
    assert said["configuration"].startswith("1 instance, batch 8")


def test_a_model_that_batches_by_itself_is_not_searched(exported: Path) -> None:
    words = ["--repository", str(exported), "--model", "lm", "--input", "text_input=x"]
    with pytest.raises(ArgumentError, match="lm: it answers in parts and batches by itself"):
        tuning.command(options(*words))


def test_what_the_server_refuses_is_worse_than_anything_it_takes(triton: Triton, steady: str) -> None:
    admin = tuning.Admin(f"http://{triton.http}", triton.admin)
    config = admin.config(steady)
    objective = Objective(5.0)

    def load(changed: Mapping[str, Any]) -> None:
        # A kind of instance that there is not here.
        broken = changed["max_batch_size"] == 4
        admin.load(steady, {**changed, "instance_group": [{"kind": "KIND_NONSENSE"}]} if broken else changed)

    inputs = {"x": np.ones((1, 4), np.float32)}
    measure = tuning.on_triton(f"grpc://{triton.grpc}", steady, inputs, load, config, 4, objective)
    assert objective.score(measure(Configuration(1, 4, 0), 0.3)) < 0
    good = measure(Configuration(1, 2, 0), 0.5)
    assert 0 < good.throughput <= 2 / 0.02 * 1.1
    assert (good.failed, good.latency_s > 0.02) == (0.0, True)


def test_an_interrupted_search_gives_the_server_its_configuration_back(
    triton: Triton, steady: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = loaded(triton)
    assert steady

    def interrupted(*_: object) -> None:
        assert loaded(triton) != before
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "_drive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tuning.command(options(*command_line(triton, "--random-input", "x=float32:1,4", "--batch", "16")))
    assert loaded(triton) == before


def test_nothing_that_meets_the_objective_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--simulate", "1:0.5", "--latency-s", "0.1", "--seconds", "10", "--instances", "1", "--batch", "1,2"]
    assert tuning.command(options(*words)) == 1
    assert "none that was measured meets the objective of 100 ms" in capsys.readouterr().out


def test_a_search_on_a_queue_takes_no_time_and_finds_what_measuring_everything_finds() -> None:
    service, objective, space = Service.linear(0.004, 0.0005, cores=2), Objective(0.05), Space(delays_us=(0, 500, 5000))
    measure = tuning.on_queue(service, 32, objective, client_s=0.001)
    best = exhaustive(measure, space, objective, seconds=1.0)
    started = time.monotonic()
    found = tune(measure, space, objective, seconds=1.0)
    assert time.monotonic() - started < 20
    assert objective.score(measure(found.best.configuration, 1.0)) >= 0.95 * objective.score(best.measured)
    assert found.configurations <= 0.1 * found.space


@pytest.mark.parametrize(
    "words",
    [
        ["--simulate", "nonsense"],
        ["--simulate", "8:0.1,1:0.2"],
        ["--simulate", "1:0.1", "--latency-s", "0"],
        ["--simulate", "1:0.1", "--batch", "0"],
        ["--simulate", "1:0.1", "--share", "2"],
        ["--endpoint", "http://127.0.0.1:9"],
        ["--endpoint", "http://127.0.0.1:9", "--model", "m", "--input", "x=1", "--write"],
        ["--endpoint", "grpc://127.0.0.1:9", "--model", "m", "--input", "x=1"],
    ],
)
def test_options_that_make_no_sense_are_refused(words: list[str]) -> None:
    with pytest.raises(ArgumentError, match="expected"):
        tuning.command(options(*words))


def test_a_server_that_is_not_there_is_said() -> None:
    with pytest.raises(tuning.NotLoaded, match=r"127\.0\.0\.1:9/v2/models/m/config"):
        tuning.command(options("--endpoint", "http://127.0.0.1:9", "--model", "m", "--input", "x=1"))
