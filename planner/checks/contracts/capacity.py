"""Contracts of capacity: pools and their classes, flavors, device networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from components.labels import COMPUTE_CLASS
from planner.checks.view import View, mentions
from planner.finding import Finding, Rule
from planner.inventory import Rung
from planner.inventory.interfaces import networks
from planner.inventory.objects import Object, maps
from planner.inventory.references import mapping, texts
from planner.plan import UNKNOWN
from planner.rules import Rules

NODE_CLASS = Rule(
    "node-class-exists",
    "Every Karpenter NodePool names a node class that is there",
    url="https://karpenter.sh/docs/concepts/nodepools/#spectemplatespecnodeclassref",
    remediation="Name an EC2NodeClass of the same cluster.",
)
COMPUTE = Rule(
    "compute-class-pools-exist",
    "Every ComputeClass tries node pools that are there and carry its label, and every pool's class is there",
    url="https://cloud.google.com/kubernetes-engine/docs/concepts/about-custom-compute-classes",
    remediation=f"Use the node pools' names, and label and taint them {COMPUTE_CLASS}=<class>.",
)
FLAVOR = Rule(
    "flavor-matches-a-pool",
    "Every flavor that a cluster queue names is there, and machines of a pool have its labels",
    url="https://kueue.sigs.k8s.io/docs/concepts/resource_flavor/",
    remediation="Name a ResourceFlavor that is there, and give it the labels of a node pool.",
)
DEVICE = Rule(
    "device-network-exists",
    "Every network of a pod's further interfaces is there, with its parameters, its network and its subnet",
    url="https://cloud.google.com/kubernetes-engine/docs/how-to/setup-multinetwork-support-for-pods",
    remediation="Name the GKENetworkParamSet, and in it the network and the subnet, as they are called.",
)
RULES = (NODE_CLASS, COMPUTE, FLAVOR, DEVICE)


def findings(view: View, _rules: Rules) -> Iterator[Finding]:
    """What would never start."""
    for pool in view.objects.of_kind("NodePool"):
        yield from _node_class(view, pool)
    yield from _compute_classes(view)
    rungs = {cluster.urn: cluster.rungs for cluster in view.inventory.clusters}
    for queue in view.objects.of_kind("ClusterQueue"):
        yield from _flavors(view, queue, rungs)
    yield from _interfaces(view)
    yield from _device_networks(view)


# ---- pools and classes


def _node_class(view: View, pool: Object) -> Iterator[Finding]:
    reference = mapping(pool.spec, "template.spec.nodeClassRef")
    kind, name = str(reference.get("kind", "EC2NodeClass")), reference.get("name")
    if not isinstance(name, str) or name == UNKNOWN or view.objects.in_doubt(pool, kind):
        return
    if view.objects.find(pool, kind, name) is None and not any(
        mentions(r, name) for r in view.releases_in(pool.cluster)
    ):
        there = sorted(one.name for one in view.objects.in_cluster(pool.cluster, kind))
        yield NODE_CLASS.finding(
            f"NodePool {pool.name} names the {kind} {name!r}; there is {', '.join(there) or 'none'}", pool.resource
        )


def _compute_classes(view: View) -> Iterator[Finding]:
    rungs: dict[str, list[Rung]] = {}
    for cluster in view.inventory.clusters:
        rungs[cluster.urn] = [rung for rung in cluster.rungs if rung.manager == "gke"]
    for one in view.objects.of_kind("ComputeClass"):
        by_name = {rung.name: rung for rung in rungs.get(one.cluster, ())}
        for priority in maps(one.spec, "priorities"):
            for name in texts(priority.get("nodepools")):
                rung = by_name.get(name)
                if by_name and rung is None and name != UNKNOWN:
                    yield COMPUTE.finding(
                        f"ComputeClass {one.name} tries the node pool {name!r}; its cluster has "
                        f"{', '.join(sorted(by_name))}", one.resource, subject=str(name),
                    )  # fmt: skip
                elif rung is not None and rung.labels and rung.labels.get(COMPUTE_CLASS) not in (one.name, ""):
                    has = rung.labels.get(COMPUTE_CLASS, "none")
                    yield COMPUTE.finding(
                        f"node pool {name}, which ComputeClass {one.name} tries, has the label {COMPUTE_CLASS}={has}",
                        view.plan.by_urn.get(rung.urn), subject=one.name,
                    )  # fmt: skip
    for urn, own in rungs.items():
        classes = {one.name for one in view.objects.in_cluster(urn, "ComputeClass")}
        for rung in own:
            name = rung.labels.get(COMPUTE_CLASS, "")
            if name and classes and UNKNOWN not in classes and name not in classes:
                yield COMPUTE.finding(
                    f"node pool {rung.name} is of the ComputeClass {name!r}; there is {', '.join(sorted(classes))}",
                    view.plan.by_urn.get(rung.urn), subject="class",
                )  # fmt: skip


def _flavors(view: View, queue: Object, rungs: Mapping[str, Sequence[Rung]]) -> Iterator[Finding]:
    for flavor in (f for group in maps(queue.spec, "resourceGroups") for f in maps(group, "flavors")):
        name = flavor.get("name")
        if not isinstance(name, str) or name == UNKNOWN or view.objects.in_doubt(queue, "ResourceFlavor"):
            continue
        found = view.objects.find(queue, "ResourceFlavor", name)
        if found is None:
            there = sorted(one.name for one in view.objects.in_cluster(queue.cluster, "ResourceFlavor"))
            yield FLAVOR.finding(
                f"ClusterQueue {queue.name} names the flavor {name!r}; there is {', '.join(there) or 'none'}",
                queue.resource, subject=name,
            )  # fmt: skip
            continue
        pools = rungs.get(queue.cluster, ())
        # Labels that no pool has are those that nodes get by themselves, such as the zone.
        labels = {k: v for k, v in mapping(found.spec, "nodeLabels").items() if any(k in r.labels for r in pools)}
        if labels and not any(all(r.labels.get(k) in (v, "") for k, v in labels.items()) for r in pools):
            yield FLAVOR.finding(
                f"flavor {name} stands for machines with {', '.join(f'{k}={v}' for k, v in labels.items())}, of which "
                "no node pool has any",
                found.resource,
            )


# ---- further networks of GKE's machines


def _interfaces(view: View) -> Iterator[Finding]:
    for workload in view.inventory.workloads:
        near = view.objects.by_urn.get(workload.urn)
        there = {one.name for one in view.objects.in_cluster(near.cluster, "Network")} if near else set()
        # Where a plan makes none, somebody else may.
        missing = [name for name in networks(workload) or () if name not in there] if there else []
        if near and missing and UNKNOWN not in (*there, *missing):
            yield DEVICE.finding(
                f"{workload.kind} {workload.name} wants the network {missing[0]!r}; there is"
                f" {', '.join(sorted(there))}",
                near.resource,
                subject=workload.part,
            )


def _device_networks(view: View) -> Iterator[Finding]:
    for network in view.objects.of_kind("Network"):
        reference = mapping(network.spec, "parametersRef")
        name = reference.get("name")
        if not isinstance(name, str) or reference.get("kind") != "GKENetworkParamSet" or name == UNKNOWN:
            continue
        if view.objects.find(network, "GKENetworkParamSet", name) is None and not view.objects.in_doubt(
            network, "GKENetworkParamSet"
        ):  # fmt: skip
            there = sorted(one.name for one in view.objects.in_cluster(network.cluster, "GKENetworkParamSet"))
            yield DEVICE.finding(
                f"Network {network.name} names the parameters {name!r}; there is {', '.join(there) or 'none'}",
                network.resource,
            )
    for parameters in view.objects.of_kind("GKENetworkParamSet"):
        for key, type in (("vpc", "gcp:compute/network:Network"), ("vpcSubnet", "gcp:compute/subnetwork:Subnetwork")):
            value, networks = parameters.spec.get(key), view.links.of_type(type)
            named = view.inventory.references(parameters.resource, f"spec.{key}", type)
            names = [network.outputs.get("name") for network in networks]
            known = networks and isinstance(value, str) and UNKNOWN not in (value, *names)
            if known and not named:
                yield DEVICE.finding(
                    f"{parameters.name} is of the {key} {value!r}, which is not in this environment",
                    parameters.resource,
                    subject=key,
                    severity="warning",
                )
