"""A model in Hugging Face's layout as a version that Triton's vLLM backend serves, on GPUs, tensor parallel if need be.

The weights are part of the version, fetched and verified with it: nothing is downloaded when a pod starts. Requests are
those of `workloads.serving.models`, but for the batch dimension, which vLLM's models have not.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from workloads.serving import repository as repositories
from workloads.serving.errors import ArgumentError, NotInStore, on_disk
from workloads.serving.export import ROOT, git
from workloads.serving.manifest import Manifest, ModelVersion

WEIGHTS = "weights"
MOUNTED = "/models"
"""Where a pod has its repository (components/inference/pod.py)."""
_NEEDED = ("config.json", "tokenizer_config.json")
OURS = ("model", "tensor_parallel_size", "trust_remote_code")
"""Arguments of the engine that are not for `engine` to say; code that came with weights is never run."""


def vllm_config(name: str) -> pb.ModelConfig:
    """One instance, which has all of its GPUs; vLLM batches, and completes inputs and outputs when it loads."""
    return pb.ModelConfig(
        name=name,
        backend="vllm",
        max_batch_size=0,
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=True),
        instance_group=[pb.ModelInstanceGroup(kind=pb.ModelInstanceGroup.KIND_MODEL, count=1)],
        version_policy=pb.ModelVersionPolicy(latest=pb.ModelVersionPolicy.Latest(num_versions=1)),
    )


def export(
    weights: Path,
    repository: str,
    name: str,
    *,
    gpus: int = 1,
    engine: Mapping[str, Any] | None = None,
    mounted: str = MOUNTED,
    version: int | None = None,
) -> tuple[ModelVersion, Manifest]:
    """Write a directory of Hugging Face's layout, with safetensors, as one more version.

    `gpus`: that share each matrix. `engine`: more arguments of vLLM's engine, such as `{"max_model_len": 8192}`.
    `mounted`: where the server that is to load it has its repository, as vLLM is told an absolute path. Raises a
    ServingError.
    """
    _check(weights)
    if gpus < 1:
        raise ArgumentError(f"gpus {gpus}: expected at least 1")
    if ours := sorted(set(engine or {}) & set(OURS)):
        raise ArgumentError(f"engine: {ours[0]!r} is not for it to say")

    def fill(directory: Path) -> None:
        with on_disk(directory):
            # Copied, links too: through a second name of the same file a version could be changed.
            shutil.copytree(weights, directory / WEIGHTS)
            arguments = {
                "model": f"{mounted}/{name}/{directory.name}/{WEIGHTS}",
                "tensor_parallel_size": gpus,
                "trust_remote_code": False,
                "disable_log_requests": True,
                **(engine or {}),
            }
            (directory / "model.json").write_text(json.dumps(arguments, indent=1) + "\n", encoding="utf-8")

    provenance = {"git": git(ROOT, os.environ), "weights": weights.name, "gpus": gpus}
    return repositories.write_version(repository, name, vllm_config(name), fill, provenance, version)


def _check(weights: Path) -> None:
    missing = [name for name in _NEEDED if not (weights / name).is_file()]
    if missing or not any(weights.glob("*.safetensors")):
        raise NotInStore(
            f"{weights}: {missing[0] if missing else '*.safetensors'} is missing; expected a model in Hugging Face's "
            "layout, with safetensors"
        )
