"""Kubernetes objects of a plan, by cluster, kind, namespace and name, and which pods a selector means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from planner import urn as urns
from planner.inventory.once import once
from planner.inventory.references import items, mapping
from planner.plan import UNKNOWN, Resource

if TYPE_CHECKING:
    from planner.inventory.inventory import Inventory
    from planner.inventory.model import Workload

CLUSTER_SCOPED = frozenset(
    {"Namespace", "Node", "PersistentVolume", "StorageClass", "ClusterRole", "ClusterRoleBinding", "PriorityClass",
     "CustomResourceDefinition", "IngressClass", "RuntimeClass", "ClusterQueue", "ResourceFlavor", "Cohort", "Topology",
     "NodePool", "EC2NodeClass", "ComputeClass", "Network", "GKENetworkParamSet", "NodeOverlay",
     "WorkloadPriorityClass", "ClusterTrainingRuntime", "GatewayClass",
     "ClusterServingRuntime", "ClusterStorageContainer"}
)  # fmt: skip
"""Kinds without a namespace, so far as a plan doesn't say it by giving one."""

INSTALLERS = ("KnativeServing", "KnativeEventing")
"""Kinds for which an operator installs pods of its own beside them, as a chart would."""

NAMESPACE = "kubernetes:core/v1:Namespace"


