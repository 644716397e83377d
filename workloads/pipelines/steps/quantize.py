"""Step `quantize`: the weights with fewer bits, and what that costs in quality; refused where it costs too much."""

from __future__ import annotations

import json
import shutil
from typing import Any

from workloads.pipelines.errors import PipelineError, QualityLost
from workloads.pipelines.run import Context
from workloads.serving import quantization
from workloads.serving.engine.files import FILE
from workloads.serving.errors import ServingError


def run(context: Context) -> dict[str, Any]:
    precision, limit = context.parameters["precision"], context.parameters["quantization_limit"]
    model, target = context.inputs["model"], context.outputs["quantized"]
    shutil.copytree(model, target, ignore=shutil.ignore_patterns(FILE))
    if precision == "float32":
        shutil.copy(model / FILE, target / FILE)
        context.outputs["quantization"].write_text(json.dumps({"precision": precision, "loss": 0.0}))
        return {"precision": precision}
    try:
        report = quantization.convert(
            model / FILE, target / FILE, precision, quantization.held_out(str(context.inputs["dataset"])), limit=limit
        )
    except quantization.QualityLost as error:
        raise QualityLost(str(error)) from None
    except ServingError as error:
        raise PipelineError(str(error)) from None
    context.say(str(report))
    # Not its speeds, which differ from run to run.
    measured = ("precision", "bytes_before", "bytes_after", "bits_per_byte_before", "bits_per_byte_after")
    found = {name: getattr(report, name) for name in measured}
    context.outputs["quantization"].write_text(json.dumps({**found, "loss": report.loss}, indent=1))
    return {"precision": precision, "loss": report.loss, "size": report.size, "speed": report.speed}
