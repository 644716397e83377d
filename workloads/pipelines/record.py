"""Tells MLflow all that a run of the pipeline has come to so far: parameters, figures, lineage, reports."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from workloads.pipelines.registry import Registry
from workloads.pipelines.run import Run

REPORTS = ("data-report", "curve", "evaluation", "verdict", "quantization", "slices")


def record(run: Run) -> str:
    """The ID of the run in MLflow, which is made if it is not there."""
    parameters = run.parameters
    done = {step.name: found for step in run.pipeline.steps if (found := run.done(step))}
    lineage = {f"artifact.{name}": sha for found in done.values() for name, sha in found.digests().items()}
    with tempfile.TemporaryDirectory() as directory:
        reports = {
            name: run.artifact(name, Path(directory)) for name in REPORTS if run.pipeline.maker(name).name in done
        }
        metrics = {"cost_usd": sum(found.cost_usd for found in done.values())}
        if "evaluation" in reports:
            report = json.loads((reports["evaluation"] / "report.json").read_bytes())
            metrics["bits_per_byte"] = report["bits_per_byte"]
            if report["champion_bits_per_byte"] is not None:
                metrics["champion_bits_per_byte"] = report["champion_bits_per_byte"]
            for one in report["comparisons"]:
                metrics[f"slice.{one['slice'].replace('=', '.')}.bits_per_byte"] = one["candidate"]
        if "quantization" in reports:
            metrics["quantization_loss"] = json.loads(reports["quantization"].read_bytes())["loss"]
        tags = {"pipeline": run.pipeline.name, "pipeline.place": run.store.url, **run.resolved, **lineage}
        return Registry(run.resolved["mlflow"]).record(
            parameters.experiment,
            run.id,
            name=run.id,
            parameters={k: v for k, v in parameters.to_json().items() if k != "mlflow"},
            tags=tags,
            metrics=metrics,
            steps={
                name: {"wall_s": found.wall_s, "cost_usd": found.cost_usd, "key": found.key, **found.facts}
                for name, found in done.items()
            },
            artifacts={f"reports/{name}": path for name, path in reports.items()},
        )
