"""ServerlessInference on GCP: a Cloud Run service whose one container fetches, verifies and serves the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_gcp as gcp

from components.inference import serverless_offers as offers
from components.inference.serverless_arguments import DEFAULT_TIMEOUT_S, INGRESS, Endpoint
from components.inference.serverless_parts import Built, checked_url
from components.inference.startup import PERIOD_S
from components.security.gcp import account_id, prefix_condition
from components.tags import gcp_labels

if TYPE_CHECKING:
    from components.inference.serverless import ServerlessInferenceArgs

PORT = 8080
INVOKER = "roles/run.invoker"


def build(
    parent: pulumi.Resource,
    name: str,
    args: ServerlessInferenceArgs,
    endpoint: Endpoint,
    child: pulumi.ResourceOptions,
) -> Built:
    """Identity, grants, the service, and who may call it."""
    project = gcp.organizations.get_project(opts=pulumi.InvokeOptions(parent=parent))
    account = gcp.serviceaccount.Account(
        name,
        account_id=account_id(name),
        description=f"Cloud Run service {name}: reads {endpoint.version_prefix}",
        opts=child,
    )
    grants: list[pulumi.Resource] = [
        gcp.storage.BucketIAMMember(
            f"{name}-model",
            bucket=args["bucket"],
            role="roles/storage.objectViewer",
            member=account.member,
            condition={
                "title": "version",
                "description": f"Only objects under {endpoint.version_prefix}",
                "expression": pulumi.Output.from_input(args["bucket"]).apply(
                    lambda bucket: prefix_condition(bucket, endpoint.version_prefix)
                ),
            },
            opts=child,
        )
    ]
    key = args.get("encryption_key")
    if key is not None:
        agent = gcp.projects.ServiceIdentity(
            name,
            project=project.project_id,
            service="run.googleapis.com",
            # It is the project's, and other services need it too.
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(retain_on_delete=True)),
        )
        grants.append(
            gcp.kms.CryptoKeyIAMMember(
                f"{name}-key",
                crypto_key_id=key,
                role="roles/cloudkms.cryptoKeyEncrypterDecrypter",
                member=agent.member,
                opts=child,
            )
        )
    labels = gcp_labels(args.get("tags") or {})
    service = gcp.cloudrunv2.Service(
        name,
        name=name,
        location=args["region"],
        description=f"Triton with {endpoint.model}:{endpoint.version}",
        ingress=INGRESS[args.get("ingress", "internal")],
        # Google's policy of the project decides which images may run, as for the clusters.
        binary_authorization={"use_default": True},
        deletion_protection=bool(args.get("protect")),
        labels=labels,
        template={
            "labels": labels,
            "service_account": account.email,
            "execution_environment": "EXECUTION_ENVIRONMENT_GEN2",
            "timeout": f"{int(args.get('request_timeout_s', DEFAULT_TIMEOUT_S))}s",
            "max_instance_request_concurrency": endpoint.requests_per_instance,
            "scaling": {
                "min_instance_count": endpoint.min_instances,
                "max_instance_count": endpoint.max_instances,
            },
            "containers": [_container(name, args, endpoint)],
            **({"encryption_key": key} if key is not None else {}),
            **_gpu(args, endpoint),
            **_network(args),
        },
        # A revision that may not read its model, or use its key, never becomes ready.
        opts=pulumi.ResourceOptions.merge(
            child, pulumi.ResourceOptions(depends_on=grants, protect=True if args.get("protect") else None)
        ),
    )
    invokers: list[tuple[str, pulumi.Input[str]]] = [
        (f"{name}-invoker-{index}", invoker) for index, invoker in enumerate(args.get("invokers") or [])
    ]
    if args.get("unauthenticated"):
        invokers.append((f"{name}-everybody", "allUsers"))
    for resource, member in invokers:
        gcp.cloudrunv2.ServiceIamMember(
            resource, name=service.name, location=args["region"], role=INVOKER, member=member, opts=child
        )
    path = f"/v2/models/{endpoint.model}/versions/{endpoint.version}/infer"
    return Built(
        name=service.name,
        url=pulumi.Output.concat(service.uri, path),
        principal=account.email,
        invoker_grant=INVOKER,
    )


def _container(name: str, args: ServerlessInferenceArgs, endpoint: Endpoint) -> dict[str, Any]:
    source = pulumi.Output.from_input(args["repository_url"]).apply(lambda url: checked_url(name, url, endpoint.prefix))
    gpu = {"nvidia.com/gpu": "1"} if endpoint.accelerator else {}
    least = offers.CLOUD_RUN_GPUS[endpoint.accelerator].least_cpu if endpoint.accelerator else 1
    cores = int(args.get("cpu", offers.cloud_run_cores(endpoint.memory_gib, least)))
    return {
        "name": "triton",
        "image": args["image"],
        # No `commands`: it is the image's own entry point that fits CUDA to the machine's driver, and then runs these.
        "args": [
            "python3", "-m", "workloads.serving", "serve",
            "--repository", source,
            "--model", f"{endpoint.model}:{endpoint.version}",
            # The file system is memory: that is counted in the limit below.
            "--directory", "/tmp/serve",
            "--address", "0.0.0.0",
            "--http-port", str(PORT),
            # Cloud Run stops sending before it says so.
            "--drain-s", "0",
            "--exit-timeout-s", str(offers.CLOUD_RUN_END_S - 2),
        ],
        "envs": [{"name": "HOME", "value": "/tmp"}],
        "ports": {"name": "http1", "container_port": PORT},
        "resources": {
            "limits": {"cpu": str(cores), "memory": f"{endpoint.memory_gib}Gi", **gpu},
            # With a GPU an instance is paid from its start to its end, so its cores may as well work.
            "cpu_idle": not endpoint.accelerator,
            "startup_cpu_boost": True,
        },
        "startup_probe": {
            "http_get": {"path": f"/v2/models/{endpoint.model}/versions/{endpoint.version}/ready", "port": PORT},
            "period_seconds": PERIOD_S,
            "timeout_seconds": PERIOD_S,
            "failure_threshold": endpoint.start_s // PERIOD_S,
        },
        "liveness_probe": {
            "http_get": {"path": "/v2/health/live", "port": PORT},
            "period_seconds": 10,
            "timeout_seconds": 5,
            "failure_threshold": 6,
        },
    }  # fmt: skip


def _gpu(args: ServerlessInferenceArgs, endpoint: Endpoint) -> dict[str, Any]:
    if not endpoint.accelerator:
        return {}
    return {
        "node_selector": {"accelerator": offers.CLOUD_RUN_GPUS[endpoint.accelerator].name},
        "gpu_zonal_redundancy_disabled": not args.get("zonal_redundancy"),
    }


def _network(args: ServerlessInferenceArgs) -> dict[str, Any]:
    network, subnets = args.get("network_id"), args.get("private_subnet_ids")
    if network is None or subnets is None:
        return {}
    first = pulumi.Output.from_input(subnets).apply(lambda ids: ids[0])
    interface = {"network": network, "subnetwork": first}
    return {"vpc_access": {"network_interfaces": [interface], "egress": "ALL_TRAFFIC"}}
