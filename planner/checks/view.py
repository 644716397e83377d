"""What the contracts ask of a plan: pods that a selector may mean, ports that pods have, and what charts may make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from planner.inventory import Inventory, Workload
from planner.inventory.inventory import EKS_CLUSTER
from planner.inventory.links import Links
from planner.inventory.objects import INSTALLERS, NAMESPACE, Object, maps, objects_in, selects
from planner.inventory.once import once
from planner.inventory.references import at, mapping, texts
from planner.plan import UNKNOWN, Resource

RELEASE = "kubernetes:helm.sh/v3:Release"
CHARTS = (RELEASE, "kubernetes:helm.sh/v4:Chart", "kubernetes:helm.sh/v3:Chart")

_PLAIN = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Pod", "Job",
                    "CronJob", "TrainJob", "JobSet", "RayCluster", "RayJob", "InferenceService"})  # fmt: skip
"""Kinds whose pods are known with all labels that matter; those of other operators may have more."""
_BY_OPERATORS = ("TrainJob", "RayJob", "InferenceService")
"""Kinds whose pods may come from what the plan doesn't show: a runtime, a running cluster."""

BUILT_IN_NAMESPACES = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})
"""In every cluster; GKE's and EKS's own are beside them (`gmp-system`, `gke-managed-*`, `amazon-*`, `aws-*`)."""
_CLOUD_NAMESPACES = ("gke-", "gmp-", "amazon-", "aws-")


class View:
    """An inventory, as the contracts look at it."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory, self.plan = inventory, inventory.plan
        self.objects = objects_in(inventory)
        self.links = Links(inventory.plan)

    # ---- pods

    def pods(self, near: Object, selector: Any) -> list[Workload]:
        """The pod templates beside an object that a label selector means; all of them for an empty one."""
        return [workload for workload in self.objects.pods(near) if selects(selector, workload.labels)]

    def knows_pods(self, near: Object) -> bool:
        """Whether the plan knows every pod beside an object: no chart or operator makes any there, and pods of the
        cluster are in this plan at all."""
        return (
            near.namespace != UNKNOWN
            and near.cluster in self.workloads_of
            and not self.releases(near)
            and not any(True for _ in self.objects.beside(near, *INSTALLERS))
            and all(workload.kind in _PLAIN for workload in self.objects.pods(near))
            and {one.resource.urn for one in self.objects.beside(near, *_BY_OPERATORS)}
            <= {workload.urn for workload in self.objects.pods(near)}
        )

    @cached_property
    def workloads_of(self) -> Mapping[str, list[Workload]]:
        """URN of a cluster -> its pod templates."""
        found: dict[str, list[Workload]] = {}
        for workload in self.inventory.workloads:
            if owner := self.objects.by_urn.get(workload.urn):
                found.setdefault(owner.cluster, []).append(workload)
        return found

    # ---- charts

    def releases(self, near: Object, namespace: str | None = None) -> list[Resource]:
        """Helm releases and charts that are, or may be, in the namespace of an object."""
        there = near.namespace if namespace is None else namespace
        found = self._releases.get(near.cluster, {})
        return [*found.get(there, ()), *found.get(UNKNOWN, ())]

    @cached_property
    def known_clusters(self) -> frozenset[str]:
        """Clusters that the plan puts anything into; the pods of others are another project's."""
        return frozenset({one.cluster for one in self.objects.all} | self._releases.keys())

    def releases_in(self, cluster: str) -> Iterator[Resource]:
        """Helm releases of a cluster."""
        for releases in self._releases.get(cluster, {}).values():
            yield from releases

    @cached_property
    def _releases(self) -> Mapping[str, Mapping[str, list[Resource]]]:
        """Cluster -> namespace -> releases."""
        found: dict[str, dict[str, list[Resource]]] = {}
        for release in self.links.of_type(*CHARTS):
            there = found.setdefault(self.objects.cluster_of(release), {})
            there.setdefault(self.release_namespace(release), []).append(release)
        return found

    def release_namespace(self, release: Resource) -> str:
        """Where a release puts its objects; UNKNOWN where the plan doesn't tell."""
        given = release.inputs.get("namespace", "default")
        if given != UNKNOWN:
            return str(given)
        named = self.inventory.references(release, "namespace", NAMESPACE)
        name = at(named[0].inputs, "metadata.name") if len(named) == 1 else UNKNOWN
        return name if isinstance(name, str) else UNKNOWN

    @cached_property
    def addons(self) -> Mapping[str, list[Resource]]:
        """URN of a cluster -> its EKS add-ons."""
        found: dict[str, list[Resource]] = {}
        for addon in self.links.of_type("aws:eks/addon:Addon"):
            for cluster in self.inventory.references(addon, "clusterName", EKS_CLUSTER)[:1]:
                found.setdefault(cluster.urn, []).append(addon)
        return found

    @cached_property
    def associations(self) -> Mapping[str, list[Resource]]:
        """URN of a cluster -> the pod identities of its service accounts."""
        found: dict[str, list[Resource]] = {}
        for one in self.links.of_type("aws:eks/podIdentityAssociation:PodIdentityAssociation"):
            for cluster in self.inventory.references(one, "clusterName", EKS_CLUSTER)[:1]:
                found.setdefault(cluster.urn, []).append(one)
        return found

    @cached_property
    def role_parts(self) -> Mapping[str, list[Resource]]:
        """URN of an IAM role -> its permissions."""
        found: dict[str, list[Resource]] = {}
        for part in self.links.of_type(
            "aws:iam/rolePolicy:RolePolicy", "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
        ):
            for role in self.inventory.references(part, "role", "aws:iam/role:Role"):
                found.setdefault(role.urn, []).append(part)
        return found

    # ---- namespaces

    def has_namespace(self, near: Object, name: str) -> bool:
        """Whether a namespace is, or may be, in the cluster of an object."""
        if name in BUILT_IN_NAMESPACES or name == UNKNOWN or name.startswith(_CLOUD_NAMESPACES):
            return True
        if name in self._made.get(near.cluster, ()):
            return True
        # A plan that makes no namespace there leaves them to somebody else.
        return near.cluster not in self._made or self.objects.in_doubt(near, "Namespace")

    def makes_namespace(self, near: Object) -> bool:
        """Whether this plan makes the namespace of an object, and so what is in it."""
        return near.namespace in self._made.get(near.cluster, ())

    @cached_property
    def _made(self) -> Mapping[str, set[str]]:
        found: dict[str, set[str]] = {}
        for namespace in self.objects.of_kind("Namespace"):
            found.setdefault(namespace.cluster, set()).add(namespace.name)
        for cluster, releases in self._releases.items():
            made = {name for name, own in releases.items() if any(r.inputs.get("createNamespace") is True for r in own)}
            if made:
                found.setdefault(cluster, set()).update(made)
        return found


