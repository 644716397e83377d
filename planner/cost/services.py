"""What else costs: control planes, keys, logs, queues, and machines that stand alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from planner.cost.model import HOURS_PER_MONTH, Amount, Line, Unpriced
from planner.cost.pools import first, standing
from planner.cost.reader import Reader, number, text
from planner.cost.storage import ebs
from planner.inventory.references import at, items, mapping
from planner.inventory.rungs import LAUNCH_TEMPLATE
from planner.plan import Resource

Found = Iterator[Line | Unpriced]

HOURS = float(HOURS_PER_MONTH)

_COMPRESSED = 0.15
"""Part of a log's size that CloudWatch stores (https://aws.amazon.com/cloudwatch/pricing/, as remembered)."""


def eks_cluster(reader: Reader, resource: Resource) -> Found:
    """A control plane. One that may stay on a version beyond its support costs six times as much then."""
    stays = at(resource.inputs, "upgradePolicy.supportType") != "STANDARD"
    yield from _control_plane(reader, resource, "eks-cluster", extended=stays)


def gke_cluster(reader: Reader, resource: Resource) -> Found:
    """A control plane, and Google's managed Prometheus where it is on."""
    extended = at(resource.inputs, "releaseChannel.channel") == "EXTENDED"
    yield from _control_plane(reader, resource, "gke-cluster", extended=extended)
    if at(resource.inputs, "monitoringConfig.managedPrometheus.enabled") is True:
        samples = reader.assumptions.metricSamplesMillions
        yield from reader.line(
            resource,
            "managed-prometheus",
            samples,
            "metrics taken in",
            kind="service",
            assumption="metricSamplesMillions",
        )


def _control_plane(reader: Reader, resource: Resource, service: str, *, extended: bool) -> Found:
    region = reader.inventory.regions.get(resource.urn, "global")
    cloud, _, place = region.partition(":")
    worst = reader.book.price(cloud, f"{service}-extended-support", place) if extended else None
    yield from reader.line(
        resource, service, HOURS, f"{service[:3].upper()} control plane", kind="service", largest_price=worst
    )
    between = reader.assumptions.crossZoneGib
    yield from reader.line(
        resource, "between-zones", between, "between zones", kind="traffic", assumption="crossZoneGib"
    )


def kms_key(reader: Reader, resource: Resource) -> Found:
    """A key and its uses."""
    yield from reader.line(resource, "kms-key", 1.0, "key", kind="service")
    yield from _uses(reader, resource)


def crypto_key(reader: Reader, resource: Resource) -> Found:
    """A key by its versions: each rotation adds one, and old ones stay. Largest: after three years."""
    days = (number(text(resource.inputs.get("rotationPeriod")).removesuffix("s"), 0.0) or 0.0) / 86400
    yearly = 365 / days if days > 0 else 0.0
    hsm = at(resource.inputs, "versionTemplate.protectionLevel") == "HSM"
    versions = Amount(1, 1 + yearly, 1 + 3 * yearly)
    yield from reader.line(resource, "kms-key-hsm" if hsm else "kms-key", versions, "key versions", kind="service")
    yield from _uses(reader, resource)


def _uses(reader: Reader, resource: Resource) -> Found:
    uses = reader.assumptions.kmsRequests10k
    yield from reader.line(resource, "kms-requests", uses, "uses of a key", kind="service", assumption="kmsRequests10k")


def log_group(reader: Reader, resource: Resource) -> Found:
    """What a log group takes in, and what it keeps; without a limit a year is counted."""
    days = number(resource.inputs.get("retentionInDays"), 0.0) or 365
    yield from _logs(reader, resource, days / 30 * _COMPRESSED)


def log_bucket(reader: Reader, resource: Resource) -> Found:
    """As `log_group`; the first 30 days are free on GCP."""
    days = number(resource.inputs.get("retentionDays"), 30.0) or 30
    yield from _logs(reader, resource, max(0.0, days - 30) / 30)


def _logs(reader: Reader, resource: Resource, months: float) -> Found:
    taken = reader.assumptions.logGib
    by: dict[str, Any] = {"kind": "service", "assumption": "logGib"}
    yield from reader.line(resource, "log-ingestion", taken, "logs taken in", **by)
    if months:
        yield from reader.line(resource, "log-storage", taken.times(months), "logs kept", **by)


