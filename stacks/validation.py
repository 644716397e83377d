"""What must hold between values: regions don't overlap, a region offers what its pools want, models fit a pool."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any

from components.accelerators import CATALOG, RUNGS, CpuMachine, MachineType, NotOffered, machines
from components.machine_types import AWS_RUNGS, GCP_RUNGS
from stacks import (
    validation_kserve,
    validation_observability,
    validation_pipelines,
    validation_route,
    validation_scaling,
    validation_serverless,
    validation_serving,
    validation_training,
)
from stacks.devices import shared_by
from stacks.problems import Problem, did_you_mean

if TYPE_CHECKING:
    from stacks.settings import Budget, FrontDoor, Model, NodePool, Region, Rung, Storage

RESERVED = ("reservation", "capacity-block")
"""Rungs that name what was reserved."""


def problems(parts: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[Problem]:
    """Whatever is wrong between the parts that could be read.

    `parts`: key -> what it means, None or absent where that is unknown; regions, nodePools and models by their index.
    `values`: the configuration as it was written, to know of regions whose entry has another mistake.
    """
    environment = Environment(parts, values)
    yield from environment.regions_apart()
    for index, pool in environment.pools.items():
        yield from environment.pool(f"ai-cloud:nodePools[{index}]", pool)
    yield from environment.pool_names()
    for index, model in environment.models.items():
        yield from environment.model(f"ai-cloud:models[{index}]", model)
    yield from environment.model_names()
    yield from environment.one_server()
    yield from environment.storage(parts.get("storage"))
    yield from environment.front_door(parts.get("frontDoor"))
    yield from environment.budget(parts.get("budget"))
    yield from validation_observability.problems(parts, environment.named, environment.complete)
    yield from validation_route.problems(parts.get("serving"), environment.models)
    readable = environment.complete and environment.every_pool
    regions, pools = list(environment.regions.values()), list(environment.pools.values())
    yield from validation_training.problems(parts, regions, pools, readable)
    yield from validation_kserve.problems(parts, regions, pools, readable)
    yield from validation_serving.problems(parts, regions, pools, readable)
    yield from validation_scaling.problems(environment.models, regions)
    yield from validation_serverless.problems(parts, regions, environment.complete)
    yield from validation_pipelines.problems(parts, regions, pools, readable)


class Environment:
    """The readable parts of a configuration, and the checks between them."""

    def __init__(self, parts: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        self.regions: dict[int, Region] = parts.get("regions") or {}
        self.pools: dict[int, NodePool] = parts.get("nodePools") or {}
        self.models: dict[int, Model] = parts.get("models") or {}
        written = values.get("ai-cloud:regions")
        entries = [entry for entry in written if isinstance(entry, Mapping)] if isinstance(written, list) else []
        self.named = [entry["region"] for entry in entries if isinstance(entry.get("region"), str)]
        self.complete = bool(entries) and len(self.regions) == len(entries)
        """Whether every region could be read; if not, what a missing one would have offered is unknown."""
        written = values.get("ai-cloud:nodePools")
        self.every_pool = isinstance(written, list) and len(written) == len(self.pools)
        """Whether every pool could be read."""
        self.values = values

    def regions_apart(self) -> Iterator[Problem]:
        for (_, one), (index, other) in combinations(self.regions.items(), 2):
            path = f"ai-cloud:regions[{index}]"
            if one.region == other.region:
                yield Problem(f"{path}.region", other.region, "each region once")
            if ipaddress.IPv4Network(one.cidr).overlaps(ipaddress.IPv4Network(other.cidr)):
                accepted = f"no overlap with other regions: {other.region} overlaps {one.region}, which has {one.cidr}"
                yield Problem(f"{path}.cidr", other.cidr, accepted)
        if any(name.startswith("gcp:") for name in self.named) and not self.values.get("gcp:project"):
            yield Problem.missing("gcp:project", "the id of the Google Cloud project, since there is a gcp region")

    def pool(self, path: str, pool: NodePool) -> Iterator[Problem]:
        yield from self._known(f"{path}.regions", pool.regions or ())
        if pool.min > pool.max:
            yield Problem(f"{path}.min", pool.min, f"at most max, which is {pool.max}")
        elif pool.static and pool.min != pool.max:
            yield Problem(f"{path}.min", pool.min, f"the same as max ({pool.max}), since the pool is static")
        if pool.purpose == "system" and pool.accelerator:
            yield Problem(f"{path}.accelerator", pool.accelerator, "none in a system pool")
        if pool.accelerator is None and pool.accelerators_per_machine is not None:
            accepted = "none, since the pool has no accelerator"
            yield Problem(f"{path}.acceleratorsPerMachine", pool.accelerators_per_machine, accepted)
        places = self._places(pool.regions, pool.purpose)
        yield from _ladder(path, pool, [place.region for place in places])
        if pool.accelerator is not None and pool.accelerator not in CATALOG:
            yield Problem(f"{path}.accelerator", pool.accelerator, did_you_mean(pool.accelerator, CATALOG))
            return
        yield from _sharing(path, pool)
        for index, zone in enumerate(pool.zones or ()):
            if any(not zone.startswith(place.name) for place in places):
                names = ", ".join(place.name for place in places)
                yield Problem(f"{path}.zones[{index}]", zone, f"a zone of the pool's one region; it is in {names}")
        found: dict[str, Problem] = {}
        for place in places:
            machine = _machine(path, pool, place)
            if isinstance(machine, Problem):
                found[f"{machine.path} {place.region}"] = machine
            else:  # what a machine doesn't have is one mistake, in however many regions
                for problem in _machine_offers(path, pool, place, machine):
                    found.setdefault(problem.path, problem)
        yield from found.values()

    def pool_names(self) -> Iterator[Problem]:
        seen: dict[tuple[str, str], int] = {}
        for index, pool in self.pools.items():
            for place in self._places(pool.regions, pool.purpose):
                first = seen.setdefault((pool.name, place.region), index)
                if first != index:
                    accepted = f"each name once in a region: {place.region} has it from nodePools[{first}]"
                    yield Problem(f"ai-cloud:nodePools[{index}].name", pool.name, accepted)
                    break

    def model(self, path: str, model: Model) -> Iterator[Problem]:
        yield from self._known(f"{path}.regions", model.regions or ())
        if model.min_replicas > model.max_replicas:
            yield Problem(
                f"{path}.minReplicas", model.min_replicas, f"at most maxReplicas, which is {model.max_replicas}"
            )
        if model.accelerator not in CATALOG:
            yield Problem(f"{path}.accelerator", model.accelerator, did_you_mean(model.accelerator, CATALOG))
            return
        for place in self._places(model.regions, "serving"):
            if "serving" not in place.purposes:
                yield Problem(f"{path}.regions", place.region, "regions whose purposes include serving")
            elif (problem := self._unplaced(path, model, place)) is not None:
                yield problem
                return  # the others may say the same

    def model_names(self) -> Iterator[Problem]:
        seen: dict[str, int] = {}
        for index, model in self.models.items():
            if (first := seen.setdefault(model.name, index)) != index:
                path = f"ai-cloud:models[{index}].name"
                yield Problem(path, model.name, f"each name once: models[{first}] has it already")

    def one_server(self) -> Iterator[Problem]:
        """A region serves all its models from one inference server, so from one kind of accelerator."""
        first: dict[str, int] = {}
        for index, model in self.models.items():
            for place in self._places(model.regions, "serving"):
                if self._unplaced("", model, place) is not None:
                    continue  # that is told already
                leader = first.setdefault(place.region, index)
                wanted = self.models[leader].accelerator
                if model.accelerator != wanted:
                    accepted = f"{wanted}, which models[{leader}] has in {place.region}: a region serves from one kind"
                    yield Problem(f"ai-cloud:models[{index}].accelerator", model.accelerator, accepted)
                    break

    def storage(self, storage: Storage | None) -> Iterator[Problem]:
        if storage is None:
            return
        path, cold = "ai-cloud:storage.cold", storage.cold
        # S3 moves objects to a colder class after 30 days at the earliest, and bills Glacier for 90
        if cold.archive_after_days < (least := cold.infrequent_after_days + 30):
            yield Problem(f"{path}.archiveAfterDays", cold.archive_after_days, f"at least {least}: 30 after infrequent")
        if cold.deep_archive_after_days is not None and cold.deep_archive_after_days < (
            least := cold.archive_after_days + 90
        ):
            yield Problem(
                f"{path}.deepArchiveAfterDays", cold.deep_archive_after_days, f"at least {least}: 90 after archive"
            )
        for source, target in cold.replicate_to.items():
            entry = f'{path}.replicateTo["{source}"]'
            yield from self._known(entry, (source,))
            if target == source:
                yield Problem(entry, target, "another region: a copy in the same one falls with the first")
            elif target.split(":")[0] != source.split(":")[0]:
                yield Problem(entry, target, f"another region of the same cloud, {source.split(':')[0]}")

    def budget(self, budget: Budget | None) -> Iterator[Problem]:
        if budget is None:
            return
        used = {name.split(":")[0] for name in self.named}
        for cloud in ("aws", "gcp"):
            if getattr(budget, cloud) is not None and self.complete and cloud not in used:
                yield Problem(f"ai-cloud:budget.{cloud}", getattr(budget, cloud), f"none: no region is in {cloud}")
        if budget.gcp is not None and budget.billing_account is None:
            yield Problem("ai-cloud:budget.billingAccount", None, "the billing account that pays for the GCP project")

    def front_door(self, front_door: FrontDoor | None) -> Iterator[Problem]:
        if front_door is None:
            return
        serving = [place.region for place in self.regions.values() if "serving" in place.purposes]
        if not serving and self.complete:
            yield Problem("ai-cloud:frontDoor", front_door.domain, "at least one region whose purposes include serving")
        if front_door.weights and front_door.routing_policy != "weighted":
            path = "ai-cloud:frontDoor.routingPolicy"
            yield Problem(path, front_door.routing_policy, "weighted, since there are weights")
        for name in front_door.weights:
            if name not in serving and self.complete:
                path = f'ai-cloud:frontDoor.weights["{name}"]'
                yield Problem(path, front_door.weights[name], f"a region that serves: {did_you_mean(name, serving)}")

    def _known(self, path: str, names: tuple[str, ...]) -> Iterator[Problem]:
        for name in names:
            if name not in self.named:
                yield Problem(path, name, f"regions of this environment: {did_you_mean(name, self.named)}")

    def _places(self, named: tuple[str, ...] | None, purpose: str) -> list[Region]:
        """Regions, as far as they could be read, of a pool or model."""
        if named is not None:
            return [place for place in self.regions.values() if place.region in named]
        return [place for place in self.regions.values() if purpose == "system" or purpose in place.purposes]

    def _unplaced(self, path: str, model: Model, place: Region) -> Problem | None:
        """Why no serving pool of a region can hold a replica; None where one can, or where that cannot be told."""
        serving = [pool for pool in self.pools.values() if pool.purpose == "serving"]
        pools = [pool for pool in serving if place in self._places(pool.regions, "serving")]
        found = {pool.name: (pool, _machine("", pool, place)) for pool in pools}
        sizes = {
            name: machine.count * _shares(pool)
            for name, (pool, machine) in found.items()
            if isinstance(machine, MachineType) and machine.accelerator == model.accelerator
        }
        if sizes and model.gpus > max(sizes.values()):
            largest = max(sizes, key=sizes.__getitem__)
            accepted = f"at most {sizes[largest]}, as many as a machine of {largest} has in {place.region}"
            return Problem(f"{path}.gpus", model.gpus, accepted)
        elsewhere = any(name not in self.named for pool in serving for name in pool.regions or ())
        if (
            sizes
            or not self.every_pool
            or elsewhere
            or any(isinstance(machine, Problem) for _, machine in found.values())
        ):
            return None  # either all is well, or another line tells of the pool that may be the one
        offered = sorted({pool.accelerator for pool in pools if pool.accelerator}) or ["there is none"]
        accepted = f"an accelerator of a serving pool in {place.region}: {', '.join(offered)}"
        return Problem(f"{path}.accelerator", model.accelerator, accepted)


def _ladder(path: str, pool: NodePool, regions: list[str]) -> Iterator[Problem]:
    kinds = [rung.kind for rung in pool.ladder]
    for index, rung in enumerate(pool.ladder):
        place = f"{path}.ladder[{index}]"
        if rung.kind in kinds[:index]:
            yield Problem(f"{place}.kind", rung.kind, "each kind once")
        yield from _rung(place, rung, pool, regions)
    floors = sum(rung.floor for rung in pool.ladder)
    if floors > pool.max and all(rung.floor <= pool.max for rung in pool.ladder):
        yield Problem(f"{path}.ladder", f"floors of {floors} in all", f"floors of at most max, which is {pool.max}")
    most = {rung.kind: pool.max if rung.ceiling is None else rung.ceiling for rung in pool.ladder}
    if sum(most.values()) < pool.max:
        yield Problem(
            f"{path}.ladder", f"ceilings of {sum(most.values())} in all", f"room for max, which is {pool.max}"
        )
    if (lasting := sum(most.values()) - most.get("flex-start", 0)) < pool.min <= pool.max:
        accepted = f"at most {lasting}: flex start ends its machines within a week, so none can stay there"
        yield Problem(f"{path}.min", pool.min, accepted)


def _rung(path: str, rung: Rung, pool: NodePool, regions: list[str]) -> Iterator[Problem]:
    if rung.kind in RESERVED:
        if not rung.reservations:
            yield Problem.missing(f"{path}.reservations", f"what the {rung.kind} rung uses: at least one reservation")
        elif len(regions) > 1:
            accepted = f"a pool of one region, for that is where a reservation is; this one has {', '.join(regions)}"
            yield Problem(f"{path}.reservations", rung.reservations, accepted)
    elif rung.reservations:
        accepted = f"none, which only {' and '.join(RESERVED)} rungs have"
        yield Problem(f"{path}.reservations", rung.reservations, accepted)
    most = pool.max if rung.ceiling is None else rung.ceiling
    if rung.ceiling is not None and rung.ceiling > pool.max:
        yield Problem(f"{path}.ceiling", rung.ceiling, f"at most max, which is {pool.max}")
    if rung.floor > most:
        accepted = (
            f"at most max, which is {pool.max}" if rung.ceiling is None else f"at most the ceiling, which is {most}"
        )
        yield Problem(f"{path}.floor", rung.floor, accepted)
    if rung.kind == "flex-start" and (rung.floor or pool.static):
        yield Problem(f"{path}.kind", rung.kind, "a rung that keeps machines: flex start ends them within a week")


def _sharing(path: str, pool: NodePool) -> Iterator[Problem]:
    sharing = pool.gpu_sharing
    if sharing is None:
        return
    shared = CATALOG[pool.accelerator] if pool.accelerator else None
    path = f"{path}.gpuSharing"
    if shared is None or shared.vendor != "nvidia":
        yield Problem(path, sharing.mode, f"none: it is for NVIDIA GPUs, and the pool has {pool.accelerator or 'none'}")
    elif sharing.mode == "mig":
        if sharing.profile is None:
            yield Problem.missing(f"{path}.profile", f"a MIG profile: {did_you_mean('', shared.mig_profiles)}")
        elif not shared.mig_profiles:
            yield Problem(f"{path}.mode", sharing.mode, f"time-slicing: {shared.key} cannot be partitioned")
        elif sharing.profile not in shared.mig_profiles:
            accepted = f"a MIG profile of {shared.key}: {did_you_mean(sharing.profile, shared.mig_profiles)}"
            yield Problem(f"{path}.profile", sharing.profile, accepted)
    elif sharing.replicas is None:
        yield Problem.missing(f"{path}.replicas", "how many pods share an accelerator, 2 to 48")


def _shares(pool: NodePool) -> int:
    """Pods' devices for each accelerator; 1 where the sharing itself is wrong."""
    try:
        return shared_by(pool)
    except (KeyError, ValueError):
        return 1


