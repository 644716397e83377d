"""All rules of a cluster's Prometheus: what is recorded, and when who is told."""

from __future__ import annotations

from typing import Any

from components.observability import objectives
from components.observability.rule import SEVERITIES, TEAMS, Group, Scope
from components.observability.rules import cost, fleet, quality, rollout, serving, stack, training

__all__ = ["SEVERITIES", "TEAMS", "Scope", "rule_groups"]


def rule_groups(scope: Scope | None = None) -> list[dict[str, Any]]:
    """`spec.groups` of a PrometheusRule, or `groups` of a rule file. Pure: the same scope, the same rules."""
    scope = scope or Scope()
    found: list[Group] = []
    # Objectives last: they are about what the others record.
    for area in (serving, training, fleet, rollout, quality, cost, stack, objectives):
        found += area.groups(scope)
    return [group.group(scope) for group in found]
