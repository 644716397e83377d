"""SageMaker Pipelines: the definition as JSON, each task a processing job with the command that all runners start.

Nothing is asked of AWS: the definition names its role, its image and its bucket, and whoever creates the pipeline hands
it over. SageMaker wants a bucket for runs, and reads the gate's answer from a file that the gate writes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from workloads.pipelines.definition import BEGIN, GATE, RETRAIN, Pipeline, Resources, Task
from workloads.pipelines.errors import ArgumentError, on_disk
from workloads.pipelines.runners.settings import FILE, RUN, SIGN, SIGNING_KEY, Settings

KEY_MOUNT, ANSWER_MOUNT = "/opt/ml/processing/key", "/opt/ml/processing/answer"
ANSWER = "answer.json"
REGION = "AWS_DEFAULT_REGION"

ACCELERATED = {
    "t4": "ml.g4dn.4xlarge",
    "a10g": "ml.g5.4xlarge",
    "l4": "ml.g6.4xlarge",
    "l40s": "ml.g6e.4xlarge",
    "a100-40gb": "ml.p4d.24xlarge",
    "a100-80gb": "ml.p4de.24xlarge",
    "h100-80gb": "ml.p5.48xlarge",
}
"""Of an accelerator, the smallest instance that processing jobs may have with enough memory for a step (remembered)."""
PLAIN = ((2, 8, "ml.m5.large"), (4, 16, "ml.m5.xlarge"), (8, 32, "ml.m5.2xlarge"), (16, 64, "ml.m5.4xlarge"))
"""CPUs and GiB of instances without an accelerator (remembered)."""


def compile(output: Path, settings: Settings, pipeline: Pipeline = RETRAIN) -> list[Path]:
    """Write the definition that `create_pipeline` takes. Raises ArgumentError for what SageMaker would refuse."""
    text = definition(settings, pipeline)
    with on_disk(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    return [output]


def definition(settings: Settings, pipeline: Pipeline = RETRAIN) -> str:
    """JSON of version 2020-12-01. Its parameter `Overrides` is JSON as `begin --overrides` takes it."""
    _check(settings)
    from sagemaker.core.workflow.conditions import ConditionEquals
    from sagemaker.core.workflow.functions import JsonGet
    from sagemaker.core.workflow.parameters import ParameterString
    from sagemaker.mlops.workflow.condition_step import ConditionStep
    from sagemaker.mlops.workflow.pipeline import Pipeline as Made

    overrides = ParameterString(name="Overrides", default_value="{}")
    session = _session(settings)
    steps: list[Any] = []
    gated: list[Any] = []
    for task in settings.tasks(pipeline):
        step = _step(task, settings, session, overrides)
        (gated if task.gated else steps).append(step)
    accepted = ConditionEquals(left=JsonGet(step_name=GATE, property_file="Answer", json_path="accepted"), right=True)
    steps.append(
        ConditionStep(name="accepted", conditions=[accepted], if_steps=gated, else_steps=[], depends_on=[GATE])
    )
    made = Made(name=pipeline.name, parameters=[overrides], steps=steps, sagemaker_session=session)
    found = {name: value for name, value in json.loads(made.definition()).items() if value is not None}
    return json.dumps(found, indent=1) + "\n"


def _check(settings: Settings) -> None:
    if not settings.image:
        raise ArgumentError("--image: SageMaker starts containers: expected the image of the workloads")
    if not settings.role.startswith("arn:"):
        raise ArgumentError(f"--role {settings.role!r}: expected the ARN of a role that SageMaker may take")
    if not settings.place.startswith("s3://"):
        raise ArgumentError(f"--run {settings.place!r}: expected s3://bucket/prefix/{RUN}")
    if settings.signing_key and not settings.signing_key.startswith("s3://"):
        raise ArgumentError(f"--signing-key {settings.signing_key!r}: expected an s3:// prefix that has {FILE}")
    if not os.environ.get(REGION):
        raise ArgumentError(f"{REGION}: expected the region of the pipeline")


def _session(settings: Settings) -> Any:
    """One that notes what a step would start, and starts nothing."""
    import boto3  # type: ignore[import-untyped]
    from sagemaker.core.workflow.pipeline_context import PipelineSession

    return PipelineSession(
        boto_session=boto3.Session(region_name=os.environ[REGION]),
        default_bucket=settings.place.removeprefix("s3://").partition("/")[0],
    )


def _step(task: Task, settings: Settings, session: Any, overrides: Any) -> Any:
    from sagemaker.core.processing import Processor
    from sagemaker.core.shapes import ProcessingInput, ProcessingOutput, ProcessingS3Input, ProcessingS3Output
    from sagemaker.core.workflow.execution_variables import ExecutionVariables
    from sagemaker.core.workflow.functions import Join
    from sagemaker.core.workflow.properties import PropertyFile
    from sagemaker.mlops.workflow.retry import (
        SageMakerJobExceptionTypeEnum,
        SageMakerJobStepRetryPolicy,
        StepExceptionTypeEnum,
        StepRetryPolicy,
    )
    from sagemaker.mlops.workflow.steps import ProcessingStep

    before, _, after = settings.place.partition(RUN)
    place = Join(on="", values=[part for part in (before, ExecutionVariables.PIPELINE_EXECUTION_ID, after) if part])
    words: list[Any] = [place if word == settings.place else word for word in task.command]
    inputs, outputs, files = [], [], []
    environment = dict(settings.environment)
    if task.name == BEGIN:
        words += ["--overrides", overrides]
    if task.name == GATE:
        words += ["--answer", f"{ANSWER_MOUNT}/{ANSWER}"]
        kept = ProcessingS3Output(
            s3_uri=Join(on="/", values=[place, "gate"]), local_path=ANSWER_MOUNT, s3_upload_mode="EndOfJob"
        )
        outputs.append(ProcessingOutput(output_name="answer", s3_output=kept))
        files.append(PropertyFile(name="Answer", output_name="answer", path=ANSWER))
    if task.name == SIGN and settings.signing_key:
        brought = ProcessingS3Input(
            s3_uri=settings.signing_key, local_path=KEY_MOUNT, s3_data_type="S3Prefix", s3_input_mode="File"
        )
        inputs.append(ProcessingInput(input_name="key", s3_input=brought))
        environment[SIGNING_KEY] = f"{KEY_MOUNT}/{FILE}"
    processor = Processor(
        role=settings.role,
        image_uri=settings.image,
        instance_count=1,
        instance_type=instance(task.resources),
        entrypoint=words[:1],
        max_runtime_in_seconds=min(int(task.timeout_s), MOST_S),
        volume_kms_key=settings.kms_key or None,
        output_kms_key=settings.kms_key or None,
        sagemaker_session=session,
        env=environment or None,
    )
    service = [StepExceptionTypeEnum.SERVICE_FAULT, StepExceptionTypeEnum.THROTTLING]
    job = [SageMakerJobExceptionTypeEnum.INTERNAL_ERROR, SageMakerJobExceptionTypeEnum.CAPACITY_ERROR]
    again = [
        StepRetryPolicy(exception_types=service, max_attempts=task.retries + 1),
        SageMakerJobStepRetryPolicy(exception_types=job, max_attempts=task.retries + 1),
    ]
    return ProcessingStep(
        name=task.name,
        step_args=processor.run(inputs=inputs, outputs=outputs, arguments=words[1:]),
        property_files=files or None,
        depends_on=[name for name in task.after if not (task.gated and name == GATE)] or None,
        retry_policies=again,
    )


MOST_S = 5 * 24 * 3600
"""A processing job's longest time (CreateProcessingJob, StoppingCondition: 777,600 s; five days are kept to)."""


def instance(resources: Resources) -> str:
    """The smallest instance of SageMaker that has these. ArgumentError where none is known."""
    if resources.accelerator:
        if resources.accelerator not in ACCELERATED:
            raise ArgumentError(
                f"accelerator {resources.accelerator!r}: no instance of SageMaker is known for it; expected one of "
                f"{', '.join(ACCELERATED)}"
            )
        return ACCELERATED[resources.accelerator]
    for cpu, memory_gib, name in PLAIN:
        if resources.cpu <= cpu and resources.memory_gib <= memory_gib:
            return name
    raise ArgumentError(f"resources {resources}: no instance of SageMaker is known for them")
