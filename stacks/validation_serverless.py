"""What must hold for models without a cluster: their region is there, and its cloud has what they ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from components.accelerators import CATALOG, NotOffered
from components.inference import serverless_offers as offers
from stacks.problems import Problem, did_you_mean

if TYPE_CHECKING:
    from stacks.serving import Serverless
    from stacks.settings import Region

KEY = "ai-cloud:serverless"


def problems(parts: Mapping[str, Any], regions: list[Region], complete: bool) -> Iterator[Problem]:
    """Whatever is wrong with the entries that could be read.

    `complete`: whether every region could be read; if not, the one that an entry names may be among the others.
    """
    entries: dict[int, Serverless] = parts.get("serverless") or {}
    named = [region.region for region in regions]
    # Where one stands twice, another may be what was meant: that is told already.
    complete = complete and len(set(named)) == len(named)
    names: dict[tuple[str, str], int] = {}
    for index, entry in entries.items():
        path = f"{KEY}[{index}]"
        first = names.setdefault((entry.region, entry.name), index)
        if first != index:
            yield Problem(f"{path}.name", entry.name, f"each name once in a region: serverless[{first}] has it already")
        if entry.region not in named and complete:
            accepted = f"a region of this environment: {did_you_mean(entry.region, named)}"
            yield Problem(f"{path}.region", entry.region, accepted)
            continue  # what else it asks for may be right in the region that was meant
        if entry.min_instances > entry.max_instances:
            accepted = f"at most maxInstances, which is {entry.max_instances}"
            yield Problem(f"{path}.minInstances", entry.min_instances, accepted)
        yield from _mode(path, entry)
        yield from _image(path, entry)
        for place, invoker in enumerate(entry.invokers):
            known = ":role/" in invoker if entry.cloud == "aws" else not invoker.startswith("arn:")
            if not known:
                accepted = "the ARN of a role on aws, a user, group or serviceAccount on gcp"
                yield Problem(f"{path}.invokers[{place}]", invoker, accepted)


def _mode(path: str, entry: Serverless) -> Iterator[Problem]:
    on_aws, waits = entry.cloud == "aws", entry.mode == offers.ASYNCHRONOUS
    if waits and not on_aws:
        yield Problem(f"{path}.mode", entry.mode, "synchronous: Cloud Run answers on the request's own connection")
    if on_aws and not waits and entry.accelerator:
        accepted = "none, or mode asynchronous: SageMaker's serverless endpoints have no GPU"
        yield Problem(f"{path}.accelerator", entry.accelerator, accepted)
    elif on_aws and waits and not entry.accelerator:
        yield Problem.missing(f"{path}.accelerator", "an accelerator, which an asynchronous endpoint has, such as l4")
    elif entry.accelerator:
        yield from _accelerator(path, entry)


def _accelerator(path: str, entry: Serverless) -> Iterator[Problem]:
    key, region = entry.accelerator or "", entry.region.split(":", 1)[1]
    if key not in CATALOG:
        yield Problem(f"{path}.accelerator", key, did_you_mean(key, CATALOG))
        return
    try:
        if entry.cloud == "aws":
            offers.sagemaker_instance(key, region, entry.gpus or 1)
        else:
            offers.cloud_run_gpu(key, region)
    except NotOffered as error:
        yield Problem(f"{path}.accelerator", key, f"what {entry.region} offers without a cluster: {error}")


def _image(path: str, entry: Serverless) -> Iterator[Problem]:
    """The clouds' serverless offers pull from their own registries alone."""
    region = entry.region.split(":", 1)[1]
    if entry.cloud == "aws":
        registry = rf"\d{{12}}\.dkr\.ecr\.{region}\.amazonaws\.com/"
        accepted = f"an image in ECR of the region: <account>.dkr.ecr.{region}.amazonaws.com/<repository>"
    else:
        registry = r"[a-z0-9-]+-docker\.pkg\.dev/|([a-z]+\.)?gcr\.io/"
        accepted = "an image in Artifact Registry: <location>-docker.pkg.dev/<project>/<repository>/<image>"
    if not re.match(registry, entry.image):
        yield Problem(f"{path}.image", entry.image, accepted)
