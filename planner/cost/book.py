"""The price book: what a unit costs where, from which source and as of when."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from planner.inventory.model import CATALOG

HERE = Path(__file__).parent
REFRESHED = HERE / "refreshed.json"
"""Where `aicloud cost --refresh` leaves what the clouds' own pricing APIs answered."""


class BookError(ValueError):
    """A price file that cannot be used; says which, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Price:
    """What one unit costs in one region."""

    usd: float
    unit: str
    source: str
    as_of: date

    def times(self, factor: float, why: str) -> Price:
        """The price times a factor, with the reason for it in the source."""
        return Price(self.usd * factor, self.unit, f"{self.source}; {why}", self.as_of)


@dataclass(frozen=True, slots=True)
class MachinePrice:
    """What an hour of one machine costs in one region, by how it is rented."""

    on_demand: Price | None
    spot: Price | None
    flex_start: Price | None
    capacity_block: Price | None


@dataclass(frozen=True)
class Book:
    """All prices: those that came with the project, and over them those read from the clouds since."""

    raw: Mapping[str, Any]
    refreshed: Mapping[str, Any] = field(default_factory=dict)
    """As `planner.cost.refresh` writes it."""

    @classmethod
    def load(cls, refreshed: Path | None = REFRESHED) -> Book:
        """The book, with the refreshed prices over it where there are some. BookError where a file is unusable."""
        book = _packaged()
        if refreshed is None or not refreshed.exists():
            return book
        try:
            found = json.loads(refreshed.read_text(encoding="utf-8"))
            return cls(book.raw, {"as_of": date.fromisoformat(found["as_of"]), "source": found["source"],
                                  "prices": dict(found["prices"]), "spot": dict(found.get("spot", {}))})  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BookError(f"{refreshed}: not a file that `aicloud cost --refresh` wrote ({error!r})") from None

    def price(self, cloud: str, name: str, region: str, family: str = "general") -> Price | None:
        """The price of a unit in a region (without the cloud's name), or None where there is none.

        `family`, general or accelerated, says which factors scale it to a region that it is not known for.
        """
        if price := self._refreshed("prices", f"{cloud}/{name}", region):
            return price
        entry = self.raw.get(cloud, {}).get("prices", {}).get(name)
        if entry is None:
            return None
        usd, unit, source, *everywhere = entry
        where = self.raw["sources"][source]
        own = self.raw[cloud].get("regional", {}).get(name, {}).get(region)
        price = Price(own if own is not None else usd, unit, where["what"], where["as_of"])
        if own is not None or everywhere or region in ("", "global"):
            return price
        return self.scaled(price, cloud, region, self.raw[cloud]["region"], family)

    def scaled(self, price: Price, cloud: str, region: str, from_region: str, family: str) -> Price:
        """A price of one region in another. Where no factor is known it stays, and its source says so."""
        if region == from_region:
            return price
        factors = self.raw[cloud]["factors"]
        there, here = factors[family].get(region), factors[family].get(from_region)
        if there is None:
            there, here = factors["general"].get(region), factors["general"].get(from_region)
        if there is None or here is None:
            return price.times(1, f"price of {from_region}, for no factor is known for {region}")
        return price.times(there / here, f"times {there / here:.3g} for {region}: {factors['source']['what']}")

    def machine(self, cloud: str, name: str, region: str) -> MachinePrice:
        """What an hour of a machine costs; None for each way of renting that has no price."""
        known = CATALOG.get((cloud, name))
        family = "accelerated" if getattr(known, "accelerator", "") else "general"
        on_demand = self._refreshed("prices", f"{cloud}/{name}", region)
        if on_demand is None and known is not None and known.on_demand_usd_per_hour is not None:
            listed = Price(known.on_demand_usd_per_hour, "machine-hour", known.price_source, known.price_as_of)
            on_demand = self.scaled(listed, cloud, region, known.price_region, family)
        elif on_demand is None and known is None and cloud == "aws" and name in _ec2():
            source = "karpenter-provider-aws, zz_generated.pricing_aws.go"
            listed = Price(_ec2()[name], "machine-hour", source, date(2026, 7, 20))
            on_demand = self.scaled(listed, cloud, region, "us-east-1", _family(name))
        spot = self._refreshed("spot", f"{cloud}/{name}", region)
        if spot is None and on_demand is not None and known is not None:
            spot = on_demand.times(known.spot_ratio, f"times {known.spot_ratio} for spot")
        ratio = self.price(cloud, "flex-start-ratio", region)
        flex = None
        if on_demand is not None and ratio is not None:
            flex = on_demand.times(ratio.usd, f"times {ratio.usd} for flex start ({ratio.source})")
        block = self.price(cloud, f"capacity-block/{name}", region)
        return MachinePrice(on_demand, spot, flex, block)

    def _refreshed(self, part: str, name: str, region: str) -> Price | None:
        found = self.refreshed.get(part, {}).get(name)
        if not found or found["usd"].get(region) is None:
            return None
        return Price(found["usd"][region], found["unit"], self.refreshed["source"], self.refreshed["as_of"])


@cache
def _packaged() -> Book:
    # The C parser reads the book in a tenth of the time; not every build of PyYAML has it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return Book(yaml.load((HERE / "prices.yaml").read_text(encoding="utf-8"), loader))


@cache
def _ec2() -> Mapping[str, float]:
    found = {}
    for line in (HERE / "ec2.txt").read_text(encoding="utf-8").splitlines():
        family, separator, sizes = line.partition(": ")
        if separator and not line.startswith("#"):
            for size in sizes.split(", "):
                name, usd = size.split()
                found[f"{family}.{name}"] = float(usd)
    return found


def _family(name: str) -> str:
    return "accelerated" if name.startswith(("g", "p", "inf", "trn")) else "general"
