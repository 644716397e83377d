"""Prices as the clouds' own APIs tell them today, over those of the book.

    aicloud cost prod --refresh
    python -m planner.cost.refresh --regions aws:us-east-1 gcp:europe-west4

AWS: Price List Bulk API, https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-the-aws-price-list-bulk-api.html
(public JSON, no credentials; the file of EC2 in one region has hundreds of MB), and the feed of spot prices that the
page of EC2's spot prices reads. GCP: Cloud Billing Catalog API, https://cloud.google.com/billing/v1/how-tos/catalog-api
(an API key in GOOGLE_API_KEY).

Written to the documented formats and tested against samples of them; it has not run against the real services from
where it was written. A refresh that fails leaves everything as it was.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from planner.cost.book import REFRESHED, Book
from planner.inventory import Inventory
from planner.inventory.model import CATALOG

Fetch = Callable[[str], str]
"""URL -> text. OSError where it cannot be had."""

BULK = "https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/{service}/current/{region}/index.json"
SPOT = "https://spot-price.s3.amazonaws.com/spot.js"
CATALOG_API = "https://cloudbilling.googleapis.com/v1/services/{service}/skus?key={key}&pageSize=5000&pageToken={page}"
KEY = "GOOGLE_API_KEY"


class RefreshError(ValueError):
    """Prices that could not be read: says from where, and why. The book is as it was."""


@dataclass(frozen=True)
class Wanted:
    """How a price of the book is found in AWS's price list: its service and what its product says of itself."""

    service: str
    attributes: Mapping[str, str]
    """Attribute -> regular expression that matches all of it; `unit` is the unit of the price."""


AWS_WANTED: Mapping[str, Wanted] = {
    "eks-cluster": Wanted("AmazonEKS", {"usagetype": r".*AmazonEKS-Hours:perCluster"}),
    "nat-gateway": Wanted("AmazonEC2", {"productFamily": "NAT Gateway", "usagetype": r".*NatGateway-Hours"}),
    "nat-gateway-data": Wanted("AmazonEC2", {"productFamily": "NAT Gateway", "usagetype": r".*NatGateway-Bytes"}),
    "vpc-endpoint": Wanted("AmazonVPC", {"usagetype": r".*VpcEndpoint-Hours"}),
    "vpc-endpoint-data": Wanted("AmazonVPC", {"usagetype": r".*VpcEndpoint-Bytes"}),
    "public-ipv4": Wanted("AmazonVPC", {"usagetype": r".*PublicIPv4:InUseAddress"}),
    "ebs-gp3": Wanted("AmazonEC2", {"productFamily": "Storage", "volumeApiName": "gp3"}),
    "ebs-gp2": Wanted("AmazonEC2", {"productFamily": "Storage", "volumeApiName": "gp2"}),
    "efs-standard": Wanted("AmazonEFS", {"productFamily": "Storage", "usagetype": r".*TimedStorage-ByteHrs"}),
    "s3-standard": Wanted("AmazonS3", {"usagetype": r"([A-Z0-9]+-)?TimedStorage-ByteHrs"}),
    "s3-standard-ia": Wanted("AmazonS3", {"usagetype": r"([A-Z0-9]+-)?TimedStorage-SIA-ByteHrs"}),
    "s3-glacier-ir": Wanted("AmazonS3", {"usagetype": r"([A-Z0-9]+-)?TimedStorage-GIR-ByteHrs"}),
    "s3-deep-archive": Wanted("AmazonS3", {"usagetype": r"([A-Z0-9]+-)?TimedStorage-GDA-ByteHrs"}),
    "alb": Wanted("AWSELB", {"productFamily": "Load Balancer-Application", "usagetype": r".*LoadBalancerUsage"}),
    "alb-capacity-unit": Wanted("AWSELB", {"productFamily": "Load Balancer-Application", "usagetype": r".*LCUUsage"}),
}  # fmt: skip
"""Attributes as remembered from AWS's price list; what is not found there keeps its price in the book."""

_INSTANCE = {"operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA", "capacitystatus": "Used",
             "operation": "RunInstances"}  # fmt: skip

_SPOT_REGIONS = {
    "us-east": "us-east-1",
    "us-west": "us-west-1",
    "eu-ireland": "eu-west-1",
    "apac-sin": "ap-southeast-1",
    "apac-syd": "ap-southeast-2",
    "apac-tokyo": "ap-northeast-1",
}
"""Regions that the spot feed still calls by their oldest names."""

GCP_SERVICES = {"compute": "6F81-5844-456A", "storage": "95FF-2EF5-5EA1", "kubernetes": "CCD8-9BF1-090E",
                "filestore": "D97E-AB26-5D95"}  # fmt: skip
