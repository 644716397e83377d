"""Contracts of scalers: what they scale is there and scaled by one of them, and whom they ask can answer.

HorizontalPodAutoscalers are read as Kubernetes has them, ScaledObjects as KEDA makes autoscalers of them
(kedacore/keda v2.20).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from planner.checks.view import View
from planner.finding import Finding, Rule
from planner.inventory.objects import Object, maps
from planner.inventory.references import at, mapping
from planner.plan import UNKNOWN, Resource
from planner.rules import Rules

TARGET = Rule(
    "scale-target-exists",
    "Every autoscaler scales something that is there, and only one scales it",
    url="https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/",
    remediation="Name a workload of the same namespace, with its kind.",
)
METRIC = Rule(
    "scaling-metric-exists",
    "Every metric that an autoscaler goes by is exported by an adapter in its cluster, or recorded by a rule",
    url="https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale-walkthrough/",
    remediation="Name a metric of the adapter's rules or of a PrometheusRule, or add a rule for this one.",
)
SOURCE = Rule(
    "scaling-source-exists",
    "Whoever makes an autoscaler of a ScaledObject, and whomever its triggers ask, is in its cluster",
    url="https://keda.sh/docs/latest/reference/scaledobject-spec/",
    remediation="Install KEDA, and name the Service and port of Prometheus or of the scaler as its chart calls them.",
)
RULES = (TARGET, METRIC, SOURCE)

_ADAPTERS = ("prometheus-adapter", "keda", "datadog", "custom-metrics-stackdriver-adapter", "kube-metrics-adapter")
_KEDA = "keda"
_ACTIVATOR = "keda-add-ons-http"
_OF_SCALED_OBJECTS = re.compile(r"s\d+-.+")
"""How KEDA calls the metrics of a ScaledObject's triggers."""
_RECORDED = re.compile(r"\b[a-zA-Z_]\w*(?::\w+)+")
"""A recording rule's series, which by convention have colons in their names."""
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")
_OWN = "aicloud"
"""What the names of this platform's own recorded series begin with; no chart makes any."""
_OPERATED = "prometheus-operated"
"""The Service that the operator of Prometheus makes for every Prometheus."""


def findings(view: View, _rules: Rules) -> Iterator[Finding]:
    """What would never scale."""
    scaled: dict[tuple[str, ...], Object] = {}
    for scaler in view.objects.of_kind("HorizontalPodAutoscaler", "ScaledObject"):
        yield from _target(view, scaler, scaled)
        if scaler.kind == "ScaledObject":
            yield from _sources(view, scaler)
        else:
            yield from _metrics(view, scaler)


# ---- what is scaled


def _target(view: View, scaler: Object, scaled: dict[tuple[str, ...], Object]) -> Iterator[Finding]:
    target = mapping(scaler.spec, "scaleTargetRef")
    kind, name = target.get("kind", "Deployment"), target.get("name")
    if not isinstance(name, str) or UNKNOWN in (kind, name, scaler.namespace):
        return
    found = view.objects.find(scaler, str(kind), name)
    if found is None and not view.objects.in_doubt(scaler, str(kind)) and not view.releases(scaler):
        there = sorted(one.name for one in view.objects.beside(scaler, str(kind)))
        yield TARGET.finding(
            f"{scaler.place} scales the {kind} {name!r}; there is {', '.join(there) or 'none'}",
            scaler.resource,
        )
    other = scaled.setdefault((scaler.cluster, scaler.namespace, str(kind), name), scaler)
    if other is not scaler:
        beside = "" if other.kind == scaler.kind else f", a {other.kind},"
        yield TARGET.finding(
            f"{scaler.place} scales the {kind} {name!r}, as {other.place}{beside} does: they fight",
            scaler.resource, subject=other.name,
        )  # fmt: skip


# ---- the metrics of a HorizontalPodAutoscaler


