"""Training, what is kept: checkpoints are somewhere that outlives the machine and that the job may write to, and the
journal of a sweep is one that all of its workers share."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from planner.checks.contracts.identity import ASSOCIATION, GOOGLE_ACCOUNT
from planner.checks.placement.placed import Placed
from planner.checks.training.commands import TRAINERS, TRAINING, Command, commands, environment, named
from planner.checks.view import View
from planner.finding import Finding, Rule
from planner.inventory import Workload
from planner.inventory.objects import Object, maps
from planner.inventory.references import at, items
from planner.plan import UNKNOWN, Resource

CHECKPOINTS = Rule(
    "checkpoints-outlive-the-machine",
    "Training whose machines may go saves to an object store, or a shared file system, and may write there",
    url="https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html",
    remediation="Give `--checkpoint.remote s3://bucket/prefix` (or gs://), and the job's service account leave to "
    "write there.",
)
JOURNAL = Rule(
    "sweep-journal-is-shared",
    "Workers of one search share its journal: on a claim that many machines may write",
    url="https://optuna.readthedocs.io/en/stable/reference/generated/optuna.storages.JournalStorage.html",
    remediation="Put the journal onto a claim with the access mode ReadWriteMany, such as the warm tier's.",
)
RULES = (CHECKPOINTS, JOURNAL)

REMOTE, OUTPUT = "--checkpoint.remote", "--output"
SCHEMES = ("s3", "gs", "az")
SHARED = "ReadWriteMany"
ROLE, ROLE_POLICY = "aws:iam/role:Role", "aws:iam/rolePolicy:RolePolicy"
_BUCKET_GRANTS = ("gcp:storage/bucketIAMMember:BucketIAMMember", "gcp:storage/bucketIAMBinding:BucketIAMBinding")
_PROJECT_GRANTS = ("gcp:projects/iAMMember:IAMMember", "gcp:projects/iAMBinding:IAMBinding")
_WRITERS = ("storage.objectUser", "storage.objectAdmin", "storage.admin", "storage.legacyBucketWriter",
            "storage.legacyBucketOwner", "editor", "owner")  # fmt: skip
"""Roles that may create, overwrite and delete objects. https://cloud.google.com/storage/docs/access-control/iam-roles"""
_READERS = ("storage.objectViewer", "storage.legacyObjectReader", "storage.legacyBucketReader", "storage.objectCreator",
            "storage.bucketViewer", "viewer", "browser")  # fmt: skip
"""Roles that may not: checkpoints are also deleted, which a creator may not."""


def findings(view: View, one: Placed) -> Iterator[Finding]:
    """Checkpoints and journals that are lost with a machine."""
    for command in commands(one.workload, _entrypoint(one)):
        if command.initial or "--help" in command.words:
            continue
        if TRAINERS & {*command.modules()}:
            yield from _checkpoints(view, one, command)
        elif f"{TRAINING}.sweep" in command.modules():
            yield from _journal(view, one, command)


def _entrypoint(one: Placed) -> Any:
    """What a RayJob runs: on its head, in the head's environment, and for the workers, who save."""
    groups = [at(group, "groupName") for group in maps(one.near.spec, "rayClusterSpec.workerGroupSpecs")]
    if one.near.kind != "RayJob" or one.workload.part not in groups[:1]:
        return None
    given = one.near.spec.get("entrypoint")
    head = next(iter(maps(one.near.spec, "rayClusterSpec.headGroupSpec.template.spec.containers")), {})
    variables = environment(head)
    known = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
    return known.sub(lambda m: variables.get(m[1] or m[2], UNKNOWN), given) if isinstance(given, str) else None


# ---- checkpoints