"""Services of the catalog by id, as remembered."""

GCP_WANTED: Mapping[str, tuple[str, str]] = {
    "gke-cluster": ("kubernetes", r"(Regional|Zonal) Kubernetes Clusters.*"),
    "pd-standard": ("compute", r"Storage PD Capacity.*"),
    "pd-balanced": ("compute", r"Balanced PD Capacity.*"),
    "pd-ssd": ("compute", r"SSD backed PD Capacity.*"),
    "hyperdisk-balanced": ("compute", r"Hyperdisk Balanced Capacity.*"),
    "gcs-standard": ("storage", r"Standard Storage [A-Z].*"),
    "gcs-nearline": ("storage", r"Nearline Storage [A-Z].*"),
    "gcs-coldline": ("storage", r"Coldline Storage [A-Z].*"),
    "gcs-archive": ("storage", r"Archive Storage [A-Z].*"),
    "filestore-regional": ("filestore", r"Filestore Capacity Regional.*"),
    "filestore-zonal": ("filestore", r"Filestore Capacity Zonal.*"),
}
"""Price of the book -> (service, regular expression for the SKU's description)."""


def refresh(
    inventory: Inventory | None,
    book: Book,
    *,
    regions: Iterable[str] = (),
    fetch: Fetch | None = None,
    today: date | None = None,
    key: str | None = None,
    to: Path = REFRESHED,
) -> str:
    """Read the prices that an environment needs, in its regions, and write them over the book's; says what it did.

    RefreshError where any of them cannot be read: then nothing is written.
    """
    fetch = fetch or over_https
    key = os.environ.get(KEY, "") if key is None else key
    places = sorted({*regions, *(inventory.regions.values() if inventory else ())} - {"global"})
    machines = sorted({name for cluster in inventory.clusters for rung in cluster.rungs for name in rung.machine_types}
                      if inventory else {name for cloud, name in CATALOG if cloud == "aws"})  # fmt: skip
    prices: dict[str, Any] = {}
    spot: dict[str, Any] = {}
    aws = [place.partition(":")[2] for place in places if place.startswith("aws:")]
    gcp = [place.partition(":")[2] for place in places if place.startswith("gcp:")]
    for region in aws:
        for name, usd, unit in aws_prices(region, machines, fetch):
            prices.setdefault(f"aws/{name}", {"unit": unit, "usd": {}})["usd"][region] = usd
    if aws:
        for region, name, usd in spot_prices(_read(SPOT, fetch)):
            if region in aws and name in machines:
                spot.setdefault(f"aws/{name}", {"unit": "machine-hour", "usd": {}})["usd"][region] = usd
    skipped = f"; GCP keeps the book's prices: there is no key in {KEY}" if gcp and not key else ""
    if gcp and key:
        for region, name, usd in gcp_prices(gcp, key, fetch):
            unit = book.raw["gcp"]["prices"][name][1]
            prices.setdefault(f"gcp/{name}", {"unit": unit, "usd": {}})["usd"][region] = usd
    if not prices:
        raise RefreshError(f"no prices were found for {', '.join(places) or 'no region'}{skipped}")
    day = today or date.today()
    document = {
        "as_of": day.isoformat(),
        "source": "pricing APIs of the clouds (planner.cost.refresh)",
        "prices": prices,
        "spot": spot,
    }
    partial = to.with_name(f".{to.name}.partial")
    partial.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(to)
    return f"{sum(len(p['usd']) for p in prices.values())} prices of {day} in {to}{skipped}"


def aws_prices(region: str, machines: Iterable[str], fetch: Fetch) -> Iterator[tuple[str, float, str]]:
    """(name in the book or machine type, USD, unit) of one region."""
    services: dict[str, dict[str, Wanted]] = {}
    for name, wanted in AWS_WANTED.items():
        services.setdefault(wanted.service, {})[name] = wanted
    for service, names in services.items():
        url = BULK.format(service=service, region=region)
        offer = _json(url, fetch)
        try:
            if service == "AmazonEC2":
                for machine in machines:
                    found = _first(offer, {"instanceType": re.escape(machine), **_INSTANCE})
                    if found:
                        yield machine, found[0], "machine-hour"
            for name, wanted in names.items():
                found = _first(offer, wanted.attributes)
                if found:
                    yield name, *found
        except (KeyError, TypeError, AttributeError, StopIteration) as error:
            raise RefreshError(f"{url}: not in the documented format ({error!r})") from None


