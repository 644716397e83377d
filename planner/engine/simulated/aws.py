"""Simulated answers about AWS itself and an account's networks."""

from __future__ import annotations

import re
from typing import Any

from planner.engine.simulated import aws_facts as facts
from planner.engine.simulated.ask import Answer, Ask, Refused, existing, simulations
from planner.engine.simulated.aws_resources import describe
from planner.engine.simulated.made import dns_suffix, partition

# ---- where and who


def _availability_zones(ask: Ask) -> dict[str, Any]:
    zones = {
        name: id
        for name, id in facts.zones(ask.region).items()
        if name not in ask.texts("excludeNames")
        and id not in ask.texts("excludeZoneIds")
        and ask.passes(name, "zone-name")
        and ask.passes(id, "zone-id")
        and ask.passes(ask.region, "region-name", "group-name")
        and ask.passes("availability-zone", "zone-type")
        and ask.passes("opt-in-not-required", "opt-in-status")
        and ask.text("state", default="available") == "available"
        and ask.passes("available", "state")
    }
    return {
        "id": ask.region,
        "names": list(zones),
        "zoneIds": list(zones.values()),
        "groupNames": [ask.region] if zones else [],
        "region": ask.region,
    }


def _availability_zone(ask: Ask) -> dict[str, Any]:
    zones = facts.zones(ask.region)
    wanted = ask.text("name", "zoneId") or (ask.filtered("zone-name", "zone-id") or [next(iter(zones))])[0]
    found = [(name, id) for name, id in zones.items() if wanted in (name, id)]
    if not found:
        raise Refused(f"{ask.region} has no zone {wanted!r}; it has {', '.join(zones)}")
    name, id = found[0]
    return {
        "id": name,
        "name": name,
        "nameSuffix": name.removeprefix(ask.region),
        "zoneId": id,
        "zoneType": "availability-zone",
        "groupName": ask.region,
        "networkBorderGroup": ask.region,
        "optInStatus": "opt-in-not-required",
        "parentZoneId": "",
        "parentZoneName": "",
        "state": "available",
    }


def _caller_identity(ask: Ask) -> dict[str, Any]:
    arn = f"arn:{partition(ask.region)}:iam::{ask.account}:user/preview"
    return {
        "id": ask.account,
        "accountId": ask.account,
        "arn": arn,
        "userId": ask.made(seed=arn).format("AIDA{upper17}"),
    }


def _region(ask: Ask) -> dict[str, Any]:
    endpoint = ask.text("endpoint")
    region = endpoint.split(".")[1] if endpoint.count(".") > 1 else ask.text("name", default=ask.region)
    host = f"ec2.{region}.{dns_suffix(region)}"
    return {"id": region, "name": region, "region": region, "endpoint": host, "description": region}


def _regions(ask: Ask) -> dict[str, Any]:
    regions = [name for name in facts.ENABLED_REGIONS if ask.passes(name, "region-name")]
    if ask.args.get("allRegions"):
        regions += [name for name in facts.OPT_IN_REGIONS if ask.passes(name, "region-name")]
    return {"id": partition(ask.region), "names": sorted(regions)}


def _partition(ask: Ask) -> dict[str, Any]:
    suffix = dns_suffix(ask.region)
    reverse = ".".join(reversed(suffix.split(".")))
    name = partition(ask.region)
    return {"id": name, "partition": name, "dnsSuffix": suffix, "reverseDnsPrefix": reverse}


def _parse_arn(ask: Ask) -> dict[str, Any]:
    arn = ask.text("arn")
    parts = arn.split(":", 5)
    if len(parts) != 6 or parts[0] != "arn":
        raise Refused(f"{arn!r} is not an ARN; expected arn:partition:service:region:account:resource")
    keys = ("partition", "service", "region", "account", "resource")
    found = dict(zip(keys, parts[1:], strict=True))
    return {"id": arn, "arn": arn, **found, "accountId": found["account"]}


