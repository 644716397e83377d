"""What must hold between models, the pods that serve them, and what stands by: all of it before a cent is spent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.inference import cold_start, placement
from components.inference.cold_start import Help
from components.inference.device import Device, check_several
from components.inference.groups import too_much
from components.inference.placement import Demand
from stacks.devices import device_in, serving_pool
from stacks.problems import Problem, did_you_mean

if TYPE_CHECKING:
    from stacks.serving import Model, Serving
    from stacks.settings import NodePool, Region, Storage


def problems(
    parts: Mapping[str, Any], regions: Sequence[Region], pools: Sequence[NodePool], complete: bool
) -> Iterator[Problem]:
    """Whatever is wrong with serving, so far as it could be read; `complete`: whether every region and pool could."""
    serving: Serving | None = parts.get("serving")
    models: dict[int, Model] = parts.get("models") or {}
    if serving is not None:
        yield from _warm(serving, regions, complete)
        yield from _weights(serving, parts)
    if not complete:
        return
    told: set[str] = set()
    for region in regions:
        for problem in _region(region, serving, _served(models, region), pools):
            if problem.path not in told:  # other regions may say the same
                told.add(problem.path)
                yield problem


def _warm(serving: Serving, regions: Sequence[Region], complete: bool) -> Iterator[Problem]:
    named = {region.region: region for region in regions}
    serves = [name for name, region in named.items() if region.purposes == ("serving",)]
    for name, machines in serving.warm_machines.items():
        path = f'ai-cloud:serving.warmMachines["{name}"]'
        if name not in named:
            if complete:
                yield Problem(path, machines, f"regions of this environment: {did_you_mean(name, named)}")
        elif "serving" not in named[name].purposes:
            yield Problem(path, machines, f"a region that serves: {did_you_mean(name, serves)}")
        elif "training" in named[name].purposes:
            accepted = (
                "none: idle serving machines of a region that trains are lent to training, and a machine that is held "
                "is not idle. Raise min of its serving pool instead, which is never lent"
            )
            yield Problem(path, machines, accepted)


def _weights(serving: Serving, parts: Mapping[str, Any]) -> Iterator[Problem]:
    storage: Storage | None = parts.get("storage")
    unread = storage is None and "storage" in parts
    if serving.weights_from_warm_tier and not unread and (storage is None or storage.warm is None):
        yield Problem("ai-cloud:serving.weightsFromWarmTier", True, "false: there is no ai-cloud:storage.warm")


def _served(models: Mapping[int, Model], region: Region) -> dict[int, Model]:
    return {
        index: model
        for index, model in models.items()
        if (region.region in model.regions if model.regions is not None else "serving" in region.purposes)
    }


def _region(
    region: Region, serving: Serving | None, models: Mapping[int, Model], pools: Sequence[NodePool]
) -> Iterator[Problem]:
    groups: dict[str, dict[int, Model]] = defaultdict(dict)
    for index, model in models.items():
        groups[model.group or ""][index] = model
    for group, mine in groups.items():
        device = _device(region, next(iter(mine.values())), pools)
        if device is None:
            continue  # what is wrong with the pool, or with the accelerator, is told already
        yield from _group(region, group, mine, device)
        if serving is not None and serving.cold_start_objective_s is not None:
            yield from _cold_start(region, group, list(mine.values()), serving, serving.cold_start_objective_s)


def _device(region: Region, model: Model, pools: Sequence[NodePool]) -> Device | None:
    here = [
        pool
        for pool in pools
        if (region.region in pool.regions if pool.regions is not None else pool.purpose in region.purposes)
    ]
    pool = serving_pool(here, model.accelerator)
    try:
        return device_in(pool, region) if pool is not None else None
    except ValueError:
        return None


def _group(region: Region, group: str, models: Mapping[int, Model], device: Device) -> Iterator[Problem]:
    ranks = max(model.gpus for model in models.values())
    for index, model in models.items():
        path = f"ai-cloud:models[{index}]"
        if model.gpus > device.machine.count * device.sharers:
            return  # told already
        try:
            check_several(model.name, model.gpus, model.over_pcie, device)
        except ValueError as error:
            yield Problem(f"{path}.gpus", model.gpus, f"another number in {region.region}: {error}")
            return
    asked = [
        Demand(
            model.name,
            model.size_gib * placement.DEVICE_SHARE / model.gpus
            if model.device_memory_gib is None
            else model.device_memory_gib,
            model.gpus,
        )
        for model in models.values()
    ]
    if said := too_much(group, asked, device):
        last, model = max(models.items())
        key = "group" if len(models) > 1 or ranks > 1 else "sizeGib"
        value = model.group if key == "group" else model.size_gib
        yield Problem(f"ai-cloud:models[{last}].{key}", value, f"models that fit a GPU in {region.region}: {said}")


def _cold_start(
    region: Region, group: str, models: Sequence[Model], serving: Serving, objective_s: float
) -> Iterator[Problem]:
    helped = Help(
        warm=region.region in serving.warm_machines,
        pulled=serving.prepull_images is not None,
        claim=serving.weights_from_warm_tier,
        **serving.cold_start.model_dump(),
    )
    found = cold_start.cold_start([(model.size_gib, model.gpus) for model in models], helped)
    if said := cold_start.beyond(found, objective_s):
        where = f"in {region.region}" + (f", group {group}" if group else "")
        accepted = f"at least {found.total_s:.0f}: {where} {said}"
        yield Problem("ai-cloud:serving.coldStartObjectiveS", objective_s, accepted)
