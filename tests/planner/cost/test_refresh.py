"""Reading the clouds' pricing APIs, against small samples in their documented formats: none of them was asked here."""

from __future__ import annotations

import json
from datetime import date

import pytest

from planner.cost import Book
from planner.cost.refresh import BULK, SPOT, RefreshError, refresh
from planner.inventory import Inventory
from planner.plan import Plan, Resource

TODAY = date(2026, 11, 22)
BOOK = Book.load(refreshed=None)
URN = "urn:pulumi:t::t::{}::{}"


def inventory() -> Inventory:
    """A cluster of L4 machines in us-east-1, and a bucket in europe-west4."""
    cluster = Resource(URN.format("aws:eks/cluster:Cluster", "c"), "aws:eks/cluster:Cluster",
                       inputs={"name": "c", "region": "us-east-1"})  # fmt: skip
    group = Resource(
        URN.format("aws:eks/nodeGroup:NodeGroup", "g"),
        "aws:eks/nodeGroup:NodeGroup",
        inputs={"clusterName": "c", "region": "us-east-1", "instanceTypes": ["g6.xlarge"]},
    )
    bucket = Resource(URN.format("gcp:storage/bucket:Bucket", "b"), "gcp:storage/bucket:Bucket",
                      inputs={"location": "EUROPE-WEST4"})  # fmt: skip
    return Inventory(Plan.of("t", "t", [cluster, group, bucket]))


def product(sku: str, family: str, usd: str, unit: str, **attributes: str):
    tier = {"unit": unit, "beginRange": "0", "endRange": "Inf", "pricePerUnit": {"USD": usd}}
    term = {f"{sku}.JRTCKXETXF": {"sku": sku, "priceDimensions": {f"{sku}.JRTCKXETXF.6YS6EN2CT7": tier}}}
    return {"sku": sku, "productFamily": family, "attributes": attributes}, term


def offer(*products) -> str:
    return json.dumps(
        {
            "formatVersion": "v1.0",
            "publicationDate": "2026-11-20T00:00:00Z",
            "products": {found["sku"]: found for found, _ in products},
            "terms": {"OnDemand": {found["sku"]: term for found, term in products}},
        }
    )


LINUX = {"operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA", "capacitystatus": "Used",
         "operation": "RunInstances"}  # fmt: skip

G6 = {"instanceType": "g6.xlarge", **LINUX}

EC2 = offer(
    product("A", "Compute Instance", "1.6000000000", "Hrs", **{**G6, "operatingSystem": "Windows"}),
    product("B", "Compute Instance", "0.8100000000", "Hrs", **G6),
    product("C", "Compute Instance", "0.0000000000", "Hrs", **{**G6, "tenancy": "Host"}),
    product("D", "NAT Gateway", "0.0460000000", "Hrs", usagetype="NatGateway-Hours"),
    product("E", "NAT Gateway", "0.0470000000", "GB", usagetype="NatGateway-Bytes"),
    product("F", "Storage", "0.0810000000", "GB-Mo", volumeApiName="gp3"),
)  # fmt: skip

SIZE = {
    "size": "g6.xlarge",
    "valueColumns": [{"name": "linux", "prices": {"USD": "0.4000"}}, {"name": "mswin", "prices": {"USD": "N/A*"}}],
}
EAST = {"region": "us-east", "instanceTypes": [{"type": "gpuInstances", "sizes": [SIZE]}]}
SPOT_FEED = f"callback({json.dumps({'vers': 0.01, 'config': {'regions': [EAST]}})});"


def sku(description: str, nanos: int, regions: list[str], usage: str = "OnDemand"):
    rates = [{"startUsageAmount": 0, "unitPrice": {"units": "0", "nanos": 0, "currencyCode": "USD"}},
             {"startUsageAmount": 5, "unitPrice": {"units": "0", "nanos": nanos, "currencyCode": "USD"}}]  # fmt: skip
    return {
        "skuId": description,
        "description": description,
        "category": {"usageType": usage, "resourceFamily": "Storage"},
        "serviceRegions": regions,
        "pricingInfo": [{"pricingExpression": {"usageUnit": "GiBy.mo", "tieredRates": rates}}],
    }


