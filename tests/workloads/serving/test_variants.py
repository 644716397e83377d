"""Graphs of the model give what the model gives, at any batch and length, or are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from tests.workloads.serving import tiny
from workloads.serving import variants
from workloads.serving.engine import files, save
from workloads.serving.errors import ArgumentError, DiskFailed, VerificationFailed

slow = pytest.mark.slow
VARIANTS = [pytest.param("llama", ".pt2")]
VARIANTS += [pytest.param(name, ".pt2", marks=slow) for name in tiny.VARIANTS if name != "llama"]
VARIANTS += [pytest.param(name, ".onnx", marks=slow) for name in tiny.VARIANTS]


def exported(directory: Path, precision: str = "float32", **changes) -> Path:
    description, weights = files.described(tiny.model(**changes))
    described = dataclasses.replace(description, sequence_length=tiny.CONTEXT, precision=precision)
    save(directory / files.FILE, described, weights)
    return directory / files.FILE


@pytest.mark.parametrize(("variant", "ending"), VARIANTS)
def test_a_graph_scores_as_the_model_does(variant, ending, tmp_path):
    changes = tiny.VARIANTS[variant]
    target = tmp_path / f"model{ending}"
    assert variants.write(exported(tmp_path, **changes), target) <= variants.TOLERANCE
    score, model = variants.load(target), tiny.model(**changes)
    for shape in ((1, 1), (5, tiny.CONTEXT), (2, 9)):
        tokens = torch.randint(0, tiny.VOCABULARY, shape)
        with torch.no_grad():
            torch.testing.assert_close(score(tokens), model(tokens), atol=1e-5, rtol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([target.name, files.FILE])


def test_a_graph_that_says_something_else_is_not_written(tmp_path, monkeypatch):
    target = tmp_path / "model.pt2"
    source = exported(tmp_path)
    monkeypatch.setattr(variants, "load", lambda _: lambda tokens: torch.full((*tokens.shape, 61), float("nan")))
    with pytest.raises(VerificationFailed, match="differ by nan deviations"):
        variants.write(source, target)
    assert [path.name for path in tmp_path.iterdir()] == [files.FILE]


def test_what_cannot_be_a_graph_is_refused(tmp_path):
    source = exported(tmp_path)
    with pytest.raises(ArgumentError, match=r"expected a name that ends in \.pt2 or \.onnx"):
        variants.write(source, tmp_path / "model.txt")
    with pytest.raises(ArgumentError, match="length 1"):
        variants.write(source, tmp_path / "model.pt2", length=1)
    with pytest.raises(DiskFailed):
        variants.load(tmp_path / "missing.pt2")
    half = exported(tmp_path, "bfloat16")
    with pytest.raises(ArgumentError, match="its precision is bfloat16; a graph is made of float32"):
        variants.write(half, tmp_path / "model.pt2")
