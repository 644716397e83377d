"""Where an environment is, whose it is, what it may cost, and how long its parts are supported."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from fnmatch import fnmatchcase
from typing import Any

from components.machine_types import MACHINES as MACHINE_TYPES
from components.tags import gcp_labels
from planner import urn as urns
from planner.checks.versions_table import KUBERNETES, Support, version
from planner.cost import estimate
from planner.cost.budgets import CEILING, exceeded, limits
from planner.inventory import Inventory
from planner.inventory.serverless import serverless
from planner.plan import UNKNOWN, Resource
from planner.regions import GLOBAL
from policies import kinds
from policies.declare import Parameters, Violation, at, each, off, resource_policy, stack_policy, texts
from policies.lookup import managed, unclear

MACHINES = {machine.name: machine for machine in MACHINE_TYPES if machine.cloud == "aws"}


def _matches(text: str, patterns: Any) -> bool:
    return any(fnmatchcase(text, str(pattern)) for pattern in patterns)


@stack_policy(
    "allowed-regions",
    "Everything is in a region that the environment may use",
    risk="high",
    why="https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_scps_examples_general.html",
    fix="Move the resource, or add its region to the parameter `regions` once it has been agreed.",
    parameters={"regions": ["aws:*", "gcp:*"]},
)
def allowed_regions(inventory: Inventory, parameters: Parameters) -> Iterator[Violation]:
    for resource in inventory.plan:
        region = inventory.regions[resource.urn]
        if not resource.custom or resource.external or resource.package not in ("aws", "gcp") or region == GLOBAL:
            continue
        if not unclear(region) and not _matches(region, parameters["regions"]):
            yield Violation(f"is in {region}; expected one of {', '.join(parameters['regions'])}", resource)


DATA_CLASS = "data-class"
"""Tag or label that says which data a resource may hold."""


@stack_policy(
    "data-stays-where-it-may-be",
    "Data of a class, and every copy of it, is in the regions of that class",
    risk="high",
    why="https://commission.europa.eu/law/law-topic/data-protection/rules-business-and-organisations_en",
    fix="Keep the store and its copies in the regions of its data class, or change its tag `data-class`.",
    parameters={"classes": {"eu": ["aws:eu-*", "gcp:europe-*"], "us": ["aws:us-*", "gcp:us-*"]}},
)
def data_stays_where_it_may_be(inventory: Inventory, parameters: Parameters) -> Iterator[Violation]:
    for store in managed(inventory, *kinds.DATA_STORES):
        tags = tags_of(store, inventory)
        data_class = tags.get(DATA_CLASS) if isinstance(tags, Mapping) else None
        if not isinstance(data_class, str) or unclear(data_class):
            continue
        regions = parameters["classes"].get(data_class)
        if regions is None:
            yield Violation(f"has the data class {data_class!r}, of which the environment says nothing", store)
            continue
        for place in (store, *_copies(inventory, store)):
            region = inventory.regions[place.urn]
            if not unclear(region) and region != GLOBAL and not _matches(region, regions):
                what = "is" if place is store else f"has a copy {place.name}"
                yield Violation(f"{what} in {region}; data of class {data_class} stays in {', '.join(regions)}",
                                store, subject=place.name)  # fmt: skip


def _copies(inventory: Inventory, store: Resource) -> Iterator[Resource]:
    plan = inventory.plan
    if store.type == kinds.S3_BUCKET:
        for setting in plan.of_type(kinds.S3_REPLICATION):
            if store in inventory.references(setting, "bucket", kinds.S3_BUCKET):
                # Where only the cloud knows, what the rules depend on holds the source as well.
                found = inventory.references(setting, "rules", kinds.S3_BUCKET)
                yield from (bucket for bucket in found if bucket is not store)
    if store.type == kinds.GCS_BUCKET:
        for job in plan.of_type(kinds.TRANSFER_JOB):
            for spec in ("replicationSpec", "transferSpec"):
                if store in inventory.references(job, f"{spec}.gcsDataSource", kinds.GCS_BUCKET):
                    found = inventory.references(job, f"{spec}.gcsDataSink", kinds.GCS_BUCKET)
                    yield from (bucket for bucket in found if bucket is not store)


_TAGGED = {
    "aws": (
        kinds.S3_BUCKET, kinds.EFS, kinds.FSX_LUSTRE, kinds.KMS_KEY, kinds.SQS_QUEUE, kinds.LOG_GROUP,
        kinds.EKS_CLUSTER, kinds.EKS_NODE_GROUP, kinds.LAUNCH_TEMPLATE, kinds.NODE_CLASS, kinds.IAM_ROLE,
        kinds.VPC, kinds.SECURITY_GROUP, kinds.LOAD_BALANCER, kinds.SAGEMAKER_ENDPOINT, kinds.SNS_TOPIC,
        kinds.RDS,
        "aws:ec2/natGateway:NatGateway", "aws:ec2/eip:Eip", "aws:ec2/vpcEndpoint:VpcEndpoint",
        "aws:globalaccelerator/accelerator:Accelerator", "aws:ec2/instance:Instance",
    ),
    "gcp": (
        kinds.GCS_BUCKET, kinds.FILESTORE, kinds.GCP_LUSTRE, kinds.CRYPTO_KEY, kinds.GKE_CLUSTER, kinds.GKE_NODE_POOL,
        kinds.CLOUD_RUN, kinds.CLOUD_SQL, "gcp:compute/globalAddress:GlobalAddress", "gcp:compute/instance:Instance",
    ),
}  # fmt: skip
"""What costs money or holds data. By cloud, for labels are written differently."""


def tags_of(resource: Resource, inventory: Inventory) -> Any:
    """A resource's tags or labels, with its provider's defaults; UNKNOWN where they are."""
    path = {
        kinds.NODE_CLASS: "spec.tags",
        kinds.GKE_CLUSTER: "resourceLabels",
        kinds.GKE_NODE_POOL: "nodeConfig.resourceLabels",
        kinds.CLOUD_SQL: "settings.userLabels",
    }.get(resource.type, "labels" if resource.package == "gcp" else "tags")
    own = at(resource, path, {})
    provider = inventory.plan.by_urn.get(urns.provider_urn(resource.provider)) if resource.provider else None
    defaults = at(provider, "defaultTags.tags", at(provider, "defaultLabels", {})) if provider else {}
    if own == UNKNOWN or defaults == UNKNOWN:
        return UNKNOWN
    return {**(defaults if isinstance(defaults, Mapping) else {}), **(own if isinstance(own, Mapping) else {})}


@stack_policy(
    "required-tags",
    "What costs money or holds data says whose it is",
    risk="low",
    why="https://docs.aws.amazon.com/whitepapers/latest/tagging-best-practices/tagging-best-practices.html",
    fix="Hand the environment's tags to the resource; ai-cloud:owner and ai-cloud:tags are where they come from.",
    parameters={"tags": ["owner", "environment", "cost-center", "managed-by"]},
)
def required_tags(inventory: Inventory, parameters: Parameters) -> Iterator[Violation]:
    wanted = {"aws": parameters["tags"], "gcp": list(gcp_labels({str(tag): "" for tag in parameters["tags"]}))}
    for cloud, types in _TAGGED.items():
        for resource in managed(inventory, *types):
            tags = tags_of(resource, inventory)
            if tags == UNKNOWN:
                continue
            if missing := [str(tag) for tag in wanted[cloud] if off(tags.get(str(tag)))]:
                yield Violation(f"lacks the tags {', '.join(missing)}", resource)


@resource_policy(
    "control-planes-keep-logs",
    "A cluster's control plane writes down what it did and for whom",
    types=(kinds.EKS_CLUSTER, kinds.GKE_CLUSTER),
    risk="medium",
    why="https://docs.aws.amazon.com/eks/latest/userguide/control-plane-logs.html",
    fix="Set enabledClusterLogTypes (EKS), or loggingConfig.enableComponents (GKE).",
    parameters={
        "eks": ["api", "audit", "authenticator", "controllerManager", "scheduler"],
        "gke": ["SYSTEM_COMPONENTS", "APISERVER", "CONTROLLER_MANAGER", "SCHEDULER"],
    },
)
def control_planes_keep_logs(cluster: Resource, parameters: Parameters) -> Iterator[str]:
    eks = cluster.type == kinds.EKS_CLUSTER
    path = "enabledClusterLogTypes" if eks else "loggingConfig.enableComponents"
    found = at(cluster, path, [])
    if unclear(found):
        return
    if missing := [kind for kind in parameters["eks" if eks else "gke"] if kind not in texts(found)]:
        yield f"writes no logs of {', '.join(missing)}; expected them in {path}"


@resource_policy(
    "logs-end",
    "Logs are kept long enough to look into an incident, and not for ever",
    types=(kinds.LOG_GROUP, kinds.LOG_BUCKET),
    risk="low",
    why="https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/Working-with-log-groups-and-streams.html",
    fix="Set retentionInDays (AWS) or retentionDays (GCP).",
    parameters={"at_least_days": 30, "at_most_days": 400},
)
def logs_end(logs: Resource, parameters: Parameters) -> Iterator[str]:
    # Without the setting CloudWatch keeps logs for ever, Google for 30 days.
    days = at(logs, "retentionInDays", 0) if logs.type == kinds.LOG_GROUP else at(logs, "retentionDays", 30)
    if isinstance(days, int | float):
        if days == 0:
            yield "keeps its logs for ever; expected a retention"
        elif not parameters["at_least_days"] <= days <= parameters["at_most_days"]:
            expected = f"{parameters['at_least_days']} to {parameters['at_most_days']}"
            yield f"keeps its logs for {days:g} days; expected {expected}"


_SUPPORT = "https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html"


def _support(cluster: Resource) -> tuple[str, Support | None]:
    """A cluster's minor version and how long it is supported; None where the table doesn't know it."""
    stated = at(cluster, "version") if cluster.type == kinds.EKS_CLUSTER else at(cluster, "minMasterVersion")
    found = re.match(r"1\.\d+", stated) if isinstance(stated, str) else None
    return (found.group(), KUBERNETES.get((cluster.package, found.group()))) if found else ("", None)


def _pays_for_more(cluster: Resource) -> bool | None:
    """Whether it goes on in extended support: EKS unless told not to, GKE only in that channel. None: unknown."""
    if cluster.type == kinds.EKS_CLUSTER:
        stated = at(cluster, "upgradePolicy.supportType", "EXTENDED")
    else:
        stated = at(cluster, "releaseChannel.channel", "REGULAR")
    return None if stated == UNKNOWN else stated == "EXTENDED"


@resource_policy(
    "kubernetes-version-is-supported",
    "The cloud supports the clusters' version of Kubernetes",
    types=(kinds.EKS_CLUSTER, kinds.GKE_CLUSTER),
    risk="medium",
    why=_SUPPORT,
    fix="Raise ai-cloud:kubernetesVersion, one minor version at a time: the control plane, then its nodes.",
)
def kubernetes_version_is_supported(cluster: Resource, parameters: Parameters) -> Iterator[str]:
    minor, support = _support(cluster)
    today = parameters["today"]
    version = "version" if cluster.type == kinds.EKS_CLUSTER else "minMasterVersion"
    if at(cluster, version) is None and off(at(cluster, "releaseChannel")):
        yield "doesn't say which version it runs; expected one"
    if minor and support is None and _older_than_any(minor, cluster.package):
        yield f"runs Kubernetes {minor}, which has ended"
    if support is None:
        return
    extended = support.extended_until
    if extended and today > extended:
        yield f"runs Kubernetes {minor}, which ended for good on {extended}"
    elif today > support.standard_until and _pays_for_more(cluster) is False:
        yield (
            f"runs Kubernetes {minor}, whose standard support ended on {support.standard_until}: the cloud upgrades it"
            " by itself"
        )


def _older_than_any(minor: str, cloud: str) -> bool:
    known = [version(one) for of, one in KUBERNETES if of == cloud]
    return bool(known) and version(minor) < min(known)


@resource_policy(
    "kubernetes-version-lasts",
    "The clusters' version of Kubernetes has standard support for some time to come",
    types=(kinds.EKS_CLUSTER, kinds.GKE_CLUSTER),
    risk="low",
    why=_SUPPORT,
    fix="Plan the next minor version; extended support costs more.",
    level="warning",
    parameters={"days_left": 60},
)
def kubernetes_version_lasts(cluster: Resource, parameters: Parameters) -> Iterator[str]:
    minor, support = _support(cluster)
    if support is None or parameters["today"] == date.min:
        return
    left = (support.standard_until - parameters["today"]).days
    over = bool(support.extended_until) and parameters["today"] > support.extended_until
    if left < 0 and _pays_for_more(cluster) and not over:
        yield f"runs Kubernetes {minor} in extended support, which costs more, since {support.standard_until}"
    elif 0 <= left < parameters["days_left"]:
        yield f"runs Kubernetes {minor}, whose standard support ends on {support.standard_until}, in {left} days"


@stack_policy(
    "budget-alarm-present",
    "Somebody hears of it before an environment has spent its month's money",
    risk="high",
    why="https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-managing-costs.html",
    fix="Set ai-cloud:budget, or add a budget with a notification in each cloud that is used.",
)
def budget_alarm_present(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    plan = inventory.plan
    used = {resource.package for resource in plan if resource.custom and not resource.is_provider}
    for cloud, budget_type, alarm in (
        ("aws", kinds.AWS_BUDGET, "notifications"),
        ("gcp", kinds.GCP_BUDGET, "thresholdRules"),
    ):
        budgets = plan.of_type(budget_type)
        if cloud in used and not budgets:
            yield Violation(f"spends money in {cloud} and has no budget there", subject=cloud)
        for budget in budgets:
            told = at(budget, alarm, [])
            if told == []:
                yield Violation(f"tells nobody; expected {alarm}", budget)
            elif cloud == "aws" and not unclear(told) and not any(_told(one) for one in each(told)):
                yield Violation("tells nobody; expected subscribers of a notification", budget)


def _told(notification: Mapping[str, Any]) -> bool:
    subscribers = ("subscriberEmailAddresses", "subscriberSnsTopicArns")
    return any(notification.get(key) not in (None, [], "") for key in subscribers)


@stack_policy(
    "accelerator-ceiling",
    "An environment can never have more accelerators than it may",
    risk="high",
    why="https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html",
    fix="Lower `max` of a node pool or service, or raise the parameter `accelerators` once it has been agreed.",
    parameters={"accelerators": 64},
)
def accelerator_ceiling(inventory: Inventory, parameters: Parameters) -> Iterator[Violation]:
    total, pools = 0, []
    for rung in (rung for cluster in inventory.clusters for rung in cluster.rungs):
        if rung.accelerators and rung.max is None:
            yield Violation(
                "may grow without end; expected a limit", inventory.plan.by_urn.get(rung.urn), subject=rung.name
            )
    for cluster in inventory.clusters:
        for pool in cluster.pools:
            most = sum(rung.accelerators * rung.max for rung in pool.rungs if rung.max is not None)
            total += most
            pools += [f"{cluster.name}/{pool.name} {most}"] if most else []
    for service in serverless(inventory):
        machine = MACHINES.get(service.instance_type.removeprefix("ml."))
        most = (service.accelerators or (machine.count if machine else 0)) * (service.max or 0)
        total += most
        pools += [f"{service.name} {most}"] if most else []
    if total > parameters["accelerators"]:
        yield Violation(
            f"may have {total} accelerators ({', '.join(pools)}); expected {parameters['accelerators']} at most"
        )


@stack_policy(
    "hourly-cost-ceiling",
    "An environment says what an hour of it may cost at its largest, and can never cost more",
    risk="high",
    why="https://docs.aws.amazon.com/wellarchitected/latest/cost-optimization-pillar/governance.html",
    fix="Lower `max` of a node pool, or set cost:budget's largestUsdPerHour to what has been agreed.",
)
def hourly_cost_ceiling(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    found = estimate(inventory)
    ceiling = next((limit for limit in limits(found, inventory.plan.config) if limit.name == CEILING), None)
    if ceiling is None:
        yield Violation(f"has no ceiling; expected {CEILING} under cost:budget")
    elif ceiling.exceeded:
        yield Violation(exceeded(found, ceiling))
