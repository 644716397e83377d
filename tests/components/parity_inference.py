"""How models are placed and what stands by for their servers, feature by feature and cloud by cloud."""

from __future__ import annotations

from typing import Any

from tests.components import parity_scaling
from tests.components.parity import Arguments, Change, Feature, NotOffered, Offered, values
from tests.samples import H100S

PULLED = "spec.template.spec.initContainers.image"
LIMITS = "spec.template.spec.containers.resources.limits"
DEPLOYMENT, DAEMONS = "kubernetes:apps/v1:Deployment", "kubernetes:apps/v1:DaemonSet"
GKE = "cloud.google.com"
SELECTOR = "spec.template.spec.nodeSelector"


def inference(title: str, arguments: str, aws: Any, gcp: Any = None, change: Change | None = None) -> Feature:
    return Feature("TritonInference", title, tuple(arguments.split()), aws, gcp or aws, change=change)


def also(**more: Any) -> Change:
    return lambda args: {**args, **more}


def _grouped(args: Arguments) -> Arguments:
    vision = {"name": "clip", "version": 1, "size_gib": 4.0, "device_memory_gib": 6.0, "group": "vision"}
    return {**args, "models": [*args["models"], vision], "groups": [{"name": "vision", "max_replicas": 2}]}


def _grouped_scaling(args: Arguments) -> Arguments:
    grouped = _grouped(args)
    return {**grouped, "groups": [{**grouped["groups"][0], "scaling": {"pending_requests": 5}}]}


def _over_several(args: Arguments) -> Arguments:
    model = {"name": "llm", "version": 1, "size_gib": 60.0, "gpus": 4, "over_pcie": True}
    return {**args, "models": [model], "gpus": 4, "scaling": {}}


def _over_pcie(args: Arguments) -> Arguments:
    return {**args, "models": [{"name": "llm", "version": 1, "size_gib": 60.0, "gpus": 4}], "gpus": 4, "scaling": {}}


def _cut(args: Arguments) -> Arguments:
    machine = {"aws": H100S["aws"], "gcp": "a3-highgpu-8g"}[args["cloud"]]
    region = {"aws": "us-east-1", "gcp": "us-central1"}[args["cloud"]]
    pool = {"node_pool": "slices", "machine_type": machine, "mig_profile": "1g.10gb"}
    return {**args, **pool, "accelerator": "h100-80gb", "region": region}


FEATURES = [
    inference(
        "Models in groups, each with pods, a Service and a scaler of its own",
        "models.group models.device_memory_gib groups.name groups.gpus groups.min_replicas groups.max_replicas"
        " groups.queue_objective_ms groups.cpu groups.memory_gib groups.service_annotations",
        Offered(
            "a Deployment for each group",
            lambda p: {"sample", "sample-vision"} == set(values(p, DEPLOYMENT, "metadata.name")),
        ),
        change=_grouped,
    ),
    inference(
        "A group scales as it is told, else as the server does",
        " ".join(
            f"groups.{argument}" for one in parity_scaling.FEATURES for argument in one.arguments if "." in argument
        ),
        Offered(
            "a ScaledObject for each group",
            lambda p: (
                {
                    each["metadata"]["threshold"]
                    for each in values(p, parity_scaling.SCALER, "spec.triggers")
                    if each["name"] == "pending"
                }
                == {"16", "5"}
            ),
        ),
        change=_grouped_scaling,
    ),
    inference(
        "A model over several GPUs of one machine",
        "models.over_pcie",
        Offered(
            "a pod with all of them",
            lambda p: [limits["nvidia.com/gpu"] for limits in values(p, DEPLOYMENT, LIMITS)] == ["4"],
        ),
        change=_over_several,
    ),
    inference(
        "A model over several GPUs that only the PCIe bus joins",
        "",
        NotOffered("slower than one GPU, unless somebody says so", _over_pcie, "have no NVLink"),
    ),
    inference(
        "Pods on slices of a GPU (MIG)",
        "mig_profile machine_type",
        Offered(
            "the label that the GPU operator cuts by",
            lambda p: {"all-1g.10gb"} == {s.get("nvidia.com/mig.config") for s in values(p, DEPLOYMENT, SELECTOR)},
        ),
        Offered(
            "GKE's own partition label",
            lambda p: {"1g.10gb"} == {s.get(f"{GKE}/gke-gpu-partition-size") for s in values(p, DEPLOYMENT, SELECTOR)},
        ),
        change=_cut,
    ),
    inference(
        "Machines that stand ready",
        "warm_machines",
        Offered(
            "placeholders of a priority below zero",
            lambda p: values(p, "kubernetes:scheduling.k8s.io/v1:PriorityClass", "value") == [-10],
        ),
        change=also(warm_machines=1),
    ),
    inference(
        "Machines that stand ready although they are lent to training",
        "",
        NotOffered(
            "what is held is not idle",
            also(warm_machines=1, cluster_queue="serving"),
            "accepted is one of them",
        ),
    ),
    inference(
        "Images that are there before a pod is",
        "prepull_images",
        Offered("a DaemonSet that pulls them", lambda p: values(p, DAEMONS, PULLED) != []),
        change=also(prepull_images=["registry.example.com/ai-cloud/serving:0.2.0"]),
    ),
    inference(
        "One copy of the models for all pods of a region",
        "weights_claim claim_bandwidth_gib_s",
        Offered(
            "a Job into a claim on EFS",
            lambda p: "mirror" in values(p, "kubernetes:batch/v1:Job", "spec.template.spec.containers.command"),
        ),
        Offered(
            "a Job into a claim on Filestore",
            lambda p: "mirror" in values(p, "kubernetes:batch/v1:Job", "spec.template.spec.containers.command"),
        ),
        change=also(weights_claim="warm"),
    ),
    inference(
        "A budget for cold starts, by stage",
        "cold_start.node_s cold_start.image_s cold_start.server_s",
        Offered(
            "output by Service",
            lambda p: p.one("aicloud:index:TritonInference", "sample").outputs["coldStartS"]["sample"]["node"] == 90,
        ),
        change=also(cold_start={"node_s": 90}),
    ),
    inference(
        "Cold starts beyond their objective",
        "cold_start_objective_s",
        NotOffered("refused, with what would shorten them", also(cold_start_objective_s=60), "the longest, node"),
    ),
]
