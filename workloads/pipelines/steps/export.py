"""Step `export`: a version that Triton serves, in a repository of its own: what answers, and what scores texts."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from workloads.data.dataset import open_dataset
from workloads.pipelines.errors import PipelineError
from workloads.pipelines.run import Context
from workloads.serving import repository as repositories
from workloads.serving import scorer, variants
from workloads.serving.engine.files import FILE
from workloads.serving.errors import ServingError, on_disk
from workloads.serving.export import ROOT, git, program, try_engine
from workloads.serving.manifest import ModelVersion
from workloads.serving.models import text
from workloads.serving.models.scoring import FILES


def run(context: Context) -> dict[str, Any]:
    parameters = context.parameters
    name, number = parameters["model"], parameters["version"]
    repository = str(context.outputs["version"])
    signed = provenance(context)

    def answers(directory: Path) -> None:
        _copy(context.inputs["quantized"], directory)
        settings, _ = text.read(directory)
        with on_disk(directory):
            (directory / "model.py").write_text(program("language_model"), encoding="utf-8")
        try_engine(directory, settings)

    def scores(directory: Path) -> None:
        runtime = parameters["runtime"]
        _copy(context.inputs["model"], directory)
        if runtime != "eager":
            difference = variants.write(directory / FILE, directory / FILES[runtime])
            signed["graph"] = {"runtime": runtime, "largest_difference": difference}
            (directory / FILE).unlink()
        with on_disk(directory):
            (directory / "model.py").write_text(program("scorer"), encoding="utf-8")

    try:
        config = repositories.language_model_config(name)
        answering, _ = repositories.write_version(repository, name, config, answers, signed, number)
        config = scorer.scorer_config(f"{name}-scorer")
        scoring, _ = repositories.write_version(repository, f"{name}-scorer", config, scores, signed, number)
    except ServingError as error:
        raise PipelineError(str(error)) from None
    return {"versions": [str(answering), str(scoring)]}


def provenance(context: Context) -> dict[str, Any]:
    """What a version is made of and how well it does. No times: the same inputs give the same version to the bit."""
    parameters, inputs = context.parameters, context.inputs
    report = json.loads((inputs["evaluation"] / "report.json").read_bytes())
    last = json.loads(inputs["curve"].read_text(encoding="utf-8").splitlines()[-1])
    with open_dataset(inputs["dataset"] / "train") as dataset:
        fingerprint = dataset.fingerprint
    return {
        "git": git(ROOT, os.environ),
        "data": {"fingerprint": fingerprint, "corpus": parameters["corpus_fingerprint"]},
        "checkpoint": {"step": last["step"], "tokens": last["tokens"], "config": parameters["config"]},
        "evaluation": {
            "held_out_bits_per_byte": report["bits_per_byte"],
            "champion_bits_per_byte": report["champion_bits_per_byte"],
        },
        "quantization": json.loads(inputs["quantization"].read_bytes()),
        "champion": parameters["champion_digest"],
    }


def versions(repository: Path) -> list[ModelVersion]:
    """What an artifact `version` holds."""
    return [ModelVersion(path.parent.name, int(path.name)) for path in sorted(repository.glob("*/*")) if path.is_dir()]


def _copy(source: Path, target: Path) -> None:
    with on_disk(target):
        shutil.copytree(source, target, dirs_exist_ok=True)