@once
def view_of(inventory: Inventory) -> View:
    """The view of an inventory."""
    return View(inventory)


def containers(workload: Workload, *also: str) -> Iterator[Mapping[str, Any]]:
    """The containers of a pod, and those under further keys of its spec."""
    for key in ("containers", *also):
        yield from maps(workload.spec, key)


def ports(workloads: Iterable[Workload]) -> list[Mapping[str, Any]]:
    """The ports that pods declare, of sidecars too."""
    return [
        port
        for workload in workloads
        for container in containers(workload, "initContainers")
        for port in maps(container, "ports")
    ]


def has_port(there: Sequence[Mapping[str, Any]], wanted: Any, last: Any = None) -> bool:
    """Whether a port, by name or number, or one up to `last`, is among declared ones. What is unknown is there."""
    if wanted in (None, UNKNOWN) or any(UNKNOWN in (p.get("name"), p.get("containerPort")) for p in there):
        return True
    number = number_of(wanted)
    if number is None:
        return any(port.get("name") == wanted for port in there)
    return any(number <= (number_of(port.get("containerPort")) or -1) <= (number_of(last) or number) for port in there)


def number_of(value: Any) -> int | None:
    """8000, 8000.0 or `8000` as a number; None for a name."""
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def listed(there: Sequence[Mapping[str, Any]], key: str = "containerPort") -> str:
    """Ports in words, `http (8000), metrics (8002)`."""
    words = [f"{port.get('name', 'unnamed')} ({number_of(port.get(key))})" for port in there]
    return ", ".join(dict.fromkeys(words)) or "none"


def mentions(release: Resource, name: str) -> bool:
    """Whether a release's values, its own name or its chart's give something this name."""
    chart = str(release.inputs.get("chart", "")).rpartition("/")[2]
    return name in {*texts(release.inputs.get("values")), *texts(release.inputs.get("name")), chart}


def selector_words(selector: Any) -> str:
    """A label selector in words."""
    wanted = {**mapping(selector, "matchLabels")}
    terms = [f"{key}={value}" for key, value in wanted.items()]
    terms += [
        f"{t.get('key')} {t.get('operator')} {t.get('values') or ''}".strip()
        for t in maps(selector, "matchExpressions")
    ]
    return ", ".join(terms)


def labels_there(workloads: Sequence[Workload], selector: Any) -> str:
    """What pods have instead of what a selector asks for, in words."""
    if not workloads:
        return "there are no pods in its namespace"
    keys = [*mapping(selector, "matchLabels"), *(str(t.get("key")) for t in maps(selector, "matchExpressions"))]
    has = dict.fromkeys(
        f"{w.name} has " + ", ".join(f"{k}={w.labels.get(k, '(none)')}" for k in keys if w.labels.get(k) != UNKNOWN)
        for w in workloads
    )
    return "; ".join([*has][:3])
