"""Step `evaluate`: the candidate against the champion on held-out documents, on the whole and on each slice."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from workloads.pipelines import champions, scoring
from workloads.pipelines.comparison import Scores, Verdict, judge
from workloads.pipelines.run import Context


def run(context: Context) -> dict[str, Any]:
    parameters = context.parameters
    documents = json.loads(context.inputs["slices"].read_bytes())["documents"]
    chosen = choose(documents, parameters["evaluation_documents"])
    tokens = scoring.held_out(context.inputs["dataset"], chosen, parameters["evaluation_tokens"])
    candidate = scoring.score(context.inputs["model"], tokens)
    bits, sizes = (np.array(column, dtype=float) for column in zip(*candidate, strict=True))
    champion, verdict = bits, None
    if parameters["champion"]:
        with tempfile.TemporaryDirectory(dir=context.work) as directory:
            champion = np.array([one for one, _ in scoring.score(_champion(parameters, Path(directory)), tokens)])
    names = [documents[index]["slices"] for index in chosen]
    verdict = _judge(Scores(bits, champion, sizes), names, parameters)
    for comparison in verdict.comparisons:
        context.say(str(comparison))
    scored = [
        {"name": documents[index]["name"], "bytes": int(size), "bits": float(bit), "champion_bits": float(other)}
        for index, size, bit, other in zip(chosen, sizes, bits, champion, strict=True)
    ]
    evaluation = context.outputs["evaluation"]
    evaluation.mkdir()
    (evaluation / "documents.jsonl").write_text("".join(json.dumps(one) + "\n" for one in scored))
    report = {
        "bits_per_byte": float(bits.sum() / sizes.sum()),
        "champion_bits_per_byte": float(champion.sum() / sizes.sum()) if parameters["champion"] else None,
        "documents": len(chosen),
        "comparisons": [{**asdict(one), "passed": one.passed} for one in verdict.comparisons],
    }
    (evaluation / "report.json").write_text(json.dumps(report, indent=1))
    context.outputs["verdict"].write_text(
        json.dumps({"accepted": verdict.accepted, "reasons": verdict.reasons}, indent=1)
    )
    return {"accepted": verdict.accepted, "bits_per_byte": report["bits_per_byte"]}


def choose(documents: Sequence[Mapping[str, Any]], most: int) -> list[int]:
    """Which held-out documents are scored: the same ones each time, also when others come and go."""
    order = sorted(range(len(documents)), key=lambda i: hashlib.sha256(documents[i]["name"].encode()).digest())
    return sorted(order[:most] if most else order)


def _champion(parameters: Mapping[str, Any], directory: Path) -> Path:
    return champions.fetch(parameters["champion"], directory)


def _judge(scores: Scores, names: Sequence[Sequence[str]], parameters: Mapping[str, Any]) -> Verdict:
    slices: dict[str, list[int]] = {}
    for index, of in enumerate(names):
        for name in of:
            slices.setdefault(name, []).append(index)
    verdict = judge(
        scores,
        dict(sorted(slices.items())),
        margin=parameters["margin"],
        alpha=parameters["alpha"],
        least=parameters["slice_documents"],
    )
    if math.isfinite(scores.candidate.sum()):
        return verdict
    return Verdict(False, ("the candidate's bits per byte are no number", *verdict.reasons), verdict.comparisons)
