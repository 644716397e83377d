"""From a checkpoint of workloads.training to a version of a model that Triton serves, signed off with what it is of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workloads.data.batches import LoaderState
from workloads.data.dataset import open_dataset
from workloads.data.errors import DataError
from workloads.data.tokenizer import Tokenizer
from workloads.serving import repository as repositories
from workloads.serving.engine import Description, Engine, Request, save
from workloads.serving.engine.files import FILE
from workloads.serving.errors import ArgumentError, NotInStore, ServingError, on_disk
from workloads.serving.manifest import Manifest, ModelVersion
from workloads.serving.models import text
from workloads.serving.models.text import Settings
from workloads.serving.quantization import LIMIT, convert, held_out
from workloads.training.checkpoints import exporting, layout
from workloads.training.checkpoints.layout import Marker
from workloads.training.checkpoints.weights import identity
from workloads.training.config import Model
from workloads.training.errors import TrainingError

ROOT = Path(__file__).parents[2]
REVISION = "AICLOUD_GIT_REVISION"
"""Variable that says of which commit an image was built, where there is no repository."""
_PROGRAM = '''"""What Triton starts; the code is the serving image's."""

import os
import sys

# Triton's Python ignores this variable, by which the image says where the code is.
sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]

from workloads.serving.models.{module} import TritonPythonModel  # noqa: E402, F401
'''


@dataclass(frozen=True)
class Source:
    """A checkpoint and what belongs to it."""

    checkpoint: Path
    marker: Marker
    tokenizer: Tokenizer
    fingerprint: str
    """Of the data that it was trained on."""
    run: Path
    """The run's output directory, or where it would be."""
    data: str
    """Where the data is: path or URL."""

    @property
    def description(self) -> Description:
        config = self.marker.extra["config"]
        return Description(Model(**config["model"]), int(config["data"]["sequence_length"]))


def export(
    checkpoint: Path,
    repository: str,
    name: str,
    *,
    version: int | None = None,
    data: str = "",
    base: str = "",
    slots: int = 16,
    context: int | None = None,
    max_tokens: int = 128,
    queue: int = repositories.QUEUE,
    precision: str = "float32",
    limit: float = LIMIT,
) -> tuple[ModelVersion, Manifest]:
    """Write the newest valid checkpoint under `checkpoint`, a run, its checkpoints or one of them, as a model version.

    `data`: where the run's tokens are, if not where they were. `base`: the same for the base of adapters. `context`:
    longest prompt and answer in tokens, default what the model was trained on. `queue`: requests that may wait for one
    of the `slots`. `precision`: float32, bfloat16, int8 or int4, refused if bits per byte of held-out text get worse by
    a share of more than `limit`. Raises a ServingError.
    """
    source = find(checkpoint, data)
    signed = provenance(source)
    settings = Settings(
        source.tokenizer.file()[0],
        context or source.description.sequence_length,
        slots,
        max_tokens=max_tokens,
    )

    def fill(directory: Path) -> None:
        write_weights(source, directory / FILE, base)
        if precision != "float32":
            signed["quantization"] = _convert(directory / FILE, precision, source.data, limit)
        text.write(directory, settings, source.tokenizer)
        with on_disk(directory):
            (directory / "model.py").write_text(program("language_model"), encoding="utf-8")
        try_engine(directory, settings)

    config = repositories.language_model_config(name, queue)
    return repositories.write_version(repository, name, config, fill, signed, version)


def find(checkpoint: Path, data: str = "") -> Source:
    """The newest valid checkpoint, and the tokenizer of the data that it was trained on. Raises a ServingError."""
    directory = checkpoint / "checkpoints" if (checkpoint / "checkpoints").is_dir() else checkpoint
    try:
        chosen = exporting.newest_of(directory)
        marker = layout.read_marker(chosen)
    except (TrainingError, layout.Invalid) as error:
        raise NotInStore(f"--checkpoint {checkpoint}: {error}") from None
    run = chosen.absolute().parent.parent
    source = data or marker.extra["config"]["data"]["source"] or str(run / "data")
    try:
        with (
            tempfile.TemporaryDirectory() as cache,
            open_dataset(f"{source.rstrip('/')}/train", cache=Path(cache) if "://" in source else None) as dataset,
        ):
            tokenizer, fingerprint = dataset.tokenizer, dataset.fingerprint
            found, known = identity(dataset.manifest.tokenizer), str(marker.extra.get("tokenizer", ""))
    except DataError as error:
        raise ArgumentError(
            f"{chosen}: the tokens that it was trained on are needed, for their tokenizer: {error}; --data says where "
            "they are by now"
        ) from None
    if known and found != known:
        raise ArgumentError(
            f"{chosen}: it was trained with the tokenizer {known!r}, the data at {source} has {found!r}"
        )
    if at := marker.extra["progress"]["data"]:
        trained = LoaderState.from_json(at).fingerprint
        if trained != fingerprint:
            raise ArgumentError(
                f"{chosen}: it was trained on the data {trained[:16]}…, at {source} are {fingerprint[:16]}…"
            )
    return Source(chosen, marker, tokenizer, fingerprint, run, source)


def program(module: str) -> str:
    """The `model.py` of a version whose code is a module of `workloads.serving.models`."""
    return _PROGRAM.format(module=module)


def write_weights(source: Source, path: Path, base: str) -> None:
    """A checkpoint's weights as the engine reads them, adapters merged into their `base`. Raises a ServingError."""
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".weights-") as directory:
        whole = Path(directory) / "whole.safetensors"
        try:
            exporting.export(source.checkpoint, whole, exporting.MODEL, base=base)
        except TrainingError as error:
            raise ServingError(f"{source.checkpoint}: {error}") from None
        save(path, source.description, load_file(whole))


def _convert(path: Path, precision: str, data: str, limit: float) -> dict[str, Any]:
    """Write the weights anew with fewer bits; what that came to."""
    smaller = path.with_name(f"{path.name}.{precision}")
    report = convert(path, smaller, precision, held_out(data), limit=limit)
    print(report, file=sys.stderr, flush=True)
    with on_disk(path):
        smaller.replace(path)
    ratios = {"size": report.size, "speed": report.speed, "loss": report.loss}
    return {name: round(value, 4) for name, value in ratios.items()} | vars(report)


def try_engine(directory: Path, settings: Settings) -> None:
    """Let the engine answer from what was written, before anybody is told that it exists."""
    engine = Engine(directory / FILE, slots=1, context=settings.context)
    engine.submit(Request((settings.tokenizer.end_of_text,), max_new_tokens=min(4, settings.context - 1)))
    tokens = 0
    while engine.busy:
        for event in engine.step():
            tokens += event.token is not None
            if event.error:
                raise ServingError(f"{directory}: the exported model does not answer: {event.error}")
    if not tokens:
        raise ServingError(f"{directory}: the exported model answers nothing")


# ---- what is signed off


def provenance(source: Source) -> dict[str, Any]:
    """What a version was made of and how well it does."""
    extra = source.marker.extra
    return {
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git(ROOT, os.environ),
        "data": {"fingerprint": source.fingerprint, "tokenizer": str(extra.get("tokenizer", ""))},
        "checkpoint": {
            "id": source.marker.id,
            "step": source.marker.step,
            "tokens": extra["progress"]["tokens"],
            "config": extra["config"]["name"],
        },
        "evaluation": evaluation(source.run / "metrics.jsonl", source.marker.step),
    }


def git(root: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """The commit of the code, and whether files differed from it; what the environment says, where there is no git."""
    if revision := environment.get(REVISION):
        return {"revision": revision, "modified": False}

    def output(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return {
            "revision": output("rev-parse", "HEAD"),
            "modified": bool(output("status", "--porcelain", "--untracked-files=no", "--", "workloads")),
        }
    except (OSError, subprocess.CalledProcessError):
        return {"revision": "unknown", "modified": None}


def evaluation(metrics: Path, step: int) -> dict[str, float]:
    """Figures of the last evaluation on held-out text that the checkpoint's weights have had, or their forerunners.

    Empty where the run evaluated nothing by then. `step`: the evaluation's, which may be an earlier one.
    """
    found: dict[str, float] = {}
    if metrics.exists():
        with on_disk(metrics):
            lines = metrics.read_text(encoding="utf-8").splitlines()
        for line in lines:
            try:
                values = json.loads(line)
            except ValueError:  # of a run that was killed while it wrote
                continue
            if values["step"] <= step and "held_out_bits_per_byte" in values:
                found = {name: values[name] for name in ("step", "held_out_loss", "held_out_bits_per_byte")}
    return found
