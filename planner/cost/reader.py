"""What every pricing of a resource needs: where it is, whose it is, what a unit costs, and what is unknown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from planner import urn as urns
from planner.cost.assumptions import Assumptions
from planner.cost.book import Book, Price
from planner.cost.model import Amount, Line, Unpriced
from planner.inventory import Inventory
from planner.inventory.references import at
from planner.plan import UNKNOWN, Resource

TEAM_TAGS = ("team", "cost-center", "cost_center", "costCenter", "CostCenter", "owner", "Owner")
"""Tags and labels that name who pays, the first that is there."""

_TAGS = ("tags", "labels", "resourceLabels", "nodeConfig.resourceLabels", "spec.tags", "metadata.labels",
         "defaultTags.tags", "defaultLabels", "settings.userLabels")  # fmt: skip

UNTAGGED = "untagged"


class Reader:
    """Prices of one plan's resources."""

    def __init__(self, inventory: Inventory, book: Book, assumptions: Assumptions) -> None:
        self.inventory = inventory
        self.plan = inventory.plan
        self.book = book
        self.assumptions = assumptions
        self._teams: dict[str, str] = {}
        self._referring: dict[tuple[tuple[str, ...], str], dict[str, list[Resource]]] = {}

    def line(
        self,
        resource: Resource,
        service: str,
        quantity: float | Amount | None,
        what: str,
        *,
        kind: str,
        region: str = "",
        price: Price | None = None,
        largest_price: Price | None = None,
        **more: Any,
    ) -> Iterator[Line | Unpriced]:
        """One line for so many units a month; Unpriced where the quantity or the price is not known.

        `price` and `largest_price` default to the book's for `service` in the resource's region.
        """
        region = region or self.inventory.regions.get(resource.urn, "global")
        cloud, _, place = region.partition(":")
        if not place:
            cloud, place = resource.package, "global"
        price = price or self.book.price(cloud, service, place)
        if price is None:
            yield self.unpriced(resource, f"no price for {what}", region)
        elif quantity is None:
            yield self.unpriced(resource, f"how much of {what} there is, the plan does not tell", region)
        else:
            yield Line(
                urn=resource.urn,
                name=resource.name,
                region="global" if place == "global" else region,
                component=self.component(resource),
                team=self.team(resource),
                kind=kind,
                service=service,
                what=what,
                unit=price.unit,
                quantity=Amount.of(quantity),
                price=price.usd,
                largest_price=max(price.usd, (largest_price or price).usd),
                source=price.source,
                as_of=price.as_of,
                **more,
            )

    def unpriced(self, resource: Resource, reason: str, region: str = "") -> Unpriced:
        """Say that something costs money, and that nobody knows here how much."""
        where = region or self.inventory.regions.get(resource.urn, "global")
        return Unpriced(resource.urn, resource.name, where, resource.type, reason)

    def referring(self, types: tuple[str, ...], path: str, to: tuple[str, ...]) -> Mapping[str, list[Resource]]:
        """Resource -> those of these types that name it at a path, such as a bucket's lifecycles; read once."""
        found = self._referring.get((types, path))
        if found is None:
            found = self._referring[types, path] = {}
            for resource in self.plan.of_type(*types):
                for named in self.inventory.references(resource, path, *to):
                    found.setdefault(named.urn, []).append(resource)
        return found

    def component(self, resource: Resource) -> str:
        """Name of the outermost component, or the service of a resource without one, such as `aws:ec2`."""
        outermost = ""
        seen = {resource.urn}
        parent = self.plan.by_urn.get(resource.parent)
        while parent is not None and parent.type != urns.STACK_TYPE and parent.urn not in seen:
            seen.add(parent.urn)
            outermost = parent.name if not parent.custom else outermost
            parent = self.plan.by_urn.get(parent.parent)
        return outermost or resource.type.split("/")[0].rsplit(":", 1 if "/" not in resource.type else 0)[0]

    def team(self, resource: Resource) -> str:
        """Who pays: by own tags, else those of the nearest relative in its component, else of its provider."""
        known = self._teams.get(resource.urn)
        if known is None:
            self._teams[resource.urn] = UNTAGGED  # ends a cycle of parents
            known = self._teams[resource.urn] = _own_team(resource) or self._inherited_team(resource)
        return known

    def _inherited_team(self, resource: Resource) -> str:
        provider = self.plan.by_urn.get(urns.provider_urn(resource.provider)) if resource.provider else None
        if provider is not None and (team := _own_team(provider)):
            return team
        parent = self.plan.by_urn.get(resource.parent)
        if parent is None or parent.type == urns.STACK_TYPE:
            return UNTAGGED
        return self._team_of_component.get(parent.urn) or self.team(parent)

    @cached_property
    def _team_of_component(self) -> Mapping[str, str]:
        """Component -> what the first tagged resource in it says."""
        found: dict[str, str] = {}
        for resource in self.plan:
            if resource.custom and resource.parent not in found and (team := _own_team(resource)):
                found[resource.parent] = team
        return found


def _own_team(resource: Resource) -> str:
    for path in _TAGS:
        tags = at(resource.inputs, path)
        if isinstance(tags, Mapping):
            for name in TEAM_TAGS:
                if isinstance(tags.get(name), str) and UNKNOWN not in tags[name]:
                    return tags[name]
    return ""


def number(value: Any, default: float | None = None) -> float | None:
    """A size or count, however it is written; the default where there is none, None where only the cloud knows it."""
    if value is None:
        return default
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def text(value: Any, default: str = "") -> str:
    """A text that the plan knows, or the default."""
    return value if isinstance(value, str) and value and UNKNOWN not in value else default


def by_age(transitions: list[tuple[float, str]], first: str, horizon: float) -> dict[str, float]:
    """Which part of the data is in which class, where data is evenly 0 to `horizon` days old.

    `transitions` are (after so many days, class). The parts add up to 1.
    """
    steps = [(0.0, first), *sorted((days, name) for days, name in transitions if 0 < days < horizon)]
    at_once = [name for days, name in transitions if days <= 0]
    if at_once:
        steps[0] = (0.0, at_once[-1])
    ends = [days for days, _ in steps[1:]] + [horizon]
    shares: dict[str, float] = {}
    for (start, name), end in zip(steps, ends, strict=True):
        shares[name] = shares.get(name, 0.0) + (end - start) / horizon
    return shares
