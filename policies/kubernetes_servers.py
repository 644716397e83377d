"""What answers requests: pods behind a Service are several, spread out, watched, and go one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from planner.inventory import Inventory
from planner.inventory.objects import Object, Objects, objects_in, selects
from planner.plan import UNKNOWN
from policies.declare import Parameters, Violation, at, each, stack_policy
from policies.kubernetes_pods import Pod, combined, pods

ZONE = "topology.kubernetes.io/zone"
_KINDS = ("Deployment", "StatefulSet", "Rollout", "InferenceService")
_BUDGETS = "https://kubernetes.io/docs/tasks/run-application/configure-pdb/"
_PROBES = "https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/"


@dataclass(frozen=True)
class Server:
    """Pods that a Service sends requests to."""

    object: Object
    pod: Pod
    services: tuple[Object, ...]
    least: int | None
    """Fewest replicas; None where the plan doesn't know."""
    most: int | None
    """Most replicas; None where the plan doesn't know."""

    def violation(self, message: str, subject: str = "") -> Violation:
        """A violation at what makes the pods."""
        return Violation(message, self.object.resource, subject)


def servers(inventory: Inventory) -> Iterator[Server]:
    """What a Service of the plan sends requests to, so far as the plan knows."""
    objects, whole = objects_in(inventory), combined(inventory)
    for one in objects.of_kind(*_KINDS):
        if one.namespace == UNKNOWN:
            continue
        for pod in whole.get(one.resource.urn) or pods(one.resource):
            beside = objects.beside(one, "Service")
            services = tuple(s for s in beside if _surely_selects(s.spec.get("selector"), pod.labels))
            if services:
                least, most = _replicas(objects, one)
                yield Server(one, pod, services, least, most)


def _surely_selects(selector: Any, labels: Mapping[str, Any]) -> bool:
    """Whether a Service's selector means pods with these labels; nothing unknown counts."""
    if not isinstance(selector, Mapping) or not selector:
        return False
    return UNKNOWN not in selector.values() and all(labels.get(key) == value for key, value in selector.items())


def _replicas(objects: Objects, one: Object) -> tuple[int | None, int | None]:
    for scaler in objects.of_kind("HorizontalPodAutoscaler", "ScaledObject"):
        if scaler.cluster != one.cluster or scaler.namespace not in (one.namespace, UNKNOWN):
            continue
        spec = scaler.resource.inputs.get("spec")
        names = at(spec, "scaleTargetRef.name", UNKNOWN), one.name, scaler.namespace
        if UNKNOWN in names or spec == UNKNOWN:
            return None, None
        if names[0] == one.name and at(spec, "scaleTargetRef.kind", "Deployment") in (one.kind, UNKNOWN):
            if scaler.kind == "ScaledObject":
                # Without a trigger that is active there are as few as `idleReplicaCount`.
                fewest = at(spec, "idleReplicaCount", at(spec, "minReplicaCount", 0))
                return _number(fewest), _number(at(spec, "maxReplicaCount", 100))
            return _number(at(spec, "minReplicas", 1)), _number(at(spec, "maxReplicas"))
    if one.kind == "InferenceService":  # KServe's own autoscaler
        return _number(at(one.resource, "spec.predictor.minReplicas", 1)), _number(
            at(one.resource, "spec.predictor.maxReplicas", at(one.resource, "spec.predictor.minReplicas", 1))
        )
    count = _number(at(one.resource, "spec.replicas", 1))
    return count, count


