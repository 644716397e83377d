"""The same model as a graph that needs none of this code: for torch.export's runtime or for ONNX Runtime.

Tokens in, logits out, for any batch and length: what scores texts, ranks answers or measures quality. There is no cache
in it, so it is not what streams tokens; that is the engine's. A graph is compared with the model that it came of before
it gets its name. ONNX needs the packages onnx, onnxscript and onnxruntime.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from workloads.serving.engine import files
from workloads.serving.errors import ArgumentError, VerificationFailed, on_disk
from workloads.training.model import Transformer

TORCH_EXPORT, ONNX = "model.pt2", "model.onnx"
TOLERANCE = 1e-4
"""Largest difference of a logit, in standard deviations of all logits."""
_LARGEST_BATCH = 1024
_TRIED = ((1, 2), (3, 17))
"""Batches and lengths that are compared; longer ones are cut to what the model knows."""

Score = Callable[[Tensor], Tensor]
"""(batch, length) int64 tokens to (batch, length, vocabulary) float32 logits."""


def eager(source: Path) -> Transformer:
    """The model of an export in float32, as torch runs it operation by operation. Raises like `files.load`."""
    description, weights = files.load(source)
    if description.precision != "float32":
        raise ArgumentError(f"{source}: its precision is {description.precision}; a graph is made of float32")
    model = Transformer(description.model, max(description.sequence_length, 1))
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def write(source: Path, target: Path, *, length: int | None = None) -> float:
    """Write the model of an export as a graph; the name of `target` says which: `.pt2` or `.onnx`.

    `length`: the longest text, in tokens; default what the model was trained on. Returns the largest difference that
    was found, in standard deviations. Raises ArgumentError, DiskFailed, or VerificationFailed where the graph gives
    something else than the model.
    """
    model = eager(source)
    most = length or files.load(source)[0].sequence_length
    if most < 2 or (model.positions is not None and most > model.positions.num_embeddings):
        raise ArgumentError(f"length {most}: expected at least 2, and at most what the model has positions for")
    if target.suffix not in _WRITERS:
        raise ArgumentError(f"{target}: expected a name that ends in {' or '.join(_WRITERS)}")
    example = torch.zeros(2, min(7, most), dtype=torch.long)
    shape = {0: torch.export.Dim("batch", min=1, max=_LARGEST_BATCH), 1: torch.export.Dim("length", min=1, max=most)}
    program = torch.export.export(model, (example,), dynamic_shapes={"tokens": shape})
    with on_disk(target), tempfile.TemporaryDirectory(dir=target.parent, prefix=".variant-") as directory:
        partial = Path(directory) / target.name
        _WRITERS[target.suffix](program, partial)
        difference = _largest_difference(model, load(partial), most)
        if not difference <= TOLERANCE:
            raise VerificationFailed(
                f"{target}: its logits differ by {difference:.2g} deviations; expected {TOLERANCE}"
            )
        os.replace(partial, target)
    return difference


def load(path: Path, *, threads: int = 1) -> Score:
    """A graph, ready to score. `threads`: of ONNX Runtime; torch has one setting for the whole process."""
    if path.suffix == ".pt2":
        with on_disk(path), path.open("rb") as file:
            module = torch.export.load(file).module()
        return torch.inference_mode()(lambda tokens: module(tokens))
    _need_onnx()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    return lambda tokens: torch.from_numpy(session.run(None, {"tokens": tokens.numpy()})[0])


def _largest_difference(model: Transformer, score: Score, most: int) -> float:
    draw, worst = torch.Generator().manual_seed(0), 0.0
    for batch, length in _TRIED:
        tokens = torch.randint(0, model.config.vocabulary, (batch, min(length, most)), generator=draw)
        expected = model(tokens)
        found = ((score(tokens) - expected).abs().max() / expected.std()).item()
        # Not max(), which passes over what is no number.
        worst = found if not found <= worst else worst
    return worst


def _write_program(program: torch.export.ExportedProgram, path: Path) -> None:
    torch.export.save(program, path)


def _write_onnx(program: torch.export.ExportedProgram, path: Path) -> None:
    _need_onnx()
    # Of what the exporter says only errors: it warns of packages that nothing here needs, and of torch's own code.
    log = logging.getLogger("torch.onnx")
    level = log.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        log.setLevel(logging.ERROR)
        try:
            # Weights in the same file: what is renamed and checksummed is one thing. ONNX then holds at most 2 GiB.
            torch.onnx.export(
                program, (), path, input_names=["tokens"], output_names=["logits"], external_data=False, verbose=False
            )
        finally:
            log.setLevel(level)


def _need_onnx() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            raise ArgumentError(f"ONNX: the package {name} is not installed; `pip install ai-cloud[onnx]`")


_WRITERS = {".pt2": _write_program, ".onnx": _write_onnx}
