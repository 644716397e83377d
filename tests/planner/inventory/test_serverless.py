"""Services and endpoints without a cluster, as plans write them."""

from __future__ import annotations

import pytest

from planner.checks import versions
from planner.checks.quota import needs
from planner.checks.quota_table import RUN_L4, RUN_L4_ZONAL, SAGEMAKER_INSTANCES
from planner.cost import estimate
from planner.cost.book import Book
from planner.inventory import Inventory
from planner.inventory.serverless import (
    CLOUD_RUN,
    CONFIGURATION,
    ENDPOINT,
    MODEL,
    SCALABLE,
    Serverless,
    serverless,
)
from planner.plan import UNKNOWN, Plan, Resource
from planner.rules import Rules

URN = "urn:pulumi:test::test::{}::{}"
BOOK = Book.load(refreshed=None)


def one(token: str, name: str, /, uses: dict[str, list[str]] | None = None, **inputs) -> Resource:
    urns = {key: tuple(URN.format(*each.split(" ")) for each in named) for key, named in (uses or {}).items()}
    dependencies = tuple(urn for named in urns.values() for urn in named)
    return Resource(
        URN.format(token, name), token, inputs=inputs, property_dependencies=urns, dependencies=dependencies
    )


def inventory(*resources: Resource) -> Inventory:
    return Inventory(Plan.of("test", "test", resources))


def only(*resources: Resource) -> Serverless:
    (found,) = serverless(inventory(*resources))
    return found


def service(**changes) -> Resource:
    limits = {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}
    template = {
        "containers": [{"image": "serving", "resources": {"limits": limits, "cpuIdle": False}}],
        "nodeSelector": {"accelerator": "nvidia-l4"},
        "scaling": {"maxInstanceCount": 3},
        "gpuZonalRedundancyDisabled": True,
        **changes,
    }
    return one(CLOUD_RUN, "chat", location="us-central1", template=template)


def endpoint(variant: dict, *more: Resource, known: bool = True, **configuration) -> tuple[Resource, ...]:
    name = "chat-1" if known else UNKNOWN
    uses = {"endpointConfigName": [f"{CONFIGURATION} chat"]}
    return (
        one(CONFIGURATION, "chat", region="us-east-1", name="chat-1", productionVariants=[variant], **configuration),
        one(ENDPOINT, "chat", uses, region="us-east-1", name="chat", endpointConfigName=name),
        *more,
    )


GPU_CONTAINER = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}


def hosted(machine_image: str | None) -> tuple[Resource, ...]:
    image = {"image": "nvcr.io/nvidia/tritonserver:26.09-py3"}
    variant = {**HOSTED, **({"inferenceAmiVersion": machine_image} if machine_image else {})}
    return endpoint(variant, one(MODEL, "chat", region="us-east-1", name="chat", primaryContainer=image))


HOSTED = {"modelName": "chat", "instanceType": "ml.g6.xlarge", "initialInstanceCount": 1}
WAITS = {"asyncInferenceConfig": {"outputConfig": {"s3OutputPath": "s3://bucket/"}}}


def scales(resource_id: str) -> Resource:
    uses = {"resourceId": [f"{ENDPOINT} chat"]}
    return one(SCALABLE, "chat", uses, region="us-east-1", resourceId=resource_id, minCapacity=0, maxCapacity=4)


def test_a_service_of_cloud_run() -> None:
    found = only(service())
    assert (found.kind, found.accelerator, found.accelerators) == ("cloud-run", "nvidia-l4", 1)
    assert (found.cpu, found.memory_gib, found.min, found.max) == (4, 16, 0, 3)
    assert (found.zonal, found.always_paid) == (False, True)
    # Google's own defaults.
    bare = only(one(CLOUD_RUN, "bare", location="us-central1", template={"containers": [{"image": "web"}]}))
    assert (bare.accelerators, bare.cpu, bare.memory_gib, bare.max, bare.always_paid) == (0, 1, 0.5, 100, False)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("scaled", ["endpoint/chat/variant/serving", UNKNOWN])
def test_an_endpoint_and_what_scales_it(known: bool, scaled: str) -> None:
    found = only(*endpoint(HOSTED, scales(scaled), known=known, **WAITS))
    assert (found.kind, found.instance_type, found.min, found.max) == ("asynchronous", "ml.g6.xlarge", 0, 4)


def test_an_endpoint_that_nothing_scales() -> None:
    found = only(*endpoint(HOSTED))
    assert (found.kind, found.min, found.max) == ("real-time", 1, 1)
    other = only(*endpoint(HOSTED, scales("endpoint/other/variant/serving")))
    assert (other.min, other.max) == (1, 1)


