"""From a checkpoint to a version of a model that scores texts: what judges data, answers and newer models.

The model runs operation by operation (`eager`), as a graph of torch.export, or as one of ONNX Runtime. It batches as
any model of Triton does, and keeps no cache; what streams answers is `workloads.serving.export`.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from tritonclient.grpc import model_config_pb2 as pb

from workloads.serving import repository as repositories
from workloads.serving import variants
from workloads.serving.engine.files import FILE
from workloads.serving.errors import ArgumentError, VerificationFailed, on_disk
from workloads.serving.export import find, program, provenance, write_weights
from workloads.serving.manifest import Manifest, ModelVersion
from workloads.serving.models import text
from workloads.serving.models.scoring import FILES, Scorer
from workloads.serving.models.text import Settings

BATCH = 32


def scorer_config(name: str, queue: int = repositories.QUEUE) -> pb.ModelConfig:
    """The configuration of `workloads.serving.models.scorer`; `tune` finds a better one for a machine."""
    return pb.ModelConfig(
        name=name,
        backend="python",
        max_batch_size=BATCH,
        input=[pb.ModelInput(name="text_input", data_type=pb.TYPE_STRING, dims=[1])],
        output=[
            pb.ModelOutput(name="bits_per_byte", data_type=pb.TYPE_FP32, dims=[1]),
            pb.ModelOutput(name="num_tokens", data_type=pb.TYPE_UINT32, dims=[1]),
        ],
        instance_group=[pb.ModelInstanceGroup(kind=pb.ModelInstanceGroup.KIND_CPU, count=1)],
        dynamic_batching=pb.ModelDynamicBatching(
            default_queue_policy=pb.ModelQueuePolicy(max_queue_size=queue),
        ),
        version_policy=pb.ModelVersionPolicy(latest=pb.ModelVersionPolicy.Latest(num_versions=1)),
    )


def export(
    checkpoint: Path,
    repository: str,
    name: str,
    *,
    runtime: str,
    version: int | None = None,
    data: str = "",
    base: str = "",
    queue: int = repositories.QUEUE,
) -> tuple[ModelVersion, Manifest]:
    """Write the newest valid checkpoint under `checkpoint` as one more version that scores texts.

    `runtime`: eager, torch-export or onnx; a graph is compared with the model before it counts. `data`, `base`: as for
    `workloads.serving.export`. Raises a ServingError; then nothing is there.
    """
    if runtime not in FILES:
        raise ArgumentError(f"runtime {runtime!r}: expected one of {', '.join(FILES)}")
    source = find(checkpoint, data)
    signed = provenance(source)
    settings = Settings(source.tokenizer.file()[0], source.description.sequence_length)

    def fill(directory: Path) -> None:
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".graph-") as work:
            weights = Path(work) / FILE
            write_weights(source, weights, base)
            target = directory / FILES[runtime]
            if runtime == "eager":
                with on_disk(target):
                    weights.replace(target)
            else:
                signed["graph"] = {"runtime": runtime, "largest_difference": variants.write(weights, target)}
        text.write(directory, settings, source.tokenizer)
        with on_disk(directory):
            (directory / "model.py").write_text(program("scorer"), encoding="utf-8")
        scorer = Scorer(directory, settings, source.tokenizer)
        (found,) = scorer.score([scorer.tokens(b"import os")], [len(b"import os")])
        if not math.isfinite(found.bits_per_byte):
            raise VerificationFailed(f"{directory}: the exported model gives {found.bits_per_byte} bits per byte")

    return repositories.write_version(repository, name, scorer_config(name, queue), fill, signed, version)
