"""What must hold between the route to the servers and the rest: its namespace, and how many proxies there may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from stacks.problems import Problem

if TYPE_CHECKING:
    from stacks.serving import Model, Serving


def problems(serving: Serving | None, models: Mapping[int, Model]) -> Iterator[Problem]:
    """Whatever is wrong about the gateway before the servers, and the models that could be read."""
    if serving is None or (route := serving.route) is None:
        return
    path = "ai-cloud:serving.route"
    if route.namespace == serving.namespace:
        accepted = "another one than the servers': each denies what it doesn't know"
        yield Problem(f"{path}.namespace", route.namespace, accepted)
    if route.max_proxies < route.min_proxies:
        yield Problem(f"{path}.maxProxies", route.max_proxies, f"at least minProxies, which is {route.min_proxies}")
    for index, model in models.items():
        if model.scaling is not None and model.scaling.to_zero:
            accepted = (
                "false, or no ai-cloud:serving.route: its gateway asks servers, not the activator that starts one"
            )
            yield Problem(f"ai-cloud:models[{index}].scaling.toZero", True, accepted)
