"""Training jobs by hand, for tests of what is said about them: a gang with its runtime, queue, claims and identity."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from planner.checks import findings_of
from planner.finding import Finding
from planner.inventory import Inventory
from planner.plan import Plan, Resource
from planner.rules import Rules
from tests.planner.checks.small_clusters import URN, cluster, thing

QUEUE = {"kueue.x-k8s.io/queue-name": "training", "kueue.x-k8s.io/priority-class": "training-normal"}
STEP = "trainer.kubeflow.org/trainjob-ancestor-step"
IGNORED = {
    "rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
        {"action": "Ignore", "onExitCodes": {"containerName": "node", "operator": "In", "values": [75]}},
        {"action": "FailJob", "onExitCodes": {"containerName": "node", "operator": "In", "values": [2, 3, 6]}},
    ]
}
TRAIN = [
    *("python", "-m", "workloads.training.launch", "--nnodes", "2", "--nproc-per-node", "8"),
    *("-m", "workloads.training", "--config", "llama_8b", "--output", "/scratch/run"),
    *("--checkpoint.remote", "s3://checkpoints/runs/gpt"),
]
GATE = ["python", "-m", "workloads.training.launch", "--nnodes", "2", "-m", "workloads.training.health",
        "--expect-transport", "efa"]  # fmt: skip
EFA = {"FI_PROVIDER": "efa", "TRAINING_GRACE_S": "120"}


def env(given: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in given.items()]


def pod(**more: Any) -> dict[str, Any]:
    """The pod of a rank on an H100 machine of AWS."""
    mounts = [{"name": name, "mountPath": path} for name, path in (("shm", "/dev/shm"), ("scratch", "/scratch"))]
    limits = {"nvidia.com/gpu": "8", "vpc.amazonaws.com/efa": "32"}
    node = {"name": "node", "image": "i", "command": TRAIN, "env": env(EFA), "volumeMounts": mounts,
            "resources": {"limits": limits}}  # fmt: skip
    gate = {"name": "gate", "image": "i", "command": GATE, "env": env(EFA), "resources": {"limits": {**limits}}}
    volumes = [{"name": "shm", "emptyDir": {"medium": "Memory"}}, {"name": "scratch", "emptyDir": {}}]
    spec = {"serviceAccountName": "gpt", "terminationGracePeriodSeconds": 120, "restartPolicy": "Never"}
    return deepcopy({**spec, "initContainers": [gate], "containers": [node], "volumes": volumes, **more})


def runtime(spec: dict[str, Any], *, policy: Any = IGNORED, annotations: Any = None, **more: Any) -> Resource:
    """A ClusterTrainingRuntime `torchrun` of such pods."""
    template = {"metadata": {"labels": {"app": "gpt"}, "annotations": annotations or {}}, "spec": spec}
    job = {"template": template} | ({"podFailurePolicy": policy} if policy else {})
    jobs = [{"name": "node", "template": {"metadata": {"labels": {STEP: "trainer"}}, "spec": job}}]
    body = {"mlPolicy": {"numNodes": 1, "torch": {}}, "template": {"spec": {"replicatedJobs": jobs}}}
    return thing("ClusterTrainingRuntime", "torchrun", body, **more)


def train_job(nodes: int = 2, *, labels: Any = QUEUE, **spec: Any) -> Resource:
    """A TrainJob of that runtime, in the queue."""
    body = {"runtimeRef": {"name": "torchrun"}, "trainer": {"numNodes": nodes}, **spec}
    return thing("TrainJob", "gpt", body, namespace="training", labels=labels)


def machines(machine: str = "p5.48xlarge", efa: int = 32, kind: str = "SPOT", name: str = "h100") -> list[Resource]:
    """An EKS node group, with EFA."""
    template, group = "aws:ec2/launchTemplate:LaunchTemplate", "aws:eks/nodeGroup:NodeGroup"
    given = {
        "clusterName": "c",
        "region": "us-east-1",
        "nodeGroupName": name,
        "instanceTypes": [machine],
        "capacityType": kind,
        "scalingConfig": {"minSize": 0, "maxSize": 8},
        "subnetIds": ["subnet-a"],
        "launchTemplate": {"id": f"lt-{name}"},
        "labels": {"aicloud.dev/pool": name, "aicloud.dev/purpose": "training"},
    }
    interfaces = [{"interfaceType": "efa"}] * efa
    return [
        Resource(URN.format(template, name), template, id=f"lt-{name}", inputs={"networkInterfaces": interfaces}),
        Resource(URN.format(group, name), group, inputs=given),
    ]


def gke_machines(machine: str = "a3-megagpu-8g", networks: int = 8, **config: Any) -> Resource:
    """A spot pool of GKE with a network for each NIC."""
    type = "gcp:container/nodePool:NodePool"
    inputs = {
        "cluster": "c", "location": "us-central1", "name": "h100", "nodeLocations": ["us-central1-a"],
        "autoscaling": {"totalMinNodeCount": 0, "totalMaxNodeCount": 8},
        "networkConfig": {"additionalNodeNetworkConfigs": [{"network": f"n{i}"} for i in range(networks)]},
        "nodeConfig": {"machineType": machine, "spot": True, "labels": {"aicloud.dev/pool": "h100"}, **config},
    }  # fmt: skip
    return Resource(URN.format(type, "h100"), type, inputs=inputs)


def around(cloud: str = "aws") -> list[Resource]:
    """Queue, priorities, namespace and account of the job."""
    flavor = {"coveredResources": [], "flavors": []}
    return [
        *cluster(cloud),
        thing("Namespace", "training"),
        thing("LocalQueue", "training", {"clusterQueue": "training"}, namespace="training"),
        thing("ClusterQueue", "training", {"namespaceSelector": {}, "resourceGroups": [flavor]}),
        thing("WorkloadPriorityClass", "training-normal", value=10),
        thing("ServiceAccount", "gpt", namespace="training"),
    ]


def identity(bucket: str = "checkpoints", prefix: str = "runs/", *actions: str, account: str = "gpt") -> list[Resource]:
    """What lets the job's service account write its checkpoints, on AWS."""
    role, policy = "aws:iam/role:Role", "aws:iam/rolePolicy:RolePolicy"
    association = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
    statement = {
        "Effect": "Allow",
        "Action": [*(actions or ("s3:GetObject", "s3:PutObject"))],
        "Resource": f"arn:aws:s3:::{bucket}/{prefix}*",
    }
    given = {"namespace": "training", "serviceAccount": account, "clusterName": "c", "region": "us-east-1"}
    return [
        Resource(URN.format(role, "r"), role, id="r", inputs={"name": "r"}, outputs={"arn": "arn:aws:iam::1:role/r"}),
        Resource(
            URN.format(policy, "p"), policy, inputs={"role": "r", "policy": json.dumps({"Statement": [statement]})}
        ),
        Resource(URN.format(association, "a"), association, inputs={**given, "roleArn": "arn:aws:iam::1:role/r"}),
    ]


