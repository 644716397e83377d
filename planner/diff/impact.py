"""What a change takes down: serving capacity, pods, stored data; and what would make `pulumi up` fail half-way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from planner.diff.model import Capacity, Change, Impact, Loss, Property
from planner.diff.properties import element_names, steps_of
from planner.diff.replacing import one_above_other, plain_steps
from planner.finding import Finding, Rule, worst_first
from planner.inventory import Cluster, Inventory, Pool, Rung, Workload
from planner.plan import UNKNOWN, Plan, Resource

PROTECTED = Rule(
    "protected-stays",
    "No change deletes or replaces what is protected",
    "error",
    "https://www.pulumi.com/docs/iac/concepts/resources/options/protect/",
    "Change it without a replacement, or unprotect it in a pull request of its own and say there why.",
)
GUARDED = Rule(
    "deletion-protection-stays",
    "No change deletes or replaces what the cloud itself protects",
    "error",
    remediation="Switch its deletion protection off in a pull request of its own, or keep the resource.",
)
DATA = Rule(
    "stored-data-stays",
    "No change loses stored data",
    "warning",
    remediation="Copy the data first, keep the old one with `retainOnDelete`, or change it without a replacement.",
)
ALIAS = Rule(
    "renames-have-aliases",
    "What has another name only is not made anew",
    "warning",
    "https://www.pulumi.com/docs/iac/concepts/resources/options/aliases/",
    "Give the new resource an alias of its old name, and nothing happens to it.",
)
SERVING = Rule(
    "serving-stays",
    "No change takes down all serving capacity of a region",
    "warning",
    remediation="Drain the region first, or add the new capacity in one change and take away the old in the next.",
)
ROLLED_OUT = Rule(
    "requests-are-handed-back",
    "No change deletes the servers that a rollout may have given the requests to",
    "warning",
    remediation="If it was promoted, give the model that version first and keep `next`: requests are handed back then. "
    "If it was rolled back, it has none: go on.",
)
RULES = (PROTECTED, GUARDED, DATA, ALIAS, SERVING, ROLLED_OUT)

RENAMED = "looks renamed without an alias, to "
"""Begins a note of a deletion that a creation undoes."""

_DATA = {
    "aws:s3/bucket:Bucket": "its objects",
    "aws:s3/bucketV2:BucketV2": "its objects",
    "aws:dynamodb/table:Table": "its items",
    "aws:ebs/volume:Volume": "the volume's data",
    "aws:ecr/repository:Repository": "its images",
    "aws:efs/fileSystem:FileSystem": "its files",
    "aws:fsx/lustreFileSystem:LustreFileSystem": "its files that are not exported to a bucket",
    "aws:kms/key:Key": "whatever is encrypted with it",
    "aws:rds/cluster:Cluster": "its databases",
    "aws:rds/instance:Instance": "its databases",
    "aws:secretsmanager/secret:Secret": "the secret's versions",
    "gcp:artifactregistry/repository:Repository": "its images",
    "gcp:compute/disk:Disk": "the disk's data",
    "gcp:filestore/instance:Instance": "its files",
    "gcp:kms/cryptoKey:CryptoKey": "whatever is encrypted with it",
    "gcp:lustre/instance:Instance": "its files that are not exported to a bucket",
    "gcp:parallelstore/instance:Instance": "its files that are not exported to a bucket",
    "gcp:secretmanager/secret:Secret": "the secret's versions",
    "gcp:sql/databaseInstance:DatabaseInstance": "its databases",
    "gcp:storage/bucket:Bucket": "its objects",
    "kubernetes:core/v1:PersistentVolumeClaim": "the volume's data, where it is not retained",
}
_REFUSES_WHILE_FULL = {"aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2", "gcp:storage/bucket:Bucket"}
_GUARDS = ("deletionProtection", "deletionProtectionEnabled", "enableDeletionProtection", "disableApiTermination")

_ROLLS = {
    "aws:eks/nodeGroup:NodeGroup": ("launchTemplate.version", "releaseVersion", "version"),
    # GKE makes the machines of a pool anew for these (remembered: "node upgrade" of the API's NodeConfig fields).
    "gcp:container/nodePool:NodePool": (
        "version",
        "nodeConfig.machineType",
        "nodeConfig.diskType",
        "nodeConfig.diskSizeGb",
        "nodeConfig.imageType",
        "nodeConfig.kubeletConfig",
        "nodeConfig.linuxNodeConfig",
    ),
    # Karpenter calls it drift: https://karpenter.sh/docs/concepts/disruption/#drift
    "kubernetes:karpenter.sh/v1:NodePool": ("spec.template",),
    "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass": ("spec",),
    "kubernetes:apps/v1:Deployment": ("spec.template",),
    "kubernetes:apps/v1:StatefulSet": ("spec.template",),
    "kubernetes:apps/v1:DaemonSet": ("spec.template",),
    # Its Deployment, or a new revision of Knative's.
    "kubernetes:serving.kserve.io/v1beta1:InferenceService": ("spec.predictor",),
}
"""Type -> properties of which a change in place exchanges machines or pods, a few at a time."""
_NODE_CLASS = "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"


@dataclass(frozen=True)
class Weighed:
    """Changes with what they take down, and what is wrong with them."""

    changes: list[Change]
    findings: list[Finding]


def weigh(old: Plan, new: Plan, changes: Mapping[str, Change], old_of: Mapping[str, str]) -> Weighed:
    """Say of each change what it takes down, of what runs before it."""
    standing = _Standing(Inventory(old))
    candidates = _candidates(old)
    followers: dict[str, list[str]] = {}
    for urn, change in changes.items():
        for cause in change.causes:
            followers.setdefault(cause, []).append(urn)
    weighed: list[Change] = []
    findings: list[Finding] = []
    for urn, change in changes.items():
        before = old.by_urn.get(old_of.get(urn, urn))
        if before is None or change.op not in ("delete", "replace", "update"):
            weighed.append(change)
            continue
        impact = _impact(change, changes, followers, standing, old_of)
        data = _data(before) if change.op in ("delete", "replace") else ""
        change = replace(change, impact=impact, data=data)
        weighed.append(change)
        findings += _wrong(change, before, new.by_urn.get(urn))
        if change.op == "delete":
            findings += _handed_back(before, candidates)
    return Weighed(weighed, worst_first(findings))


def _impact(
    change: Change,
    changes: Mapping[str, Change],
    followers: Mapping[str, list[str]],
    standing: _Standing,
    old_of: Mapping[str, str],
) -> Impact | None:
    if change.op == "update":
        rolled = standing.rolled(old_of.get(change.urn, change.urn), change)
        if rolled is None:
            drained = tuple(p.path for p in change.properties if _is_drained(p))
            before = standing.plan.by_urn[old_of.get(change.urn, change.urn)]
            traffic = tuple(dict.fromkeys(_to(before, path) for path in drained))
            return Impact("drained", traffic=traffic, because=drained) if drained else None
        rungs, workloads, because = rolled
        return Impact("rolled", tuple(standing.losses(rungs)), tuple(map(_pods, workloads)), because=because)
    reached = _reached(change.urn, changes, followers)
    here = {old_of.get(urn, urn) for urn in reached}
    rungs, workloads = standing.on(here)
    losses, pods = tuple(standing.losses(rungs)), tuple(map(_pods, workloads))
    traffic = tuple(_traffic(standing.plan.by_urn[old_of.get(change.urn, change.urn)]))
    if not losses and not pods and not traffic and len(reached) == 1:
        return None
    return Impact("gone" if change.op == "delete" else "replaced", losses, pods, traffic, resources=len(reached) - 1)


_WEIGHTS = ("weight", "capacityScaler", "trafficDialPercentage")
"""What a front door shares traffic out by."""

_FRONT_DOOR = (
    "aws:globalaccelerator/accelerator:Accelerator",
    "aws:globalaccelerator/endpointGroup:EndpointGroup",
    "aws:globalaccelerator/listener:Listener",
    "aws:lb/listener:Listener",
    "aws:lb/loadBalancer:LoadBalancer",
    "gcp:compute/backendService:BackendService",
    "gcp:compute/globalForwardingRule:GlobalForwardingRule",
    "gcp:compute/targetHttpsProxy:TargetHttpsProxy",
    "gcp:compute/uRLMap:URLMap",
    "kubernetes:core/v1:Service",
)


def _is_drained(change: Property) -> bool:
    return plain_steps(change.path)[-1:] in ([step] for step in _WEIGHTS) and change.new == 0 and change.old != 0


def _to(before: Resource, path: str) -> str:
    """Where the traffic went that a weight of zero stops: by the group or endpoint beside the weight."""
    value: Any = before.inputs
    *owner, _ = steps_of(path)
    for step in owner:
        if isinstance(value, list):
            value = dict(zip(element_names(value), value, strict=True)).get(step)
        else:
            value = _in(value, step)
    group = next((v for key in ("group", "endpointId") if isinstance(v := _in(value, key), str)), "")
    if not group or UNKNOWN in group:
        return f"traffic to {'.'.join(owner)}" if owner else "all its traffic"
    return f"traffic to {'/'.join(group.split('/')[-3:])}"


def _traffic(before: Resource) -> Iterator[str]:
    """What traffic takes no more when a resource goes."""
    if before.type == "aws:route53/record:Record" and isinstance(name := before.inputs.get("name"), str):
        which = before.inputs.get("setIdentifier")
        yield f"an answer of {name}" + (f" ({which})" if isinstance(which, str) else "")
    elif before.type in _FRONT_DOOR:
        yield f"traffic through {before.name}"


def _reached(start: str, changes: Mapping[str, Change], followers: Mapping[str, list[str]]) -> set[str]:
    """A change and the replacements that follow from it."""
    found, waiting = {start}, [start]
    while waiting:
        for urn in followers.get(waiting.pop(), ()):
            if urn not in found and changes[urn].op in ("replace", "delete"):
                found.add(urn)
                waiting.append(urn)
    return found


class _Standing:
    """What runs before the change, by the resource that it stands on."""

    def __init__(self, inventory: Inventory) -> None:
        self.plan = inventory.plan
        self.rungs: dict[str, Rung] = {}
        self.purposes: dict[str, str] = {}
        self.of_cluster: dict[str, Cluster] = {}
        self.on_network: dict[str, list[Cluster]] = {}
        self.totals: dict[tuple[str, str, bool], int | None] = {}
        for cluster in inventory.clusters:
            self.of_cluster[cluster.urn] = cluster
            self.on_network.setdefault(cluster.network, []).append(cluster)
            for pool in cluster.pools:
                for rung in pool.rungs:
                    self.rungs[rung.urn] = rung
                    self.purposes[rung.urn] = pool.purpose
        self.workloads: dict[str, list[Workload]] = {}
        for workload in inventory.workloads:
            self.workloads.setdefault(workload.urn, []).append(workload)
            self.workloads.setdefault(f"in {workload.cluster}", []).append(workload)
        for rung in self.rungs.values():
            key = (rung.region, self.purposes[rung.urn], rung.accelerators > 0)
            self.totals[key] = _plus(self.totals.get(key, 0), _units(rung, rung.max))

    def on(self, urns: Iterable[str]) -> tuple[list[Rung], list[Workload]]:
        """Machines and pods that go when these resources go."""
        rungs: dict[str, Rung] = {}
        workloads: dict[tuple[str, str], Workload] = {}
        for urn in urns:
            clusters = [self.of_cluster[urn]] if urn in self.of_cluster else self.on_network.get(urn, []) if urn else []
            for cluster in clusters:
                rungs |= {rung.urn: rung for rung in cluster.rungs}
                workloads |= {(w.urn, w.part): w for w in self.workloads.get(f"in {cluster.urn}", ())}
            if urn in self.rungs:
                rungs[urn] = self.rungs[urn]
            workloads |= {(w.urn, w.part): w for w in self.workloads.get(urn, ())}
        return list(rungs.values()), list(workloads.values())

    def rolled(self, urn: str, change: Change) -> tuple[list[Rung], list[Workload], tuple[str, ...]] | None:
        """Machines and pods that an update exchanges, and the properties that do it; None where it exchanges none."""
        wanted = _ROLLS.get(change.type, ())
        paths = tuple(
            p.path
            for p in change.properties
            if any(one_above_other(".".join(plain_steps(p.path)), path) for path in wanted)
        )
        if not paths:
            return None
        pools = [urn]
        if change.type == _NODE_CLASS:
            resource = self.plan.by_urn[urn]
            name = _in(resource.inputs, "metadata", "name")
            pools = [
                other.urn
                for other in self.plan
                if other.provider == resource.provider
                and other.urn in self.rungs
                and _in(other.inputs, "spec", "template", "spec", "nodeClassRef", "name") == name
            ]
        return *self.on(pools), paths

    def losses(self, rungs: Iterable[Rung]) -> Iterator[Loss]:
        """Machines by region and purpose, as parts of what there is."""
        found: dict[tuple[str, str, bool], list[Rung]] = {}
        for rung in rungs:
            found.setdefault((rung.region, self.purposes[rung.urn], rung.accelerators > 0), []).append(rung)
        for (region, purpose, accelerators), own in sorted(found.items()):
            largest: int | None = 0
            for rung in own:
                largest = _plus(largest, _units(rung, rung.max))
            everywhere: int | None = 0
            for (_, other, kind), total in self.totals.items():
                if (other, kind) == (purpose, accelerators):
                    everywhere = _plus(everywhere, total)
            yield Loss(
                region,
                purpose,
                accelerators,
                sum(_units(rung, rung.min) or 0 for rung in own),
                largest,
                _share(largest, self.totals[region, purpose, accelerators]),
                _share(largest, everywhere),
            )


def _units(rung: Rung, machines: int | None) -> int | None:
    return None if machines is None else machines * (rung.accelerators or 1)


def _plus(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _share(part: int | None, whole: int | None) -> float | None:
    return part / whole if part is not None and whole else None


def _pods(workload: Workload) -> str:
    if workload.kind == "DaemonSet":
        return f"{workload.name} in {workload.region} (a pod on each machine)"
    least, most = workload.min_replicas, workload.max_replicas
    count = f"{least} to {most}" if most != least else str(least)
    return f"{workload.name} in {workload.region} ({count} pod{'' if count == '1' else 's'})"


def _in(value: Any, *steps: str) -> Any:
    for step in steps:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


# ---- what would be lost, and what would fail


def _data(before: Resource) -> str:
    stored = _DATA.get(before.type, "")
    if not stored or before.external or before.retain_on_delete:
        return ""
    if before.package == "kubernetes" and _in(before.inputs, "spec", "volumeName"):
        return ""  # of a volume that is a resource of its own
    if before.type in _REFUSES_WHILE_FULL and before.inputs.get("forceDestroy") is not True:
        return f"{stored} (the cloud refuses while there are any: forceDestroy is off)"
    return stored


def _candidates(plan: Plan) -> dict[tuple[str, str], str]:
    """Namespace and name of the Services that rollouts give requests to -> the Job that does."""
    found = {}
    for job in plan.of_type("kubernetes:batch/v1:Job"):
        for container in _in(job.inputs, "spec", "template", "spec", "containers") or ():
            words = _in(container, "args")
            if _in(container, "command") != ["python", "-m", "workloads.rollout"] or not isinstance(words, list):
                continue
            # One that hands requests back leaves the candidate none.
            if words[:1] == ["run"] and "--candidate" in words[:-1]:
                namespace, _, service = str(words[words.index("--candidate") + 1]).partition("/")
                name = service.partition("@")[0].partition(":")[0]
                found[namespace, name] = job.name
    return found


def _handed_back(before: Resource, candidates: Mapping[tuple[str, str], str]) -> Iterator[Finding]:
    if before.type != "kubernetes:core/v1:Service":
        return
    here = tuple(_in(before.inputs, "metadata", key) for key in ("namespace", "name"))
    for (namespace, name), job in candidates.items():
        # A preview doesn't know the namespace of what is in one that the same program makes.
        if here in ((namespace, name), (UNKNOWN, name)):
            said = f"would be deleted, and has all requests if the rollout in {job} has promoted it"
            yield ROLLED_OUT.finding(said, before)


def _wrong(change: Change, before: Resource, after: Resource | None) -> Iterator[Finding]:
    at = after or before
    word = {"delete": "deleted", "replace": "replaced"}.get(change.op)
    if word is None:
        return
    because = f" ({change.reasons[0]})" if change.reasons else ""
    refused = before.protect and (after is None or after.protect or change.op == "delete")
    if refused:
        yield PROTECTED.finding(f"would be {word}{because}, but is protected: `pulumi up` fails", at)
    guard = next((key for key in _GUARDS if before.inputs.get(key) is True), "")
    if guard and not before.retain_on_delete:
        yield GUARDED.finding(f"would be {word}{because}, but has {guard}: the cloud refuses, half-way through", at)
    if change.data and not refused:
        yield DATA.finding(f"would be {word}{because} and lose {change.data}", at)
    note = next((note for note in change.notes if note.startswith(RENAMED)), "")
    if note:
        yield ALIAS.finding(note, at)
    for loss in change.impact.capacity if change.impact and not change.causes else ():
        if loss.purpose == "serving" and loss.share_of_region == 1:
            share = f", {loss.share_of_all:.0%} of all" if loss.share_of_all is not None else ""
            yield SERVING.finding(
                f"would be {word}{because}, and with it all serving capacity of {loss.region}{share}",
                at,
                subject=loss.region,
            )


# ---- sizes


def capacity(old: Plan, new: Plan, old_of: Mapping[str, str]) -> Iterator[Capacity]:
    """Pools whose fewest or most machines change."""
    before, after = _pools(Inventory(old), {}), _pools(Inventory(new), old_of)
    for key in sorted(before.keys() | after.keys()):
        pools = [side[key] for side in (after, before) if key in side]
        was, will = ((side[key].min, side[key].max) if key in side else (0, 0) for side in (before, after))
        if was != will:
            pool = pools[0]
            rungs = [rung for each in pools for rung in each.rungs]
            kinds = dict.fromkeys(name for rung in rungs for name in rung.machine_types)
            accelerators = max((rung.accelerators for rung in rungs), default=0)
            cluster = key[1].rpartition("::")[2]
            yield Capacity(
                pool.region, cluster, pool.name, pool.purpose, ", ".join([*kinds][:3]), accelerators, was, will
            )


def _pools(inventory: Inventory, old_of: Mapping[str, str]) -> dict[tuple[str, str, str], Pool]:
    return {
        (cluster.region, old_of.get(cluster.urn, cluster.urn), pool.name): pool
        for cluster in inventory.clusters
        for pool in cluster.pools
    }
