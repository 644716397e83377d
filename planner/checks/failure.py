"""Failure: with any one region, zone, pool or rung gone, or all spot capacity, serving goes on and every name answers.

`planner.checks.survivors` says what is left of the environment; here is what has to be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from planner.checks.survivors import NOTHING, Loss, Scenario, Serving, Survivors, of_entry, reaches, scenarios
from planner.finding import Finding, Rule
from planner.inventory import Inventory
from planner.inventory.front_door import Entry, FrontDoor
from planner.inventory.references import at, items
from planner.plan import Resource
from planner.rules import Rules, RulesError

__all__ = ["RULES", "findings", "scenarios"]

_FAILOVER = (
    "https://docs.aws.amazon.com/global-accelerator/latest/dg/about-endpoints-endpoint-weights.unhealthy-endpoints.html"
)
_FRACTION: dict[str, object] = {"serving_fraction": 1.0}

REGION = Rule(
    "serving-survives-a-region",
    "When any one region of a front door is gone, those that take over hold at their largest what all run at least",
    remediation="Raise `maxReplicas` or the limits of the serving pools in the regions that take over.",
    # Share of the replicas that all regions run at least, which the others must hold.
    parameters=_FRACTION,
)
ZONE = Rule(
    "serving-survives-a-zone",
    "When any one zone is gone, its region still holds the least replicas of each model server",
    remediation="Give the serving pools machines in at least two zones.",
    parameters=_FRACTION,
)
SPOT = Rule(
    "serving-survives-without-spot",
    "Without any spot machine each region still holds the least replicas of each model server",
    remediation="Add an on-demand or reserved rung to the ladder of the serving pool.",
    parameters=_FRACTION,
)
POOL = Rule(
    "serving-survives-a-pool",
    "When any one node pool or rung is gone, other rungs, pools or regions hold the least replicas",
    remediation="Add a rung to the ladder, or raise the limits of the other rungs or regions.",
    parameters=_FRACTION,
)
NAME = Rule(
    "name-resolves-after-any-loss",
    "Whatever is lost, no client is told an address where nothing answers while something else would",
    url="https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/health-checks-how-route-53-chooses-records.html",
    remediation="Give each record of the name a health check that asks the entry which the record names.",
)
DRAIN = Rule(
    "drain-by-weight",
    "A region that is taken out of the front door has weight 0: with a dial of 0 it still takes over for others",
    url=_FAILOVER,
    remediation="Set `drained` for the region: the weight of its endpoints, or on GCP the capacity scaler, becomes 0.",
)
STANDBY = Rule(
    "dial-zero-is-a-standby",
    "An endpoint group whose traffic dial is 0 is meant to take over for others",
    "info",
    url=_FAILOVER,
    remediation="Set `drained` if it shall get nothing at all.",
)
GROUPS = Rule(
    "accelerator-finds-a-healthy-group",
    "With one more region gone, some endpoint group among any three has a healthy endpoint: no more are tried",
    url=_FAILOVER,
    remediation="Take endpoint groups without weight or without endpoints out of the accelerator.",
)
EGRESS = Rule(
    "egress-survives-a-zone",
    "No zone reaches the internet through another zone's NAT gateway: images and models come from there",
    "warning",
    url="https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-basics.html",
    remediation="Set `natPerZone` for the region.",
)
RULES: tuple[Rule, ...] = (REGION, ZONE, SPOT, POOL, NAME, DRAIN, STANDBY, GROUPS, EGRESS)

NAT_GATEWAY = "aws:ec2/natGateway:NatGateway"
SUBNET = "aws:ec2/subnet:Subnet"
ROUTE = "aws:ec2/route:Route"
ROUTE_TABLE = "aws:ec2/routeTable:RouteTable"
ROUTE_TABLE_ASSOCIATION = "aws:ec2/routeTableAssociation:RouteTableAssociation"
FRONT_DOOR_COMPONENT = "aicloud:index:GlobalLoadBalancer"


def findings(inventory: Inventory, rules: Rules) -> Iterator[Finding]:
    """Everything that a single failure would take down."""
    survivors = Survivors(inventory)
    told: set[str] = set()
    for loss in survivors.losses():
        scenario = survivors.scenario(loss)
        yield from _names(survivors, scenario)
        match loss.kind:
            case "region":
                for finding in _take_over(survivors, scenario, REGION, _fraction(rules, REGION)):
                    told.add(loss.region)
                    yield finding
            case "zone":
                yield from _at_home(inventory, scenario, ZONE, _fraction(rules, ZONE))
            case "spot":
                yield from _at_home(inventory, scenario, SPOT, _fraction(rules, SPOT))
            case "pool" if loss.region not in told:
                yield from _take_over(survivors, scenario, POOL, _fraction(rules, POOL))
            case "rung" if not loss.spot:  # without any spot is worse than without one rung of it
                yield from _at_home(inventory, scenario, POOL, _fraction(rules, POOL))
    for door in survivors.doors:
        for entry in door.entries:
            yield from _drained(inventory, door, entry)
            yield from _groups(inventory, entry)
    yield from _egress(inventory)


def _fraction(rules: Rules, rule: Rule) -> float:
    value = rules.parameter(rule, "serving_fraction")
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise RulesError(f"rules:parameters.{rule.name}.serving_fraction: got {value!r}; expected a number from 0")
    return float(value)


# ---- capacity


def _at_home(inventory: Inventory, scenario: Scenario, rule: Rule, fraction: float) -> Iterator[Finding]:
    """Each region has to hold its own. What doesn't fit even with everything there, placement tells."""
    for one in (*scenario.serving, *scenario.proxies):
        needed = math.ceil(one.needed * fraction)
        if one.left < needed <= one.before:
            yield rule.finding(
                f"without {scenario.loss.name}, {one.left} of the {needed} replicas fit that {one.workload.name} runs "
                f"at least in {one.workload.region}",
                inventory.plan.by_urn.get(one.workload.urn),
                subject=scenario.loss.name,
            )


