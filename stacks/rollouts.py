"""A model's next version in a region: what moves the requests to its servers, and back."""

from __future__ import annotations

import json
from typing import Any

import pulumi

from components import InferenceRoute, ModelRollout
from components.inference import RouteBackendArgs
from components.pipelines.closed_namespace import closed_namespace
from stacks.serving import Model, Serving
from stacks.settings import Region


def name_of(region: Region) -> str:
    """Of the rollout, and of the service account that the route lets change its weights."""
    return f"{region.name}-rollout"


def rollout(
    region: Region,
    serving: Serving,
    model: Model,
    route: InferenceRoute,
    baseline: RouteBackendArgs,
    candidate: RouteBackendArgs,
    options: pulumi.ResourceOptions,
) -> ModelRollout:
    """Of a model that has a next version. Where that is the model's own by now, requests are handed back."""
    new, rollouts = model.next, serving.rollouts
    assert new is not None
    assert rollouts is not None
    name = name_of(region)
    namespace, walls = closed_namespace(name, rollouts.namespace, {}, options)
    compared: dict[str, Any] = {}
    if new.version != model.version:
        compared = {
            "specification": json.dumps(new.specification(model.name, model.version), sort_keys=True),
            **({"texts": list(new.texts)} if new.texts else {}),
        }
    return ModelRollout(
        name,
        {
            "namespace": rollouts.namespace,
            "image": rollouts.image,
            "route_namespace": route.namespace,
            "route": route.model_routes[model.name],
            "baseline": _arm(baseline),
            "candidate": _arm(candidate),
            "ready_replicas": model.min_replicas,
            **compared,  # type: ignore[typeddict-item]
        },
        pulumi.ResourceOptions.merge(options, pulumi.ResourceOptions(depends_on=[namespace, *walls, route])),
    )


def _arm(backend: RouteBackendArgs) -> Any:
    return {key: value for key, value in backend.items() if key not in ("name", "weight")}