@dataclass(frozen=True)
class Object:
    """A Kubernetes object, as the plan would make it."""

    resource: Resource
    cluster: str
    """URN of its cluster; of its provider where the cluster cannot be told."""
    kind: str
    namespace: str
    """Empty for what has none, `planner.plan.UNKNOWN` where only the cloud knows."""
    name: str
    """As in the cluster; `planner.plan.UNKNOWN` where Pulumi makes it up."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Empty where the plan doesn't know it."""
        return mapping(self.resource.inputs.get("metadata"))

    @property
    def spec(self) -> Mapping[str, Any]:
        """Empty where the plan doesn't know it."""
        return mapping(self.resource.inputs.get("spec"))

    @property
    def labels(self) -> Mapping[str, Any]:
        """Of the object itself."""
        return mapping(self.metadata.get("labels"))

    @property
    def annotations(self) -> Mapping[str, Any]:
        """Of the object itself."""
        return mapping(self.metadata.get("annotations"))

    @property
    def place(self) -> str:
        """`namespace/name`, or the name of what has no namespace."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Objects:
    """All Kubernetes objects of a plan. Releases and components are not objects: what charts make, no plan tells."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory, self._plan = inventory, inventory.plan

    @cached_property
    def all(self) -> tuple[Object, ...]:
        """In the plan's order; then those that controllers make of these, with the URN of what asks for them."""
        return (*self.stated, *map(self._object, self._inventory.made))

    @cached_property
    def stated(self) -> tuple[Object, ...]:
        """Those that the plan itself has."""
        return tuple(
            self._object(resource)
            for resource in self._plan
            if resource.custom and resource.package == "kubernetes" and _kind(resource)
        )

    @cached_property
    def _by_place(self) -> Mapping[tuple[str, str, str, str], Object]:
        return {(one.cluster, one.kind, one.namespace, one.name): one for one in self.all}

    @cached_property
    def _by_kind(self) -> Mapping[str, tuple[Object, ...]]:
        found: dict[str, list[Object]] = {}
        for one in self.all:
            found.setdefault(one.kind, []).append(one)
        return {kind: tuple(objects) for kind, objects in found.items()}

    def of_kind(self, *kinds: str) -> Iterator[Object]:
        """Objects of these kinds."""
        for kind in kinds:
            yield from self._by_kind.get(kind, ())

    def find(self, near: Object, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """The object of a name in the cluster of another, and in its namespace where none is given."""
        there = near.namespace if namespace is None else namespace
        return self._by_place.get((near.cluster, kind, "" if kind in CLUSTER_SCOPED else there, name))

    def beside(self, near: Object, *kinds: str) -> Iterator[Object]:
        """Objects of these kinds in the cluster and namespace of another; what has no namespace is in all."""
        for one in self.in_cluster(near.cluster, *kinds):
            if one.namespace in ("", near.namespace):
                yield one

    def in_cluster(self, cluster: str, *kinds: str) -> Iterator[Object]:
        """Objects of these kinds in a cluster."""
        for kind in kinds:
            yield from self._by_cluster.get((cluster, kind), ())

    @cached_property
    def _by_cluster(self) -> Mapping[tuple[str, str], list[Object]]:
        found: dict[tuple[str, str], list[Object]] = {}
        for one in self.all:
            found.setdefault((one.cluster, one.kind), []).append(one)
        return found

    def pods(self, near: Object) -> Sequence[Workload]:
        """The pod templates in the cluster and namespace of an object."""
        return self._workloads.get((near.cluster, near.namespace), ())

    @cached_property
    def _workloads(self) -> Mapping[tuple[str, str], list[Workload]]:
        found: dict[tuple[str, str], list[Workload]] = {}
        for workload in self._inventory.workloads:
            if owner := self.by_urn.get(workload.urn):
                found.setdefault((owner.cluster, owner.namespace), []).append(workload)
        return found

    def in_doubt(self, near: Object, *kinds: str) -> bool:
        """Whether objects of these kinds are there whose name or namespace only the cloud knows."""
        return any(UNKNOWN in (one.namespace, one.name) for one in self.in_cluster(near.cluster, *kinds))

    @cached_property
    def by_urn(self) -> Mapping[str, Object]:
        """URN -> object of the plan."""
        return {one.resource.urn: one for one in self.stated}

    def cluster_of(self, resource: Resource) -> str:
        """URN of the cluster that a Kubernetes resource goes to, of its provider where the cluster cannot be told."""
        return self._inventory.cluster_of(resource) or (
            urns.provider_urn(resource.provider) if resource.provider else ""
        )

    def _object(self, resource: Resource) -> Object:
        kind = _kind(resource)
        metadata = mapping(resource.inputs.get("metadata"))
        name = metadata.get("name")
        return Object(
            resource,
            self.cluster_of(resource),
            kind,
            self._namespace(resource, kind, metadata),
            name if isinstance(name, str) and name else UNKNOWN,
        )

    def _namespace(self, resource: Resource, kind: str, metadata: Mapping[str, Any]) -> str:
        given = metadata.get("namespace")
        if given is None and "metadata" in resource.inputs and not isinstance(resource.inputs["metadata"], Mapping):
            return UNKNOWN
        if given is None:
            return "" if kind in CLUSTER_SCOPED else "default"
        if given != UNKNOWN:
            return str(given)
        # A namespace's name is an output of the namespace, and so unknown until it exists; what it will be is an input.
        made = [
            mapping(self._plan.by_urn[urn].inputs.get("metadata")).get("name")
            for urn in resource.property_dependencies.get("metadata", ())
            if urn in self._plan.by_urn and self._plan.by_urn[urn].type == NAMESPACE
        ]
        return made[0] if len(made) == 1 and isinstance(made[0], str) else UNKNOWN


def maps(value: Any, path: str = "") -> list[Mapping[str, Any]]:
    """The maps in the list at a path; nothing where there is no list or it is unknown."""
    return [item for item in items(value, path) if isinstance(item, Mapping)]


def selects(selector: Any, labels: Mapping[str, Any]) -> bool:
    """Whether a label selector (matchLabels and matchExpressions) means something with these labels.

    What is unknown on either side is taken to match: nobody can say that it doesn't.
    """
    if not isinstance(selector, Mapping):
        return True
    for key, value in mapping(selector.get("matchLabels")).items():
        if UNKNOWN not in (value, labels.get(key)) and labels.get(key) != value:
            return False
    return all(_holds(term, labels) for term in maps(selector, "matchExpressions"))


def _holds(term: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    there, values = labels.get(str(term.get("key"))), items(term, "values")
    if there == UNKNOWN or UNKNOWN in values or term.get("values") == UNKNOWN:
        return True
    match term.get("operator"):
        case "In":
            return there in values
        case "NotIn":
            return there is None or there not in values
        case "Exists":
            return there is not None
        case "DoesNotExist":
            return there is None
    return True


def _kind(resource: Resource) -> str:
    """Its kind; empty for a Release, which is an object of Helm's, and for what is no object."""
    if resource.is_provider or resource.type.startswith(("kubernetes:helm.sh/", "kubernetes:yaml")):
        return ""
    kind = resource.inputs.get("kind")
    return kind if isinstance(kind, str) and kind != UNKNOWN else resource.type.rpartition(":")[2]


@once
def objects_in(inventory: Inventory) -> Objects:
    """The Kubernetes objects of an inventory."""
    return Objects(inventory)
