"""The front door, read from the three environments and from records made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from planner.inventory import Inventory
from planner.inventory.front_door import FrontDoor, front_doors
from planner.plan import UNKNOWN, Plan, Resource

RECORD, BALANCER = "aws:route53/record:Record", "aws:lb/loadBalancer:LoadBalancer"


def resource(kind: str, called: str, /, **inputs: Any) -> Resource:
    """With an id, an ARN and a DNS name of its own."""
    outputs = {"id": f"{called}-id", "arn": f"arn:{called}", "dnsName": f"{called}.example.net"}
    return Resource(f"urn:pulumi:t::t::{kind}::{called}", kind, id=f"{called}-id", inputs=inputs, outputs=outputs)


def doors(*resources: Resource) -> tuple[FrontDoor, ...]:
    return front_doors(Inventory(Plan.of("t", "t", resources)))


@pytest.mark.parametrize("known", [True, False])
def test_prod_leads_to_every_region(known, environment_plan, simulated_plan):
    (door,) = front_doors(Inventory((simulated_plan if known else environment_plan)("prod")))
    assert door.name == "inference.example.com"
    assert sorted(door.regions) == [
        "aws:ap-northeast-1", "aws:eu-central-1", "aws:us-east-1", "gcp:asia-southeast1", "gcp:europe-west4",
    ]  # fmt: skip
    assert [(entry.kind, len(entry.targets)) for entry in door.entries] == [("accelerator", 3), ("google", 6)]
    assert len(door.answers) == 5
    for answer in door.answers:
        assert answer.policy == "latency"
        assert answer.entry is not None
        assert answer.asks == answer.entry.urn, "each health check asks its own entry"
    for target in door.targets:
        # The gateway's Service and proxies, then Service and pods of each group of models.
        assert (len(target.services), len(target.proxies), len(target.workloads)) == (3, 1, 2)
        assert "EnvoyProxy" in target.services[0]
        assert "Deployment" in target.workloads[0]
        assert not target.drained
        assert target.dial == 100
    assert {target.zone for target in door.entries[1].targets} == {
        f"{region}-{zone}" for region in ("asia-southeast1", "europe-west4") for zone in "abc"
    }


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_the_same_whether_or_not_values_are_known(environment, environment_plan, simulated_plan):
    one, other = (front_doors(Inventory(plan(environment))) for plan in (environment_plan, simulated_plan))
    assert one == other


def test_records_that_name_a_load_balancer():
    balancer = resource(BALANCER, "web", region="us-east-1")
    alias = resource(RECORD, "a", name="a.example.com", type="A", aliases=[
        {"name": "web.example.net.", "zoneId": "Z", "evaluateTargetHealth": True}])  # fmt: skip
    canonical = resource(RECORD, "b", name="b.example.com.", type="CNAME", records=["web.example.net"], ttl=60)
    other = resource(RECORD, "c", name="c.example.com", type="A", records=["192.0.2.1"])
    found = {door.name: door for door in doors(balancer, alias, canonical, other)}
    assert sorted(found) == ["a.example.com", "b.example.com"], "what leads elsewhere is not this environment's"
    assert found["a.example.com"].answers[0].evaluates_target
    assert found["a.example.com"].regions == ("aws:us-east-1",)
    assert found["b.example.com"].entries[0].urn == balancer.urn


def test_weighted_failover_and_aliases_of_names():
    blue, green = resource(BALANCER, "blue", region="us-east-1"), resource(BALANCER, "green", region="us-east-1")
    records = [
        resource(RECORD, "w1", name="pool", type="CNAME", setIdentifier="blue", records=["blue.example.net"],
                 weightedRoutingPolicies=[{"weight": 90}]),
        resource(RECORD, "w2", name="pool", type="CNAME", setIdentifier="green", records=["green.example.net"],
                 weightedRoutingPolicies=[{"weight": 0}]),
        resource(RECORD, "top", name="top", type="A", aliases=[{"name": "pool", "zoneId": "Z"}],
                 failoverRoutingPolicies=[{"type": "PRIMARY"}]),
    ]  # fmt: skip
    found = {door.name: door for door in doors(blue, green, *records)}
    assert [(a.policy, a.weight, a.set_identifier) for a in found["pool"].answers] == [
        ("weighted", 90, "blue"), ("weighted", 0, "green"),
    ]  # fmt: skip
    (top,) = found["top"].answers
    assert (top.policy, top.key, top.alias_of, top.entry) == ("failover", "PRIMARY", "pool", None)


def test_an_entry_without_a_name_is_a_front_door_of_its_own():
    (door,) = doors(resource(BALANCER, "web", region="us-east-1"))
    assert door.name == ""
    assert door.regions == ("aws:us-east-1",)


def test_what_is_unknown_or_odd_is_no_error():
    record = resource(RECORD, "r", name=UNKNOWN, type=UNKNOWN, aliases=UNKNOWN, records=None, healthCheckId=UNKNOWN)
    group = resource("aws:globalaccelerator/endpointGroup:EndpointGroup", "g", endpointConfigurations=UNKNOWN)
    service = resource("gcp:compute/backendService:BackendService", "b", backends=[{"group": None}, "x"])
    rule = resource("gcp:compute/globalForwardingRule:GlobalForwardingRule", "f", target=7, ipAddress=UNKNOWN)
    assert doors(record, group, service, rule) == ()
