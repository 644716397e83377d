"""A real Triton for the tests of serving: one for the session, and small models to load into it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before torch or a model server starts: on few cores, more threads than cores make everything slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.support import ROOT
from workloads.data import corpus
from workloads.data.prepare import prepare
from workloads.serving.export import export
from workloads.serving.fetch import fetch
from workloads.serving.manifest import ModelVersion
from workloads.serving.triton import Triton

DOUBLER_CONFIG = """
name: "doubler"
backend: "python"
max_batch_size: 8
input [{ name: "x" data_type: TYPE_FP32 dims: [ -1 ] }]
output [{ name: "y" data_type: TYPE_FP32 dims: [ -1 ] }]
instance_group [{ kind: KIND_CPU count: 1 }]
dynamic_batching { }
"""
DOUBLER = """
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        found = [pb.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb.InferenceResponse([pb.Tensor("y", x * 2)]) for x in found]
"""


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A running server with no models: `triton.http`, `.grpc`, `.metrics` are `host:port`, `.repository` is a Path.

    Tests put models with names of their own into the repository, `load` them, and `unload` them at the end.
    """
    directory = tmp_path_factory.mktemp("triton")
    with Triton(directory / "models", log=directory / "triton.log", exit_timeout_s=5) as server:
        yield server


@pytest.fixture(scope="session")
def add_model(triton: Triton) -> Callable[[str, str, str], None]:
    """`add_model(name, config, code, version=1)`: a Python model in the server's repository, loaded."""

    def add(name: str, config: str, code: str, version: int = 1) -> None:
        directory = triton.repository / name
        (directory / str(version)).mkdir(parents=True, exist_ok=True)
        (directory / "config.pbtxt").write_text(config)
        (directory / str(version) / "model.py").write_text(code)
        triton.load(name)

    return add


@pytest.fixture(scope="session")
def doubler(add_model: Callable[[str, str, str], None]) -> str:
    """The name of a loaded model: FP32 `x` (batch, any) in, twice that, `y`, out."""
    add_model("doubler", DOUBLER_CONFIG, DOUBLER)
    return "doubler"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output directory of a training run: a very small model, a few steps, one checkpoint, byte-pair tokens."""
    directory = tmp_path_factory.mktemp("trained")
    library = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(library / "json", directory / "text", ignore=shutil.ignore_patterns("__pycache__"))
    prepare(corpus.directory(directory / "text", 0.3), directory / "tokens", vocabulary=300, shard_tokens=100_000)
    options = {
        "model.layers": 2,
        "model.width": 32,
        "model.heads": 2,
        "model.feed_forward": 64,
        "data.sequence_length": 64,
        "training.batch_size": 8,
        "training.steps": 6,
        "training.evaluate_every": 3,
        "training.evaluation_batches": 1,
        "checkpoint.every": 6,
        "optimizer.warmup_steps": 2,
        "parallel.device": "cpu",
    }
    command = [sys.executable, "-m", "workloads.training", "--config", "tiny", "--output", str(directory / "run")]
    command += ["--data", str(directory / "tokens")]
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return directory / "run"


@pytest.fixture(scope="session")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with one version of that model, `lm:1`: four answers at once, eight requests may wait."""
    repository = tmp_path_factory.mktemp("exported") / "repository"
    export(trained, str(repository), "lm", slots=4, queue=8, context=1024)
    return repository


@pytest.fixture(scope="session")
def language_model(triton: Triton, exported: Path) -> str:
    """The name of a language model that the session's server has loaded."""
    fetch(f"file://{exported}", triton.repository, [ModelVersion("lm", 1)])
    triton.load("lm")
    return "lm"
