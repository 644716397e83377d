"""Step `train`: workloads.training as it is, from the champion's weights if there is one; what comes out is a model."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from workloads.pipelines import champions
from workloads.pipelines.errors import TrainingFailed
from workloads.pipelines.run import Context
from workloads.serving.engine.files import FILE
from workloads.serving.errors import ServingError
from workloads.serving.export import find, write_weights
from workloads.serving.models import text
from workloads.serving.models.text import Settings

CURVE = ("step", "loss", "learning_rate", "gradient_norm", "tokens", "held_out_loss", "held_out_bits_per_byte")
"""Of what training records, that which does not tell of time."""
PR_SET_PDEATHSIG = 1


def run(context: Context) -> dict[str, Any]:
    # Of an attempt that was killed, if there was one: training continues in its output.
    output = context.work / "run"
    done = subprocess.run(
        [*_launcher(), *arguments(context, output)], env=_environment(), preexec_fn=_die_with_parent, check=False
    )
    if done.returncode:
        raise TrainingFailed(f"training ended with {done.returncode}; its exit codes say why, its log is above")
    curve = _curve(output / "metrics.jsonl")
    model = context.outputs["model"]
    model.mkdir()
    try:
        source = find(output, str(context.inputs["dataset"]))
        write_weights(source, model / FILE, "")
        text.write(model, Settings(source.tokenizer.file()[0], source.description.sequence_length), source.tokenizer)
    except ServingError as error:
        raise TrainingFailed(str(error)) from None
    context.outputs["curve"].write_text("".join(json.dumps(line) + "\n" for line in curve))
    shutil.copy(output / "metrics.jsonl", context.outputs["training-log"])
    return {"steps": curve[-1]["step"], "held_out_bits_per_byte": curve[-1].get("held_out_bits_per_byte")}


def arguments(context: Context, output: Path) -> list[str]:
    """What training is started with."""
    parameters = context.parameters
    words = ["--config", parameters["config"], "--output", str(output), "--data", str(context.inputs["dataset"])]
    if parameters["champion"]:
        place = context.work / "champion"
        place.mkdir(exist_ok=True)
        words += ["--training.initial", str(champions.fetch(parameters["champion"], place) / FILE)]
    if "://" in context.run:
        # The machine's own disk may go with it.
        words += ["--checkpoint.remote", f"{context.run}/checkpoints/{context.key}"]
    for name, value in sorted(parameters["training"].items()):
        words += [f"--{name}", str(value)]
    return words


def _launcher() -> list[str]:
    """A process for each accelerator of the machine."""
    import torch

    count = torch.cuda.device_count()
    many = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)] if count > 1 else []
    return [sys.executable, *many, "-m", "workloads.training"]


def _environment() -> dict[str, str]:
    """On a CPU one thread: with more, sums are taken in another order, and curves differ in their last bits."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _die_with_parent() -> None:
    """A training whose step was killed would go on beside the one that continues it (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _curve(metrics: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    return [{name: line[name] for name in CURVE if name in line} for line in lines]
