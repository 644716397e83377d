"""What must hold between the scaling of models and the rest: there is a replica, or something that starts one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from stacks.problems import Problem

if TYPE_CHECKING:
    from stacks.serving import Model
    from stacks.settings import Region

_ONLY_TO_ZERO = {"idle_s": "idleS", "hosts": "hosts"}


def problems(models: Mapping[int, Model], regions: list[Region]) -> Iterator[Problem]:
    """Whatever is wrong with the scaling of the models that could be read."""
    for index, model in models.items():
        path, scaling = f"ai-cloud:models[{index}]", model.scaling
        to_zero = scaling is not None and scaling.to_zero
        if not to_zero and model.min_replicas == 0:
            accepted = "1 or more, or scaling.toZero: without a replica there is no queue to scale up on"
            yield Problem(f"{path}.minReplicas", 0, accepted)
        if to_zero and model.min_replicas > 0:
            yield Problem(f"{path}.minReplicas", model.min_replicas, "0, since scaling.toZero is true")
        if scaling is not None and not to_zero:
            for field, key in _ONLY_TO_ZERO.items():
                if value := getattr(scaling, field):
                    yield Problem(f"{path}.scaling.{key}", value, "none without toZero")
        forecast = scaling.forecast if scaling is not None else None
        if forecast is not None and forecast.method == "level" and forecast.growth is not None:
            accepted = "none for a level, which is never above what came"
            yield Problem(f"{path}.scaling.forecast.growth", forecast.growth, accepted)
    yield from _alike(models, regions)


def _alike(models: Mapping[int, Model], regions: list[Region]) -> Iterator[Problem]:
    """The models of a group are on its replicas together, so they go to zero together."""
    told: set[int] = set()
    for place in regions:
        groups: dict[str, list[tuple[int, Model]]] = defaultdict(list)
        for index, model in models.items():
            if "serving" in place.purposes and (model.regions is None or place.region in model.regions):
                groups[model.group or ""].append((index, model))
        for (first, other), *rest in groups.values():
            for index, model in rest:
                mine, theirs = (bool(one.scaling and one.scaling.to_zero) for one in (model, other))
                if mine != theirs and index not in told:
                    told.add(index)
                    accepted = (
                        f"{str(theirs).lower()}, as models[{first}] has it: one server of {place.region} has both"
                    )
                    yield Problem(f"ai-cloud:models[{index}].scaling.toZero", mine, accepted)
