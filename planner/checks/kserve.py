"""KServe: InferenceServices name a runtime that is there and fits, and ask for what their cluster can do.

Whether their pods fit a pool, are let in and are spread, the other checks say of them as of all pods.
"""

from __future__ import annotations

import difflib
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from planner.checks.destroy.controllers import chart_name
from planner.checks.view import View, view_of
from planner.finding import Finding, Rule
from planner.inventory import Inventory, Workload
from planner.inventory.kserve import AUTOSCALER, KIND, QUEUE, RUNTIMES, mode_of, model_of
from planner.inventory.objects import Object, maps
from planner.inventory.references import at, mapping, texts
from planner.plan import UNKNOWN
from planner.rules import Rules

_RUNTIMES = "https://kserve.github.io/website/docs/concepts/resources/servingruntime"

RUNTIME = Rule(
    "serving-runtime-exists",
    "Every InferenceService names a runtime that is there",
    url=_RUNTIMES,
    remediation="Name a ServingRuntime of the service's namespace, or a ClusterServingRuntime of its cluster.",
)
FORMAT = Rule(
    "serving-runtime-fits-the-model",
    "The runtime of every InferenceService is for its model's format, and speaks its protocol",
    url=_RUNTIMES,
    remediation="Write the format (with its version) and the protocol as the runtime lists them, and one of its "
    "containers by the name kserve-container.",
)
MODE = Rule(
    "inference-service-can-run",
    "What an InferenceService is run and scaled by is in its cluster",
    url="https://kserve.github.io/website/docs/admin-guide/overview",
    remediation="Bring Knative Serving (GpuCluster: kserve serverless) or KEDA, or take mode Standard and another "
    "autoscaler.",
)
KNATIVE = Rule(
    "knative-allows-the-pod",
    "Serverless pods ask only for what Knative allows, or was told to allow",
    url="https://knative.dev/docs/serving/configuration/feature-flags/",
    remediation="Enable the feature in KnativeServing's spec.config.features; give hooks and further ports up.",
)
RULES: tuple[Rule, ...] = (RUNTIME, FORMAT, MODE, KNATIVE)

_KEDA = ("keda",)
_FEATURES = {
    "affinity": "affinity",
    "hostAliases": "hostaliases",
    "initContainers": "init-containers",
    "nodeSelector": "nodeselector",
    "priorityClassName": "priorityclassname",
    "runtimeClassName": "runtimeclassname",
    "schedulerName": "schedulername",
    "securityContext": "securitycontext",
    "tolerations": "tolerations",
    "topologySpreadConstraints": "topologyspreadconstraints",
}
"""Field of a pod -> the feature `kubernetes.podspec-…` that allows it.
Source: knative/serving, pkg/apis/serving/fieldmask.go."""


def findings(inventory: Inventory, _rules: Rules) -> Iterator[Finding]:
    """What KServe or Knative would refuse, or wait for in vain."""
    view = view_of(inventory)
    for service in view.objects.of_kind(KIND):
        runtime = yield from _runtime(view, service)
        if runtime is not None:
            yield from _fits(service, runtime)
        yield from _runs(view, service)
    for workload in inventory.workloads:
        if workload.kind == KIND and (owner := view.objects.by_urn.get(workload.urn)) is not None:
            yield from _allowed(view, owner, workload)


# ---- runtimes


def _runtime(view: View, service: Object) -> Generator[Finding, None, Object | None]:
    """Yields what is wrong; returns the runtime, if it is known."""
    name = model_of(service.resource).get("runtime")
    if not isinstance(name, str) or name == UNKNOWN or service.namespace == UNKNOWN:
        return None
    for kind in RUNTIMES:
        if (found := view.objects.find(service, kind, name)) is not None:
            return found
    if view.objects.in_doubt(service, *RUNTIMES) or _elsewhere(view, service):
        return None
    there = sorted(one.name for one in view.objects.beside(service, *RUNTIMES))
    close = difflib.get_close_matches(name, there, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(there) or 'none'}"
    yield RUNTIME.finding(f"{service.place} names the runtime {name!r}, which is not there; {hint}",
                          service.resource, subject=name)  # fmt: skip
    return None


def _elsewhere(view: View, service: Object) -> bool:
    """Whether a chart may bring the runtime: KServe's own for runtimes, or any in the service's namespace."""
    brought = any(chart_name(release) == "kserve-runtime-configs" for release in view.releases_in(service.cluster))
    known = any(True for _ in view.objects.in_cluster(service.cluster, *RUNTIMES))
    return brought or bool(view.releases(service)) or not (known or any(view.releases_in(service.cluster)))


