"""Step `register`: the signed version into the model repository, and what is known of it into MLflow's registry."""

from __future__ import annotations

import json
from typing import Any

from workloads.pipelines.errors import PipelineError
from workloads.pipelines.record import record
from workloads.pipelines.registry import Registry
from workloads.pipelines.run import Context, Run
from workloads.pipelines.steps.export import versions
from workloads.serving import repository as repositories
from workloads.serving.errors import ServingError
from workloads.serving.signing import NAME


def run(context: Context) -> dict[str, Any]:
    parameters, inputs = context.parameters, context.inputs
    places = {}
    for model in versions(inputs["version"]):
        signature = (inputs["signatures"] / model.name / NAME).read_bytes()
        try:
            places[str(model)] = repositories.publish(inputs["version"], parameters["repository"], model, signature)
        except ServingError as error:
            raise PipelineError(str(error)) from None
        context.say(f"{model} in {parameters['repository']}")
    this = Run.open(context.run)
    tracked = record(this)
    quantization = json.loads(inputs["quantization"].read_bytes())
    report = json.loads((inputs["evaluation"] / "report.json").read_bytes())
    registry = Registry(parameters["mlflow"])
    found = registry.register(
        parameters["model"],
        tracked,
        context.key,
        {
            "bits_per_byte": report["bits_per_byte"],
            "corpus_fingerprint": parameters["corpus_fingerprint"],
            "pipeline": context.run,
            "precision": quantization["precision"],
            "quantization_loss": quantization["loss"],
            "repository": parameters["repository"],
            "version": parameters["version"],
            "weights": this.place("model"),
        },
    )
    context.say(f"registered as version {found.version} of {found.model}, alias candidate")
    context.outputs["registration"].write_text(
        json.dumps(
            {"model": found.model, "version": found.version, "run": tracked, "places": places}, indent=1, sort_keys=True
        )
    )
    return {"version": found.version, "places": places}
