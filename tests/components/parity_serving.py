"""KServeInference and TensorFlowServing, feature by feature and cloud by cloud."""

from __future__ import annotations

from typing import Any

from planner.plan import Plan
from tests.components.parity import Feature, NotOffered, Offered, values
from tests.components.parity_platform import BOUND, accounts, of

DEPLOYMENT, SCALER = "kubernetes:apps/v1:Deployment", "kubernetes:autoscaling/v2:HorizontalPodAutoscaler"
POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
SERVICE = "kubernetes:serving.kserve.io/v1beta1:InferenceService"
RUNTIME = "kubernetes:serving.kserve.io/v1alpha1:ServingRuntime"
CONFIG = "kubernetes:core/v1:ConfigMap"
QUEUE = "kubernetes:kueue.x-k8s.io/v1beta2:LocalQueue"
SCALED = "kubernetes:keda.sh/v1alpha1:ScaledObject"

kserve, tensorflow = of("KServeInference"), of("TensorFlowServing")


def serverless(args: dict[str, Any]) -> dict[str, Any]:
    more = {"mode": "serverless", "min_replicas": 0, "canary_traffic_percent": 10, "protocol": "grpc-v2"}
    return {**args, **more, "scale_metric": "rps", "scale_target": 20, "timeout_s": 120}


def mode(plan: Plan) -> list[str]:
    return [r.inputs["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] for r in plan.of_type(SERVICE)]


def commands(plan: Plan, type: str, path: str) -> bool:
    return {"fetch", "--source"} <= {
        str(word) for key in ("command", "args") for word in values(plan, type, f"{path}.{key}")
    }


def shared(feature: Any, image: str) -> list[Feature]:
    """What both have in common."""
    return [
        feature(
            "Pods may read their models and nothing else",
            "",
            Offered("role with one prefix", accounts("sim-models/models/*")),
            Offered("viewer with a condition", lambda p: "models/" in values(p, BOUND, "condition.expression")[0]),
        ),
        feature(
            "Nobody talks to pods but named networks",
            "client_cidrs monitoring_namespace",
            Offered("network policies", lambda p: len(values(p, POLICY)) == 2),
            Offered(
                "network policies, open to Google's load balancers",
                lambda p: "35.191.0.0/16" in values(p, POLICY, "spec.ingress.from.ipBlock.cidr"),
            ),
        ),
        feature(
            "Serving on accelerators of the cloud's own make",
            "accelerator gpus pods_per_gpu node_pool cpu memory_gib",
            NotOffered(
                f"{image} serves on NVIDIA GPUs",
                lambda args: {**args, "accelerator": "trainium2", "gpus": 16, "region": "us-east-2"},
                "NVIDIA GPUs only",
            ),
            NotOffered(
                f"{image} serves on NVIDIA GPUs", lambda args: {**args, "accelerator": "tpu-v5e"}, "NVIDIA GPUs only"
            ),
        ),
    ]


_FETCHED = (
    "models.name models.version repository_url repository_prefix bucket encryption_key load_bandwidth_gib_s"
    " device_bandwidth_gib_s"
)

FEATURES = [
    kserve(
        "Models behind KServe's API, by Triton",
        "mode",
        *[Offered("InferenceService as a Deployment", lambda p: mode(p) == ["Standard"] and values(p, RUNTIME) != [])]
        * 2,
    ),
    kserve(
        "Down to no pod, by Knative",
        "mode protocol timeout_s",
        *[
            Offered(
                "InferenceService as a Knative Service",
                lambda p: mode(p) == ["Knative"] and values(p, SERVICE, "spec.predictor.minReplicas") == [0],
            )
        ]
        * 2,
        change=serverless,
    ),
    kserve(
        "A new revision gets a part of the requests",
        "canary_traffic_percent",
        *[Offered("Knative's traffic", lambda p: values(p, SERVICE, "spec.predictor.canaryTrafficPercent") == [10])]
        * 2,
        change=serverless,
    ),
    kserve(
        "Models copied, verified, then loaded",
        _FETCHED,
        *[Offered("init container to local disk", lambda p: commands(p, SERVICE, "spec.predictor.initContainers"))] * 2,
    ),
    kserve(
        "Replicas follow what they have to do",
        "min_replicas max_replicas scale_metric scale_target",
        *[Offered("KServe's autoscaler", lambda p: values(p, SERVICE, "spec.predictor.scaleMetric") == ["cpu"])] * 2,
    ),
    kserve(
        "Machines that are lent to training are taken back",
        "cluster_queue",
        *[Offered("LocalQueue of the serving queue", lambda p: values(p, QUEUE, "spec.clusterQueue") == ["serving"])]
        * 2,
        change=lambda args: {**args, "cluster_queue": "serving"},
    ),
    *shared(kserve, "Triton's image"),
    tensorflow(
        "Versions side by side, by number and by label",
        "models.labels",
        *[Offered("model config file", lambda p: 'key: "canary"' in str(values(p, CONFIG, "data")))] * 2,
    ),
    tensorflow(
        "Requests put together on the server",
        "batching.max_batch_size batching.batch_timeout_ms batching.max_enqueued_batches batching.num_batch_threads"
        " batching.allowed_batch_sizes",
        *[Offered("batching parameters file", lambda p: "allowed_batch_sizes: 8" in str(values(p, CONFIG, "data")))]
        * 2,
    ),
    tensorflow(
        "Models copied, verified, then loaded",
        _FETCHED,
        *[
            Offered(
                "init container to local disk", lambda p: commands(p, DEPLOYMENT, "spec.template.spec.initContainers")
            )
        ]
        * 2,
    ),
    tensorflow(
        "Replicas follow the CPU",
        "min_replicas max_replicas",
        *[Offered("autoscaler", lambda p: values(p, SCALER, "spec.metrics.resource.name") == ["cpu"])] * 2,
    ),
    tensorflow(
        "Replicas follow the requests that the server counts",
        "scale_metric scale_target",
        *[Offered("KEDA", lambda p: ":tensorflow:serving:request_count" in str(values(p, SCALED, "spec.triggers")))]
        * 2,
        change=lambda args: {**args, "scale_metric": "requests", "scale_target": 20},
    ),
    tensorflow(
        "Requests under way are answered before a pod ends",
        "timeout_s",
        *[
            Offered(
                "drain, then the grace period",
                lambda p: values(p, DEPLOYMENT, "spec.template.spec.terminationGracePeriodSeconds") == [70],
            )
        ]
        * 2,
    ),
    tensorflow(
        "Machines that are lent to training are taken back",
        "cluster_queue",
        *[Offered("LocalQueue of the serving queue", lambda p: values(p, QUEUE, "spec.clusterQueue") == ["serving"])]
        * 2,
        change=lambda args: {**args, "accelerator": "l4", "cluster_queue": "serving"},
    ),
    *shared(tensorflow, "TensorFlow Serving's image"),
]
