"""A pipeline that is small enough for tests: some packages of the standard library, a narrow model, a few steps."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path
from typing import Any

from workloads.pipelines.parameters import Parameters

PACKAGES = ("json", "email", "logging", "concurrent", "asyncio", "http", "xml", "unittest", "importlib", "html")
TRAINING = {
    "model.layers": "2",
    "model.width": "64",
    "model.feed_forward": "128",
    "data.sequence_length": "64",
    "training.batch_size": "8",
    "training.steps": "24",
    "optimizer.warmup_steps": "4",
    "optimizer.learning_rate": "0.003",
    "checkpoint.every": "6",
    "parallel.device": "cpu",
}


def make_corpus(directory: Path, packages: tuple[str, ...] = PACKAGES) -> Path:
    """Files of the standard library, each package in a directory of its own."""
    library = Path(sysconfig.get_path("stdlib"))
    for package in packages:
        shutil.copytree(library / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in directory.rglob("*.py"):
        if not path.stat().st_size:
            path.unlink()
    return directory


def parameters(corpus: Path, root: Path, **more: Any) -> Parameters:
    """Those of a small run. `training`: more settings of training."""
    training = {**TRAINING, **more.pop("training", {})}
    values = {
        "corpus": str(corpus),
        "held_out": 0.3,
        "slices": "length",
        "slice_documents": 2,
        "evaluation_documents": 50,
        "evaluation_tokens": 128,
        "repository": str(root / "models"),
        "mlflow": f"sqlite:///{root / 'mlflow.db'}",
        "prices": {"cpu": 0.04, "l4": 0.7},
        "training": training,
    }
    return Parameters(**{**values, **more})