def _take_over(survivors: Survivors, scenario: Scenario, rule: Rule, fraction: float) -> Iterator[Finding]:
    """What an entry loses, its other targets have to hold; if it has none that serves, the name's other entries.

    An environment with one region loses everything with it, and says nothing wrong by that.
    """
    serving = _reached(survivors, scenario)
    hit = {one.workload.urn for one in serving if one.left < min(one.needed, one.before)}
    if not hit:
        return
    for door, resolution in zip(survivors.doors, scenario.names, strict=True):
        if len({target.region for target in door.targets if not target.drained}) < 2 or resolution.dead:
            continue
        for entry in door.entries:
            own = of_entry(entry, serving)
            if not any(one.workload.urn in hit for one in own):
                continue
            there = reaches(entry, serving)
            if not any(one.left for one in there):
                own = [one for other in door.entries for one in of_entry(other, serving)]
                there = [one for other in door.entries for one in reaches(other, serving)]
            yield from _held(survivors.inventory, scenario.loss, rule, fraction, entry, own, there)


def _reached(survivors: Survivors, scenario: Scenario) -> tuple[Serving, ...]:
    """The model servers, with nothing left of those before which no proxy of their gateway is."""
    gone = {one.workload.urn for one in scenario.proxies if not one.left}
    targets = [target for door in survivors.doors for target in door.targets]
    cut = {urn for target in targets if target.proxies and gone.issuperset(target.proxies) for urn in target.workloads}
    return tuple(replace(one, left=0) if one.workload.urn in cut else one for one in scenario.serving)


def _held(
    inventory: Inventory,
    loss: Loss,
    rule: Rule,
    fraction: float,
    entry: Entry,
    own: Sequence[Serving],
    there: Sequence[Serving],
) -> Iterator[Finding]:
    needed = math.ceil(fraction * sum(min(one.needed, one.before) for one in own))
    left = sum(one.left for one in there)
    if left < needed:
        regions = ", ".join(one.workload.region for one in there if one.left) or "nothing"
        yield rule.finding(
            f"without {loss.name}, {regions} can run {left} replicas at the largest, but all run {needed} at least",
            inventory.plan.by_urn.get(entry.urn),
            subject=loss.name,
        )


# ---- names


def _names(survivors: Survivors, scenario: Scenario) -> Iterator[Finding]:
    """Clients that are sent where nothing answers, while something else would answer.

    What is dead with everything there is told once; what dies because nothing at all is left, the rules above tell.
    """
    loss, plan = scenario.loss, survivors.inventory.plan
    whole = survivors.scenario(NOTHING)
    for door, before, now in zip(survivors.doors, whole.names, scenario.names, strict=True):
        if loss.kind == "nothing":
            for answer in now.dead:
                yield NAME.finding(
                    f"{_name(door)}: nothing answers {_behind(answer.entry)}, even with every region there",
                    plan.by_urn.get(answer.urn or (answer.entry.urn if answer.entry else "")),
                    subject="always",
                )
        elif not before.dead and now.dead and _others(survivors, door, scenario):
            for answer in now.dead:
                yield NAME.finding(
                    f"{_name(door)}: without {loss.name} nothing answers {_behind(answer.entry)}, and clients are "
                    f"still sent there: {_why(answer.health_check, answer.evaluates_target)}",
                    plan.by_urn.get(answer.urn),
                    subject=loss.name,
                )


def _others(survivors: Survivors, door: FrontDoor, scenario: Scenario) -> bool:
    """Whether something still answers behind one of the name's entries, told or not."""
    left = {one.workload.urn: one.left for one in scenario.serving}
    return any(
        not target.drained and survivors.alive(target, scenario.loss, left)
        for entry in door.entries
        for target in entry.targets
    )


