"""Grafana's dashboards, as code: what somebody on call looks at, from what users feel down to machines."""

from __future__ import annotations

from components.observability.dashboards import cost, fleet, quality, rollout, serving, training
from components.observability.rule import Scope

__all__ = ["dashboards"]

_BUILDERS = {
    "fleet": fleet.build,
    "training": training.build,
    "serving": serving.build,
    "rollout": rollout.build,
    "cost": cost.build,
    "quality": quality.build,
}


def dashboards(runbooks: str | None = None) -> dict[str, str]:
    """Name of the file -> JSON of a dashboard, whose uid is `aicloud-<name>`. `runbooks`: URL of their directory.

    Pure: the same argument, the same text to the byte. None is near the MiB that a ConfigMap takes.
    """
    place = Scope().runbooks if runbooks is None else runbooks
    return {f"{name}.json": build(place) for name, build in _BUILDERS.items()}