def _metrics(view: View, scaler: Object) -> Iterator[Finding]:
    for metric in maps(scaler.spec, "metrics"):
        source = next((mapping(metric, key) for key in ("pods", "object", "external") if key in metric), None)
        name = at(source, "metric.name") if source else None
        if not isinstance(name, str) or name == UNKNOWN:
            continue
        adapters = [r for r in view.releases_in(scaler.cluster) if _adapter(r)]
        if not adapters and not any(view.releases_in(scaler.cluster)):
            continue  # what is in the cluster is not in this plan
        exported = [text for adapter in adapters for text in _exported(adapter, name)]
        if name not in exported and None not in exported:
            yield METRIC.finding(
                f"{scaler.place} goes by the metric {name!r}; its cluster's adapters export "
                f"{', '.join(str(one) for one in exported) or 'none'}",
                scaler.resource, subject=name,
            )  # fmt: skip


def _adapter(release: Resource) -> bool:
    chart = str(release.inputs.get("chart", ""))
    return chart == UNKNOWN or any(known in chart for known in _ADAPTERS)


def _exported(adapter: Resource, name: str) -> list[str | None]:
    """Names of an adapter's metrics; None stands for any, where its values don't list them."""
    values = adapter.inputs.get("values")
    if _called(adapter).startswith(_KEDA):
        # It answers for ScaledObjects alone, to the autoscalers that it makes itself.
        return [name] if _OF_SCALED_OBJECTS.fullmatch(name) else []
    if "prometheus-adapter" not in str(adapter.inputs.get("chart")) or not mapping(values, "rules"):
        return [None]
    rules = [rule for key in ("custom", "external") for rule in maps(values, f"rules.{key}")]
    found: list[str | None] = [None] if at(values, "rules.default") is not False else []
    for rule in rules:
        known, matches = at(rule, "name.as"), at(rule, "name.matches")
        # With `matches` the name is made from that of each series.
        plain = isinstance(known, str) and known != UNKNOWN and not matches and "$" not in known
        found.append(known if plain else None)
    return found


def _called(release: Resource) -> str:
    """What a release's chart is called, without its repository."""
    return str(release.inputs.get("chart", "")).rsplit("/", 1)[-1]


# ---- the triggers of a ScaledObject


def _sources(view: View, scaler: Object) -> Iterator[Finding]:
    charts = {_called(release) for release in view.releases_in(scaler.cluster)}
    if charts and UNKNOWN not in charts and _KEDA not in charts:
        yield SOURCE.finding(
            f"{scaler.place} is a ScaledObject; its cluster has no KEDA among its charts, {', '.join(sorted(charts))}",
            scaler.resource, subject=_KEDA,
        )  # fmt: skip
    for index, trigger in enumerate(maps(scaler.spec, "triggers")):
        label, metadata = str(trigger.get("name", index)), mapping(trigger, "metadata")
        match trigger.get("type"):
            case "prometheus":
                yield from _address(view, scaler, label, urlsplit(str(metadata.get("serverAddress"))).netloc)
                yield from _recorded(view, scaler, label, metadata.get("query"))
            case "external" | "external-push":
                yield from _address(view, scaler, label, str(metadata.get("scalerAddress")))
                yield from _route(view, scaler, label, metadata.get("interceptorRoute"))