def _name(door: FrontDoor) -> str:
    return door.name or "an entry without a name"


def _behind(entry: Entry | None) -> str:
    kinds = {"accelerator": "the accelerator", "google": "Google's load balancer", "load-balancer": "the load balancer"}
    return f"behind {kinds[entry.kind]} {entry.urn.rpartition('::')[2]}" if entry else "there"


def _why(health_check: str, evaluates: bool) -> str:
    if not health_check and not evaluates:
        return "the record has no health check"
    return "its health check does not ask what the record names"


# ---- how an accelerator chooses


def _drained(inventory: Inventory, door: FrontDoor, entry: Entry) -> Iterator[Finding]:
    out = _taken_out(inventory, door, entry)
    for group, region in dict.fromkeys((target.group, target.region) for target in entry.targets):
        shares = [target for target in entry.targets if (target.group, target.region) == (group, region)]
        if all(target.drained for target in shares):
            continue
        share = max(shares, key=lambda target: target.weight)
        resource = inventory.plan.by_urn.get(group)
        if region in out:
            has = f"weight {share.weight} and dial {share.dial:g}" if entry.kind == "accelerator" else (
                f"capacity {share.dial:g} %"
            )  # fmt: skip
            yield DRAIN.finding(f"{region} is drained but has {has}: it gets requests when other regions fail",
                                resource, subject=region)  # fmt: skip
        elif entry.kind == "accelerator" and share.dial == 0:
            yield STANDBY.finding(
                f"{region} has a traffic dial of 0 and weight {share.weight}: it gets no regular share, and all of "
                "another region's requests when that has no healthy endpoint",
                resource,
                subject=region,
            )


def _taken_out(inventory: Inventory, door: FrontDoor, entry: Entry) -> set[str]:
    """Regions that are meant to be drained: the component is told so, or they have a dial of 0 and no record of their
    own while all others do."""
    told = {
        str(at(region, "region"))
        for component in inventory.plan.of_type(FRONT_DOOR_COMPONENT)
        for region in items(component.inputs, "regions")
        if at(region, "drained") is True
    }
    if entry.kind == "accelerator":
        records = {a.key for a in door.answers if a.policy == "latency" and a.entry and a.entry.urn == entry.urn}
        own = {f"aws:{key}" for key in records if key}
        if own & set(entry.regions):
            told |= {target.region for target in entry.targets if target.dial == 0 and target.region not in own}
    return told


def _groups(inventory: Inventory, entry: Entry) -> Iterator[Finding]:
    if entry.kind != "accelerator":
        return
    usable = {target.group for target in entry.targets if not target.drained}
    useless = [urn for urn in entry.groups if urn not in usable]
    # One more may go. Fewer than three without anything cannot be all of the three closest.
    if len(useless) + 1 >= 3 and len(usable) >= 2:
        yield GROUPS.finding(
            f"{len(useless)} of {len(entry.groups)} endpoint groups have no endpoint of a weight above 0; with "
            "one more region gone, a client may find nothing in its three closest groups: the accelerator fails open",
            inventory.plan.by_urn.get(entry.urn),
        )


# ---- the way out


def _egress(inventory: Inventory) -> Iterator[Finding]:
    plan = inventory.plan
    gateways = plan.of_type(NAT_GATEWAY)
    if not gateways:
        return
    users: dict[str, set[str]] = {}
    for association in plan.of_type(ROUTE_TABLE_ASSOCIATION):
        zones = {zone for subnet in inventory.references(association, "subnetId", SUBNET) if (zone := _zone(subnet))}
        for table in inventory.references(association, "routeTableId", ROUTE_TABLE):
            users.setdefault(table.urn, set()).update(zones)
    through: dict[str, set[str]] = {}
    for table in plan.of_type(ROUTE_TABLE):
        for gateway in inventory.references(table, "routes", NAT_GATEWAY):
            through.setdefault(gateway.urn, set()).update(users.get(table.urn, ()))
    for route in plan.of_type(ROUTE):
        for gateway in inventory.references(route, "natGatewayId", NAT_GATEWAY):
            for table in inventory.references(route, "routeTableId", ROUTE_TABLE):
                through.setdefault(gateway.urn, set()).update(users.get(table.urn, ()))
    for gateway in gateways:
        home = {_zone(subnet) for subnet in inventory.references(gateway, "subnetId", SUBNET)} - {""}
        others = sorted(through.get(gateway.urn, set()) - home)
        # A regional gateway has no subnet, and a part in each zone.
        if len(home) == 1 and others:
            yield EGRESS.finding(
                f"{', '.join(others)} reach the internet through the NAT gateway in {min(home)}: without that zone, "
                "their nodes cannot pull images that are not in the region",
                gateway,
            )


def _zone(subnet: Resource) -> str:
    zone = subnet.inputs.get("availabilityZone")
    return zone if isinstance(zone, str) and zone.count("-") >= 2 else ""