def _machine(path: str, pool: NodePool, place: Region) -> MachineType | CpuMachine | Problem:
    """The machine of a pool in a region, or why it has none there."""
    wanted = pool.accelerators_per_machine
    try:
        machine = pool.machine_in(place)
    except NotOffered as error:
        if pool.machine_type is not None:
            return Problem(f"{path}.machineType", pool.machine_type, f"a machine type of the catalog: {error}")
        return Problem(f"{path}.accelerator", pool.accelerator, f"what {place.region} offers: {error}")
    if isinstance(machine, CpuMachine):
        return machine
    if machine.accelerator != pool.accelerator:
        fitting = ", ".join(fit.name for fit in machines(pool.accelerator, place.cloud, place.name)) or "none"
        accepted = f"a machine with {pool.accelerator} in {place.region}: {fitting}"
        return Problem(f"{path}.machineType", machine.name, accepted)
    if place.name not in machine.regions:
        offered = ", ".join(machine.regions)
        return Problem(f"{path}.machineType", machine.name, f"what {place.region} offers; this one is in {offered}")
    if pool.machine_type is not None and wanted not in (None, machine.count):
        return Problem(f"{path}.acceleratorsPerMachine", wanted, f"{machine.count}, as many as a {machine.name} has")
    return machine


def _machine_offers(path: str, pool: NodePool, place: Region, machine: MachineType | CpuMachine) -> Iterator[Problem]:
    """What a pool asks of its machine and the machine doesn't have."""
    if isinstance(machine, CpuMachine):
        rungs, fabric, nvme = (AWS_RUNGS if place.cloud == "aws" else GCP_RUNGS), False, False
    else:
        rungs, fabric, nvme = machine.rungs, bool(machine.fabric), machine.local_nvme_gib > 0
    for index, rung in enumerate(pool.ladder):
        if rung.kind not in rungs:
            offered = ", ".join(kind for kind in RUNGS if kind in rungs)
            accepted = f"a way to get a {machine.name} on {place.cloud}: {offered}"
            yield Problem(f"{path}.ladder[{index}].kind", rung.kind, accepted)
    if pool.fabric and not fabric:
        others = machines(pool.accelerator, place.cloud, place.name) if pool.accelerator else []
        names = ", ".join(other.name for other in others if other.fabric) or f"none has one in {place.region}"
        yield Problem(f"{path}.fabric", pool.fabric, f"a machine with a fabric, which {machine.name} isn't: {names}")
    if pool.fabric and _is_zonal(machine) and len(pool.zones or ()) != 1:
        accepted = f"one zone: the RoCE network of a {machine.name} is in one"
        yield Problem(f"{path}.zones", list(pool.zones or ()), accepted)
    if pool.local_nvme_raid and not nvme:
        yield Problem(f"{path}.localNvmeRaid", pool.local_nvme_raid, f"false: a {machine.name} has no local NVMe")


def _is_zonal(machine: MachineType | CpuMachine) -> bool:
    return isinstance(machine, MachineType) and machine.fabric.kind == "gpudirect-rdma"
