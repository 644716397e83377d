"""Grafana's dashboards, as code: what somebody on call looks at, from what users feel down to machines."""

from __future__ import annotations

from typing import Any

from components.observability.dashboards import cost, fleet, quality, rollout, serving, training
from components.observability.rule import RUNBOOKS

__all__ = ["dashboards"]

_BUILDERS = {
    "fleet": fleet.build,
    "training": training.build,
    "serving": serving.build,
    "rollout": rollout.build,
    "cost": cost.build,
    "quality": quality.build,
}


def dashboards(runbooks: str = RUNBOOKS) -> dict[str, dict[str, Any]]:
    """uid -> JSON of a dashboard. `runbooks`: URL of their directory. Pure: the same argument, the same JSON."""
    return {f"aicloud-{name}": build(runbooks) for name, build in _BUILDERS.items()}