def _number(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


@stack_policy(
    "servers-have-replicas",
    "Whatever answers requests keeps answering when one of its pods is gone",
    risk="high",
    why="https://kubernetes.io/docs/concepts/workloads/pods/disruptions/",
    fix="Raise the autoscaler's minReplicas (ai-cloud:models[].minReplicas), or the Deployment's replicas.",
    parameters={"replicas": 2},
)
def servers_have_replicas(inventory: Inventory, parameters: Parameters) -> Iterator[Violation]:
    for server in servers(inventory):
        if server.least is not None and server.least < parameters["replicas"]:
            yield server.violation(
                f"may be down to {server.least} replicas behind Service {server.services[0].name}; "
                f"expected at least {parameters['replicas']}"
            )


@stack_policy(
    "servers-spread-over-zones",
    "The replicas of what answers requests spread over zones",
    risk="high",
    why="https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/",
    fix=f"Add a topologySpreadConstraint with topologyKey {ZONE} to the pod.",
)
def servers_spread_over_zones(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    for server in servers(inventory):
        constraints = at(server.pod.spec, "topologySpreadConstraints", [])
        apart = at(server.pod.spec, "affinity.podAntiAffinity", {})
        if (server.most or 0) > 1 and not _mentions(constraints, ZONE) and not _mentions(apart, ZONE):
            yield server.violation("may have all of its replicas in one zone; expected them to spread over zones")


def _mentions(value: Any, topology: str) -> bool:
    """Whether something in a value is spread over a topology, or may be."""
    if value == UNKNOWN:
        return True
    if isinstance(value, Mapping):
        return value.get("topologyKey") in (topology, UNKNOWN) or any(_mentions(v, topology) for v in value.values())
    return isinstance(value, list) and any(_mentions(item, topology) for item in value)


@stack_policy(
    "servers-have-a-disruption-budget",
    "When nodes are drained, the replicas of what answers requests go one after the other",
    risk="high",
    why=_BUDGETS,
    fix="Add a PodDisruptionBudget with maxUnavailable: 1 whose selector means the pods.",
)
def servers_have_a_disruption_budget(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    objects = objects_in(inventory)
    for server in servers(inventory):
        budgets = [b for b in _budgets(objects, server.object) if _may_select(b, server.pod.labels)]
        if (server.most or 0) > 1 and not budgets:
            yield server.violation(f"has up to {server.most} replicas and no PodDisruptionBudget that means its pods")


def _budgets(objects: Objects, one: Object) -> Iterator[Object]:
    for budget in objects.of_kind("PodDisruptionBudget"):
        if budget.cluster == one.cluster and budget.namespace in (one.namespace, UNKNOWN):
            yield budget


def _may_select(budget: Object, labels: Mapping[str, Any]) -> bool:
    selector = at(budget.resource, "spec.selector")
    # In policy/v1 an empty selector means every pod, one that is missing none.
    return selector is not None and selects(selector, labels)


@stack_policy(
    "disruption-budgets-let-go",
    "No disruption budget keeps nodes from ever being drained",
    risk="medium",
    why=_BUDGETS,
    fix="Write maxUnavailable: 1 rather than a minAvailable, which with as many replicas forbids every eviction.",
)
def disruption_budgets_let_go(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    objects, whole = objects_in(inventory), combined(inventory)
    for budget in objects.of_kind("PodDisruptionBudget"):
        lost, kept = budget.spec.get("maxUnavailable"), budget.spec.get("minAvailable")
        if lost in (0, "0", "0%"):
            yield Violation(f"allows no eviction at all (maxUnavailable: {lost}); expected 1 or more", budget.resource)
        elif kept == "100%":
            yield Violation("allows no eviction at all (minAvailable: 100%); expected less", budget.resource)
        elif kept is not None and kept != UNKNOWN:
            for one, least in _budgeted(objects, whole, budget):
                if least and _required(kept, least) >= least:
                    yield Violation(
                        f"with minAvailable: {kept} none of the {least} replicas of {one.kind} {one.name} can be "
                        "evicted; expected maxUnavailable: 1",
                        budget.resource,
                        one.place,
                    )


def _budgeted(objects: Objects, whole: Mapping[str, list[Pod]], budget: Object) -> Iterator[tuple[Object, int | None]]:
    labels = at(budget.resource, "spec.selector.matchLabels")
    for one in objects.of_kind(*_KINDS):
        beside = one.cluster == budget.cluster and one.namespace == budget.namespace != UNKNOWN
        if beside and any(
            _surely_selects(labels, pod.labels) for pod in whole.get(one.resource.urn) or pods(one.resource)
        ):
            yield one, _replicas(objects, one)[0]


def _required(kept: Any, replicas: int) -> int:
    """Pods that must stay, of so many; Kubernetes rounds percentages up."""
    text = str(kept)
    if text.endswith("%") and text[:-1].isdigit():
        return math.ceil(replicas * int(text[:-1]) / 100)
    return int(text) if text.isdigit() else 0


def _answering(server: Server) -> list[Mapping[str, Any]]:
    """The containers that the Services' ports lead to, so far as that can be told."""
    containers = each(server.pod.spec, "containers")
    ports = [port for service in server.services for port in each(service.spec, "ports")]
    targets = [port.get("targetPort", port.get("port")) for port in ports]
    found = [
        container
        for container in containers
        if any(port.get(key) in targets for port in each(container, "ports") for key in ("name", "containerPort"))
    ]
    # With one container the case is clear; among several, only the ports tell.
    return found or containers if len(at(server.pod.spec, "containers")) == 1 else found


@stack_policy(
    "servers-have-readiness-probes",
    "Requests go to pods that have said that they are ready",
    risk="high",
    why=_PROBES,
    fix="Add a readinessProbe that fails until the server can answer a real request.",
)
def servers_have_readiness_probes(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    yield from _without_probe(inventory, ("readinessProbe",), "gets requests before it can answer them")


@stack_policy(
    "servers-have-liveness-probes",
    "A server that hangs, or never comes up, is started again",
    risk="medium",
    why=_PROBES,
    fix="Add a livenessProbe, and a startupProbe where starting takes long, so that it is not ended while it loads.",
)
def servers_have_liveness_probes(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    yield from _without_probe(inventory, ("livenessProbe", "startupProbe"), "is never started again when it hangs")


def _without_probe(inventory: Inventory, probes: tuple[str, ...], else_what: str) -> Iterator[Violation]:
    for server in servers(inventory):
        for container in _answering(server):
            if not any(container.get(probe) for probe in probes):
                name = str(container.get("name"))
                yield server.violation(f"container {name!r} {else_what}; expected a {' or '.join(probes)}", name)