def flow_logs(reader: Reader, resource: Resource) -> Found:
    """Flow logs of a subnet on GCP, where they are on."""
    if mapping(resource.inputs, "logConfig"):
        yield from reader.line(
            resource,
            "log-ingestion",
            reader.assumptions.flowLogGib,
            "flow logs",
            kind="service",
            assumption="flowLogGib",
        )


def queue(reader: Reader, resource: Resource) -> Found:
    """Requests to a queue."""
    requests = reader.assumptions.queueRequestsMillions
    yield from reader.line(
        resource, "sqs-requests", requests, "queue requests", kind="service", assumption="queueRequestsMillions"
    )


def secret(reader: Reader, resource: Resource) -> Found:
    """A secret, by the month."""
    yield from reader.line(resource, "secret", 1.0, "secret", kind="service")


def alarm(reader: Reader, resource: Resource) -> Found:
    """An alarm on a metric."""
    yield from reader.line(resource, "metric-alarm", 1.0, "alarm", kind="service")


def instance(reader: Reader, resource: Resource) -> Found:
    """An EC2 instance and its disks."""
    spot = bool(mapping(resource.inputs, "instanceMarketOptions")) or resource.type.endswith("SpotInstanceRequest")
    one = Amount.of(1.0)
    yield from standing(reader, resource, text(resource.inputs.get("instanceType")), one, spot=spot)
    disks = [first(resource.inputs, "rootBlockDevice"), *items(resource.inputs, "ebsBlockDevices")]
    for disk in disks:
        yield from ebs(reader, resource, mapping(disk))


def gcp_instance(reader: Reader, resource: Resource) -> Found:
    """A Compute Engine instance and its boot disk."""
    scheduling = first(resource.inputs, "scheduling")
    spot = scheduling.get("provisioningModel") == "SPOT" or scheduling.get("preemptible") is True
    machine = text(resource.inputs.get("machineType")).rsplit("/", 1)[-1]
    yield from standing(reader, resource, machine, Amount.of(1.0), spot=spot)
    disk = first(first(resource.inputs, "bootDisk"), "initializeParams")
    kind = text(disk.get("type"), "pd-standard").rsplit("/", 1)[-1]
    yield from reader.line(resource, kind, number(disk.get("size"), 10.0), f"disk, {kind}", kind="storage", tier="disk")


def autoscaling_group(reader: Reader, resource: Resource) -> Found:
    """Machines of an EC2 Auto Scaling group, between its fewest and its most."""
    fewest, most = number(resource.inputs.get("minSize")), number(resource.inputs.get("maxSize"))
    if fewest is None or most is None:
        yield reader.unpriced(resource, "how many machines it has, the plan does not tell")
        return
    most = max(fewest, most)
    machines = Amount(fewest, fewest + reader.assumptions.otherShare * (most - fewest), most)
    templates = reader.inventory.references(resource, "launchTemplate", LAUNCH_TEMPLATE)
    inputs = templates[0].inputs if templates else {}
    yield from standing(reader, resource, text(inputs.get("instanceType")), machines)
    for device in items(inputs, "blockDeviceMappings"):
        yield from ebs(reader, resource, mapping(device, "ebs"), machines)


HANDLERS = {
    "aws:eks/cluster:Cluster": eks_cluster,
    "gcp:container/cluster:Cluster": gke_cluster,
    "aws:kms/key:Key": kms_key,
    "aws:kms/replicaKey:ReplicaKey": kms_key,
    "gcp:kms/cryptoKey:CryptoKey": crypto_key,
    "aws:cloudwatch/logGroup:LogGroup": log_group,
    "aws:cloudwatch/metricAlarm:MetricAlarm": alarm,
    "gcp:logging/projectBucketConfig:ProjectBucketConfig": log_bucket,
    "gcp:compute/subnetwork:Subnetwork": flow_logs,
    "aws:sqs/queue:Queue": queue,
    "aws:secretsmanager/secret:Secret": secret,
    "aws:ec2/instance:Instance": instance,
    "aws:ec2/spotInstanceRequest:SpotInstanceRequest": instance,
    "gcp:compute/instance:Instance": gcp_instance,
    "aws:autoscaling/group:Group": autoscaling_group,
}