def test_an_endpoint_without_instances() -> None:
    memory = {"memorySizeInMb": 3072, "maxConcurrency": 20, "provisionedConcurrency": 2}
    found = only(*endpoint({"modelName": "chat", "serverlessConfig": memory}))
    assert (found.kind, found.memory_gib, found.min, found.max, found.always_paid) == ("serverless", 3, 2, 20, False)


def test_what_the_cloud_alone_knows_is_none() -> None:
    assert only(service(scaling={"maxInstanceCount": UNKNOWN})).max is None
    assert list(serverless(inventory(one(CLOUD_RUN, "chat", template=UNKNOWN))))


# ---- what it costs


def month(*resources: Resource):
    found = estimate(Plan.of("test", "test", resources), BOOK)
    assert found.unpriced == ()
    return found.by("kind")["compute"]


def test_a_service_with_a_gpu_is_paid_while_it_is_there() -> None:
    cost = month(service())
    hour = 0.67212 + 4 * 0.0648 + 16 * 0.0072
    assert cost.low == 0
    assert cost.expected == pytest.approx(730 * hour * 3 * 0.05)
    assert cost.largest == pytest.approx(730 * hour * 3)
    zonal = month(service(gpuZonalRedundancyDisabled=False))
    assert zonal.largest - cost.largest == pytest.approx(730 * 3 * (1.04724 - 0.67212))


def test_an_endpoint_s_instances_have_a_price_of_their_own_or_a_part_of_ec2_s() -> None:
    cost = month(*endpoint(HOSTED, scales("endpoint/chat/variant/serving")))
    assert (cost.low, cost.largest) == (0, pytest.approx(730 * 4 * 1.1267))
    assert cost.expected == pytest.approx(730 * 4 * 0.05 * 1.1267)
    other = month(*endpoint({**HOSTED, "instanceType": "ml.p5.48xlarge"}))
    machine = BOOK.machine("aws", "p5.48xlarge", "us-east-1").on_demand
    assert machine is not None
    assert other.low == pytest.approx(730 * machine.usd * 1.25)


def test_what_is_kept_ready_is_paid_beside_what_answers() -> None:
    memory = {"memorySizeInMb": 2048, "maxConcurrency": 10, "provisionedConcurrency": 1}
    cost = month(*endpoint({"modelName": "chat", "serverlessConfig": memory}))
    assert cost.largest == pytest.approx(730 * 2 * (10 * 0.072 + 1 * 0.036))


def test_a_count_that_nobody_knows_is_no_price() -> None:
    plan = Plan.of("test", "test", [service(scaling={"maxInstanceCount": UNKNOWN})])
    assert [gap.reason for gap in estimate(plan, BOOK).unpriced] == [
        "how many instances it has, the plan does not tell"
    ]


# ---- quotas


def test_services_and_endpoints_count_against_quotas_of_their_own() -> None:
    found = {need.code: (need.region, need.min, need.max) for need in needs(inventory(
        service(), *endpoint(HOSTED, scales("endpoint/chat/variant/serving")),
    ))}  # fmt: skip
    assert found == {
        RUN_L4: ("gcp:us-central1", 0, 3),
        SAGEMAKER_INSTANCES["ml.g6.xlarge"]: ("aws:us-east-1", 0, 4),
    }
    zonal = needs(inventory(service(gpuZonalRedundancyDisabled=False)))
    assert [need.code for need in zonal] == [RUN_L4_ZONAL]


# ---- drivers


@pytest.mark.parametrize(
    ("resources", "finds"),
    [
        ((service(containers=[GPU_CONTAINER | {"image": "nvcr.io/nvidia/tritonserver:26.09-py3"}]),), ""),
        ((service(containers=[GPU_CONTAINER | {"image": "docker.io/pytorch/pytorch:2.13-cuda13.0-runtime"}]),),
         "driver 535 of Cloud Run does not run CUDA 13.0"),
        (hosted("al2023-ami-sagemaker-inference-gpu-4-1"), ""),
        (hosted("al2-ami-sagemaker-inference-gpu-3-1"), "driver 550 of al2-ami-sagemaker-inference-gpu-3-1"),
        (hosted(None), ""),
    ],
)  # fmt: skip
def test_a_driver_that_does_not_run_the_image_is_found(resources: tuple[Resource, ...], finds: str) -> None:
    found = [one.message for one in versions.findings(inventory(*resources), Rules()) if one.rule == "driver-fits-cuda"]
    assert len(found) == bool(finds), found
    assert all(finds in message for message in found)