def _fits(service: Object, runtime: Object) -> Iterator[Finding]:
    model, spec = model_of(service.resource), runtime.spec
    wanted = mapping(model, "modelFormat")
    formats = maps(spec, "supportedModelFormats")
    name, version = wanted.get("name"), wanted.get("version")
    if formats and UNKNOWN not in (name, version) and not any(_same(one, name, version) for one in formats):
        listed = ", ".join(_format(one) for one in formats)
        yield FORMAT.finding(
            f"{service.place} is of the format {_format(wanted)}; its runtime {runtime.name} is for {listed}",
            service.resource, subject="format",
        )  # fmt: skip
    protocol, spoken = model.get("protocolVersion"), list(texts(spec.get("protocolVersions")))
    if isinstance(protocol, str) and spoken and UNKNOWN not in (protocol, *spoken) and protocol not in spoken:
        yield FORMAT.finding(
            f"{service.place} speaks {protocol}; its runtime {runtime.name} speaks {', '.join(spoken)}",
            service.resource, subject="protocol",
        )  # fmt: skip
    names = [one.get("name") for one in maps(spec, "containers")]
    if names and UNKNOWN not in names and "kserve-container" not in names:
        yield FORMAT.finding(
            f"{runtime.place} has the containers {', '.join(map(str, names))}; KServe serves from one called "
            "kserve-container",
            runtime.resource, subject="container",
        )  # fmt: skip


def _same(supported: Mapping[str, Any], name: Any, version: Any) -> bool:
    if UNKNOWN in supported.values():
        return True
    return supported.get("name") == name and (version is None or supported.get("version") == version)


def _format(one: Mapping[str, Any]) -> str:
    return f"{one.get('name')} {one.get('version') or ''}".strip()


# ---- what runs and scales it


def _runs(view: View, service: Object) -> Iterator[Finding]:
    charts = {chart_name(release) for release in view.releases_in(service.cluster)}
    if not charts:
        return  # what is in the cluster is not in this plan
    mode = mode_of(service.resource)
    if mode == "Knative" and not _knative(view, service) and "knative-serving" not in charts:
        yield MODE.finding(
            f"{service.place} is in mode Knative, and nothing brings Knative Serving to its cluster: KServe refuses it",
            service.resource, subject="mode",
        )  # fmt: skip
    if service.annotations.get(AUTOSCALER) == "keda" and not charts.intersection(_KEDA):
        yield MODE.finding(
            f"{service.place} is scaled by KEDA, which is not in its cluster: it keeps the pods that it starts with",
            service.resource, subject="autoscaler",
        )  # fmt: skip


def _knative(view: View, service: Object) -> list[Object]:
    return list(view.objects.in_cluster(service.cluster, "KnativeServing"))


# ---- what Knative allows


def _allowed(view: View, service: Object, workload: Workload) -> Iterator[Finding]:
    if mode_of(service.resource) != "Knative":
        return
    for container in maps(workload.spec, "containers"):
        name = container.get("name")
        if container.get("lifecycle") not in (None, {}, UNKNOWN):
            yield KNATIVE.finding(f"{service.place}: container {name} has a lifecycle hook, which Knative refuses",
                                  service.resource, subject=f"{name} lifecycle")  # fmt: skip
        declared = [port for port in maps(container, "ports") if UNKNOWN not in port.values()]
        if name != QUEUE and len(declared) > 1:
            yield KNATIVE.finding(f"{service.place}: container {name} has several ports, of which Knative takes one",
                                  service.resource, subject=f"{name} ports")  # fmt: skip
    if "terminationGracePeriodSeconds" in mapping(service.spec, "predictor"):
        yield KNATIVE.finding(f"{service.place} has a terminationGracePeriodSeconds, which Knative refuses: its own is "
                              "the timeout", service.resource, subject="grace")  # fmt: skip
    for knative in _knative(view, service):
        features = at(knative.spec, "config.features")
        if features == UNKNOWN:
            continue
        allowed = mapping(knative.spec, "config.features")
        for field, feature in _FEATURES.items():
            key = f"kubernetes.podspec-{feature}"
            if workload.spec.get(field) not in (None, [], {}, UNKNOWN) and allowed.get(key) not in (
                "enabled", "allowed", UNKNOWN,
            ):  # fmt: skip
                yield KNATIVE.finding(
                    f"{service.place} has {field}, which Knative refuses without the feature {key}",
                    service.resource, subject=field,
                )  # fmt: skip
