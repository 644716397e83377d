"""What a change costs, and which findings it brings and mends."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from planner.checks import check_inventory
from planner.cost import estimate
from planner.diff.compare import compare
from planner.diff.model import Comparison, Cost
from planner.finding import Finding
from planner.inventory import Inventory
from planner.plan import Diagnostic, Plan
from planner.reading import Digest


def assess(old: Plan, new: Plan, today: date) -> Comparison:
    """Everything about a change from one plan to another."""
    return _assessed(compare(old, new), old, new, today)


def assess_preview(digest: Digest, today: date) -> Comparison:
    """Everything about a change as Pulumi's own preview has it."""
    return _assessed(compare(digest.old, digest.new, digest.decisions), digest.old, digest.new, today)


def _assessed(comparison: Comparison, old: Plan, new: Plan, today: date) -> Comparison:
    notes = list(comparison.notes)
    before, after = Inventory(old), Inventory(new)
    was = _findings(before, today, f"the old side of {comparison.environment}", notes) if len(old) else ()
    try:
        found = check_inventory(after, today).findings if len(new) else ()
    except ValueError as error:
        comparison = replace(
            comparison, diagnostics=(*comparison.diagnostics, Diagnostic("error", f"cannot be judged: {error}"))
        )
        was, found = (), ()
    old_ones = {finding.identity for finding in was}
    new_ones = {finding.identity for finding in found}
    return replace(
        comparison,
        new_findings=tuple(finding for finding in found if finding.identity not in old_ones),
        fixed_findings=tuple(finding for finding in was if finding.identity not in new_ones),
        kept_findings=tuple(finding for finding in found if finding.identity in old_ones),
        cost=_cost(before, after, comparison, notes),
        notes=tuple(notes),
    )


def _findings(inventory: Inventory, today: date, what: str, notes: list[str]) -> tuple[Finding, ...]:
    try:
        return check_inventory(inventory, today).findings
    except ValueError as error:
        notes.append(f"{what} cannot be judged, so every finding counts as new: {error}")
        return ()


def _cost(before: Inventory, after: Inventory, comparison: Comparison, notes: list[str]) -> Cost | None:
    try:
        old, new = estimate(before), estimate(after)
    except ValueError as error:
        notes.append(f"cannot be priced: {error}")
        return None
    was, will = old.by("region"), new.by("region")
    zero = old.per_month - old.per_month
    regions = {
        region: delta
        for region in sorted(was.keys() | will.keys())
        if any(abs(getattr(delta := will.get(region, zero) - was.get(region, zero), level)) >= 0.5
               for level in ("low", "expected", "largest"))
    }  # fmt: skip
    created = {change.urn for change in comparison.of("create", "replace")}
    unpriced = tuple(sorted(gap.name for gap in new.unpriced if gap.urn in created))
    return Cost(old.per_month, new.per_month, regions, unpriced)
