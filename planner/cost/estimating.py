"""From a plan to what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from planner.cost import databases, network, pools, retraining, serverless, services, storage, telemetry
from planner.cost.assumptions import Assumptions
from planner.cost.book import Book
from planner.cost.free import is_free
from planner.cost.model import Estimate, Line, Unpriced
from planner.cost.reader import Reader
from planner.inventory import Inventory
from planner.plan import Plan, Resource

HANDLERS: Mapping[str, Callable[[Reader, Resource], Iterator[Line | Unpriced]]] = {
    **storage.HANDLERS,
    **databases.HANDLERS,
    **network.HANDLERS,
    **services.HANDLERS,
    **serverless.HANDLERS,
    **telemetry.HANDLERS,
    **retraining.HANDLERS,
}
"""Resource type -> what prices it. Node pools are priced rung by rung, by `planner.cost.pools`."""


def estimate(of: Plan | Inventory, book: Book | None = None, assumptions: Assumptions | None = None) -> Estimate:
    """What an environment costs at low, expected and largest use.

    Assumptions are the stack's own (`cost:assumptions`), unless given. AssumptionError where those are wrong.
    """
    inventory = of if isinstance(of, Inventory) else Inventory(of)
    plan = inventory.plan
    assumed = assumptions or Assumptions.of(plan.config)
    reader = Reader(inventory, book or Book.load(), assumed)
    found = list(pools.lines(reader))
    free = 0
    for resource in plan:
        if not resource.custom or resource.is_provider or resource.external or resource.type in pools.READERS:
            continue
        handler = HANDLERS.get(resource.type)
        if handler is not None:
            priced = list(handler(reader, resource))
            found += priced
            free += not priced
        elif is_free(resource):
            free += 1
        else:
            found.append(reader.unpriced(resource, "no price for this type of resource"))
    return Estimate(
        plan.stack,
        tuple(line for line in found if isinstance(line, Line)),
        tuple(gap for gap in found if isinstance(gap, Unpriced)),
        free,
        assumed.as_data(),
    )
