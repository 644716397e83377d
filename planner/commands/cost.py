"""`aicloud cost`: what an environment costs an hour and a month, before it exists."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from planner.commands import source

DESCRIPTION = """\
What an environment costs an hour and a month (730 hours): with no traffic, as
expected, and at the largest size that its pools may scale to. By region, pool
and rung of the capacity ladder; storage by tier; networks and traffic with the
assumptions that they rest on. Prices come from a book in which each has its
source and date; what has no price is listed, never taken for free.

A stack states its budget and its assumptions under cost:budget and
cost:assumptions. The exit status is 1 if the budget is exceeded."""


def add(commands) -> None:
    """Add the command to `aicloud`."""
    from planner.cost.model import KEYS

    cost = commands.add_parser(
        "cost",
        help="what an environment costs, at low, expected and largest use",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cost.set_defaults(run=run)
    source.add_stack(cost)
    cost.add_argument("--by", choices=KEYS, default="", help="sums by this alone, dearest first")
    cost.add_argument("--explain", action="store_true", help="every line with its price, unit, source and date")
    cost.add_argument("--json", action="store_true", help="print the estimate as JSON")
    cost.add_argument(
        "--refresh",
        action="store_true",
        help="first read the prices that this environment needs from the clouds' own pricing APIs (GCP needs a key in "
        "GOOGLE_API_KEY); they override the book from then on",
    )


def run(parsed: argparse.Namespace) -> int:
    """Read the plan, estimate and show."""
    from planner.cost import Book, estimate, view
    from planner.cost.budgets import limits
    from planner.inventory import Inventory

    plan = source.read(parsed)
    inventory = Inventory(plan)
    if parsed.refresh:
        from planner.cost.refresh import refresh

        with source.progress("reading prices"):
            written = refresh(inventory, Book.load(refreshed=None))
        print(written, file=sys.stderr)
    found = estimate(inventory)
    budget = limits(found, plan.config)
    if parsed.json:
        sys.stdout.write(json.dumps(as_json(found, budget), indent=1, ensure_ascii=False) + "\n")
    else:
        view.show(found, budget, source.console(), by=parsed.by, explain=parsed.explain)
    return 1 if any(limit.exceeded for limit in budget) else 0


def as_json(found: Any, budget: Any) -> dict[str, Any]:
    """The estimate as plain data: USD, not rounded."""
    from planner.cost.model import KEYS

    return {
        "stack": found.stack,
        "perHour": asdict(found.per_hour),
        "perMonth": asdict(found.per_month),
        "unbounded": [line.urn for line in found.unbounded],
        "budget": [asdict(limit) | {"exceeded": limit.exceeded} for limit in budget],
        "by": {key: {name: asdict(amount) for name, amount in found.by(key).items()} for key in KEYS},
        "lines": [
            asdict(line) | {"as_of": line.as_of.isoformat(), "per_month": asdict(line.per_month)}
            for line in found.lines
        ],
        "unpriced": [asdict(gap) for gap in found.unpriced],
        "free": found.free,
        "assumptions": dict(found.assumptions),
    }