def _first(offer: Mapping[str, Any], wanted: Mapping[str, str]) -> tuple[float, str] | None:
    """The on-demand price of the first tier of the product that fits; None where there is none, or it is free."""
    for sku, product in offer["products"].items():
        said = {"productFamily": product.get("productFamily", ""), **product["attributes"]}
        if all(re.fullmatch(pattern, said.get(name, "")) for name, pattern in wanted.items()):
            for term in offer["terms"].get("OnDemand", {}).get(sku, {}).values():
                for tier in term["priceDimensions"].values():
                    usd = float(tier["pricePerUnit"].get("USD", 0))
                    if tier.get("beginRange", "0") == "0" and usd > 0:
                        return usd, _UNITS.get(tier["unit"], tier["unit"])
    return None


_UNITS = {"Hrs": "hour", "GB-Mo": "GiB-month", "GB": "GiB", "LCU-Hrs": "LCU-hour", "hours": "hour", "Hours": "hour"}


def spot_prices(text: str) -> Iterator[tuple[str, str, float]]:
    """(region, machine type, USD an hour) out of the spot feed, which is JavaScript around JSON."""
    body = text[text.find("(") + 1 : text.rfind(")")]
    try:
        for region in json.loads(body)["config"]["regions"]:
            place = _SPOT_REGIONS.get(region["region"], region["region"])
            for family in region["instanceTypes"]:
                for size in family["sizes"]:
                    for column in size["valueColumns"]:
                        usd = column["prices"]["USD"]
                        if column["name"] == "linux" and usd.replace(".", "", 1).isdigit():
                            yield place, size["size"], float(usd)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RefreshError(f"{SPOT}: not in the format that was expected ({error!r})") from None


def gcp_prices(regions: Iterable[str], key: str, fetch: Fetch) -> Iterator[tuple[str, str, float]]:
    """(region, name in the book, USD) of the regions that are asked for."""
    asked = set(regions)
    for service in dict.fromkeys(service for service, _ in GCP_WANTED.values()):
        names = {name: pattern for name, (of, pattern) in GCP_WANTED.items() if of == service}
        seen: set[tuple[str, str]] = set()
        for sku in _skus(GCP_SERVICES[service], key, fetch):
            try:
                named = [name for name, pattern in names.items() if re.fullmatch(pattern, sku["description"])]
                if not named or sku["category"]["usageType"] != "OnDemand":
                    continue
                rates = sku["pricingInfo"][-1]["pricingExpression"]["tieredRates"]
                prices = [int(r["unitPrice"].get("units") or 0) + r["unitPrice"].get("nanos", 0) / 1e9 for r in rates]
                places = asked & set(sku["serviceRegions"])
            except (KeyError, TypeError, ValueError, IndexError) as error:
                raise RefreshError(f"Cloud Billing Catalog: not in the documented format ({error!r})") from None
            # The first tier is often a free allowance.
            usd = next((price for price in prices if price > 0), 0.0)
            for place in sorted(places):
                if usd and (place, named[0]) not in seen:
                    seen.add((place, named[0]))
                    yield place, named[0], usd


def _skus(service: str, key: str, fetch: Fetch) -> Iterator[dict[str, Any]]:
    page = ""
    while True:
        answer = _json(CATALOG_API.format(service=service, key=key, page=page), fetch, hidden=key)
        yield from answer.get("skus", ())
        page = answer.get("nextPageToken", "")
        if not page:
            return


def _json(url: str, fetch: Fetch, hidden: str = "") -> Any:
    text = _read(url, fetch, hidden)
    try:
        found = json.loads(text)
    except ValueError as error:
        raise RefreshError(f"{_shown(url, hidden)}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise RefreshError(f"{_shown(url, hidden)}: expected an object, found {type(found).__name__}")
    return found


def _read(url: str, fetch: Fetch, hidden: str = "") -> str:
    try:
        return fetch(url)
    except OSError as error:
        raise RefreshError(f"{_shown(url, hidden)}: {_shown(str(error), hidden)}") from None


def _shown(text: str, hidden: str) -> str:
    return text.replace(hidden, "…") if hidden else text


def over_https(url: str) -> str:
    """Read a public URL. OSError where it cannot be read."""
    with urllib.request.urlopen(url, timeout=120) as answer:
        return answer.read().decode("utf-8")


def main() -> int:
    """`python -m planner.cost.refresh`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", nargs="+", required=True, metavar="REGION", help="such as aws:us-east-1")
    parsed = parser.parse_args()
    try:
        print(refresh(None, Book.load(refreshed=None), regions=parsed.regions))
    except ValueError as error:
        print(f"refresh: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
