"""What must hold for the closed loop's servers: their region is there, once, and has what they ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.accelerators import CATALOG
from components.pipelines.retraining_trigger import LONGEST_NAME
from stacks.problems import Problem, did_you_mean
from stacks.validation_training import usable_for_training

if TYPE_CHECKING:
    from stacks.pipelines import Pipelines, Retraining
    from stacks.settings import NodePool, Region

KEY = "ai-cloud:pipelines"
DIRECTORY = Path(__file__).parent
"""From where settings name files."""


def problems(
    parts: Mapping[str, Any], regions: list[Region], pools: list[NodePool], complete: bool
) -> Iterator[Problem]:
    """Whatever is wrong with the entries that could be read.

    `complete`: whether every region and pool could be read; if not, one that an entry needs may be among the others.
    """
    entries: dict[int, Pipelines] = parts.get("pipelines") or {}
    named = [region.region for region in regions]
    # Where one stands twice, another may be what was meant: that is told already.
    complete = complete and len(set(named)) == len(named)
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
        if entry.retraining is not None:
            region = next((one for one in regions if one.region == entry.region), None)
            yield from _retraining(f"{path}.retraining", entry.retraining, region, pools if complete else None)


def _apart(path: str, entry: Pipelines) -> Iterator[Problem]:
    """Namespaces of the servers, each of which is closed to all others."""
    taken = {"training": "training's own"}
    airflow = entry.airflow if entry.airflow and not entry.airflow.managed else None
    for name, part in (("mlflow", entry.mlflow), ("airflow", airflow), ("kubeflow", entry.kubeflow)):
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


def _retraining(
    path: str, retraining: Retraining, region: Region | None, pools: list[NodePool] | None
) -> Iterator[Problem]:
    """`pools`: None where some could not be read."""
    if region is None:
        return
    if "training" not in region.purposes:
        accepted = f"none in {region.region}, which doesn't train"
        yield Problem(path, retraining.model, accepted)
        return
    if len(f"{region.name}-retrain-{retraining.model}") > LONGEST_NAME:
        room = LONGEST_NAME - len(f"{region.name}-retrain-")
        yield Problem(f"{path}.model", retraining.model, f"at most {room} characters: roles are called after it")
    if not retraining.catalog and region.cloud != "aws":
        yield Problem.missing(f"{path}.catalog", "properties of a catalog, such as type and uri; Glue is on aws")
    if retraining.accelerator is None:
        if retraining.accelerators_per_node is not None:
            yield Problem(f"{path}.acceleratorsPerNode", retraining.accelerators_per_node, "none without accelerator")
        return
    if retraining.accelerator not in CATALOG:
        accepted = did_you_mean(retraining.accelerator, CATALOG)
        yield Problem(f"{path}.accelerator", retraining.accelerator, accepted)
    elif pools is not None:
        usable = {pool.accelerator for pool in pools if pool.accelerator and usable_for_training(pool, region)}
        if retraining.accelerator not in usable:
            accepted = f"what pools in {region.region} have: {', '.join(sorted(map(str, usable))) or 'none'}"
            yield Problem(f"{path}.accelerator", retraining.accelerator, accepted)
