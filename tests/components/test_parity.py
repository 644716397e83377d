"""EKS and GKE, AWS and GCP: the same outputs, and for every feature a proof, or a refusal with a reason, on each."""

from __future__ import annotations

import contextlib
import os
import typing
from collections.abc import Iterator
from typing import Any

import pytest

import components
from planner.engine import PreviewFailed
from planner.plan import UNKNOWN, Plan
from tests.components import (
    parity_cluster,
    parity_inference,
    parity_observability,
    parity_pipelines,
    parity_platform,
    parity_pools,
    parity_queue,
    parity_route,
    parity_scaling,
    parity_serverless,
    parity_serving,
    parity_storage,
    parity_training,
)
from tests.components.parity import Feature, NotOffered, Offered, arguments, built, full
from tests.samples import CLOUDS, ONLY_AWS, samples
from tests.support import ROOT

FEATURES: list[Feature] = sorted(
    [
        *parity_cluster.FEATURES,
        *parity_pools.FEATURES,
        *parity_storage.FEATURES,
        *parity_queue.FEATURES,
        *parity_training.FEATURES,
        *parity_platform.FEATURES,
        *parity_serving.FEATURES,
        *parity_inference.FEATURES,
        *parity_scaling.FEATURES,
        *parity_route.FEATURES,
        *parity_serverless.FEATURES,
        *parity_observability.FEATURES,
        *parity_pipelines.FEATURES,
    ],
    key=lambda feature: list(samples("aws")).index(feature.component),
)
DOCUMENT = ROOT / "docs" / "clouds.md"

PLUMBING = {
    # where, under which name, and what other components have made
    *("cloud", "region", "tags", "cluster_name", "kubernetes_version", "namespace", "service_account"),
    *("network_id", "network_cidr", "private_subnet_ids", "pod_subnet_ids", "pod_range_name", "service_range_name"),
    *("fabric_security_group_id", "gpudirect_networks", "gpudirect_subnetworks", "node_security_group_id", "zones"),
    *("workload_identity_pool", "hosted_zone_id", "certificate_domain", "domain", "regions.region", "regions.targets"),
    *("image", "fetch_image", "service", "service_annotations", "node_pools.name", "models.size_gib", "models.gpus"),
}
EMPTY = {
    ("RegionalNetwork", "aws"): {"podRangeName", "serviceRangeName", "gpudirectNetworks", "gpudirectSubnetworks"},
    ("RegionalNetwork", "gcp"): {"publicSubnetIds", "podSubnetIds", "fabricSecurityGroupId"},
    ("GpuCluster", "aws"): {"workloadIdentityPool"},
    ("GpuCluster", "gcp"): {"nodeSecurityGroupId"},
    ("WorkloadIdentity", "aws"): {"googleAccount"},
    ("WorkloadIdentity", "gcp"): {"googleAccount"},  # unless it is asked for
    # In the cluster DAGs are in the image.
    ("AirflowDeployment", "aws"): {"dagsUrl"},
    ("AirflowDeployment", "gcp"): {"dagsUrl"},
    # A synchronous service has no queue.
    ("ServerlessInference", "gcp"): {"requestsUrl", "answersUrl", "topic"},
    ("TrainingRuntimes", "aws"): {"mpi"},  # without an image of Horovod
    ("TrainingRuntimes", "gcp"): {"mpi"},
}
"""Outputs that a cloud has nothing to put into."""

each_feature = pytest.mark.parametrize("feature", FEATURES, ids=lambda f: f"{f.component}: {f.title}")
each_cloud = pytest.mark.parametrize("cloud", CLOUDS)


@pytest.mark.parametrize("component", [one for one in samples("aws") if one not in ONLY_AWS])
def test_both_clouds_give_the_same_outputs(component: str) -> None:
    outputs = {cloud: full(component, cloud).one(f"aicloud:index:{component}", "sample").outputs for cloud in CLOUDS}
    assert outputs["aws"].keys() == outputs["gcp"].keys()
    declared = {name for name, kind in vars(getattr(components, component))["__annotations__"].items() if kind}
    assert {_camel(name) for name in declared} == outputs["aws"].keys()
    for cloud, values in outputs.items():
        assert UNKNOWN not in str(values)
        empty = {name for name, value in values.items() if value in ("", [], {}, None)}
        assert empty == EMPTY.get((component, cloud), set()), cloud


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.title, rest))


@each_cloud
@each_feature
def test_a_feature_is_proven_or_refused(feature: Feature, cloud: str) -> None:
    offer, args = feature.on(cloud), arguments(feature.component, cloud)
    if isinstance(offer, Offered):
        plan = built(feature.component, feature.change(args)) if feature.change else full(feature.component, cloud)
        assert offer.proof(plan)
    else:
        assert offer.why
        if offer.ask:
            with pytest.raises(PreviewFailed) as failed:
                built(feature.component, offer.ask(args))
            assert "ValueError" in str(failed.value)
            assert offer.refusal in str(failed.value)


def test_no_proof_is_satisfied_by_nothing() -> None:
    nothing = Plan.of("ai-cloud", "test", [])
    for feature in FEATURES:
        for cloud in CLOUDS:
            if isinstance(offer := feature.on(cloud), Offered):
                with contextlib.suppress(LookupError):
                    assert not offer.proof(nothing), (feature.component, feature.title, cloud)


def test_every_argument_asks_for_a_feature() -> None:
    """So that nobody adds an argument without saying, and proving, what it does on either cloud."""
    for component in samples("aws"):
        known = set(_arguments(getattr(components, f"{component}Args")))
        named = {argument for feature in FEATURES if feature.component == component for argument in feature.arguments}
        assert named - known == set(), component
        assert known - named - PLUMBING == set(), component


def _arguments(kind: Any, prefix: str = "") -> Iterator[str]:
    for name, hint in kind.__annotations__.items():
        nested = next((part for part in _parts(hint) if typing.is_typeddict(part)), None)
        yield from _arguments(nested, f"{prefix}{name}.") if nested else [f"{prefix}{name}"]


def _parts(hint: Any) -> Iterator[Any]:
    yield hint
    for part in typing.get_args(hint):
        yield from _parts(part)


def test_the_document_is_the_table() -> None:
    text = document()
    if os.environ.get("AICLOUD_WRITE_GOLDEN"):
        DOCUMENT.write_text(text, encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == text, "AICLOUD_WRITE_GOLDEN=1 writes the document anew"


def document() -> str:
    """docs/clouds.md."""
    lines = [
        "# What each cloud offers",
        "",
        "Every component takes the same arguments and gives the same outputs on AWS and on GCP. What it makes of them",
        "differs, and a few things one of the clouds doesn't have (—): asking for them is an error.",
        "This page is written by `tests/components/test_parity.py`, which also proves each line from a plan.",
    ]
    for component in samples("aws"):
        lines += ["", f"## {component}", "", "| feature | arguments | AWS | GCP |", "|---|---|---|---|"]
        lines += [_row(feature) for feature in FEATURES if feature.component == component]
    return "\n".join(lines) + "\n"


def _row(feature: Feature) -> str:
    asked = ", ".join(f"`{argument}`" for argument in feature.arguments) or "always"
    offers = [f"— {offer.why}" if isinstance(offer, NotOffered) else offer.how for offer in (feature.aws, feature.gcp)]
    return f"| {feature.title} | {asked} | {' | '.join(offers)} |"
