"""What an environment may cost, out of its stack file.

cost:budget:
  expectedUsdPerMonth: 5000
  largestUsdPerHour: 20
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from planner.cost.model import HOURS_PER_MONTH, Estimate

KEY = "cost:budget"

LIMITS = tuple(f"{level}UsdPer{period}" for level in ("low", "expected", "largest") for period in ("Hour", "Month"))
"""`lowUsdPerHour` to `largestUsdPerMonth`."""


CEILING = "largestUsdPerHour"
"""The limit that a policy wants every environment to state."""

_NAMED = 3
"""How many of the dearest parts are named."""


class BudgetError(ValueError):
    """Wrong values under `cost:budget`; the message lists all of them, each with what is accepted."""


@dataclass(frozen=True)
class Limit:
    """One limit of a budget, and what the estimate comes to."""

    name: str
    """One of `LIMITS`."""
    usd: float
    estimated: float

    @property
    def exceeded(self) -> bool:
        """Whether the estimate is above the limit."""
        return self.estimated > self.usd

    @property
    def level(self) -> str:
        """low, expected or largest."""
        return self.name.partition("Usd")[0]

    @property
    def period(self) -> str:
        """hour or month."""
        return self.name.partition("Per")[2].lower()


def budget(config: Mapping[str, str]) -> dict[str, float]:
    """Limit -> USD, as a stack states them. BudgetError lists everything that is wrong."""
    text = config.get(KEY)
    if not text:
        return {}
    try:
        given = json.loads(text)
    except json.JSONDecodeError:
        given = text
    if not isinstance(given, dict):
        raise BudgetError(f"{KEY}: got {text!r}; expected a map of {', '.join(LIMITS)}")
    problems = [f"{KEY}.{name}: unknown; there is {', '.join(LIMITS)}" for name in given if name not in LIMITS]
    for name, usd in given.items():
        if name in LIMITS and (isinstance(usd, bool) or not isinstance(usd, int | float) or usd < 0):
            problems.append(f"{KEY}.{name}: got {usd!r}; expected USD, not negative")
    if problems:
        raise BudgetError(f"{len(problems)} wrong values in the budget:\n" + "\n".join(f"  {p}" for p in problems))
    return {name: float(usd) for name, usd in given.items()}


def limits(estimate: Estimate, config: Mapping[str, str]) -> list[Limit]:
    """Each limit of the stack's budget beside what the estimate comes to."""
    found = []
    for name, usd in budget(config).items():
        amount = estimate.per_month if name.endswith("Month") else estimate.per_hour
        found.append(Limit(name, usd, getattr(amount, name.partition("Usd")[0])))
    return found


def exceeded(found: Estimate, limit: Limit) -> str:
    """By how much an estimate is over a limit, and the dearest parts of it."""
    periods = 1 if limit.period == "month" else HOURS_PER_MONTH
    parts: dict[str, float] = {}
    for line in found.lines:
        name = f"{line.pool} in {line.region}" if line.pool else f"{line.component} in {line.region}"
        parts[name] = parts.get(name, 0.0) + getattr(line.per_month, limit.level) / periods
    dearest = sorted(parts.items(), key=lambda part: -part[1])[:_NAMED]
    named = ", ".join(f"{name} ${usd:,.2f}" for name, usd in dearest)
    per = f"{'an' if limit.period == 'hour' else 'a'} {limit.period}"
    return f"{limit.level}: ${limit.estimated:,.2f} {per}, in a budget of ${limit.usd:,.2f}; most of it: {named}"
