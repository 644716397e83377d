"""A model's next version in a region: what moves the requests to its servers, and back."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components import InferenceRoute, ModelRollout
from components.inference import RouteBackendArgs
from components.inference.rollout_pod import journals
from components.security.closed_namespace import closed_namespace
from stacks.serving import Model, Rollouts, Serving
from stacks.settings import Region

JOURNALS = "journals"
"""Name of the volume claim."""


def name_of(region: Region) -> str:
    """Of the rollout, and of the service account that the route lets change its weights."""
    return f"{region.name}-rollout"


def place(region: Region, rollouts: Rollouts, options: pulumi.ResourceOptions) -> list[pulumi.Resource]:
    """The namespace of rollouts, and the volume of their journals: what was decided, and why, outlives each of them."""
    name = name_of(region)
    namespace, walls = closed_namespace(name, rollouts.namespace, {}, options)
    labels = {"app.kubernetes.io/name": "rollout"}
    inside = pulumi.ResourceOptions.merge(options, pulumi.ResourceOptions(depends_on=[namespace]))
    claim = k8s.core.v1.PersistentVolumeClaim(
        f"{name}-journals", **journals(JOURNALS, rollouts.namespace, labels), opts=inside
    )
    return [namespace, *walls, claim]


def rollout(
    region: Region,
    serving: Serving,
    model: Model,
    route: InferenceRoute,
    baseline: RouteBackendArgs,
    candidate: RouteBackendArgs,
    options: pulumi.ResourceOptions,
) -> ModelRollout:
    """Of a model that has a next version, in what `place` has made.

    Where the model's own version is the same by now, requests are handed back.
    """
    new, rollouts = model.next, serving.rollouts
    assert new is not None
    assert rollouts is not None
    compared: dict[str, Any] = {}
    if new.version != model.version:
        compared = {
            "specification": json.dumps(new.specification(model.name, model.version), sort_keys=True),
            **({"texts": list(new.texts)} if new.texts else {}),
        }
    return ModelRollout(
        name_of(region),
        {
            "namespace": rollouts.namespace,
            "image": rollouts.image,
            "route_namespace": route.namespace,
            "route": route.model_routes[model.name],
            "baseline": _arm(baseline),
            "candidate": _arm(candidate),
            "ready_replicas": model.min_replicas,
            "journal_claim": JOURNALS,
            **compared,  # type: ignore[typeddict-item]
        },
        options,
    )


def _arm(backend: RouteBackendArgs) -> Any:
    return {key: value for key, value in backend.items() if key not in ("name", "weight")}