def _default_tags(ask: Ask) -> dict[str, Any]:
    given = ask.config.get("defaultTags")
    tags = given.get("tags") if isinstance(given, dict) else None
    return {"id": partition(ask.region), "tags": dict(tags or {})}


def _billing_account(ask: Ask) -> dict[str, Any]:
    arn = f"arn:{partition(ask.region)}:iam::{facts.BILLING_ACCOUNT}:root"
    return {"id": facts.BILLING_ACCOUNT, "arn": arn}


def _service_principal(ask: Ask) -> dict[str, Any]:
    service, suffix = ask.text("serviceName"), dns_suffix(ask.region)
    # Service principals keep `amazonaws.com` in every partition but for a few services in China.
    name = f"{service}.amazonaws.com"
    return {"id": f"{service}.{ask.region}.{suffix}", "name": name, "serviceName": service, "suffix": "amazonaws.com"}


# ---- networks


def _zone_index(subnet_id: str, zones: int) -> int:
    """The zone of a subnet: made-up ids carry it in their last digit."""
    return int(subnet_id[-1], 16) % zones if re.match(r"[0-9a-f]$", subnet_id[-1:]) else 0


def _vpc(ask: Ask) -> dict[str, Any]:
    is_default = bool(ask.args.get("default"))
    cidr = ask.text("cidrBlock") or ("172.31.0.0/16" if is_default else "10.0.0.0/16")
    found = existing(describe, "aws:ec2/vpc:Vpc", "id")(ask)
    association = {
        "associationId": ask.made().format("vpc-cidr-assoc-{hex17}"),
        "cidrBlock": cidr,
        "state": "associated",
    }
    return {
        **found,
        "cidrBlock": cidr,
        "cidrBlockAssociations": [association],
        "default": is_default,
        "enableDnsSupport": True,
        "enableDnsHostnames": is_default,
        "state": "available",
        "ipv6CidrBlockAssociations": [],
    }


def _subnet_ids(ask: Ask) -> list[str]:
    """One subnet in each zone, or in each that is asked for."""
    wanted = ask.filtered("availability-zone", "availabilityZone")
    stem = ask.made("aws:ec2/subnet:Subnet").hex(16)
    zones = list(enumerate(facts.zones(ask.region)))
    return [f"subnet-{stem}{i:x}" for i, zone in zones if not wanted or zone in wanted]


def _subnets(ask: Ask) -> dict[str, Any]:
    return {"id": ask.region, "ids": _subnet_ids(ask)}


def _subnet(ask: Ask) -> dict[str, Any]:
    zones = facts.zones(ask.region)
    ids = ask.filtered("subnet-id") or [ask.text("id")]
    id = ids[0] or _subnet_ids(ask)[0]
    zone = ask.text("availabilityZone") or list(zones)[_zone_index(id, len(zones))]
    index = list(zones).index(zone) if zone in zones else 0
    vpc = ask.text("vpcId") or (ask.filtered("vpc-id") or [ask.made(seed=ask.region).format("vpc-{hex17}")])[0]
    return {
        "id": id,
        "arn": f"arn:{partition(ask.region)}:ec2:{ask.region}:{ask.account}:subnet/{id}",
        "availabilityZone": zone,
        "availabilityZoneId": zones.get(zone, ""),
        "cidrBlock": ask.text("cidrBlock") or f"172.31.{16 * index}.0/20",
        "availableIpAddressCount": 4091,
        "vpcId": vpc,
        "ownerId": ask.account,
        "state": "available",
        "ipv6CidrBlock": "",
    }


def _ids(prefix: str) -> Answer:
    """A list data source: one thing fits."""

    def answer(ask: Ask) -> dict[str, Any]:
        id = ask.made().format(prefix + "-{hex17}")
        arn = f"arn:{partition(ask.region)}:ec2:{ask.region}:{ask.account}:security-group/{id}"
        vpc = (ask.filtered("vpc-id") or [ask.made(seed=ask.region).format("vpc-{hex17}")])[0]
        return {"id": ask.region, "ids": [id], "arns": [arn], "vpcIds": [vpc]}

    return answer


