"""What must hold between training runs and the rest: a region trains, and its machines have what a run asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from components.accelerators import CATALOG, MachineType, NotOffered
from stacks.jobs import RayJob, Run, Sweep, Training, TrainingJob
from stacks.problems import Problem, did_you_mean

if TYPE_CHECKING:
    from stacks.settings import NodePool, Region

KEYS = {"trainingJobs": TrainingJob, "sweeps": Sweep, "rayJobs": RayJob}


def problems(
    parts: Mapping[str, Any], regions: list[Region], pools: list[NodePool], complete: bool
) -> Iterator[Problem]:
    """Whatever is wrong with the training runs that could be read.

    `complete`: whether every region and pool could be read; if not, one that a run needs may be among the others.
    """
    training: Training | None = parts.get("training")
    names: dict[tuple[str, str], str] = {}
    used = [key for key in KEYS if parts.get(key)]
    if used and "training" not in parts:
        yield Problem.missing("ai-cloud:training", f"the image that {', '.join(used)} run")
    for key in KEYS:
        runs: dict[int, Run] = parts.get(key) or {}
        if runs and key == "rayJobs" and training is not None and training.ray_image is None:
            yield Problem.missing("ai-cloud:training.rayImage", "the image, built with Ray, that rayJobs run")
        for index, run in runs.items():
            place, path = f"{key}[{index}]", f"ai-cloud:{key}[{index}]"
            first = names.setdefault((run.region, run.name), place)
            if first != place:
                yield Problem(f"{path}.name", run.name, f"each name once in a region: {first} has it already")
            yield from _numbers(path, run)
            yield from _place(path, run, regions, pools, complete)


def _numbers(path: str, run: Run) -> Iterator[Problem]:
    if isinstance(run, TrainingJob) and run.min_nodes > run.max_nodes:
        yield Problem(f"{path}.minNodes", run.min_nodes, f"at most maxNodes, which is {run.max_nodes}")
    if isinstance(run, Sweep | RayJob) and run.min_workers > (
        most := run.workers if isinstance(run, Sweep) else run.max_workers
    ):
        name = "workers" if isinstance(run, Sweep) else "maxWorkers"
        yield Problem(f"{path}.minWorkers", run.min_workers, f"at most {name}, which is {most}")
    if isinstance(run, Sweep) and run.workers > run.trials:
        yield Problem(f"{path}.workers", run.workers, f"at most trials, which is {run.trials}")


def _place(path: str, run: Run, regions: list[Region], pools: list[NodePool], complete: bool) -> Iterator[Problem]:
    region = next((one for one in regions if one.region == run.region), None)
    if region is None or "training" not in region.purposes:
        if complete:
            trains = [one.region for one in regions if "training" in one.purposes]
            yield Problem(f"{path}.region", run.region, f"a region that trains: {did_you_mean(run.region, trains)}")
        return
    if run.accelerator not in CATALOG:
        yield Problem(f"{path}.accelerator", run.accelerator, did_you_mean(run.accelerator, CATALOG))
        return
    usable = [pool for pool in pools if pool.accelerator and usable_for_training(pool, region)]
    offered = [(pool, _machine(pool, region)) for pool in usable]
    named = {place.region for place in regions}
    elsewhere = any(not named.issuperset(pool.regions or ()) for pool in pools)
    if not complete or elsewhere or any(machine is None for _, machine in offered):
        return  # another line tells of the pool that may be the one
    fitting = [(pool, machine) for pool, machine in offered if machine and machine.accelerator == run.accelerator]
    if not fitting:
        names = ", ".join(sorted({str(pool.accelerator) for pool in usable})) or "none"
        yield Problem(f"{path}.accelerator", run.accelerator, f"what pools in {region.region} have: {names}")
        return
    most = max(machine.count for _, machine in fitting)
    if run.accelerators_per_node > most:
        accepted = f"at most {most}, as many as a machine with {run.accelerator} has in {region.region}"
        yield Problem(f"{path}.acceleratorsPerNode", run.accelerators_per_node, accepted)
    # What is wrong with a pool's own fabric is told of the pool.
    if isinstance(run, TrainingJob) and run.fabric and not any(pool.fabric for pool, _ in fitting):
        yield Problem(f"{path}.fabric", True, f"false: no pool with {run.accelerator} in {region.region} has a fabric")
    elif isinstance(run, TrainingJob):
        yield from _kind_of_pool(path, run, region, [pool for pool, _ in fitting])


def _kind_of_pool(path: str, run: TrainingJob, region: Region, pools: list[NodePool]) -> Iterator[Problem]:
    """Machines that lie close together are for jobs that say so, and for no others (TrainingQueue)."""
    together = [pool for pool in pools if pool.static and pool.fabric]
    if run.compact and not together:
        accepted = f"false: no pool with {run.accelerator} in {region.region} is static and has a fabric"
        yield Problem(f"{path}.compact", True, accepted)
    if not run.compact and len(together) == len(pools):
        accepted = f"true: all pools with {run.accelerator} in {region.region} are static and have a fabric"
        yield Problem(f"{path}.compact", False, accepted)


def usable_for_training(pool: NodePool, region: Region) -> bool:
    """Whether training may use a pool in a region: its own pools, and those that serving leaves idle."""
    if pool.purpose == "system":
        return False
    return region.region in pool.regions if pool.regions is not None else pool.purpose in region.purposes


def _machine(pool: NodePool, region: Region) -> MachineType | None:
    """The machine of a pool with accelerators; None where the pool itself is wrong."""
    try:
        machine = pool.machine_in(region)
    except NotOffered:
        return None
    if not isinstance(machine, MachineType) or machine.accelerator != pool.accelerator:
        return None
    return None if pool.machine_type and pool.accelerators_per_machine not in (None, machine.count) else machine
