"""Destroy order: what controllers make in the cloud is gone before the controller goes, and that before its network.

A load balancer, machine or volume that a controller made is in no state file: Pulumi deletes the object, and the
controller the thing. If the controller goes first, the thing stays, holds on to its subnets, and the network's deletion
hangs. What outlives what, `planner.checks.destroy.order` knows; who makes what, `planner.checks.destroy.controllers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from planner.checks.destroy import network
from planner.checks.destroy.controllers import Controller, Made, chart_name, installed, made
from planner.checks.destroy.order import Order
from planner.checks.view import View, view_of
from planner.finding import Finding, Rule
from planner.inventory import Inventory
from planner.inventory.capacity import pods_per_machine
from planner.inventory.inventory import EKS_CLUSTER, GKE_CLUSTER
from planner.inventory.objects import Object
from planner.inventory.references import at, mapping
from planner.plan import UNKNOWN, Resource
from planner.rules import Rules

OUTLIVES = Rule(
    "controller-outlives-its-objects",
    "What a controller has to clean up after is deleted before the controller, and before what it needs for that",
    url="https://www.pulumi.com/docs/iac/concepts/resources/options/dependson/",
    remediation="Give the object `depends_on` the controller's release or add-on, and that one its identity and nodes.",
)
DELETER = Rule(
    "cloud-objects-have-a-deleter",
    "Everything that is made in the cloud on behalf of an object has something that deletes it",
    remediation="Bring the controller in the same environment, and let Pulumi delete the object.",
)
DEFINITION = Rule(
    "custom-resource-after-its-definition",
    "Every custom resource is made after its definition, and deleted before it",
    url="https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/",
    remediation="Give it `depends_on` the release or the definition that brings its kind.",
)
NODES = Rule(
    "pods-go-before-their-nodes",
    "Pods under a disruption budget are deleted before the pools that they run on, whose nodes would wait for them",
    "warning",
    url="https://karpenter.sh/docs/concepts/disruption/#control-flow",
    remediation="Give the workload `depends_on` the cluster with its pools.",
)
RULES: tuple[Rule, ...] = (OUTLIVES, DELETER, DEFINITION, NODES, *network.RULES)

ACCESS_ENTRY, ROLE = "aws:eks/accessEntry:AccessEntry", "aws:iam/role:Role"

DEFINED_BY = {
    "karpenter.sh": ("karpenter-crd", "karpenter"),
    "karpenter.k8s.aws": ("karpenter-crd", "karpenter"),
    "elbv2.k8s.aws": ("aws-load-balancer-controller",),
    "kueue.x-k8s.io": ("kueue",),
    "monitoring.coreos.com": ("kube-prometheus-stack", "prometheus-operator-crds", "prometheus-operator"),
    "keda.sh": ("keda",),
    "cert-manager.io": ("cert-manager",),
    "external-secrets.io": ("external-secrets",),
    "ray.io": ("kuberay-operator",),
    "jobset.x-k8s.io": ("jobset", "kubeflow-trainer"),
    "trainer.kubeflow.org": ("kubeflow-trainer", "trainer"),
    "serving.kserve.io": ("kserve-crd", "kserve"),
    "leaderworkerset.x-k8s.io": ("lws",),
    "operator.knative.dev": ("knative-operator",),
    "nvidia.com": ("gpu-operator",),
}
"""Group of custom resources -> charts that bring their definitions (the projects' charts, November 2026). Groups that a
managed control plane brings itself are not here."""


def findings(inventory: Inventory, _rules: Rules) -> Iterator[Finding]:
    """Whatever `pulumi destroy` would hang on or leave behind."""
    view, order = view_of(inventory), Order(inventory.plan)
    there = list(made(view))
    needed: dict[str, list[str]] = {}
    told: set[str] = set()
    for one in there:
        for finding in _made(view, order, one, needed):
            told.add(finding.urn)
            yield finding
    for urn, objects in needed.items():
        resource = view.plan.by_urn[urn]
        yield OUTLIVES.finding(
            f"Pulumi may delete {resource.name} while it deletes {_some(objects)}, for which a controller needs it",
            resource,
            subject="needed",
        )
    for custom in view.objects.all:
        if custom.resource.urn not in told:  # of those whose controller is missing, enough is said
            yield from _definition(view, order, custom)
    yield from _pods(view, order)
    yield from network.findings(view, order, there)


# ---- controllers


def _made(view: View, order: Order, one: Made, needed: dict[str, list[str]]) -> Iterator[Finding]:
    """What is wrong with one thing; notes in `needed` what may go although the controller still needs it."""
    resource, cluster = one.by.resource, view.plan.by_urn.get(one.by.cluster)
    if (
        cluster is None
        or cluster.external
        or cluster.type not in (EKS_CLUSTER, GKE_CLUSTER)
        or cluster.retain_on_delete
    ):
        return  # what else is in that cluster, and how long it stays, is not this plan's
    if not one.deleter:
        yield DELETER.finding(f"{one.by.kind} {one.by.place} leaves {one.what} behind: {one.why}", resource)
        return
    if kept := _kept(view, resource):
        yield DELETER.finding(
            f"{one.by.kind} {one.by.place} {kept}, so nobody deletes its {one.what} before the cluster goes", resource
        )
        return
    controller = one.controller
    if controller is None:
        return
    bringing = installed(view, one.by.cluster, controller)
    if not bringing:
        yield DELETER.finding(
            f"{one.by.kind} {one.by.place} makes {one.what} by {controller.name}, which is not in its cluster", resource
        )
    elif not order.any_outlives(bringing, resource):
        yield OUTLIVES.finding(
            f"Pulumi may delete {', '.join(r.name for r in bringing)} before {one.by.kind} {one.by.place} has gone: "
            f"{controller.name} would no longer clean up its {one.what}",
            resource,
        )
    else:
        alive = [r for r in bringing if order.outlives(r, resource)]
        for need in _needs(view, one.by, controller, alive, order):
            needed.setdefault(need.urn, []).append(f"{one.by.kind} {one.by.name}")


def _kept(view: View, resource: Resource) -> str:
    """Why Pulumi would not delete an object, in words; empty where it would."""
    if resource.retain_on_delete:
        return "is retained on delete"
    if at(resource.inputs, "metadata.annotations") and (
        mapping(resource.inputs, "metadata.annotations").get("pulumi.com/deletionPropagationPolicy") == "orphan"
    ):
        return "leaves what it owns behind (deletionPropagationPolicy: orphan)"
    other = view.plan.by_urn.get(resource.deleted_with)
    if other is not None and not other.type.endswith(":Namespace"):
        return f"counts as deleted with {other.name}"
    return ""


def _needs(
    view: View, one: Object, controller: Controller, bringing: list[Resource], order: Order
) -> Iterator[Resource]:
    """What a controller needs while it cleans up after an object, and what may go before."""
    needs = list(_machines_identity(view, one)) if one.kind in ("NodePool", "EC2NodeClass") else []
    if controller.calls_cloud:
        for release in bringing:
            needs += _identity(view, one.cluster, release)
    for need in {need.urn: need for need in needs}.values():
        if not order.outlives(need, one.resource):
            yield need
    groups = [
        view.plan.by_urn[rung.urn]
        for cluster in view.inventory.clusters
        if cluster.urn == one.cluster
        for rung in cluster.rungs
        if rung.manager in ("eks", "gke") and rung.urn in view.plan.by_urn
    ]
    # Any group will do: which of them the controller's pods are on, the scheduler decides.
    if groups and not order.any_outlives(groups, one.resource):
        yield groups[0]


def _identity(view: View, cluster: str, bringing: Resource) -> Iterator[Resource]:
    """The identity of a release's or an add-on's service account, with its role and permissions."""
    roles: list[Resource] = []
    if bringing.type == "aws:eks/addon:Addon":
        for path in ("podIdentityAssociations", "serviceAccountRoleArn"):
            roles += view.inventory.references(bringing, path, ROLE)
    else:
        account = at(bringing.inputs, "values.serviceAccount.name") or bringing.inputs.get("name")
        for association in view.associations.get(cluster, ()):
            if association.inputs.get("serviceAccount") == account:
                yield association
                roles += view.inventory.references(association, "roleArn", ROLE)
    for role in roles:
        yield role
        yield from view.role_parts.get(role.urn, ())


def _machines_identity(view: View, one: Object) -> Iterator[Resource]:
    """The role of Karpenter's machines, its permissions, and its way into the cluster: pods on machines that have lost
    these are never seen to end."""
    node_class = one
    if one.kind == "NodePool":
        named = view.objects.find(one, "EC2NodeClass", str(at(one.spec, "template.spec.nodeClassRef.name")))
        if named is None:
            return
        node_class = named
    for role in view.inventory.references(node_class.resource, "spec.role", ROLE):
        yield role
        yield from view.role_parts.get(role.urn, ())
        for entry in view.links.of_type(ACCESS_ENTRY):
            if role in view.inventory.references(entry, "principalArn", ROLE):
                yield entry


# ---- definitions


def _definition(view: View, order: Order, custom: Object) -> Iterator[Finding]:
    group = _group(custom.resource)
    own = [d for d in view.objects.in_cluster(custom.cluster, "CustomResourceDefinition")
           if d.spec.get("group") in (group, UNKNOWN)]  # fmt: skip
    charts = DEFINED_BY.get(group, ())
    releases = [r for r in view.releases_in(custom.cluster) if chart_name(r) in charts]
    # A chart that is told to leave its definitions out brings none.
    bringing = [r for r in releases if r.inputs.get("skipCrds") is not True] + [d.resource for d in own]
    cluster = view.plan.by_urn.get(custom.cluster)
    if bringing and not order.any_outlives(bringing, custom.resource):
        yield DEFINITION.finding(
            f"{custom.kind} {custom.place} may be made before, and deleted after, what brings its kind: "
            f"{', '.join(r.name for r in bringing)}",
            custom.resource,
        )
    elif not bringing and charts and cluster is not None and not cluster.external:
        yield DEFINITION.finding(
            f"nothing in this environment brings the kind {custom.kind} ({group}); expected the chart "
            f"{' or '.join(charts)}",
            custom.resource,
        )


def _group(resource: Resource) -> str:
    """`karpenter.sh` of apiVersion `karpenter.sh/v1`; empty for the core group."""
    version = resource.inputs.get("apiVersion")
    text = version if isinstance(version, str) and version != UNKNOWN else resource.type.split(":")[1]
    return text.rpartition("/")[0]


# ---- pods and their nodes


def _pods(view: View, order: Order) -> Iterator[Finding]:
    for cluster in view.inventory.clusters:
        if cluster.urn not in view.plan.by_urn:
            continue
        drained = [r for r in cluster.rungs if r.manager in ("karpenter", "gke") and r.urn in view.plan.by_urn]
        for workload in view.workloads_of.get(cluster.urn, ()) if drained else ():
            owner = view.objects.by_urn[workload.urn]
            budgets = [
                b for b in view.objects.beside(owner, "PodDisruptionBudget")
                if workload in view.pods(b, b.spec.get("selector"))
            ]  # fmt: skip
            before = [r.name for r in drained if budgets and not order.outlives(view.plan.by_urn[r.urn], owner.resource)
                      and pods_per_machine(workload, r) != 0]  # fmt: skip
            if before:
                yield NODES.finding(
                    f"Pulumi may delete {_some(before)} while {owner.place} still runs there, and its budget "
                    f"{budgets[0].name} holds up the draining of their nodes",
                    owner.resource,
                )


def _some(names: Iterable[str]) -> str:
    """The first few of many."""
    listed = list(dict.fromkeys(names))
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
