"""Placement, the volumes: a pod's claims are there and can be bound, and where they tie a pod to."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from planner.finding import Finding, Rule
from planner.inventory import Workload
from planner.inventory.objects import Object, Objects, maps
from planner.inventory.quantity import known
from planner.inventory.references import at, items
from planner.plan import UNKNOWN

CLAIM, VOLUME = "PersistentVolumeClaim", "PersistentVolume"

VOLUME_CLAIM_EXISTS = Rule(
    "volume-claim-exists",
    "Every claim that a pod mounts is there, and every volume that a claim names",
    url="https://kubernetes.io/docs/concepts/storage/persistent-volumes/#claims-as-volumes",
    remediation="Name a claim of the pod's own namespace, or make one there: until then the pod waits.",
)


def findings(objects: Objects, workloads: list[tuple[Workload, Object]]) -> Iterator[Finding]:
    """Claims that aren't there, and claims that can never be bound."""
    for workload, near in workloads:
        for name in claim_names(workload) if near.namespace != UNKNOWN else ():
            if objects.find(near, CLAIM, name) is None and not objects.in_doubt(near, CLAIM):
                yield VOLUME_CLAIM_EXISTS.finding(
                    f"{workload.kind} {workload.name} mounts the claim {name!r}, which is not in namespace"
                    f" {near.namespace}; {_there(objects, near, name)}",
                    near.resource,
                    subject=name,
                )
    for claim in objects.of_kind(CLAIM):
        if problem := _never_bound(objects, claim):
            yield VOLUME_CLAIM_EXISTS.finding(f"claim {claim.place} {problem}", claim.resource)


def _there(objects: Objects, near: Object, name: str) -> str:
    names = sorted(claim.name for claim in objects.beside(near, CLAIM))
    close = difflib.get_close_matches(name, names, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    elsewhere = {o.namespace for o in objects.of_kind(CLAIM) if o.cluster == near.cluster and o.name == name}
    if elsewhere:
        return f"it is in {', '.join(sorted(elsewhere))}, and a pod mounts claims of its own namespace only"
    return f"there is {', '.join(names) or 'none at all'}"


def _never_bound(objects: Objects, claim: Object) -> str:
    """Why a claim that names its volume never gets it; empty where it does, or where nobody knows."""
    name = claim.spec.get("volumeName")
    if not isinstance(name, str) or not name or UNKNOWN in name:
        return ""
    volume = objects.find(claim, VOLUME, name)
    if volume is None:
        static = claim.spec.get("storageClassName") == ""
        return (
            f"names the volume {name!r}, which is not there" if static and not objects.in_doubt(claim, VOLUME) else ""
        )
    modes = items(volume.spec, "accessModes")
    missing = [mode for mode in items(claim.spec, "accessModes") if mode not in modes]
    if missing and modes and UNKNOWN not in (*missing, *modes):
        return f"wants {missing[0]}, and its volume {name} has {', '.join(map(str, modes))}"
    wanted, there = (known(at(s, p)) for s, p in ((claim.spec, "resources.requests.storage"),
                                                   (volume.spec, "capacity.storage")))  # fmt: skip
    if wanted and there and wanted > there:
        return f"wants more storage than its volume {name} has"
    held = at(volume.spec, "claimRef.namespace"), at(volume.spec, "claimRef.name")
    mine = claim.namespace, claim.name
    if all(isinstance(text, str) and UNKNOWN not in text for text in (*held, *mine)) and held != mine:
        return f"names the volume {name}, which is kept for {'/'.join(map(str, held))}"
    return ""


def claim_names(workload: Workload) -> list[str]:
    """Names of the claims that a workload's pods mount, so far as the plan knows them."""
    names = (at(volume, "persistentVolumeClaim.claimName") for volume in maps(workload.spec, "volumes"))
    return [name for name in names if isinstance(name, str) and UNKNOWN not in name]


def claims(objects: Objects, workload: Workload, near: Object) -> list[Object]:
    """The claims that a workload's pods mount, so far as they are in the plan."""
    found = (objects.find(near, CLAIM, name) for name in claim_names(workload))
    return [claim for claim in found if claim is not None]


def selectors(objects: Objects, workload: Workload, near: Object) -> list[Mapping[str, Any]]:
    """Node selectors of the volumes that a workload's pods mount: a zonal disk is of use in its zone only.

    https://kubernetes.io/docs/concepts/storage/persistent-volumes/#node-affinity and
    https://kubernetes.io/docs/concepts/storage/storage-classes/#allowed-topologies
    """
    found: list[Mapping[str, Any]] = []
    for claim in claims(objects, workload, near):
        volume = objects.find(claim, VOLUME, str(claim.spec.get("volumeName")))
        if volume is not None:
            required = at(volume.spec, "nodeAffinity.required")
            found += [required] if isinstance(required, Mapping) else []
            continue
        storage_class = _class(objects, claim)
        terms = maps(storage_class.resource.inputs, "allowedTopologies") if storage_class else []
        if terms:
            found.append({"nodeSelectorTerms": [_as_term(term) for term in terms]})
    return found


def _as_term(topology: Mapping[str, Any]) -> dict[str, Any]:
    return {"matchExpressions": [{**one, "operator": "In"} for one in maps(topology, "matchLabelExpressions")]}


def _class(objects: Objects, claim: Object) -> Object | None:
    """The StorageClass of a claim: the one it names, else the cluster's default."""
    name = claim.spec.get("storageClassName")
    if isinstance(name, str):
        return objects.find(claim, "StorageClass", name) if name else None
    default = "storageclass.kubernetes.io/is-default-class"
    classes = (one for one in objects.of_kind("StorageClass") if one.cluster == claim.cluster)
    return next((one for one in classes if str(one.annotations.get(default)).lower() == "true"), None)


def exclusive(objects: Objects, workload: Workload, near: Object) -> tuple[str, str]:
    """The claim that keeps a workload's pods together and its access mode, or two empty texts."""
    for claim in claims(objects, workload, near):
        modes = set(items(claim.spec, "accessModes"))
        if modes == {"ReadWriteOncePod"} or modes == {"ReadWriteOnce"}:
            return claim.name, modes.pop()
    return "", ""