def _checkpoints(view: View, one: Placed, command: Command) -> Iterator[Finding]:
    workload, url = one.workload, command.option(REMOTE)
    if url is None or url == "":
        leaves = bool(workload.queue) or any(rung.spot for rung in one.rungs)
        output = command.option(OUTPUT)
        if leaves and output != UNKNOWN and not _is_kept(workload, str(output)):
            yield CHECKPOINTS.finding(
                f"{named(workload)}: {command.container} saves to {output or 'its own disk'} alone, which is lost with"
                f" the machine; {REMOTE} is not given",
                one.near.resource,
                subject=workload.part,
            )
        return
    if UNKNOWN in url:
        return
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        yield CHECKPOINTS.finding(
            f"{named(workload)}: {REMOTE} is {url!r}; accepted are {', '.join(f'{s}://' for s in SCHEMES)}",
            one.near.resource,
            subject=workload.part,
        )
    elif problem := _refused(view, one, parts.scheme, parts.netloc, parts.path.strip("/")):
        yield CHECKPOINTS.finding(
            f"{named(workload)}: {problem}", one.near.resource, subject=f"{workload.part} access".strip()
        )


def _is_kept(workload: Workload, path: str) -> bool:
    """Whether a path is on a claim, which the next pod mounts again; true where the plan doesn't tell."""
    volume = _volume(workload, path)
    return volume is None or "persistentVolumeClaim" in volume


def _refused(view: View, one: Placed, scheme: str, bucket: str, prefix: str) -> str:
    """Why a pod may not write there; empty where it may, or where the plan doesn't tell."""
    account = one.workload.spec.get("serviceAccountName") or "default"
    if UNKNOWN in (account, one.near.namespace):
        return ""
    if scheme == "s3" and one.cluster.cloud == "aws":
        return _refused_on_aws(view, one.near, str(account), bucket, prefix)
    if scheme == "gs" and one.cluster.cloud == "gcp":
        return _refused_on_gcp(view, one.near, str(account), bucket, prefix)
    return ""


def _refused_on_aws(view: View, near: Object, account: str, bucket: str, prefix: str) -> str:
    own = view.objects.find(near, "ServiceAccount", account)
    if own is None or any("role-arn" in key for key in own.annotations):
        return ""  # not there, which `service-account-exists` tells; or by the older way, whose role may be anybody's
    associations = view.associations.get(near.cluster, [])
    if any(UNKNOWN in (a.inputs.get("namespace"), a.inputs.get("serviceAccount")) for a in associations):
        return ""
    me = near.namespace, account
    mine = [a for a in associations if (a.inputs.get("namespace"), a.inputs.get("serviceAccount")) == me]
    if not mine:
        others = view.links.of_type(ASSOCIATION)
        return f"its service account {near.namespace}/{account} has no identity in the cloud" if others else ""
    roles = view.inventory.references(mine[0], "roleArn", ROLE)
    if not roles:
        return ""
    parts = view.role_parts.get(roles[0].urn, [])
    known = roles[0].inputs.get("managedPolicyArns") is None and roles[0].inputs.get("inlinePolicies") is None
    if not known or any(part.type != ROLE_POLICY for part in parts):
        return ""
    wanted = f"arn:aws:s3:::{bucket}/{prefix}/step"
    for part in parts:
        allowed = _allows(part.inputs.get("policy"), "s3:PutObject", wanted)
        if allowed is not False:
            return ""
    return f"its role {roles[0].name} may not write to s3://{bucket}/{prefix}"


def _allows(policy: Any, action: str, resource: str) -> bool | None:
    """Whether a policy document allows something; None where the plan doesn't tell. Conditions are taken to hold."""
    if isinstance(policy, str) and UNKNOWN not in policy:
        try:
            policy = json.loads(policy)
        except json.JSONDecodeError:
            return None
    if not isinstance(policy, Mapping):
        return None
    for statement in maps(policy, "Statement"):
        if statement.get("Effect") != "Allow" or "Action" not in statement or "Resource" not in statement:
            if statement.get("Effect") == "Allow":
                return None  # NotAction, NotResource
            continue
        actions, resources = _texts(statement["Action"]), _texts(statement["Resource"])
        if UNKNOWN in (*actions, *resources):
            return None
        if any(fnmatchcase(action.lower(), a.lower()) for a in actions) and any(
            fnmatchcase(resource, re.sub(r"^arn:[^:]+:", "arn:aws:", r)) for r in resources
        ):
            return True
    return False


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(one) for one in value] if isinstance(value, list | tuple) else []


