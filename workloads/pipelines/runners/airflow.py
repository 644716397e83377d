"""Airflow: a DAG file that is the same for every pipeline, and a file beside it that says what the tasks are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workloads.pipelines.definition import RETRAIN, Pipeline
from workloads.pipelines.errors import ArgumentError, on_disk
from workloads.pipelines.runners.settings import FILE, MOUNT, SIGNING_KEY, Settings, described

DAG_FILE = Path(__file__).with_name("airflow_dag.py")


def compile(output: Path, settings: Settings, pipeline: Pipeline = RETRAIN) -> list[Path]:
    """Write `output`, a DAG file, and its JSON. With an image every task is a pod, without one a shell."""
    if output.suffix != ".py":
        raise ArgumentError(f"--output {output}: expected a name that ends in .py")
    beside = output.with_suffix(".json")
    with on_disk(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        # First: a scheduler may look at any moment, and a DAG file without it has no DAG.
        beside.write_text(json.dumps(plan(settings, pipeline), indent=1) + "\n", encoding="utf-8")
        output.write_text(DAG_FILE.read_text(encoding="utf-8"), encoding="utf-8")
    return [output, beside]


def plan(settings: Settings, pipeline: Pipeline = RETRAIN) -> dict[str, Any]:
    """What the DAG file reads."""
    key = f"{MOUNT}/{FILE}" if settings.image else settings.signing_key
    return {
        "name": pipeline.name,
        "schedule": settings.schedule,
        "operator": "kubernetes" if settings.image else "bash",
        "image": settings.image,
        "namespace": settings.namespace,
        "service_account": settings.service_account,
        "signing_secret": settings.signing_key,
        "signing_mount": MOUNT,
        "accelerator_label": settings.accelerator_label,
        "directory": settings.directory,
        "environment": {**settings.environment, SIGNING_KEY: key},
        "retry_delay_s": settings.retry_delay_s,
        "tasks": [described(task) for task in settings.tasks(pipeline)],
    }
