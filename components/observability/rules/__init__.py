"""All rules of a cluster's Prometheus: what is recorded, and when who is told."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from components.observability import objectives
from components.observability.rule import SEVERITIES, TEAMS, Scope
from components.observability.rules import cost, fleet, quality, rollout, serving, stack, training

__all__ = ["AREAS", "SEVERITIES", "TEAMS", "Scope", "rule_groups"]

AREAS: dict[str, ModuleType] = {
    "serving": serving,
    "training": training,
    "fleet": fleet,
    "rollout": rollout,
    "quality": quality,
    "cost": cost,
    "stack": stack,
    # Last: they are about what the others record.
    "objectives": objectives,
}
"""Modules with `groups(scope)`."""


def rule_groups(scope: Scope | None = None) -> list[dict[str, Any]]:
    """`spec.groups` of a PrometheusRule, or `groups` of a rule file. Pure: the same scope, the same rules."""
    scope = scope or Scope()
    return [group.group(scope) for area in AREAS.values() for group in area.groups(scope)]