def _refused_on_gcp(view: View, near: Object, account: str, bucket: str, prefix: str) -> str:
    own = view.objects.find(near, "ServiceAccount", account)
    if own is None or GOOGLE_ACCOUNT in own.annotations:
        return ""  # not there, or as a Google account, whose roles may be anywhere
    grants = view.links.of_type(*_BUCKET_GRANTS)
    if not grants:
        return ""  # somebody else grants
    members = (f"/subject/ns/{near.namespace}/sa/{account}", f".svc.id.goog[{near.namespace}/{account}]")
    for grant in (*grants, *view.links.of_type(*_PROJECT_GRANTS)):
        given = [grant.inputs.get("member"), *items(grant.inputs, "members")]
        if any(one == UNKNOWN or (isinstance(one, str) and UNKNOWN in one) for one in given):
            return ""
        if not any(isinstance(one, str) and one.endswith(members) for one in given):
            continue
        if grant.type in _BUCKET_GRANTS and grant.inputs.get("bucket") not in (bucket, UNKNOWN):
            continue
        role = str(grant.inputs.get("role")).removeprefix("roles/")
        if role not in _READERS and (role in _WRITERS or "/" in role or role == UNKNOWN) and _under(grant, prefix):
            return ""
    return f"its service account {near.namespace}/{account} may not write to gs://{bucket}/{prefix}"


def _under(grant: Resource, prefix: str) -> bool:
    """Whether a grant's condition, if it has one, holds for objects with a prefix."""
    expression = at(grant.inputs, "condition.expression")
    if not isinstance(expression, str) or UNKNOWN in expression:
        return True
    prefixes = re.findall(r'/objects/([^"]*)"', expression)
    return not prefixes or any(f"{prefix}/".startswith(one) for one in prefixes)


# ---- journals


def _journal(view: View, one: Placed, command: Command) -> Iterator[Finding]:
    workload, path = one.workload, command.option("--journal")
    if workload.max_replicas < 2 or path in (None, UNKNOWN, ""):
        return
    volume = _volume(workload, str(path))
    if volume is None:
        return
    claim = at(volume, "persistentVolumeClaim.claimName")
    if claim is None:
        kind = next((key for key in volume if key != "name"), "the container's own disk")
        why = f"is on {volume.get('name') or 'no volume'} ({kind}), of which each pod has its own"
    else:
        found = view.objects.find(one.near, "PersistentVolumeClaim", str(claim))
        modes = items(found.spec, "accessModes") if found is not None else []
        if not modes or UNKNOWN in modes or SHARED in modes:
            return
        why = f"is on the claim {claim}, which is {', '.join(map(str, modes))}"
    yield JOURNAL.finding(
        f"{named(workload)}: its journal {path} {why}; {workload.max_replicas} workers would search each by itself",
        one.near.resource,
        subject=workload.part,
    )


def _volume(workload: Workload, path: str) -> Mapping[str, Any] | None:
    """The volume that a path is on, {} for the container's own disk; None where the plan doesn't tell."""
    mounts = [mount for container in maps(workload.spec, "containers") for mount in maps(container, "volumeMounts")]
    if any(mount.get("mountPath") == UNKNOWN for mount in mounts):
        return None
    over = [m for m in mounts if f"{path}/".startswith(f"{str(m.get('mountPath')).rstrip('/')}/")]
    if not over:
        return {}
    name = max(over, key=lambda mount: len(str(mount.get("mountPath")))).get("name")
    return next((volume for volume in maps(workload.spec, "volumes") if volume.get("name") == name), None)
