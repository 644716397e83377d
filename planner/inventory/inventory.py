"""The Inventory of a plan."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from components.labels import PURPOSE
from planner import urn as urns
from planner.inventory import rungs
from planner.inventory.gateways import made_by_gateways
from planner.inventory.model import Cluster, Pool, Rung, Workload
from planner.inventory.references import References, at
from planner.inventory.workloads import workloads
from planner.plan import UNKNOWN, Plan, Resource
from planner.regions import regions

EKS_CLUSTER = "aws:eks/cluster:Cluster"
GKE_CLUSTER = "gcp:container/cluster:Cluster"
NAMESPACE = "kubernetes:core/v1:Namespace"
_NETWORKS = ("aws:ec2/vpc:Vpc", "gcp:compute/network:Network")


class Inventory:
    """A plan, and what it amounts to. Everything is read when it is first asked for, and once."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.readings: dict[Callable[..., Any], Any] = {}
        """What `planner.inventory.once` keeps."""

    @cached_property
    def regions(self) -> Mapping[str, str]:
        """URN -> `aws:us-east-1`, `gcp:europe-west4` or `global`."""
        return regions(self.plan)

    @cached_property
    def _references(self) -> References:
        return References(self.plan, self.regions)

    def references(self, resource: Resource, path: str, *types: str) -> list[Resource]:
        """The resources of these types that a property names, such as ("launchTemplate.id", LAUNCH_TEMPLATE).

        By id, ARN, name, selfLink or URL where the plan knows the value; else by what the property depends on.
        """
        return self._references.of(resource, path, *types)

    @cached_property
    def clusters(self) -> tuple[Cluster, ...]:
        """Every Kubernetes cluster with its pools."""
        found: dict[str, list[Rung]] = {}
        for rung in self._rungs():
            found.setdefault(rung.cluster, []).append(rung)
        return tuple(
            Cluster(
                urn=resource.urn,
                name=_text(resource.inputs.get("name")) or resource.name,
                region=self.regions[resource.urn],
                version=_minor(resource),
                providers=tuple(p for p, cluster in self._cluster_of_provider.items() if cluster == resource.urn),
                pools=_pools(found.get(resource.urn, [])),
                network=self._network(resource),
            )
            for resource in self._clusters
        )

    @cached_property
    def made(self) -> tuple[Resource, ...]:
        """Objects that no plan has, made by controllers of what it has: the proxies of Gateways."""
        return tuple(made_by_gateways(self))

    @cached_property
    def workloads(self) -> tuple[Workload, ...]:
        """Every pod template: of Deployments, Jobs and the like, of custom resources, and of what controllers make."""
        objects = [r for r in self.plan if r.package == "kubernetes" and not r.is_provider]
        objects += self.made
        return tuple(workloads(objects, {r.urn: self.cluster_of(r) for r in objects}, self.regions, self.namespace_of))

    def cluster_of(self, resource: Resource) -> str:
        """URN of the cluster that a Kubernetes resource is in; empty where it cannot be told."""
        return self._cluster_of_provider.get(urns.provider_urn(resource.provider), "")

    def namespace_of(self, resource: Resource) -> str:
        """Namespace of a Kubernetes resource: its own, or that of the Namespace resource which its metadata name."""
        namespace = at(resource.inputs, "metadata.namespace")
        if namespace == UNKNOWN:
            named = self.references(resource, "metadata.namespace", NAMESPACE)
            namespace = at(named[0].inputs, "metadata.name") if len(named) == 1 else UNKNOWN
        return _text(namespace) or "default"

    @cached_property
    def _clusters(self) -> list[Resource]:
        return self.plan.of_type(EKS_CLUSTER, GKE_CLUSTER)

    @cached_property
    def _cluster_of_provider(self) -> Mapping[str, str]:
        """URN of a Kubernetes provider -> URN of its cluster."""
        found = {}
        for provider in self.plan.of_type(f"{urns.PROVIDER_PREFIX}kubernetes"):
            cluster = self._leads_to(provider, set())
            if not cluster and len(self._clusters) == 1:
                cluster = self._clusters[0].urn
            found[provider.urn] = cluster
        return found

    def _leads_to(self, resource: Resource, seen: set[str]) -> str:
        """The cluster that a provider's configuration comes from, however many resources are in between."""
        for urn in resource.dependencies:
            other = self.plan.by_urn.get(urn)
            if other is None or urn in seen:
                continue
            seen.add(urn)
            if other.type in (EKS_CLUSTER, GKE_CLUSTER):
                return urn
            if cluster := self._leads_to(other, seen):
                return cluster
        return ""

    def _network(self, cluster: Resource) -> str:
        named = self.references(cluster, "network", *_NETWORKS)
        if not named:
            subnets = self.references(cluster, "vpcConfig.subnetIds", rungs.SUBNET)
            named = [vpc for subnet in subnets for vpc in self.references(subnet, "vpcId", *_NETWORKS)]
        return named[0].urn if named else ""

    def _rungs(self) -> list[Rung]:
        shared: dict[str, dict[str, int]] = {}
        for release in self.plan.of_type(rungs.RELEASE):
            if sliced := rungs.time_slicing(release):
                shared.setdefault(self.cluster_of(release), {}).update(sliced)
        order: dict[str, dict[str, int]] = {}
        for compute_class in self.plan.of_type(rungs.COMPUTE_CLASS):
            order.setdefault(self.cluster_of(compute_class), {}).update(rungs.compute_class_order(compute_class))
        found = []
        for group in self.plan.of_type(rungs.EKS_NODE_GROUP):
            cluster = self._named_cluster(group, "clusterName")
            found.append(
                rungs.eks_node_group(group, self.regions[group.urn], cluster, self.references, shared.get(cluster, {}))
            )
        for pool in self.plan.of_type(rungs.KARPENTER_POOL):
            cluster = self.cluster_of(pool)
            found.append(
                rungs.karpenter_pool(pool, self.regions[pool.urn], cluster, self.references, shared.get(cluster, {}))
            )
        for pool in self.plan.of_type(rungs.GKE_NODE_POOL):
            cluster = self._named_cluster(pool, "cluster")
            found.append(
                rungs.gke_node_pool(pool, self.regions[pool.urn], cluster, self.references, order.get(cluster, {}))
            )
        return found

    def _named_cluster(self, resource: Resource, path: str) -> str:
        named = self.references(resource, path, EKS_CLUSTER, GKE_CLUSTER)
        return named[0].urn if named else ""


def _pools(found: list[Rung]) -> tuple[Pool, ...]:
    by_name: dict[str, list[Rung]] = {}
    for rung in sorted(found, key=lambda rung: (rung.pool, -rung.weight, rung.name)):
        by_name.setdefault(rung.pool, []).append(rung)
    return tuple(
        Pool(name, own[0].cluster, own[0].region, own[0].labels.get(PURPOSE, ""), tuple(own))
        for name, own in by_name.items()
    )


def _minor(cluster: Resource) -> str:
    keys = ("version", "minMasterVersion", "masterVersion")
    stated = (_text(cluster.inputs.get(key)) or _text(cluster.outputs.get(key)) for key in keys)
    found = re.match(r"\d+\.\d+", next((text for text in stated if text), ""))
    return found.group() if found else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) and UNKNOWN not in value else ""
