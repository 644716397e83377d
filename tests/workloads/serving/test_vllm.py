"""A version for Triton's vLLM backend: complete, verified, and nothing that came with weights is run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.inference.pod import REPOSITORY
from workloads.serving.cli import main
from workloads.serving.errors import ArgumentError, NotInStore
from workloads.serving.fetch import fetch
from workloads.serving.manifest import ModelVersion
from workloads.serving.repository import read_config
from workloads.serving.vllm import MOUNTED, export


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    directory = tmp_path / "tiny-llama"
    directory.mkdir()
    for name in ("config.json", "tokenizer_config.json", "model.safetensors"):
        (directory / name).write_text("{}")
    return directory


def test_a_pod_finds_the_weights_where_the_version_says(weights: Path, tmp_path: Path) -> None:
    assert MOUNTED == REPOSITORY
    repository, models = tmp_path / "repository", tmp_path / "models"
    words = ["--weights", str(weights), "--repository", str(repository), "--name", "llama", "--gpus", "8"]
    assert main(["vllm", *words, "--mounted", str(models), "--engine", '{"max_model_len": 4096}']) == 0
    # What is in the repository is not what somebody does to the weights later.
    (weights / "model.safetensors").write_text("changed")
    fetch(f"file://{repository}", models, [ModelVersion("llama", 1)])
    said = json.loads((models / "llama" / "1" / "model.json").read_text())
    assert (Path(said["model"]) / "model.safetensors").read_text() == "{}"
    assert (said["tensor_parallel_size"], said["max_model_len"], said["trust_remote_code"]) == (8, 4096, False)
    config = read_config((models / "llama" / "config.pbtxt").read_text(), "here")
    assert (config.backend, config.max_batch_size) == ("vllm", 0)
    assert config.model_transaction_policy.decoupled


@pytest.mark.parametrize("missing", ["config.json", "tokenizer_config.json", "model.safetensors"])
def test_what_is_not_a_model_is_refused(weights: Path, tmp_path: Path, missing: str) -> None:
    (weights / missing).unlink()
    with pytest.raises(NotInStore, match="is missing; expected a model in Hugging Face's layout"):
        export(weights, str(tmp_path / "repository"), "llama")
    assert not (tmp_path / "repository").exists()


def test_code_that_came_with_weights_is_not_run(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="engine: 'trust_remote_code' is not for it to say"):
        export(weights, str(tmp_path / "repository"), "llama", engine={"trust_remote_code": True})
    with pytest.raises(ArgumentError, match="gpus 0: expected at least 1"):
        export(weights, str(tmp_path / "repository"), "llama", gpus=0)