def _address(view: View, scaler: Object, label: str, address: str) -> Iterator[Finding]:
    """An address inside the cluster, `service.namespace[.svc[.cluster.local]][:port]`, is that of a Service."""
    host, _, port = address.partition(":")
    name, namespace, *rest = [*host.split("."), ""]
    if UNKNOWN in address or not namespace or rest[0] not in ("", "svc"):
        return
    number = int(port) if port.isdigit() else 80
    service = view.objects.find(scaler, "Service", name, namespace)
    if service is not None:
        ports = [one.get("port") for one in maps(service.spec, "ports")]
        if ports and UNKNOWN not in ports and number not in ports:
            yield SOURCE.finding(
                f"trigger {label!r} of {scaler.place} asks {address}; {service.place} has the ports"
                f" {', '.join(map(str, ports))}",
                scaler.resource, subject=label,
            )  # fmt: skip
        return
    made = [_services(release) for release in view.releases(scaler, namespace)]
    if view.objects.in_doubt(scaler, "Service") or None in made or not any(view.releases_in(scaler.cluster)):
        return
    known = {f"{one}:{port}" for services in made for one, port in (services or {}).items()}
    known |= {f"{one.name}" for one in view.objects.in_cluster(scaler.cluster, "Service") if one.namespace == namespace}
    if f"{name}:{number}" not in known:
        yield SOURCE.finding(
            f"trigger {label!r} of {scaler.place} asks {address}; in the namespace {namespace!r} there is"
            f" {', '.join(sorted(known)) or 'no Service'}",
            scaler.resource, subject=label,
        )  # fmt: skip


def _services(release: Resource) -> dict[str, int] | None:
    """Services, with their ports, that scalers may ask of what a chart makes; None where this doesn't know the chart,
    or what it was told."""
    chart, values = _called(release), release.inputs.get("values", {})
    given = release.inputs.get("name")
    if UNKNOWN in (given, values) or not isinstance(given, str):
        return None
    if chart == "kube-prometheus-stack":
        # _helpers.tpl, "kube-prometheus-stack.fullname"
        base = str(at(values, "nameOverride") or chart)
        full = at(values, "fullnameOverride") or (given if base in given else f"{given}-{base}")
        port = at(values, "prometheus.service.port") or 9090
        if at(values, "prometheus.enabled") is False:
            return {}
        if UNKNOWN in (full, port, at(values, "nameOverride")):
            return None
        return {f"{str(full)[:26].rstrip('-')}-prometheus": int(port), _OPERATED: 9090}
    if chart == _ACTIVATOR:
        service, port = at(values, "scaler.service") or "external-scaler", at(values, "scaler.grpcPort") or 9090
        return None if UNKNOWN in (service, port) else {f"{chart}-{service}": int(port)}
    return {} if chart == _KEDA else None


def _recorded(view: View, scaler: Object, label: str, query: Any) -> Iterator[Finding]:
    """A recorded series of the platform's own, or named like others of this plan, is recorded by a rule of it."""
    if not isinstance(query, str) or UNKNOWN in query:
        return
    recorded: set[str] = set()
    for rule in view.objects.in_cluster(scaler.cluster, "PrometheusRule"):
        for one in (r for group in maps(rule.spec, "groups") for r in maps(group, "rules")):
            recorded.add(str(one.get("record", "")))
    if UNKNOWN in recorded:
        return
    families = {_OWN, *(name.partition(":")[0] for name in recorded if ":" in name)}
    for name in dict.fromkeys(_RECORDED.findall(_QUOTED.sub("", query))):
        if name.partition(":")[0] in families and name not in recorded:
            yield METRIC.finding(
                f"trigger {label!r} of {scaler.place} goes by {name}, which no PrometheusRule of its cluster records; "
                f"recorded are {', '.join(sorted(filter(None, recorded))) or 'none'}",
                scaler.resource, subject=f"{label} {name}",
            )  # fmt: skip


def _route(view: View, scaler: Object, label: str, name: Any) -> Iterator[Finding]:
    if not isinstance(name, str) or UNKNOWN in (name, scaler.namespace):
        return
    if view.objects.find(scaler, "InterceptorRoute", name) is None and not (
        view.objects.in_doubt(scaler, "InterceptorRoute") or view.releases(scaler)
    ):
        there = sorted(one.name for one in view.objects.beside(scaler, "InterceptorRoute"))
        yield SOURCE.finding(
            f"trigger {label!r} of {scaler.place} counts the requests of the InterceptorRoute {name!r}; there is"
            f" {', '.join(there) or 'none'}",
            scaler.resource, subject=label,
        )  # fmt: skip
