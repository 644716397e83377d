"""What several tests need: previews of small programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from planner.engine import PreviewFailed, preview_program
from planner.plan import Plan

ROOT = Path(__file__).parents[1]
CONFIG = {"aws:region": "us-east-1", "gcp:project": "sim-project", "gcp:region": "us-central1"}


def plan_of(
    program: Callable[[], Any],
    config: Mapping[str, str] | None = None,
    *,
    simulate_up: bool = False,
    check: bool = True,
    **options: Any,
) -> Plan:
    """Preview a function that declares resources; PreviewFailed lists every error, unless `check` is False."""
    plan = preview_program(program, root=ROOT, config=config or CONFIG, simulate_up=simulate_up, **options)
    if check and plan.errors:
        raise PreviewFailed(plan)
    return plan
