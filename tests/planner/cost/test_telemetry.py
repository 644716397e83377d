"""What metrics and traces cost with the clouds: by what is sent, and nothing where nothing is."""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import pytest

import components
from planner.cost.assumptions import Assumptions
from planner.cost.estimating import estimate
from planner.cost.model import Estimate
from tests.samples import CLOUDS, samples
from tests.support import plan_of


def estimated(cloud: str, **changes: Any) -> Estimate:
    args = {key: value for key, value in {**samples(cloud)["Observability"], **changes}.items() if value is not None}

    def program() -> None:
        options = pulumi.ResourceOptions(providers=[kubernetes.Provider("cluster", kubeconfig="{}")])
        components.Observability("main", args, options)

    return estimate(plan_of(program))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_what_is_sent_is_paid_for_and_told_by_its_assumption(cloud: str) -> None:
    found = estimated(cloud)
    assert found.unpriced == ()
    lines = {line.assumption: line for line in found.lines if line.assumption != "kmsRequests10k"}
    assumed = Assumptions()
    metrics, spans = lines["longTermSamplesMillions"], lines["spansMillions"]
    assert metrics.quantity == assumed.longTermSamplesMillions
    assert metrics.price == {"aws": 0.09, "gcp": 0.06}[cloud]
    gib = assumed.spanKib * 1e6 / 2**20
    assert spans.quantity.expected == pytest.approx(assumed.spansMillions.expected * (gib if cloud == "aws" else 1))
    assert spans.price == {"aws": 0.35, "gcp": 0.2}[cloud]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_nothing_is_paid_for_what_stays_in_the_cluster(cloud: str) -> None:
    found = estimated(cloud, long_term=None)
    assert [line.assumption for line in found.lines] == ["spansMillions"]


def test_spans_of_an_account_that_another_stack_has_set_are_counted_there() -> None:
    assert list(estimated("aws", long_term=None, tracing={"own_destination": False}).lines) == []
