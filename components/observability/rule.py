"""What a rule of Prometheus is made of here: recordings, alerts with a runbook each, and what they know of a cluster.

Form: prometheus-operator's PrometheusRule, `spec.groups`; the same as a rule file of Prometheus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SEVERITIES = {
    "critical": "somebody is woken: users feel it, or money and work are being lost",
    "warning": "somebody looks within a working day",
}
TEAMS = ("serving", "training", "platform", "models")

RUNBOOKS = "docs/runbooks"
"""Where the runbooks are in this repository."""

INTERVAL_S = 30
"""Seconds between two evaluations of a group, unless it says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What the rules watch, and where they draw lines. Namespaces are regular expressions of whole names."""

    runbooks: str = RUNBOOKS
    """URL of the directory of runbooks; each alert's page is `<runbooks>/<alert>.md`."""
    grafana: str = ""
    """URL of Grafana, without a slash at its end; empty: links to dashboards begin at its root."""
    serving_namespaces: Sequence[str] = ("serving", "gateway", "kserve-.+", "tensorflow-.+")
    training_namespaces: Sequence[str] = ("training",)
    queue_ms: float = 100.0
    """Longest time that a request should wait in Triton's queue, on average over five minutes."""
    latency_ms: int = 1_000
    """Time within which nearly all requests are answered; an upper bound of one of Envoy's buckets."""
    step_s: int = 900
    """Longest time between two steps of a training run: an evaluation, a compilation or a checkpoint lies between."""
    checkpoint_s: int = 3_600
    """Most work, in seconds, that a training run should stand to lose."""
    window_s: int = 7_200
    """Seconds after which a window of monitoring is late."""
    pipeline_s: int = 604_800
    """Seconds after which a pipeline should have succeeded again."""
    rollout_s: int = 21_600
    """Seconds for which a rollout may stand still."""
    quality_loss: float = 0.02
    """Part by which a version's bits per byte may rise above its reference before it has lost quality."""
    monthly_budget_usd: float | None = None
    """What the nodes of the cluster may cost in a month (730 hours); None: no line is drawn."""

    def __post_init__(self) -> None:
        for name in ("serving_namespaces", "training_namespaces"):
            if isinstance(getattr(self, name), str) or not getattr(self, name):
                raise ValueError(f"Scope: {name}: {getattr(self, name)!r}: expected a list of at least one namespace")
        for name in ("queue_ms", "step_s", "checkpoint_s", "window_s", "pipeline_s", "rollout_s", "quality_loss"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Scope: {name}: {getattr(self, name)!r}: expected more than 0")
        if self.latency_ms not in ENVOY_BUCKETS_MS:
            accepted = ", ".join(map(str, ENVOY_BUCKETS_MS))
            raise ValueError(f"Scope: latency_ms: {self.latency_ms!r}: expected a bound of Envoy's buckets: {accepted}")
        if self.monthly_budget_usd is not None and not self.monthly_budget_usd > 0:
            raise ValueError(f"Scope: monthly_budget_usd: {self.monthly_budget_usd!r}: expected more than 0, or None")

    @property
    def serving(self) -> str:
        """Matcher of the namespaces that serve."""
        return f'namespace=~"{"|".join(self.serving_namespaces)}"'

    @property
    def training(self) -> str:
        """Matcher of the namespaces that train."""
        return f'namespace=~"{"|".join(self.training_namespaces)}"'


ENVOY_BUCKETS_MS = (1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000)
"""Upper bounds, in whole milliseconds, of the histograms of Envoy's proxies (source/common/stats/histogram_impl.cc)."""


@dataclass(frozen=True)
class Record:
    """A recorded series."""

    name: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def rule(self, _scope: Scope) -> dict[str, Any]:
        labels = {"labels": dict(self.labels)} if self.labels else {}
        return {"record": self.name, "expr": self.expr, **labels}


@dataclass(frozen=True, kw_only=True)
class Alert:
    """An alert. `summary` is a line that names what is concerned; `description` says what is wrong and what follows."""

    name: str
    expr: str
    severity: str
    team: str
    summary: str
    description: str
    dashboard: str
    """Name of the dashboard to look at first."""
    lasts: str = ""
    """For how long it must hold; empty: told at once."""
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise ValueError(f"{self.name}: severity: {self.severity!r}: accepted are {', '.join(SEVERITIES)}")
        if self.team not in TEAMS:
            raise ValueError(f"{self.name}: team: {self.team!r}: accepted are {', '.join(TEAMS)}")

    def rule(self, scope: Scope) -> dict[str, Any]:
        return {
            "alert": self.name,
            "expr": self.expr,
            **({"for": self.lasts} if self.lasts else {}),
            "labels": {"severity": self.severity, "team": self.team, **self.labels},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{scope.runbooks.rstrip('/')}/{self.name}.md",
                "dashboard_url": f"{scope.grafana}/d/aicloud-{self.dashboard}",
            },
        }


@dataclass(frozen=True)
class Group:
    """Rules that are evaluated together, one after the other."""

    name: str
    rules: Sequence[Record | Alert]
    interval_s: int = INTERVAL_S

    def group(self, scope: Scope) -> dict[str, Any]:
        return {
            "name": self.name,
            "interval": f"{self.interval_s}s",
            "rules": [rule.rule(scope) for rule in self.rules],
        }
