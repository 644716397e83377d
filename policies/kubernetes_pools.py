"""The machines of node pools: who may use them, how they are bought, and when they may go."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.labels import ACCELERATOR_TAINTS, POOL, PURPOSE
from planner.inventory import Inventory
from planner.plan import UNKNOWN, Resource
from policies.declare import Parameters, Violation, at, each, off, on, resource_policy, stack_policy, texts
from policies.kinds import EKS_CLUSTER, EKS_NODE_GROUP, GKE_CLUSTER, GKE_NODE_POOL
from policies.kubernetes_pods import doubtful

KARPENTER_POOL = "kubernetes:karpenter.sh/v1:NodePool"
COMPUTE_CLASS = "kubernetes:cloud.google.com/v1:ComputeClass"

_ACCELERATED = re.compile(
    r"(p|g|gr|trn|inf|dl)\d\w*[.-].*|(a2|a3|a4|a4x|g2|g4|ct\w+)-.*|.*(nvidia|neuron|gpu|tpu).*", re.I
)
"""Machine types of AWS and of GCP by their family, AMI types, accelerators and requirements on them."""
_DISRUPTION = "https://karpenter.sh/docs/concepts/disruption/"
_NEVER = (0, "0", "0%")


@dataclass(frozen=True)
class Machines:
    """What a node group or pool says of its machines. What isn't `list` or `Resource` may be `planner.plan.UNKNOWN`."""

    resource: Resource
    labels: Any
    taints: Any
    hints: list[Any]
    """Whatever tells the kind of machine: its type, its image, its accelerators."""
    taken_away: Any
    """Whether the cloud may take them back at short notice: spot, or flex start, which ends within a week."""
    least: Any

    def label(self, key: str) -> Any:
        """A label's value: None where it has none."""
        return self.labels.get(key) if isinstance(self.labels, Mapping) else self.labels

    @property
    def accelerated(self) -> bool:
        """Whether they are known to have accelerators."""
        return any(isinstance(hint, str) and hint != UNKNOWN and _ACCELERATED.fullmatch(hint) for hint in self.hints)

    @property
    def training(self) -> bool:
        """Whether they are known to train: by their label, or by their name where they have none."""
        purpose = self.label(PURPOSE)
        return purpose == "training" or (purpose is None and "train" in self.resource.name)


def machines(resource: Resource) -> Machines:
    """Of an EKS node group, a Karpenter NodePool or a GKE node pool."""
    if resource.type == EKS_NODE_GROUP:
        market = at(resource, "capacityType", "ON_DEMAND")
        return Machines(
            resource,
            at(resource, "labels"),
            at(resource, "taints", []),
            [at(resource, "amiType"), *texts(resource, "instanceTypes")],
            market if market == UNKNOWN else market == "SPOT",
            at(resource, "scalingConfig.minSize"),
        )
    if resource.type == KARPENTER_POOL:
        wanted = {
            key: texts(requirement, "values")
            for requirement in each(resource, "spec.template.spec.requirements")
            if isinstance(key := requirement.get("key"), str) and requirement.get("operator") == "In"
        }
        limits = found if isinstance(found := at(resource, "spec.limits"), Mapping) else {}
        markets = wanted.get("karpenter.sh/capacity-type", [])
        return Machines(
            resource,
            at(resource, "spec.template.metadata.labels"),
            at(resource, "spec.template.spec.taints", []),
            [
                *wanted.get("node.kubernetes.io/instance-type", []),
                *(f"{family}." for family in wanted.get("karpenter.k8s.aws/instance-family", [])),
                *(f"{category}1." for category in wanted.get("karpenter.k8s.aws/instance-category", [])),
                *(key for key in wanted if "-gpu-" in key or "-accelerator-" in key),
                *(key for key, most in limits.items() if most not in _NEVER),
            ],
            "spot" in markets if markets else UNKNOWN,
            at(resource, "spec.replicas", 0),
        )
    config = at(resource, "nodeConfig", {})
    lent = [at(config, key, False) for key in ("spot", "preemptible", "flexStart")]
    return Machines(
        resource,
        at(config, "labels"),
        at(config, "taints", []),
        [at(config, "machineType"), *(at(gpu, "type") for gpu in each(config, "guestAccelerators"))],
        any(map(on, lent)) or (UNKNOWN if UNKNOWN in lent else False),
        _gke_least(resource),
    )


def _gke_least(pool: Resource) -> Any:
    if (scaling := at(pool, "autoscaling")) is not None:
        total = at(scaling, "totalMinNodeCount")
        per_zone = at(scaling, "minNodeCount", 0)
    else:
        total, per_zone = None, at(pool, "nodeCount", at(pool, "initialNodeCount", 1))
    if total is not None:
        return total
    zones = at(pool, "nodeLocations", [])
    if doubtful(zones) or not isinstance(zones, list) or not isinstance(per_zone, int):
        return UNKNOWN
    return per_zone * max(1, len(zones))


