"""What must hold for the closed loop's servers: their region is there, once, and has what they ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacks.problems import Problem, did_you_mean

if TYPE_CHECKING:
    from stacks.pipelines import Pipelines
    from stacks.settings import Region

KEY = "ai-cloud:pipelines"
DIRECTORY = Path(__file__).parent
"""From where settings name files."""


def problems(parts: Mapping[str, Any], regions: list[Region], complete: bool) -> Iterator[Problem]:
    """Whatever is wrong with the entries that could be read.

    `complete`: whether every region could be read; if not, the one that an entry names may be among the others.
    """
    entries: dict[int, Pipelines] = parts.get("pipelines") or {}
    named = [region.region for region in regions]
    first: dict[str, int] = {}
    for index, entry in entries.items():
        path = f"{KEY}[{index}]"
        if (known := first.setdefault(entry.region, index)) != index:
            yield Problem(f"{path}.region", entry.region, f"each region once: pipelines[{known}] has it already")
        elif entry.region not in named and complete:
            accepted = f"a region of this environment: {did_you_mean(entry.region, named)}"
            yield Problem(f"{path}.region", entry.region, accepted)
        yield from _apart(path, entry)
        yield from _airflow(path, entry)
        yield from _sagemaker(path, entry)


def _apart(path: str, entry: Pipelines) -> Iterator[Problem]:
    """Namespaces of the servers, each of which is closed to all others."""
    taken = {"training": "training's own"}
    airflow = entry.airflow if entry.airflow and not entry.airflow.managed else None
    for name, part in (("mlflow", entry.mlflow), ("airflow", airflow)):
        if part is None:
            continue
        if part.namespace in taken:
            accepted = f"a namespace of its own: {part.namespace} is {taken[part.namespace]}"
            yield Problem(f"{path}.{name}.namespace", part.namespace, accepted)
        taken.setdefault(part.namespace, f"{name}'s")


def _airflow(path: str, entry: Pipelines) -> Iterator[Problem]:
    airflow = entry.airflow
    if airflow is not None and not airflow.managed and airflow.image is None:
        yield Problem.missing(f"{path}.airflow.image", "the image of Airflow in the cluster, or managed: true")


def _sagemaker(path: str, entry: Pipelines) -> Iterator[Problem]:
    sagemaker = entry.sagemaker
    if sagemaker is None:
        return
    if not entry.region.startswith("aws:"):
        accepted = "none on gcp, where Airflow or the cluster runs the pipeline"
        yield Problem(f"{path}.sagemaker", sagemaker.definition, accepted)
    file = DIRECTORY / sagemaker.definition
    if not file.is_file():
        yield Problem(f"{path}.sagemaker.definition", sagemaker.definition, f"a file, from {DIRECTORY.name}/ on")
    if sagemaker.parameters and sagemaker.schedule is None:
        accepted = "none without a schedule, on which they are given"
        yield Problem(f"{path}.sagemaker.parameters", sagemaker.parameters, accepted)