def _in_vpc(token: str, *keys: str, **renamed: str) -> Answer:
    of = existing(describe, token, *keys, **renamed)

    def answer(ask: Ask) -> dict[str, Any]:
        vpc = ask.text("vpcId") or (ask.filtered("vpc-id") or [ask.made(seed=ask.region).format("vpc-{hex17}")])[0]
        found = of(ask)
        return {**found, "vpcId": vpc, **dict.fromkeys(keys, found["id"])}

    return answer


def _prefix_list(ask: Ask) -> dict[str, Any]:
    name = ask.text("name") or (ask.filtered("prefix-list-name") or [f"com.amazonaws.{ask.region}.s3"])[0]
    given = ask.text("prefixListId", "id")
    id = given or ask.made(seed=f"{name} {ask.region}").format("pl-{hex8}")
    owner = "AWS" if name.startswith("com.amazonaws.") else ask.account
    arn = f"arn:{partition(ask.region)}:ec2:{ask.region}:{owner.lower()}:prefix-list/{id}"
    more = {"cidrBlocks": ["198.51.100.0/24"], "entries": [{"cidr": "198.51.100.0/24", "description": ""}]}
    about = {"addressFamily": "IPv4", "maxEntries": 100, "ownerId": owner, "version": 1}
    return {"id": id, "name": name, "prefixListId": id, "arn": arn, **about, **more}


SIMULATED = simulations(
    {
        "aws:index/getAvailabilityZones": _availability_zones,
        "aws:index/getAvailabilityZone": _availability_zone,
        "aws:index/getCallerIdentity": _caller_identity,
        "aws:index/getRegion": _region,
        "aws:index/getRegions": _regions,
        "aws:index/getPartition": _partition,
        "aws:index/getArn": _parse_arn,
        "aws:index/arnParse": _parse_arn,
        "aws:index/getDefaultTags": _default_tags,
        "aws:index/getBillingServiceAccount": _billing_account,
        "aws:index/getServicePrincipal": _service_principal,
        "aws:ec2/getVpc": _vpc,
        "aws:ec2/getVpcs": _ids("vpc"),
        "aws:ec2/getSubnets": _subnets,
        "aws:ec2/getSubnet": _subnet,
        "aws:ec2/getSecurityGroup": _in_vpc("aws:ec2/securityGroup:SecurityGroup", "id"),
        "aws:ec2/getSecurityGroups": _ids("sg"),
        "aws:ec2/getRouteTable": _in_vpc("aws:ec2/routeTable:RouteTable", "routeTableId"),
        "aws:ec2/getRouteTables": _ids("rtb"),
        "aws:ec2/getInternetGateway": _in_vpc("aws:ec2/internetGateway:InternetGateway", "internetGatewayId"),
        "aws:ec2/getNatGateway": _in_vpc("aws:ec2/natGateway:NatGateway", "id"),
        "aws:ec2/getNatGateways": _ids("nat"),
        "aws:ec2/getVpcEndpoint": _in_vpc("aws:ec2/vpcEndpoint:VpcEndpoint", "id"),
        "aws:ec2/getElasticIp": existing(describe, "aws:ec2/eip:Eip", "id"),
        "aws:ec2/getKeyPair": existing(describe, "aws:ec2/keyPair:KeyPair"),
        "aws:ec2/getLaunchTemplate": existing(describe, "aws:ec2/launchTemplate:LaunchTemplate", "id"),
        "aws:ec2/getInstance": existing(describe, "aws:ec2/instance:Instance", "instanceId"),
        "aws:ec2/getPrefixList": _prefix_list,
        "aws:ec2/getManagedPrefixList": _prefix_list,
    }
)
