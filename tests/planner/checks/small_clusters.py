"""Small clusters made by hand, for tests of placement: resources as a plan has them, and what is found in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from planner.checks.placement import findings
from planner.finding import Finding
from planner.inventory import Inventory
from planner.plan import Plan, Resource
from planner.rules import Rules

_KUEUE = "kueue.x-k8s.io/v1beta2"
GROUP = {
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet"), "apps/v1"),
    **dict.fromkeys(("Namespace", "PersistentVolume", "PersistentVolumeClaim"), "core/v1"),
    **dict.fromkeys(("LocalQueue", "ClusterQueue", "Cohort", "ResourceFlavor", "Topology"), _KUEUE),
    "WorkloadPriorityClass": _KUEUE,
    **dict.fromkeys(("TrainJob", "TrainingRuntime", "ClusterTrainingRuntime"), "trainer.kubeflow.org/v1alpha1"),
    **dict.fromkeys(("RayCluster", "RayJob"), "ray.io/v1"),
    "PodMonitor": "monitoring.coreos.com/v1",
    "InferenceService": "serving.kserve.io/v1beta1",
    **dict.fromkeys(("ServingRuntime", "ClusterServingRuntime"), "serving.kserve.io/v1alpha1"),
    "KnativeServing": "operator.knative.dev/v1beta1",
    "Network": "networking.gke.io/v1",
    "ServiceAccount": "core/v1",
    "NodePool": "karpenter.sh/v1",
    "Job": "batch/v1",
    "JobSet": "jobset.x-k8s.io/v1alpha2",
    "StorageClass": "storage.k8s.io/v1",
    "ComputeClass": "cloud.google.com/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "ScaledObject": "keda.sh/v1alpha1",
    "Release": "helm.sh/v3",
}
CLUSTER = {"aws": "aws:eks/cluster:Cluster", "gcp": "gcp:container/cluster:Cluster"}
URN = "urn:pulumi:test::test::{}::{}"


def cluster(cloud: str = "aws", **inputs: Any) -> list[Resource]:
    """A cluster in two zones, and the provider that leads to it."""
    urn = URN.format(CLUSTER[cloud], "c")
    place = {"region": "us-east-1"} if cloud == "aws" else {"location": "us-central1"}
    provider = "pulumi:providers:kubernetes"
    found = [
        Resource(urn, CLUSTER[cloud], inputs={"name": "c", **place, **inputs}),
        Resource(URN.format(provider, "k"), provider, id="1", dependencies=(urn,)),
    ]
    for zone in ("a", "b"):
        subnet = "aws:ec2/subnet:Subnet"
        given = {"availabilityZone": f"us-east-1{zone}", "region": "us-east-1"}
        found.append(Resource(URN.format(subnet, zone), subnet, id=f"subnet-{zone}", inputs=given))
    return found


def pool(name: str = "l4", machine: str = "g6.xlarge", most: int = 2, **inputs: Any) -> Resource:
    """An EKS node group in both zones, labelled `pool=<name>`."""
    type = "aws:eks/nodeGroup:NodeGroup"
    given = {
        "clusterName": "c",
        "region": "us-east-1",
        "nodeGroupName": name,
        "instanceTypes": [machine],
        "scalingConfig": {"minSize": 1, "maxSize": most},
        "subnetIds": ["subnet-a", "subnet-b"],
        "labels": {"pool": name, "aicloud.dev/pool": name},
    }
    return Resource(URN.format(type, name), type, inputs={**given, **inputs})


def gke_pool(name: str = "l4", **config: Any) -> Resource:
    """A GKE node pool of at most three machines."""
    type = "gcp:container/nodePool:NodePool"
    inputs = {
        "cluster": "c", "location": "us-central1", "name": name, "nodeLocations": ["us-central1-a"],
        "autoscaling": {"totalMinNodeCount": 0, "totalMaxNodeCount": 3},
        "nodeConfig": {"machineType": "g2-standard-4", "labels": {"aicloud.dev/pool": name}, **config},
    }  # fmt: skip
    return Resource(URN.format(type, name), type, inputs=inputs)


def thing(
    kind: str, name: str, spec: Any = None, *, namespace: str = "", labels: Any = None, **inputs: Any
) -> Resource:
    """A Kubernetes object in the cluster."""
    type = f"kubernetes:{GROUP[kind]}:{kind}"
    metadata = {
        "name": name,
        **({"namespace": namespace} if namespace else {}),
        **({"labels": labels} if labels else {}),
    }
    body = {"kind": kind, "metadata": metadata, **({} if spec is None else {"spec": spec}), **inputs}
    provider = f"{URN.format('pulumi:providers:kubernetes', 'k')}::1"
    return Resource(URN.format(type, f"{namespace}{name}"), type, inputs=body, provider=provider)


def pods(
    requested: Mapping[str, str] | None = None, *, claims: Iterable[str] = (), annotations: Any = None, **spec: Any
):
    """A pod template."""
    container = {"name": "c", "image": "i", "resources": {"requests": dict(requested or {})}}
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
    metadata = {"labels": {"app": "w"}, "annotations": annotations or {}}
    return {"metadata": metadata, "spec": {"containers": [container], "volumes": volumes, **spec}}


def deployment(template: Mapping[str, Any], replicas: Any = 1, name: str = "web", **more: Any) -> Resource:
    return thing("Deployment", name, {"replicas": replicas, "template": template}, **more)


def job(template: Mapping[str, Any], nodes: int = 1, queue: str = "", **more: Any) -> Resource:
    labels = {"kueue.x-k8s.io/queue-name": queue} if queue else None
    return thing("Job", "train", {"parallelism": nodes, "template": template}, labels=labels, **more)


def found(*resources: Resource | list[Resource]) -> list[Finding]:
    flat = [one for given in resources for one in (given if isinstance(given, list) else [given])]
    if not any(one.type in CLUSTER.values() for one in flat):
        flat += cluster()
    # Through JSON, as every plan comes.
    plan = Plan.from_json(Plan.of("test", "test", flat).to_json())
    return list(findings(Inventory(plan), Rules()))


def said(*resources: Resource | list[Resource]) -> list[tuple[str, str]]:
    return [(one.rule, one.message) for one in found(*resources)]


def queues(quota: Any = 2, *, resource: str = "nvidia.com/gpu", cohort: str = "", **more: Any) -> list[Resource]:
    given = {"name": resource, "nominalQuota": quota, **more}
    group = {"coveredResources": [resource], "flavors": [{"name": "l4", "resources": [given]}]}
    spec = {"namespaceSelector": {}, "resourceGroups": [group], **({"cohortName": cohort} if cohort else {})}
    flavor = {"nodeLabels": {"pool": "l4"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]}
    return [
        thing("LocalQueue", "team", {"clusterQueue": "queue"}, namespace="default"),
        thing("ClusterQueue", "queue", spec),
        thing("ResourceFlavor", "l4", flavor),
    ]
