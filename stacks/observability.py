"""What a region's cluster is known by, and who is told: composed from the settings."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi

from components import GpuCluster, Observability
from stacks.settings import Region, Settings
from stacks.training import NAMESPACE
from stacks.validation_route import next_namespace


def prometheus(settings: Settings) -> dict[str, bool]:
    """As an argument of GpuCluster: no Prometheus among the add-ons where Observability brings one."""
    return {} if settings.observability is None else {"prometheus": False}


def observability(
    settings: Settings, region: Region, tags: Mapping[str, str], cluster: GpuCluster
) -> Observability | None:
    """Of a region's cluster; None where the environment has none."""
    asked = settings.observability
    if asked is None:
        return None
    args = asked.model_dump(
        include={"retention_days", "disk_gib", "runbook_url", "grafana_domain", "query_namespaces"}, exclude_none=True
    )
    secrets = settings.observability_secrets.given()
    client_secret = secrets.pop("oidc_client_secret", "")
    alerting = {
        **asked.alerting.model_dump(exclude_none=True),
        "secrets": pulumi.Output.secret(secrets),
        "secret_names": sorted(secrets),
    }
    if (budget := asked.machine_budgets.get(region.region)) is not None:
        args["machine_budget_usd"] = budget
    on_aws = region.cloud == "aws"
    if asked.long_term is not None:
        args["long_term"] = asked.long_term.model_dump(
            exclude_none=True, exclude=None if on_aws else {"retention_days"}
        )
    if asked.oidc is not None:
        args["oidc"] = {
            **asked.oidc.model_dump(exclude_none=True),
            "client_secret": pulumi.Output.secret(client_secret),
        }
    return Observability(
        f"{region.name}-observability",
        {
            "cloud": region.cloud,
            "region": region.name,
            "environment": pulumi.get_stack(),
            "cluster_name": cluster.cluster_name,
            "workload_identity_pool": cluster.workload_identity_pool,
            **args,  # type: ignore[typeddict-item]
            "serving_namespaces": _serving(settings),
            "training_namespaces": [NAMESPACE],
            "query_namespaces": [*asked.query_namespaces, *_rollouts(settings)],
            "alerting": alerting,
            "tracing": asked.tracing.model_dump(exclude=None if on_aws else {"own_destination"}),
            "protect": settings.protect,
            "tags": dict(tags),
        },
        pulumi.ResourceOptions(providers=[cluster.kubernetes], depends_on=list(cluster.addons)),
    )


def _serving(settings: Settings) -> list[str]:
    """Regular expressions of the namespaces that serve: of Triton, its gateway, KServe's servers and TensorFlow's."""
    route = settings.serving.route
    own = [settings.serving.namespace, *([next_namespace(settings.serving)] if _rolls_out(settings) else [])]
    return [*own, *([route.namespace] if route else []), "kserve-.+", "tensorflow-.+"]


def _rollouts(settings: Settings) -> list[str]:
    """Namespaces of controllers that ask Prometheus how versions do."""
    rollouts = settings.serving.rollouts
    return [rollouts.namespace] if rollouts and _rolls_out(settings) else []


def _rolls_out(settings: Settings) -> bool:
    return any(model.next for model in settings.models)
