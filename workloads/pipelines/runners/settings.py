"""What a runner in a cluster must know besides the pipeline: where runs are kept, images, identities, secrets."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workloads.pipelines.definition import BEGIN, MODULE, Pipeline, Task
from workloads.pipelines.errors import ArgumentError
from workloads.pipelines.parameters import Parameters

SIGN = "sign"
"""The step that is given the private key, and the only one."""
SIGNING_KEY = "PIPELINE_SIGNING_KEY"
MOUNT, FILE = "/var/run/signing", "key.pem"
"""Where a cluster puts the key."""
RUN = "{run}"
"""In the place of runs: what tells one from the others."""


@dataclass(frozen=True)
class Settings:
    """Raises ArgumentError where a place is none."""

    place: str
    """Path or URL of a run, with RUN in it, such as s3://bucket/retrain/{run}."""
    parameters: Parameters
    image: str = ""
    """Container image with the workloads; empty where tasks run in shells."""
    python: str = ""
    """Interpreter of tasks that run in shells; empty: this one."""
    directory: str = ""
    """Where those are started."""
    namespace: str = "pipelines"
    service_account: str = "pipelines"
    signing_key: str = ""
    """The private key: for shells a path, in a cluster a secret that has `key.pem`, in SageMaker an S3 prefix of it."""
    schedule: str = ""
    """Cron, in UTC; empty: it is only triggered."""
    role: str = ""
    """ARN of SageMaker's role."""
    kms_key: str = ""
    """ARN of the key for SageMaker's volumes."""
    environment: Mapping[str, str] = field(default_factory=dict)
    accelerator_label: str = "aicloud.dev/accelerator"
    """Node label with the accelerator's name."""
    retry_delay_s: float = 30.0

    def __post_init__(self) -> None:
        if RUN not in self.place:
            raise ArgumentError(f"--run {self.place!r}: expected {RUN} in it, which every run replaces by its own name")

    def tasks(self, pipeline: Pipeline) -> tuple[Task, ...]:
        """With the program that an image or this machine has."""
        program = (self.python or sys.executable, *MODULE[1:]) if not self.image else MODULE
        return pipeline.tasks(self.place, self.parameters.words(), program)


def described(task: Task) -> dict[str, Any]:
    """A task as JSON."""
    return {
        "name": task.name,
        "command": list(task.command),
        "after": list(task.after),
        "resources": vars(task.resources),
        "retries": task.retries,
        "timeout_s": task.timeout_s,
        "overrides": task.name == BEGIN,
        "secret": task.name == SIGN,
    }