class Web:
    """The pricing APIs, as far as they are asked."""

    def __init__(self, **changed: str) -> None:
        self.asked: list[str] = []
        self.changed = changed

    def __call__(self, url: str) -> str:
        self.asked.append(url)
        if url == SPOT:
            return self.changed.get("spot", SPOT_FEED)
        if url == BULK.format(service="AmazonEC2", region="us-east-1"):
            return self.changed.get("ec2", EC2)
        if "cloudbilling" in url:
            if "95FF-2EF5-5EA1" not in url:
                return json.dumps({"skus": []})
            if "pageToken=next" in url:
                return json.dumps({"skus": [sku("Nearline Storage Netherlands", 11000000, ["europe-west4"])]})
            skus = [
                sku("Standard Storage Netherlands", 21000000, ["europe-west4"]),
                sku("Standard Storage Tokyo", 23000000, ["asia-northeast1"]),
                sku("Archive Storage Netherlands", 1, ["europe-west4"], usage="Commit1Yr"),
            ]
            return json.dumps({"skus": skus, "nextPageToken": "next"})
        return offer()


def test_prices_of_the_environments_regions_and_machines_override_the_book(tmp_path):
    to = tmp_path / "refreshed.json"
    said = refresh(inventory(), BOOK, fetch=Web(), today=TODAY, key="K", to=to)
    assert str(to) in said
    book = Book.load(to)
    machine = book.machine("aws", "g6.xlarge", "us-east-1")
    assert (machine.on_demand.usd, machine.spot.usd) == (0.81, 0.40)
    assert book.price("aws", "nat-gateway", "us-east-1").usd == 0.046
    assert book.price("aws", "ebs-gp3", "us-east-1").unit == "GiB-month"
    assert book.price("gcp", "gcs-standard", "europe-west4").usd == 0.021
    assert book.price("gcp", "gcs-nearline", "europe-west4").usd == 0.011
    assert book.price("gcp", "gcs-archive", "europe-west4").usd == 0.0012  # a commitment's price is not taken
    assert book.price("gcp", "gcs-standard", "europe-west4").as_of == TODAY
    assert book.price("aws", "alb", "us-east-1").usd == 0.0225  # not in the answer: the book's


def test_without_a_key_gcp_keeps_the_books_prices_and_that_is_said(tmp_path):
    web = Web()
    said = refresh(inventory(), BOOK, fetch=web, today=TODAY, key="", to=tmp_path / "refreshed.json")
    assert "GOOGLE_API_KEY" in said
    assert not any("cloudbilling" in url for url in web.asked)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ec2": "<html>busy</html>"}, "not JSON"),
        ({"ec2": "[]"}, "expected an object"),
        ({"ec2": '{"products": {"A": {}}, "terms": {}}'}, "not in the documented format"),
        ({"spot": "callback(nothing)"}, "spot"),
    ],
)
def test_a_refresh_that_fails_leaves_the_book_as_it_was(tmp_path, changed, words):
    to = tmp_path / "refreshed.json"
    to.write_text("as it was")
    with pytest.raises(RefreshError, match=words):
        refresh(inventory(), BOOK, fetch=Web(**changed), today=TODAY, key="", to=to)
    assert [file.name for file in tmp_path.iterdir()] == ["refreshed.json"]
    assert to.read_text() == "as it was"


def test_a_network_that_is_away_is_told_without_the_key(tmp_path):
    def away(url: str) -> str:
        raise OSError(f"cannot reach {url}")

    plan = Plan.of("t", "t", [r for r in inventory().plan if r.package == "gcp"])
    with pytest.raises(RefreshError) as error:
        refresh(Inventory(plan), BOOK, fetch=away, today=TODAY, key="SECRET", to=tmp_path / "refreshed.json")
    assert "cannot reach" in str(error.value)
    assert "SECRET" not in str(error.value)


def test_nothing_to_ask_for_is_said(tmp_path):
    with pytest.raises(RefreshError, match="no prices were found"):
        refresh(
            Inventory(Plan.of("t", "t", [])), BOOK, fetch=Web(), today=TODAY, key="", to=tmp_path / "refreshed.json"
        )