def found(*resources: Resource | list[Resource], check: str = "training") -> list[Finding]:
    """What a check finds in a plan of these resources."""
    flat = [one for given in resources for one in (given if isinstance(given, list) else [given])]
    # Through JSON, as every plan comes.
    plan = Plan.from_json(Plan.of("test", "test", flat).to_json())
    return list(findings_of(check, Inventory(plan), Rules()))


def said(*resources: Resource | list[Resource]) -> list[tuple[str, str, str]]:
    """(rule, severity, message) of all that is found about training."""
    return [(one.rule, one.severity, one.message) for one in found(*resources)]


def told(spec, *more, cloud="aws", **of_runtime):
    """What is said of a gang of two with this pod."""
    aside = [] if cloud == "gcp" else [machines(), *([] if more else [identity()])]
    return said(around(cloud), runtime(spec, **of_runtime), train_job(), *aside, *more)


def gke(networks=8, variables=None, grace=15, **more):
    """A gang of two on A3 Mega."""
    spec = pod(initContainers=[], terminationGracePeriodSeconds=grace, **more)
    node = spec["containers"][0]
    variables = {"NCCL_FASTRAK_CTRL_DEV": "eth0"} if variables is None else variables
    node |= {"resources": {"limits": {"nvidia.com/gpu": "8"}}}
    node["command"] = [word.replace("s3://", "gs://") for word in TRAIN]
    node["env"] = env({"TRAINING_GRACE_S": str(grace), **variables})
    listed = [{"interfaceName": f"eth{i + 1}", "network": f"gpudirect-{i}"} for i in range(networks)]
    default = {"interfaceName": "eth0", "network": "default"}
    asked = {"networking.gke.io/interfaces": json.dumps([default, *listed])} if networks else {}
    return spec, asked
