"""int8 against float32: size, speed and quality on one model that was trained, in one run.

Claims: at most 0.35 of the size, at least 1.3 times the speed of 16 streams and of one, and bits per byte of held-out
text at most 1 % worse. Shown beside them, without a claim: int4 and bfloat16.

The model has 12.7 million parameters in matrices of 512 columns and more. On one of width 128, as `tiny` is, int8 is
slower than float32: rounding activations costs more than the product saves. It is trained here, for a few minutes, or
taken from a run that was: a model that knows nothing has nothing to lose. Speed is of the whole decoder with its
cache half full, in CPU time, one thread, best of rounds in turns.

Run: `make bench`, or `.venv/bin/python benchmarks/bench_quantization.py [RUN DATA]`, the output directory of a training
run and its data (five minutes without, half a minute with them).
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from measure import ROOT, table, verdict

sys.path.insert(0, str(ROOT))
from safetensors.torch import load_file

from workloads.data import corpus
from workloads.data.prepare import prepare
from workloads.serving.engine.decoder import Decoder
from workloads.serving.engine.files import Description
from workloads.serving.quantization import compare, held_out, speeds
from workloads.training.checkpoints import exporting, layout
from workloads.training.config import Model, tiny
from workloads.training.run import run

SHAPE = {
    "model.layers": 4,
    "model.width": 512,
    "model.heads": 8,
    "model.key_value_heads": 4,
    "model.feed_forward": 1536,
    "data.sequence_length": 128,
    "training.batch_size": 8,
    "training.steps": 150,
    "training.evaluate_every": 0,
    "training.evaluation_batches": 1,
    "checkpoint.every": 150,
    "parallel.device": "cpu",
}


def main(output: str = "", data: str = "") -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        if not output:
            output, data = f"{made}/run", f"{made}/data"
            prepare(corpus.standard_library(0.05), Path(data))
            run(tiny().override({**SHAPE, "data.source": data}), Path(output), {})
        description, weights = trained(Path(output), Path(made) / "model.safetensors")
        text = held_out(data)
    rows, reports, alone = [], {}, {}
    for precision in ("int8", "int4", "bfloat16"):
        report, converted = compare(description, weights, precision, text)
        reports[precision] = report
        alone[precision] = speed_alone(description, weights, precision, converted)
        rows.append(
            [
                precision,
                report.size,
                report.speed,
                alone[precision],
                f"{report.bits_per_byte_before:.4f}",
                f"{report.bits_per_byte_after:.4f}",
                f"{report.loss:+.2%}",
            ]
        )
    table(["against float32", "size", "speed, 16 streams", "speed, one", "bits/byte before", "after", "worse by"], rows)
    int8 = reports["int8"]
    verdict("size of int8 / float32", int8.size, 0.35)
    verdict("speed of int8 / float32, 16 streams", int8.speed, 1.3, at_least=True)
    verdict("speed of int8 / float32, one stream", alone["int8"], 1.3, at_least=True)
    verdict("bits per byte of int8 worse by, %", int8.loss * 100, 1.0)


def speed_alone(
    description: Description, weights: dict[str, torch.Tensor], precision: str, converted: dict[str, torch.Tensor]
) -> float:
    """Of one stream, as a ratio."""
    decoders = [
        Decoder(replace(description, precision=kind), found, slots=1, context=256)
        for kind, found in (("float32", weights), (precision, converted))
    ]
    before, after = speeds(decoders, streams=1, steps=32)
    return after / before


def trained(output: Path, path: Path) -> tuple[Description, dict[str, torch.Tensor]]:
    """What a run saved last."""
    saved = exporting.newest_of(output / "checkpoints")
    exporting.export(saved, path, exporting.MODEL)
    config = layout.read_marker(saved).extra["config"]
    return Description(Model(**config["model"]), config["data"]["sequence_length"]), load_file(path)


if __name__ == "__main__":
    main(*sys.argv[1:3])
