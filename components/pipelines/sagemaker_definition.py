"""A SageMaker pipeline's definition, as the compiler writes it, filled in with what only its owner knows.

Schema: https://aws-sagemaker-mlops.github.io/sagemaker-model-building-pipeline-definition-JSON-schema/ ; the fields
within `Arguments` are those of CreateProcessingJob and CreateTrainingJob (botocore, service-2.json of sagemaker).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.inference.server_arguments import Refusal

JOBS = ("Processing", "Training")
"""Types of steps that run a container."""
BUCKET = "region-bucket"
"""Stands for the region's bucket in a definition, whose own name nobody knows before it is made."""
INNER = ("IfSteps", "ElseSteps")
"""Where a Condition has its steps."""


@dataclass(frozen=True, kw_only=True)
class Own:
    """What the jobs of every step get."""

    role: str
    bucket: str
    key: str
    subnets: Sequence[str]
    security_group: str


def parsed(refuse: Refusal, text: str) -> dict[str, Any]:
    """The definition, if it is one whose jobs are all of a kind that is known here."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        refuse("definition", f"{text[:40]}…", f"expected JSON: {error}")
    if not isinstance(found, dict) or found.get("Version") != "2020-12-01" or not isinstance(found.get("Steps"), list):
        refuse("definition", f"{text[:40]}…", "expected a pipeline of Version 2020-12-01 with Steps")
    if not list(steps(found)):
        refuse("definition", "no Steps", "expected one at least")
    for step in steps(found):
        if step.get("Type") not in (*JOBS, "Condition", "Fail"):
            kinds = ", ".join((*JOBS, "Condition", "Fail"))
            refuse("definition", f"step {step.get('Name')} of type {step.get('Type')}", f"accepted are {kinds}")
        if step["Type"] in JOBS and not images_of(step):
            refuse("definition", f"step {step.get('Name')}", "expected the image that it runs")
    return found


def steps(definition: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All steps, those of conditions too, in their order."""
    for step in definition.get("Steps", []):
        yield step
        for inner in INNER:
            yield from steps({"Steps": step.get("Arguments", {}).get(inner, [])})


def images_of(step: Mapping[str, Any]) -> list[str]:
    """The image of a step that runs one; none where it comes from a parameter."""
    arguments = step.get("Arguments", {})
    found = [
        arguments.get("AppSpecification", {}).get("ImageUri"),
        arguments.get("AlgorithmSpecification", {}).get("TrainingImage"),
    ]
    return [image for image in found if isinstance(image, str)]


def filled(definition: Mapping[str, Any], own: Own) -> str:
    """The definition whose jobs run as the role, in the network, with the bucket, and with everything they leave under
    the key."""
    made: dict[str, Any] = _with_bucket(copy.deepcopy(dict(definition)), own.bucket)
    # Runs are recorded by the pipeline itself; SageMaker's experiments would want rights of their own.
    made.pop("PipelineExperimentConfig", None)
    network = {"Subnets": list(own.subnets), "SecurityGroupIds": [own.security_group]}
    for step in steps(made):
        arguments = step.get("Arguments", {})
        if step["Type"] == "Processing":
            arguments["RoleArn"] = own.role
            arguments["NetworkConfig"] = {"EnableInterContainerTrafficEncryption": True, "VpcConfig": network}
            arguments["ProcessingResources"]["ClusterConfig"]["VolumeKmsKeyId"] = own.key
            if "ProcessingOutputConfig" in arguments:
                arguments["ProcessingOutputConfig"]["KmsKeyId"] = own.key
        elif step["Type"] == "Training":
            arguments["RoleArn"] = own.role
            arguments["VpcConfig"] = network
            arguments["EnableInterContainerTrafficEncryption"] = True
            arguments["ResourceConfig"]["VolumeKmsKeyId"] = own.key
            arguments["OutputDataConfig"]["KmsKeyId"] = own.key
    return json.dumps(made, sort_keys=True)


def _with_bucket(value: Any, bucket: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _with_bucket(item, bucket) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_bucket(item, bucket) for item in value]
    stands = f"s3://{BUCKET}/"
    return (
        f"s3://{bucket}/{value.removeprefix(stands)}" if isinstance(value, str) and value.startswith(stands) else value
    )