@resource_policy(
    "accelerator-nodes-tainted",
    "Machines with accelerators are tainted, so that only pods that ask for an accelerator get onto them",
    types=(EKS_NODE_GROUP, KARPENTER_POOL, GKE_NODE_POOL),
    risk="high",
    why="https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#example-use-cases",
    fix="Taint them with the accelerator's resource as the key, such as nvidia.com/gpu=present:NoSchedule.",
    parameters={"keys": sorted({*ACCELERATOR_TAINTS, "amd.com/gpu"})},
)
def accelerator_nodes_tainted(resource: Resource, parameters: Parameters) -> Iterator[str]:
    found = machines(resource)
    if not found.accelerated or doubtful(found.taints):
        return
    keeping_away = [
        taint.get("key")
        for taint in each(found.taints)
        if taint.get("effect") in ("NoSchedule", "NO_SCHEDULE", "NoExecute", "NO_EXECUTE", UNKNOWN)
    ]
    if UNKNOWN not in keeping_away and not set(map(str, keeping_away)) & set(parameters["keys"]):
        yield (
            "has accelerators, and any pod may fill its machines: tainted by "
            f"{', '.join(map(str, keeping_away)) or 'nothing'}; expected {' or '.join(parameters['keys'])}"
        )


@resource_policy(
    "training-nodes-never-expire",
    "Machines that train do not end by the clock",
    types=(KARPENTER_POOL, GKE_NODE_POOL),
    risk="high",
    why=f"{_DISRUPTION}#expiration",
    fix="Karpenter: set spec.template.spec.expireAfter to Never, for no budget stops it. GKE: take maxRunDuration out.",
)
def training_nodes_never_expire(resource: Resource, _: Parameters) -> Iterator[str]:
    if not machines(resource).training:
        return
    if resource.type == KARPENTER_POOL:
        after = at(resource, "spec.template.spec.expireAfter", "720h")
        if after not in ("Never", UNKNOWN):
            yield f"ends its machines after {after}, whatever runs on them; expected expireAfter: Never"
    # Flex start, by itself or queued, gives no machine for longer.
    elif off(at(resource, "nodeConfig.flexStart")) and off(at(resource, "queuedProvisioning.enabled")):
        after = at(resource, "nodeConfig.maxRunDuration", "")
        if after not in ("", UNKNOWN):
            yield f"ends its machines after {after}, whatever runs on them; expected no maxRunDuration"


@resource_policy(
    "training-nodes-not-disrupted",
    "Karpenter takes no machine away from under a training job, neither to save money nor to renew it",
    types=(KARPENTER_POOL,),
    risk="high",
    why=f"{_DISRUPTION}#nodepool-disruption-budgets",
    fix="Set consolidationPolicy: WhenEmpty, and a budget of nodes: 0 for the reasons Drifted and Underutilized.",
)
def training_nodes_not_disrupted(resource: Resource, _: Parameters) -> Iterator[str]:
    disruption = at(resource, "spec.disruption", {})
    budgets = at(disruption, "budgets", [])
    if not machines(resource).training or doubtful(budgets):
        return
    policy = at(disruption, "consolidationPolicy", "WhenEmptyOrUnderutilized")
    for reason, held in (("Drifted", False), ("Underutilized", policy in ("WhenEmpty", UNKNOWN))):
        if not held and not any(_forbids(budget, reason) for budget in each(budgets)):
            yield f"may end a machine under its job when it is {reason}; expected a budget of nodes: 0 for that reason"


def _forbids(budget: Mapping[str, Any], reason: str) -> bool:
    """Whether a budget lets no node go for a reason, at any time; or may, where it isn't known."""
    reasons = budget.get("reasons")
    always = budget.get("schedule") in (None, UNKNOWN)
    concerned = reasons is None or doubtful(reasons) or reason in texts(reasons)
    return always and concerned and budget.get("nodes") in (*_NEVER, UNKNOWN)


