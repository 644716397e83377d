"""What must hold between servers behind KServe or of SavedModels and the rest: a region serves, and has machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.accelerators import CATALOG, MachineType, NotOffered
from components.inference.kserve_scaling import METRICS
from stacks.problems import Problem, did_you_mean
from stacks.server_settings import KserveService, SavedModel, ServedModel, TensorflowServing

if TYPE_CHECKING:
    from stacks.settings import NodePool, Region

KEYS = ("kserveServices", "tensorflowServings")

Server = KserveService | TensorflowServing


def problems(
    parts: Mapping[str, Any], regions: Sequence[Region], pools: Sequence[NodePool], complete: bool
) -> Iterator[Problem]:
    """Whatever is wrong with the servers that could be read.

    `complete`: whether every region and pool could be read; if not, one that a server needs may be among the others.
    """
    for key in KEYS:
        servers: dict[int, Server] = parts.get(key) or {}
        names: dict[tuple[str, str], int] = {}
        for index, server in servers.items():
            path = f"ai-cloud:{key}[{index}]"
            places = [one for one in regions if server.regions is None or one.region in server.regions]
            serving = [one for one in places if "serving" in one.purposes]
            yield from _regions(path, server, regions, complete)
            for place in serving:
                first = names.setdefault((place.region, server.name), index)
                if first != index:
                    accepted = f"each name once in a region: {place.region} has it from {key}[{first}]"
                    yield Problem(f"{path}.name", server.name, accepted)
                    break
            yield from _numbers(path, server)
            yield from _models(path, server.models)
            if isinstance(server, KserveService):
                yield from _mode(path, server)
            if server.accelerator is not None and server.accelerator not in CATALOG:
                yield Problem(f"{path}.accelerator", server.accelerator, did_you_mean(server.accelerator, CATALOG))
            elif complete:
                yield from _placed(path, server, serving, pools)


def _regions(path: str, server: Server, regions: Sequence[Region], complete: bool) -> Iterator[Problem]:
    serving = [one.region for one in regions if "serving" in one.purposes]
    for name in server.regions or ():
        if complete and name not in serving:
            yield Problem(f"{path}.regions", name, f"regions that serve: {did_you_mean(name, serving)}")


def _numbers(path: str, server: Server) -> Iterator[Problem]:
    if server.min_replicas > server.max_replicas:
        yield Problem(
            f"{path}.minReplicas", server.min_replicas, f"at most maxReplicas, which is {server.max_replicas}"
        )


def _models(path: str, models: Sequence[ServedModel]) -> Iterator[Problem]:
    versions: dict[tuple[str, int], int] = {}
    labels: dict[tuple[str, str], int] = {}
    for index, model in enumerate(models):
        if (first := versions.setdefault((model.name, model.version), index)) != index:
            accepted = f"each version once: models[{first}] has it already"
            yield Problem(f"{path}.models[{index}].version", model.version, accepted)
        for label in model.labels if isinstance(model, SavedModel) else ():
            if (first := labels.setdefault((model.name, label), index)) != index:
                accepted = f"each label once for a model: models[{first}] has it already"
                yield Problem(f"{path}.models[{index}].labels", label, accepted)


def _mode(path: str, service: KserveService) -> Iterator[Problem]:
    metrics = METRICS[service.mode]
    if service.scale_metric is not None and service.scale_metric not in metrics:
        accepted = f"what mode {service.mode} scales on: {', '.join(metrics)}"
        yield Problem(f"{path}.scaleMetric", service.scale_metric, accepted)
    if service.mode == "raw" and service.min_replicas == 0:
        yield Problem(f"{path}.minReplicas", 0, "at least 1, since only mode serverless waits at 0 for a request")
    if service.mode == "raw" and service.canary_traffic_percent is not None:
        accepted = "none, since only mode serverless divides requests between revisions"
        yield Problem(f"{path}.canaryTrafficPercent", service.canary_traffic_percent, accepted)


def _placed(path: str, server: Server, places: Sequence[Region], pools: Sequence[NodePool]) -> Iterator[Problem]:
    """Whether each region has machines for it; the first that hasn't, since the others may say the same."""
    for place in places:
        offered = [
            (pool, _machine(pool, place))
            for pool in pools
            if pool.purpose == "serving" and (pool.regions is None or place.region in pool.regions)
        ]
        if any(pool.accelerator and machine is None for pool, machine in offered):
            continue  # another line tells of the pool that may be the one
        if server.accelerator is None:
            if all(pool.accelerator for pool, _ in offered):
                accepted = f"one: no serving pool in {place.region} is without accelerators"
                yield Problem(f"{path}.accelerator", None, accepted)
                return
            continue
        fitting = [machine for _, machine in offered if machine and machine.accelerator == server.accelerator]
        if not fitting:
            names = sorted({str(pool.accelerator) for pool, _ in offered if pool.accelerator})
            accepted = f"an accelerator of a serving pool in {place.region}: {', '.join(names) or 'there is none'}"
            yield Problem(f"{path}.accelerator", server.accelerator, accepted)
            return
        gpus = server.gpus if isinstance(server, KserveService) else 1
        if gpus > (most := max(machine.count for machine in fitting)):
            accepted = f"at most {most}, as many as a machine with {server.accelerator} has in {place.region}"
            yield Problem(f"{path}.gpus", gpus, accepted)
            return


def _machine(pool: NodePool, place: Region) -> MachineType | None:
    """The machine of a pool with accelerators; None where the pool has none, or is itself wrong."""
    try:
        machine = pool.machine_in(place)
    except NotOffered:
        return None
    return machine if isinstance(machine, MachineType) and machine.accelerator == pool.accelerator else None
