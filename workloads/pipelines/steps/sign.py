"""Step `sign`: the manifests of the version, signed with the key that only this step is given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from workloads.pipelines.errors import ArgumentError
from workloads.pipelines.run import Context
from workloads.pipelines.steps.export import versions
from workloads.serving import signing
from workloads.serving.errors import ServingError
from workloads.serving.manifest import NAME

KEY = "PIPELINE_SIGNING_KEY"
"""Variable with the path of the private key. Not a parameter: those are kept with the run."""


def run(context: Context) -> dict[str, Any]:
    place = os.environ.get(KEY, "")
    if not place:
        raise ArgumentError(
            f"{KEY}: expected the path of an Ed25519 private key in PEM; `python -m workloads.pipelines key` makes one"
        )
    try:
        key = signing.private_key(Path(place))
    except ServingError as error:
        raise ArgumentError(f"{KEY}: {error}") from None
    for model in versions(context.inputs["version"]):
        manifest = (context.inputs["version"] / model.name / str(model.version) / NAME).read_bytes()
        target = context.outputs["signatures"] / model.name
        target.mkdir(parents=True)
        (target / signing.NAME).write_bytes(signing.sign(manifest, key))
    return {"key": signing.fingerprint(key.public_key())}
