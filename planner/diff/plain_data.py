"""A comparison as plain data, for whoever wants to read it by a program."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from planner.diff.model import Change, Comparison, Report


def as_json(report: Report) -> str:
    """The whole report as JSON: the same bytes for the same change."""
    document = {
        "base": report.base,
        "head": report.head,
        "errors": report.errors,
        "notes": list(report.notes),
        "environments": [_comparison(comparison) for comparison in report.comparisons],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _comparison(of: Comparison) -> dict[str, Any]:
    return {
        "environment": of.environment,
        "decidedBy": of.decided_by,
        "counts": dict(of.counts),
        "mayBeReplaced": of.may_replace,
        "errors": of.errors,
        "changes": [_change(change) for change in of.changes],
        "blocking": [asdict(finding) for finding in of.blocking],
        "newFindings": [asdict(finding) for finding in of.new_findings],
        "fixedFindings": [asdict(finding) for finding in of.fixed_findings],
        "keptFindings": len(of.kept_findings),
        "nodePools": [asdict(one) for one in of.capacity],
        "diagnostics": [asdict(one) for one in of.diagnostics],
        "notes": list(of.notes),
        "costPerMonth": None
        if of.cost is None
        else {
            "old": asdict(of.cost.old),
            "new": asdict(of.cost.new),
            "delta": asdict(of.cost.delta),
            "regions": {region: asdict(amount) for region, amount in of.cost.regions.items()},
            "unpriced": list(of.cost.unpriced),
        },
    }


def _change(change: Change) -> dict[str, Any]:
    data = {key: value for key, value in asdict(change).items() if value not in ((), "", None, False)}
    data["name"] = change.name
    data["properties"] = [
        {key: value for key, value in asdict(one).items() if key in ("path", "old", "new") or value}
        for one in change.properties
    ]
    return data
