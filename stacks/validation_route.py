"""What must hold between the route to the servers, the rollouts on it, and the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from stacks.problems import Problem

if TYPE_CHECKING:
    from stacks.serving import Model, Next, Serving


def problems(serving: Serving | None, models: Mapping[int, Model]) -> Iterator[Problem]:
    """Whatever is wrong about the gateway before the servers, and the models that could be read."""
    if serving is None:
        return
    yield from _rollouts(serving, models)
    if (route := serving.route) is None:
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


def _rollouts(serving: Serving, models: Mapping[int, Model]) -> Iterator[Problem]:
    """Of next versions: that a rollout can bring them in."""
    rolled = {index: model.next for index, model in models.items() if model.next is not None}
    route, rollouts = serving.route, serving.rollouts
    if rollouts is not None:
        others = (serving.namespace, next_namespace(serving), *([route.namespace] if route else []))
        if rollouts.namespace in others:
            accepted = "another one than the servers' and the gateway's: each denies what it doesn't know"
            yield Problem("ai-cloud:serving.rollouts.namespace", rollouts.namespace, accepted)
    first = min(rolled, default=0)
    for index, new in rolled.items():
        path = f"ai-cloud:models[{index}].next"
        if route is None or route.weights_by != "rollout":
            accepted = "none, or an ai-cloud:serving.route with weightsBy rollout: it shares requests among versions"
            yield Problem(path, new.version, accepted)
        elif rollouts is None:
            yield Problem(path, new.version, "none, or ai-cloud:serving.rollouts: what carries out a rollout")
        if index != first:
            accepted = f"none: models[{first}] is rolled out already, and one is at a time"
            yield Problem(path, new.version, accepted)
        yield from _next(path, models[index], new)


def _next(path: str, model: Model, new: Next) -> Iterator[Problem]:
    own = sorted({"baseline", "candidate"} & set(new.rollout))
    if own:
        yield Problem(f"{path}.rollout.{own[0]}", new.rollout[own[0]], "none: the model and its versions say it")
    if new.version == model.version:
        return  # What was rolled out is handed back.
    if not new.rollout:
        yield Problem.missing(f"{path}.rollout", "strategy, steps and guardrails: fields of workloads.rollout.spec")
    guardrails = new.rollout.get("guardrails")
    if isinstance(guardrails, Mapping) and "quality" in guardrails and not new.texts:
        yield Problem.missing(f"{path}.texts", "texts that both versions score, since quality is a guardrail")
    if new.rollout.get("strategy") == "rolling":
        yield Problem(f"{path}.rollout.strategy", "rolling", "another one: it would change replicas, as KEDA does")


def next_namespace(serving: Serving) -> str:
    """Kubernetes namespace of next versions' servers."""
    return f"{serving.namespace}-next"
