"""The rules of an inference route, free of Pulumi: which request goes to which backends, and with what weights.

What a request matches follows from the Gateway API: the host first, then an exact path before a prefix, the longer one
before the shorter, more headers before fewer, and among equals the rule that stands first.
https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WEIGHTS_TOTAL = 100
"""What the weights of one list of backends add up to: percent."""

MOST_RULES = 16
"""Of an HTTPRoute, as its definition says."""
MOST_MATCHES = 64
"""Of one rule of an HTTPRoute, as its definition says; an HTTPRoute has at most twice as many in all."""

MODELS_PATH = "/v2/models"
"""Under which the Open Inference Protocol has each model, by name."""

SERVED_BY = "x-served-by"
"""Header of an answer: the name of the backend that gave it."""


@dataclass(frozen=True)
class Backend:
    """A Service that requests may go to, and its share of those that no experiment takes."""

    name: str
    """Such as `stable` or `canary`."""
    namespace: str
    service: str
    port: int
    """Of the Service, and of its pods."""
    weight: int
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of its pods."""


@dataclass(frozen=True)
class Experiment:
    """Requests with this header, or this cookie, go to one backend, whatever the weights."""

    name: str
    backend: str
    header: tuple[str, str] | None = None
    """Name and value."""
    cookie: tuple[str, str] | None = None
    """Name and value; of header and cookie one is given."""
    model: str = ""
    """Only requests of this model; empty: wherever there is such a backend."""


@dataclass(frozen=True)
class Mirror:
    """A backend that gets copies of requests, and whose answers nobody sees."""

    backend: str
    percent: int


@dataclass(frozen=True)
class Group:
    """Requests of one model, or those that name none, and the backends that share them."""

    model: str
    """Empty: requests that name no model of its own."""
    backends: tuple[Backend, ...]
    mirror: Mirror | None = None


@dataclass(frozen=True)
class Timeouts:
    """Seconds: of a whole request, and of one try at one backend."""

    request: int
    backend: int


def rules(
    group: Group, experiments: Sequence[Experiment], timeouts: Timeouts, *, paths: Sequence[str], exact: Sequence[str]
) -> list[dict[str, Any]]:
    """`spec.rules` of an HTTPRoute: one for each experiment with a backend of the group, then one for all others.

    `paths` are prefixes, whole segments at a time, and `exact` paths, that requests of the group that names no model
    may have; those of a model have its own.
    """
    where = _paths(group, paths, exact)
    common = {"timeouts": {"request": f"{timeouts.request}s", "backendRequest": f"{timeouts.backend}s"}}
    by_name = {backend.name: backend for backend in group.backends}
    made = [
        {
            "name": experiment.name,
            "matches": [{"path": path, "headers": [_header(experiment)]} for path in where],
            "backendRefs": [{**_answering(by_name[experiment.backend]), "weight": WEIGHTS_TOTAL}],
            **common,
        }
        for experiment in in_order(experiments, group)
    ]
    weighted: dict[str, Any] = {
        "name": "weighted",
        "matches": [{"path": path} for path in where],
        "backendRefs": [{**_answering(backend), "weight": backend.weight} for backend in group.backends],
        **common,
    }
    if group.mirror is not None:
        shadow = {"backendRef": _reference(by_name[group.mirror.backend]), "percent": group.mirror.percent}
        weighted["filters"] = [{"type": "RequestMirror", "requestMirror": shadow}]
    return [*made, weighted]


def in_order(experiments: Sequence[Experiment], group: Group) -> list[Experiment]:
    """Those that concern a group: headers first, then cookies, else as given.

    A cookie is matched by a regular expression on a header. The Gateway API takes the first of two rules that match as
    well; Envoy Gateway takes exact matches before regular expressions. In this order both take the same.
    """
    names = {backend.name for backend in group.backends}
    own = [one for one in experiments if one.backend in names and one.model in ("", group.model)]
    return sorted(own, key=lambda one: one.cookie is not None)


def cookie_pattern(name: str, value: str) -> str:
    """A regular expression (RE2) for the whole of a `cookie` header that has this cookie, wherever it stands in it."""
    return f"(.*; *)?{re.escape(name)}={re.escape(value)}( *;.*)?"


def _paths(group: Group, paths: Sequence[str], exact: Sequence[str]) -> list[dict[str, str]]:
    if group.model:
        return [{"type": "PathPrefix", "value": f"{MODELS_PATH}/{group.model}"}]
    return [
        *({"type": "Exact", "value": path} for path in exact),
        *({"type": "PathPrefix", "value": path} for path in paths),
    ]


def _header(experiment: Experiment) -> dict[str, str]:
    if experiment.cookie is not None:
        return {"type": "RegularExpression", "name": "cookie", "value": cookie_pattern(*experiment.cookie)}
    assert experiment.header is not None
    name, value = experiment.header
    return {"type": "Exact", "name": name, "value": value}


def _reference(backend: Backend) -> dict[str, Any]:
    return {
        "group": "",
        "kind": "Service",
        "name": backend.service,
        "namespace": backend.namespace,
        "port": backend.port,
    }


def _answering(backend: Backend) -> dict[str, Any]:
    """A backend whose answers say whose they are.

    With a filter of its own, a backend also has a cluster of its own in Envoy, and so counts and latencies of its own:
    `httproute/<namespace>/<route>/rule/<index>/backend/<index>`. Without, all backends of a rule share one, in which
    nobody can tell them apart. (envoyproxy/gateway v1.9.0, internal/ir/xds.go, NeedsClusterPerSetting, and
    internal/gatewayapi/helpers.go; https://github.com/envoyproxy/gateway/issues/7017)
    """
    said = {"set": [{"name": SERVED_BY, "value": backend.name}]}
    return {
        **_reference(backend),
        "filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": said}],
    }