@stack_policy(
    "training-ladders-stay-put",
    "GKE moves no training job to other machines, neither to a better rung nor to fill machines up",
    risk="high",
    why="https://cloud.google.com/kubernetes-engine/docs/reference/crds/computeclass",
    fix="Set gpuConsolidationThreshold: 0 under autoscalingPolicy, and leave activeMigration.optimizeRulePriority off.",
)
def training_ladders_stay_put(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    pools = inventory.plan.of_type(GKE_NODE_POOL)
    training = {name for pool in pools if machines(pool).training for name in texts(pool, "name")}
    for ladder in inventory.plan.of_type(COMPUTE_CLASS):
        if not training & {name for rung in each(ladder, "spec.priorities") for name in texts(rung, "nodepools")}:
            continue
        if on(at(ladder, "spec.activeMigration.optimizeRulePriority")):
            yield Violation("moves running pods to a better rung; expected optimizeRulePriority: false", ladder)
        threshold = at(ladder, "spec.autoscalingPolicy.gpuConsolidationThreshold", "the cluster's default")
        if threshold not in _NEVER and threshold != UNKNOWN:
            yield Violation(
                f"empties machines whose GPUs are little used (gpuConsolidationThreshold: {threshold}); expected 0",
                ladder,
            )


@stack_policy(
    "training-nodes-not-renewed-under-jobs",
    "The cloud neither upgrades nor repairs a machine from under a training job by itself",
    risk="high",
    why="https://cloud.google.com/kubernetes-engine/docs/concepts/maintenance-windows-and-exclusions",
    fix="GKE: a maintenance policy with exclusionUntilEndOfSupports, and autoRepair off. EKS: no nodeRepairConfig.",
)
def training_nodes_not_renewed_under_jobs(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    for group in inventory.plan.of_type(EKS_NODE_GROUP):
        if machines(group).training and on(at(group, "nodeRepairConfig.enabled")):
            yield Violation(
                "replaces machines that look ill under the job; expected nodeRepairConfig off", group, "repair"
            )
    for pool in inventory.plan.of_type(GKE_NODE_POOL):
        if not machines(pool).training:
            continue
        if on(at(pool, "management.autoRepair")):
            yield Violation(
                "recreates machines that look ill under the job; expected autoRepair: false", pool, "repair"
            )
        if on(at(pool, "management.autoUpgrade", True)) and not _excluded(inventory, pool):
            yield Violation(
                "upgrades its machines under the job; expected an exclusion from maintenance", pool, "upgrade"
            )


def _excluded(inventory: Inventory, pool: Resource) -> bool:
    """Whether a node pool, or its cluster, keeps upgrades out; or may, where it isn't known."""
    own = at(pool, "maintenancePolicies", [])
    if doubtful(own):
        return True
    for policy in each(own):
        exclusion = at(policy, "exclusionUntilEndOfSupports", [])
        if doubtful(exclusion) or any(not off(one.get("enabled")) for one in each(exclusion)):
            return True
    clusters = inventory.references(pool, "cluster", GKE_CLUSTER)
    if not clusters:
        # The name of its cluster, or of any cluster, may come out as this one's.
        return UNKNOWN in (at(pool, "cluster"), *(at(one, "name") for one in inventory.plan.of_type(GKE_CLUSTER)))
    exclusions = [at(cluster, "maintenancePolicy.maintenanceExclusions", []) for cluster in clusters]
    scopes = [at(one, "exclusionOptions.scope") for exclusion in exclusions for one in each(exclusion)]
    return any(map(doubtful, exclusions)) or "NO_MINOR_OR_NODE_UPGRADES" in scopes or UNKNOWN in scopes


@stack_policy(
    "serving-has-an-on-demand-floor",
    "Every serving pool has machines that the cloud cannot take back",
    risk="high",
    why="https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-interruptions.html",
    fix="Give the pool's on-demand (or reservation) rung a `floor` of machines that always stand.",
    parameters={"machines": 1},
)
def serving_has_an_on_demand_floor(inventory: Inventory, parameters: Parameters) -> Iterator[Violation]:
    groups = [
        (_cluster(inventory, resource), machines(resource))
        for resource in inventory.plan.of_type(EKS_NODE_GROUP, KARPENTER_POOL, GKE_NODE_POOL)
    ]
    judged: set[tuple[str, str]] = set()
    for cluster, group in groups:
        name = group.label(POOL)
        if (
            group.label(PURPOSE) != "serving"
            or not isinstance(name, str)
            or name == UNKNOWN
            or (cluster, name) in judged
        ):
            continue
        judged.add((cluster, name))
        # A group whose cluster or label isn't known may be one of this pool's.
        own = [
            other
            for place, other in groups
            if (place == cluster or "" in (place, cluster)) and other.label(POOL) in (name, UNKNOWN)
        ]
        standing = [0 if other.taken_away is True else other.least for other in own]
        if any(other.taken_away == UNKNOWN and other.least != 0 for other in own) or not all(map(_counts, standing)):
            continue
        if sum(standing) < parameters["machines"]:
            yield Violation(
                f"of serving pool {name} {sum(standing)} machines are on-demand or reserved and always there; "
                f"expected at least {parameters['machines']}",
                group.resource,
                name,
            )


def _counts(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _cluster(inventory: Inventory, resource: Resource) -> str:
    if resource.type == KARPENTER_POOL:
        return inventory.cluster_of(resource)
    path = "clusterName" if resource.type == EKS_NODE_GROUP else "cluster"
    return next((cluster.urn for cluster in inventory.references(resource, path, EKS_CLUSTER, GKE_CLUSTER)), "")
