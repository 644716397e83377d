"""A real Triton for the tests of serving: one for the session, and small models to load into it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

# Before torch or a model server starts: on few cores, more threads than cores make everything slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

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
    with Triton(directory / "models", log=directory / "triton.log") as server:
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
