"""The price book and the assumptions: everything sourced and dated, and wrong input told in words."""

from __future__ import annotations

import json
from datetime import date

import pytest

from planner.cost import Amount, AssumptionError, Assumptions, Book, BookError
from planner.cost.book import _ec2

BOOK = Book.load(refreshed=None)
ENTRIES = [(cloud, name) for cloud in ("aws", "gcp") for name in BOOK.raw[cloud]["prices"]]


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_every_price_has_a_unit_a_source_and_a_date(cloud):
    for name in BOOK.raw[cloud]["prices"]:
        price = BOOK.price(cloud, name, BOOK.raw[cloud]["region"])
        assert price is not None
        assert price.usd > 0, name
        assert price.unit, name
        assert price.source, name
        assert date(2020, 1, 1) < price.as_of <= date.today(), name
    for name, regions in BOOK.raw[cloud]["regional"].items():
        assert name in BOOK.raw[cloud]["prices"]
        assert all(usd > 0 for usd in regions.values())


def test_what_is_remembered_says_so():
    assert "unverified" in BOOK.price("aws", "efs-ia", "us-east-1").source
    assert "infracost" in BOOK.price("aws", "nat-gateway", "us-east-1").source


def test_a_price_elsewhere_is_its_own_or_scaled_or_the_same_everywhere():
    assert BOOK.price("gcp", "gcs-standard", "asia-northeast1").usd == 0.023
    assert BOOK.price("aws", "nat-gateway", "eu-central-1").usd == pytest.approx(0.045 * 1.130)
    assert BOOK.price("aws", "eks-cluster", "eu-central-1").usd == 0.10
    assert BOOK.price("aws", "teleporter", "eu-central-1") is None
    assert BOOK.price("azure", "nat-gateway", "westeurope") is None


def test_machines_of_other_plans_have_prices_too():
    assert len(_ec2()) > 200
    assert BOOK.machine("aws", "t3.medium", "us-east-1").on_demand.usd == 0.0416
    assert BOOK.machine("aws", "t3.medium", "us-east-1").spot is None
    assert BOOK.machine("aws", "z9.tiny", "us-east-1").on_demand is None
    assert BOOK.machine("gcp", "a3-megagpu-8g", "us-central1").flex_start.usd == pytest.approx(92.21427 / 2)


def test_refreshed_prices_come_first_where_they_are_known(tmp_path):
    file = tmp_path / "refreshed.json"
    prices = {"aws/nat-gateway": {"unit": "hour", "usd": {"eu-central-1": 0.052}}}
    spot = {"aws/g6.xlarge": {"unit": "machine-hour", "usd": {"us-east-1": 0.33}}}
    file.write_text(json.dumps({"as_of": "2026-11-22", "source": "the API", "prices": prices, "spot": spot}))
    book = Book.load(file)
    assert book.price("aws", "nat-gateway", "eu-central-1").usd == 0.052
    assert book.price("aws", "nat-gateway", "eu-central-1").source == "the API"
    assert book.price("aws", "nat-gateway", "us-east-1").usd == 0.045
    assert book.machine("aws", "g6.xlarge", "us-east-1").spot.usd == 0.33
    assert Book.load(tmp_path / "none.json").refreshed == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"as_of": "yesterday", "source": "", "prices": {}}', '{"as_of": 3}'])
def test_a_broken_refreshed_file_is_told_not_ignored(tmp_path, text):
    file = tmp_path / "refreshed.json"
    file.write_text(text)
    with pytest.raises(BookError, match=r"refreshed\.json: not a file that"):
        Book.load(file)


# ---- assumptions


def of(**given):
    return Assumptions.of({"cost:assumptions": json.dumps(given)})


def test_a_stack_overrides_assumptions_with_a_number_or_three():
    assumed = of(natGib=[1, 2, 3], coldGib=7, trainingHoursPerMonth=300)
    assert assumed.natGib == Amount(1, 2, 3)
    assert assumed.coldGib == Amount(7, 7, 7)
    assert assumed.trainingHoursPerMonth == 300
    assert assumed.endpointGib == Assumptions().endpointGib
    assert Assumptions.of({}) == Assumptions()


def test_wrong_assumptions_are_all_named():
    with pytest.raises(AssumptionError) as error:
        of(natGib=[3, 2, 1], coldGib="much", servingShare=2, objectMib=0, traffic=1, of=1, requestKib=-1, logGib=[1, 2])
    for wrong in (
        "cost:assumptions.natGib: got [3, 2, 1]",
        "coldGib: got 'much'",
        "servingShare: got 2; expected at most 1",
        "objectMib: got 0",
        "traffic: unknown; there is servingShare",
        "of: unknown",
        "requestKib: got -1",
        "logGib: got [1, 2]",
    ):
        assert wrong in str(error.value)
    with pytest.raises(AssumptionError, match="expected a map"):
        Assumptions.of({"cost:assumptions": "few"})


def test_every_default_is_in_order():
    for name, value in Assumptions().as_data().items():
        assert not isinstance(value, list) or value == sorted(value), name
