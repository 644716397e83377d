"""What each cloud gives to Observability: the same on both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi

GRAFANA, GATEWAY, OPENCOST = "grafana", "otel-gateway", "opencost"
"""Releases and their service accounts."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Where metrics and traces go to, and who may send and read them."""

    endpoint: pulumi.Output[str]
    """Of the cloud's own Prometheus: where it takes Prometheus' API. Empty without long-term metrics."""
    store: pulumi.Output[str]
    """Its id or name; empty likewise."""
    prometheus: Mapping[str, Any] = field(default_factory=dict)
    """What the values `prometheusSpec` of the chart have besides, to send metrics there."""
    permissions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Service account -> what WorkloadIdentity is told about it."""
    traces: Mapping[str, Any] = field(default_factory=dict)
    """Parts of the gateway's configuration: `exporters`, `extensions` and `processors`, by name; all of the exporters
    get the traces, after these processors."""
    plugins: Sequence[str] = ()
    """Grafana's plugins for them, with their versions."""
    data_sources: Sequence[Mapping[str, Any]] = ()
    """Grafana's data sources for them."""
    ready: Sequence[pulumi.Resource] = ()
    """What must be there before anything is sent."""


def kept(series: str) -> dict[str, Any]:
    """A relabelling that sends these metrics and no others."""
    return {"sourceLabels": ["__name__"], "regex": series, "action": "keep"}
