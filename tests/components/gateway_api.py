"""How a gateway chooses among the rules of routes, as the Gateway API says it, for tests to ask.

https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule: of all rules that match a request, the one whose match
has an exact path, else the longest prefix; then a method; then the most headers; then the most query parameters; then
the oldest route, the first by name; then the first in its route. Envoy Gateway (v1.9.0, internal/gatewayapi/sort.go)
takes, among as many headers, the match with more exact ones, whatever stands first: `exact_headers_first`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """By name in lower case."""


def matching(routes: Sequence[Sequence[Mapping[str, Any]]], request: Request) -> list[Mapping[str, Any]]:
    """Every rule that a request matches, of several routes."""
    return [rule for rules in routes for rule in rules if any(_matches(m, request) for m in rule["matches"])]


def chosen(
    routes: Sequence[Sequence[Mapping[str, Any]]], request: Request, *, exact_headers_first: bool = False
) -> Mapping[str, Any] | None:
    """The one rule that answers a request; None: it is told 404. `routes` from the oldest to the youngest."""
    ranked = [
        (_rank(match, exact_headers_first), -number, -index, rule)
        for number, rules in enumerate(routes)
        for index, rule in enumerate(rules)
        for match in rule["matches"]
        if _matches(match, request)
    ]
    return max(ranked, key=lambda one: one[:3])[3] if ranked else None


def _rank(match: Mapping[str, Any], exact_headers_first: bool) -> tuple[int, ...]:
    path, headers = match.get("path", {"type": "PathPrefix", "value": "/"}), match.get("headers", [])
    exact = sum(header.get("type", "Exact") == "Exact" for header in headers) if exact_headers_first else 0
    return (path["type"] == "Exact", len(path["value"]), "method" in match, len(headers), exact)


def _matches(match: Mapping[str, Any], request: Request) -> bool:
    path = match.get("path", {"type": "PathPrefix", "value": "/"})
    wanted = path["value"].rstrip("/")
    fits = request.path == path["value"] or (path["type"] == "PathPrefix" and request.path.startswith(f"{wanted}/"))
    return fits and all(_has(header, request) for header in match.get("headers", []))


def _has(header: Mapping[str, str], request: Request) -> bool:
    value = request.headers.get(header["name"].lower())
    if value is None:
        return False
    if header.get("type", "Exact") == "Exact":
        return value == header["value"]
    return re.fullmatch(header["value"], value) is not None
