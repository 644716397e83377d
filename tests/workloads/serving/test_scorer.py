"""A model that scores texts gives what training's own evaluation gives, whatever runs it, behind a real Triton."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from workloads.serving import variants
from workloads.serving.cli import main, parser
from workloads.serving.client import Client, Refused
from workloads.serving.commands.scorer import RUNTIMES
from workloads.serving.engine.files import FILE
from workloads.serving.errors import ArgumentError
from workloads.serving.export import find, write_weights
from workloads.serving.fetch import fetch
from workloads.serving.manifest import ModelVersion
from workloads.serving.models.scoring import FILES
from workloads.serving.scorer import export
from workloads.serving.store import Repository
from workloads.serving.triton import Triton

TEXTS = ("import os\n", "def f(x):\n    return x\n", "é", "a")


@pytest.fixture(scope="session")
def expected(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Bits per byte of each text, by the model of training alone, one text at a time."""
    source = find(trained)
    weights = tmp_path_factory.mktemp("weights") / FILE
    write_weights(source, weights, "")
    model, found = variants.eager(weights), {}
    for text in TEXTS:
        tokens = torch.tensor([[source.tokenizer.end_of_text, *source.tokenizer.encode(text).tolist()]])
        nats = F.cross_entropy(model(tokens[:, :-1])[0], tokens[0, 1:], reduction="sum").item()
        found[text] = nats / math.log(2) / len(text.encode())
    return found


@pytest.fixture
def scoring(triton: Triton, trained: Path, tmp_path: Path) -> Callable[[str], str]:
    """The name of a scorer that the session's server has loaded, by what runs it."""

    def load(runtime: str) -> str:
        name = f"scorer-{runtime}"
        repository = tmp_path / "repository"
        words = ["--checkpoint", str(trained), "--repository", str(repository), "--name", name, "--runtime", runtime]
        assert main(["scorer", *words]) == 0
        fetch(f"file://{repository}", triton.repository, [ModelVersion(name, 1)])
        triton.load(name)
        return name

    return load


@pytest.mark.parametrize("runtime", ["eager", "torch-export", pytest.param("onnx", marks=pytest.mark.slow)])
def test_texts_are_scored_as_training_scores_them(
    triton: Triton, scoring: Callable[[str], str], expected: dict[str, float], runtime: str
) -> None:
    name = scoring(runtime)
    with Client([f"grpc://{triton.grpc}"]) as client:

        def score(*texts: bytes) -> np.ndarray:
            given = np.array([[text] for text in texts], np.object_)
            return client.infer(name, {"text_input": given})["bits_per_byte"].reshape(-1)

        together = score(*(text.encode() for text in TEXTS))
        np.testing.assert_allclose(together, list(expected.values()), rtol=1e-4)
        # Batched with others or alone, the same.
        np.testing.assert_allclose([score(text.encode())[0] for text in TEXTS], together, rtol=1e-4)
        for text, says in ((b"", "is empty"), (b"\xff", "not UTF-8"), (b"x y " * 1000, "at most 64 are scored")):
            with pytest.raises(Refused, match=says):
                score(text)
    triton.unload(name)


def test_a_graph_is_signed_off_with_how_far_it_is_from_the_model(trained: Path, tmp_path: Path) -> None:
    model, _ = export(trained, str(tmp_path / "repository"), "scorer", runtime="torch-export")
    said = Repository(f"file://{tmp_path / 'repository'}").manifest(model).provenance
    assert said["graph"]["runtime"] == "torch-export"
    assert 0 <= said["graph"]["largest_difference"] <= variants.TOLERANCE
    assert said["checkpoint"]["step"] == 6


def test_what_runs_it_is_one_of_three(trained: Path, tmp_path: Path) -> None:
    assert tuple(FILES) == RUNTIMES
    with pytest.raises(ArgumentError, match="expected one of eager, torch-export, onnx"):
        export(trained, str(tmp_path), "scorer", runtime="jit")
    with pytest.raises(SystemExit):
        parser().parse_args(["scorer", "--checkpoint", "x", "--repository", "y", "--name", "z", "--runtime", "jit"])
    assert list(tmp_path.iterdir()) == []
