"""What an environment costs before anybody has paid for it: `estimate(plan)`.

Pure functions of a plan, a price book and stated assumptions; nothing here asks a cloud but `planner.cost.refresh`.
"""

from planner.cost.assumptions import AssumptionError, Assumptions
from planner.cost.book import Book, BookError, Price
from planner.cost.estimating import estimate
from planner.cost.model import HOURS_PER_MONTH, KEYS, Amount, Estimate, Line, Unpriced

__all__ = [
    "HOURS_PER_MONTH",
    "KEYS",
    "Amount",
    "AssumptionError",
    "Assumptions",
    "Book",
    "BookError",
    "Estimate",
    "Line",
    "Price",
    "Unpriced",
    "estimate",
]
