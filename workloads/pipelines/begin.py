"""Begins a run: what its parameters come to here and now, written down once, so that every step works on the same."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workloads.pipelines import champions, corpora, slices
from workloads.pipelines.definition import RETRAIN, Pipeline
from workloads.pipelines.errors import ArgumentError, PipelineError
from workloads.pipelines.parameters import Parameters
from workloads.pipelines.registry import CHAMPION, Registry
from workloads.pipelines.run import FILE, Run
from workloads.pipelines.store import open_store
from workloads.serving import repository as repositories
from workloads.serving.errors import ServingError
from workloads.training import config as configs

REGISTRY = "registry"


def begin(
    url: str, parameters: Parameters, pipeline: Pipeline = RETRAIN, *, now: Callable[[], float] = time.time
) -> tuple[Run, bool]:
    """The run at a path or URL; whether it begins or goes on. With the same parameters it goes on as it was.

    With others it goes on too: steps that they don't concern are not done again. Raises a PipelineError.
    """
    store = open_store(url)
    text = store.read(FILE)
    known: dict[str, Any] = json.loads(text) if text else {}
    if known and known["parameters"] == parameters.to_json():
        return Run(store, pipeline, known), False
    _check(parameters)
    document = {
        "pipeline": pipeline.name,
        "id": known.get("id")
        or f"{pipeline.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now()))}-{uuid.uuid4().hex[:6]}",
        "begun": known.get("begun") or now(),
        "parameters": parameters.to_json(),
        "resolved": _resolved(parameters, store.url, known),
    }
    store.write(FILE, json.dumps(document, indent=1, sort_keys=True).encode() + b"\n")
    return Run(store, pipeline, document), not known


def _check(parameters: Parameters) -> None:
    """What a step would find wrong in an hour is found at once."""
    slices.kinds(parameters.slices)
    if parameters.config not in configs.NAMED:
        raise ArgumentError(f"config {parameters.config!r}: expected one of {', '.join(configs.NAMED)}")
    from workloads.training.cli import parser

    words = [word for name, value in parameters.training.items() for word in (f"--{name}", value)]
    try:
        parser().parse_args(["--config", parameters.config, "--output", "-", *words])
    except SystemExit:
        raise ArgumentError(
            f"training: {parameters.training}: workloads.training does not take it, see above"
        ) from None


def _resolved(parameters: Parameters, place: str, known: dict[str, Any]) -> dict[str, Any]:
    mlflow = parameters.mlflow or _database(place)
    champion = parameters.champion
    if champion == REGISTRY:
        found = Registry(mlflow).get(parameters.model, CHAMPION)
        champion = found.weights if found else ""
    champion = _absolute(champion) if champion else ""
    repository = _absolute(parameters.repository)
    resolved: dict[str, Any] = {
        "corpus": parameters.corpus if parameters.corpus == "stdlib" else _absolute(parameters.corpus),
        "champion": champion,
        "champion_digest": champions.digest(champion) if champion else "",
        "mlflow": mlflow,
        "repository": repository,
    }
    resolved["corpus_fingerprint"] = corpora.fingerprint({**parameters.to_json(), **resolved})
    before = known.get("resolved", {})
    same = before and before["repository"] == repository and known["parameters"]["model"] == parameters.model
    if parameters.version:
        resolved["version"] = parameters.version
    elif same and not known["parameters"]["version"]:
        resolved["version"] = before["version"]
    else:
        resolved["version"] = _next(repository, parameters.model)
    return resolved


def _next(repository: str, model: str) -> int:
    try:
        return 1 + max(repositories.newest(repository, name) for name in (model, f"{model}-scorer"))
    except ServingError as error:
        raise PipelineError(f"repository: {error}") from None


def _database(place: str) -> str:
    if "://" in place:
        raise ArgumentError("mlflow: expected a tracking URI, for the run is not kept in a directory")
    return f"sqlite:///{Path(place).parent / 'mlflow.db'}"


def _absolute(place: str) -> str:
    return place if "://" in place else str(Path(place).absolute())
