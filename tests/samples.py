"""Every exported component on each cloud with arguments that it accepts: what tests of all components go through."""

from __future__ import annotations

import json
from typing import Any

REGIONS = {"aws": "us-east-1", "gcp": "europe-west4"}
CLOUDS = tuple(REGIONS)
ONLY_AWS = {"SageMakerPipeline"}
"""Components that are a service of one cloud, by its name; the other refuses them."""
TRAINING_IMAGE = "registry.example.com/ai-cloud/training:0.1.0"
H100S = {"aws": "p5.48xlarge", "gcp": "a3-megagpu-8g"}
ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com/ai-cloud"
PIPELINE = json.dumps(
    {
        "Version": "2020-12-01",
        "Parameters": [{"Name": "Corpus", "Type": "String", "DefaultValue": "stdlib"}],
        "Steps": [
            {
                "Name": "train",
                "Type": "Processing",
                "Arguments": {
                    "ProcessingResources": {
                        "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.g6.xlarge", "VolumeSizeInGB": 100}
                    },
                    "AppSpecification": {
                        "ImageUri": f"{ECR}/pipelines:0.1.0",
                        "ContainerEntrypoint": ["python", "-m", "workloads.pipelines"],
                    },
                    "RoleArn": "arn:aws:iam::123456789012:role/somebody-else",
                },
            },
            {
                "Name": "gate",
                "Type": "Condition",
                "Arguments": {
                    "Conditions": [{"Type": "Equals", "LeftValue": "a", "RightValue": "a"}],
                    "IfSteps": [
                        {
                            "Name": "register",
                            "Type": "Training",
                            "Arguments": {
                                "AlgorithmSpecification": {
                                    "TrainingImage": f"{ECR}/training@sha256:{'0' * 64}",
                                    "TrainingInputMode": "File",
                                },
                                "OutputDataConfig": {"S3OutputPath": "s3://sim-models/pipelines/run"},
                                "ResourceConfig": {
                                    "InstanceCount": 1,
                                    "InstanceType": "ml.m5.large",
                                    "VolumeSizeInGB": 30,
                                },
                                "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
                                "RoleArn": "arn:aws:iam::123456789012:role/somebody-else",
                            },
                        }
                    ],
                    "ElseSteps": [],
                },
            },
        ],
    }
)
"""What the compiler of a pipeline may write: a step, and one that only a condition lets run."""
ROLLOUT = json.dumps(
    {
        "name": "resnet50-4",
        "baseline": "resnet50:3",
        "candidate": "resnet50:4",
        "strategy": "canary",
        "steps": [{"percent": 5, "looks": 5}, {"percent": 50, "looks": 10}],
        "mirror_percent": 5,
        "guardrails": {"errors": {"margin": 0.005, "alpha": 0.02}, "quality": {"margin": 0.02, "alpha": 0.01}},
    }
)
TAGS = {"owner": "ml-platform@example.com", "environment": "test"}


def samples(cloud: str) -> dict[str, dict[str, Any]]:
    """Component -> arguments, with ids and the like as plain values."""
    region = REGIONS[cloud]
    on_aws = cloud == "aws"
    place = {"cloud": cloud, "region": region, "tags": TAGS}
    zones = [f"{region}{zone}" if on_aws else f"{region}-{zone}" for zone in "abc"]
    network_id = "vpc-0a1b2c3d" if on_aws else "projects/sim-project/global/networks/net"
    subnets = [f"subnet-{index}" for index in range(3)] if on_aws else ["projects/sim-project/subnetworks/nodes"]
    bound = {"cluster_name": "main", "workload_identity_pool": "" if on_aws else "sim-project.svc.id.goog"}
    bucket = "sim-models"
    registry = f"123456789012.dkr.ecr.{region}.amazonaws.com" if on_aws else f"{region}-docker.pkg.dev/sim-project"
    key = (
        f"arn:aws:kms:{region}:123456789012:key/models"
        if on_aws
        else f"projects/sim-project/locations/{region}/keyRings/models/cryptoKeys/models"
    )
    load_balancer = f"arn:aws:elasticloadbalancing:{region}:123456789012:loadbalancer/app/net/1"
    run = {
        **place,
        **bound,
        "namespace": "training",
        "queue": "training",
        "image": TRAINING_IMAGE,
        "config": "tiny",
        "settings": {"training.steps": "2000"},
        "data_prefix": "datasets/books",
        "bucket": "sim-data",
        "bucket_url": f"{'s3' if on_aws else 'gs'}://sim-data",
        "claims": {"hot": "hot", "warm": "warm"},
    }
    data = {
        "network_id": network_id,
        "network_cidr": "10.16.0.0/16",
        "private_subnet_ids": subnets,
        "node_security_group_id": "sg-2" if on_aws else "",
        "bucket": bucket,
        "bucket_url": f"{'s3' if on_aws else 'gs'}://{bucket}",
        "encryption_key": key,
    }
    groups = [f"https://www.googleapis.com/compute/v1/projects/sim-project/zones/{zone}/neg" for zone in zones]
    return {
        "BudgetAlarm": {
            "cloud": cloud,
            "usd_per_month": 5000,
            "email": "ml-platform@example.com",
            "tags": TAGS,
            **({} if on_aws else {"billing_account": "01AB23-45CD67-89EF01"}),
        },
        "Observability": {
            **place,
            **bound,
            "environment": "test",
            "retention_days": 40,
            "disk_gib": 150,
            "storage_class": "encrypted",
            "long_term": {"series": "aicloud:.+", **({"retention_days": 400} if on_aws else {})},
            "alerting": {
                "email": {
                    "to": "ml-platform@example.com",
                    "sender": "alerts@example.com",
                    "smarthost": "smtp.example.com:587",
                    "username": "alerts",
                },
                "slack_channel": "#ml-alerts",
                "pagerduty": True,
                "heartbeat": True,
                "teams": [{"name": "serving", "email": "serving@example.com", "slack_channel": "#ml-serving"}],
                "secrets": dict.fromkeys(
                    ("slack_url", "pagerduty_routing_key", "heartbeat_url", "smtp_password"), "not-a-secret"
                ),
                "secret_names": ["slack_url", "pagerduty_routing_key", "heartbeat_url", "smtp_password"],
            },
            "runbook_url": "https://git.example.com/docs/runbooks",
            "serving_namespaces": ["serving"],
            "training_namespaces": ["training"],
            "machine_budget_usd": 7300.0,
            "grafana_domain": "grafana.example.com",
            "oidc": {
                "issuer": "https://login.example.com",
                "client_id": "grafana",
                "client_secret": "not-a-secret",
                "admin_group": "ml-platform",
            },
            "tracing": {"sample_ratio": 0.1, "slow_ms": 500, **({"own_destination": True} if on_aws else {})},
            "query_namespaces": ["rollouts"],
            "protect": True,
        },
        "RegionalNetwork": {**place, "cidr": "10.16.0.0/16", "cluster_name": "main", "flow_log_retention_days": 14},
        "GpuCluster": {
            **place,
            "cluster_name": "main",
            "network_id": network_id,
            "private_subnet_ids": subnets,
            "pod_subnet_ids": [f"subnet-pods-{index}" for index in range(3)] if on_aws else [],
            "pod_range_name": "" if on_aws else "pods",
            "service_range_name": "" if on_aws else "services",
            "fabric_security_group_id": "sg-1" if on_aws else "",
            "gpudirect_networks": [] if on_aws else [f"gpu-{index}" for index in range(8)],
            "gpudirect_subnetworks": [] if on_aws else [f"gpu-subnet-{index}" for index in range(8)],
            "zones": zones,
            "node_pools": [system_pool(), serving_pool(), training_pool(cloud)],
            "log_retention_days": 30,
            "protect": True,
        },
        "TieredStorage": {
            **place,
            "network_id": network_id,
            "network_cidr": "10.16.0.0/16",
            "private_subnet_ids": subnets,
            "zones": zones,
            "namespaces": ["training"],
            "hot": {"capacity_gib": 36000},
            "warm": {"capacity_gib": 1024},
            "cold": {"deep_archive_after_days": 365, "replicate_to": "us-west-2" if on_aws else "europe-west1"},
            "protect": True,
        },
        "WorkloadIdentity": {
            **place,
            **bound,
            "namespace": "training",
            "service_account": "trainer",
            "buckets": [
                {"bucket": bucket, "prefix": "datasets/"},
                {"bucket": bucket, "prefix": "checkpoints/", "write": True},
            ],
        },
        "TrainingQueue": {
            "cloud": cloud,
            "region": region,
            "node_pools": [system_pool(), serving_pool(), training_pool(cloud)],
            "namespaces": ["training"],
        },
        "TrainingRuntimes": {
            "cloud": cloud,
            "region": region,
            "image": TRAINING_IMAGE,
            "accelerator": "h100-80gb",
            "accelerators_per_node": 8,
            "machine_type": H100S[cloud],
            "fabric": True,
        },
        "TrainingJob": {
            **run,
            "runtime": "sample-elastic",
            "accelerator": "h100-80gb",
            "accelerators_per_node": 8,
            "machine_type": H100S[cloud],
            "min_nodes": 2,
            "max_nodes": 4,
            "otlp_endpoint": "http://otel-agent.observability.svc:4318",
            "fabric": True,
        },
        "RayCluster": {
            **{key: value for key, value in run.items() if key not in ("config", "settings", "bucket_url")},
            "accelerator": "l4",
            "min_workers": 1,
            "max_workers": 4,
        },
        "RayJob": {**run, "accelerator": "l4", "min_workers": 1, "max_workers": 4},
        "HyperparameterSweep": {
            **run,
            "accelerator": "l4",
            "search": {"optimizer.learning_rate": "log:1e-4:1e-2"},
            "trials": 8,
            "workers": 4,
        },
        "TritonInference": {
            **place,
            **bound,
            "namespace": "serving",
            "image": "registry.example.com/ai-cloud/serving:0.1.0",
            "models": [{"name": "resnet50", "version": 3, "size_gib": 2.5, "gpus": 1}],
            "repository_url": f"{'s3' if on_aws else 'gs'}://{bucket}/models",
            "bucket": bucket,
            "accelerator": "l4",
            "gpus": 1,
            "min_replicas": 1,
            "max_replicas": 4,
            "client_cidrs": ["10.16.0.0/16"],
            "queue_objective_ms": 20,
            "otlp_endpoint": "http://otel-agent.observability.svc:4318",
            "scaling": {"forecasts": [{"model": "resnet50", "requests_per_replica_s": 100.0}]},
        },
        "InferenceRoute": {
            "cloud": cloud,
            "namespace": "gateway",
            "hostnames": ["inference.example.com"],
            "backends": [backend("stable", 100), backend("canary", 0)],
            "models": [
                {
                    "name": "resnet50",
                    "backends": [backend("stable", 90), backend("canary", 10), backend("shadow", 0)],
                    "mirror": {"backend": "shadow", "percent": 5},
                }
            ],
            "experiments": [
                {"name": "testers", "backend": "canary", "header": {"name": "x-variant", "value": "canary"}},
                {
                    "name": "half",
                    "backend": "canary",
                    "cookie": {"name": "variant", "value": "b"},
                    "model": "resnet50",
                },
            ],
            "client_cidrs": ["10.16.0.0/16"],
            "weights_by": "rollout",
            "rollout": {"namespace": "rollouts", "service_account": "rollout"},
        },
        "ModelRollout": {
            "namespace": "rollouts",
            "image": "registry.example.com/ai-cloud/rollout:0.1.0",
            "specification": ROLLOUT,
            "route_namespace": "gateway",
            "route": "main-resnet50",
            "baseline": arm("stable"),
            "candidate": arm("canary"),
            "ready_replicas": 2,
            "texts": ["The same text,", "scored by both."],
        },
        "ServerlessInference": {
            **place,
            "mode": "asynchronous" if on_aws else "synchronous",
            "image": f"{registry}/ai-cloud/serving:0.1.0",
            "model": "resnet50",
            "version": 3,
            "size_gib": 2.5,
            "repository_url": f"{'s3' if on_aws else 'gs'}://{bucket}/models",
            "bucket": bucket,
            "encryption_key": key,
            "accelerator": "l4",
            "max_instances": 3,
            "network_id": network_id,
            "private_subnet_ids": subnets,
            "invokers": ["arn:aws:iam::123456789012:role/app"] if on_aws else ["group:ml@example.com"],
        },
        "KServeInference": {
            **place,
            **bound,
            "namespace": "kserve-reviews",
            "image": "registry.example.com/ai-cloud/serving:0.1.0",
            "models": [{"name": "sentiment", "version": 2, "size_gib": 0.5}],
            "repository_url": f"{'s3' if on_aws else 'gs'}://{bucket}/models",
            "bucket": bucket,
            "accelerator": "l4",
            "gpus": 1,
            "min_replicas": 1,
            "max_replicas": 4,
            "client_cidrs": ["10.16.0.0/16"],
        },
        "TensorFlowServing": {
            **place,
            **bound,
            "namespace": "tensorflow-clicks",
            "image": "registry.example.com/ai-cloud/tensorflow-serving:2.20.0",
            "fetch_image": "registry.example.com/ai-cloud/serving:0.1.0",
            "models": [
                {"name": "clicks", "version": 3, "size_gib": 0.2, "labels": ["stable"]},
                {"name": "clicks", "version": 4, "size_gib": 0.2, "labels": ["canary"]},
            ],
            "repository_url": f"{'s3' if on_aws else 'gs'}://{bucket}/models",
            "bucket": bucket,
            "min_replicas": 1,
            "max_replicas": 4,
            "batching": {"max_batch_size": 64, "batch_timeout_ms": 2, "allowed_batch_sizes": [8, 64]},
            "client_cidrs": ["10.16.0.0/16"],
        },
        "MlflowServer": {
            **place,
            **bound,
            **data,
            "namespace": "mlflow",
            "image": "registry.example.com/ai-cloud/mlflow:3.17.2-1",
            "database": {"size": "medium", "storage_gib": 50, "zonal_redundancy": True, "backup_days": 14},
            "client_namespaces": ["training"],
            "replicas": 2,
            "protect": True,
        },
        "AirflowDeployment": {
            **place,
            **bound,
            **data,
            "namespace": "airflow",
            "image": "registry.example.com/ai-cloud/airflow:3.3.2-1",
            "database": {"size": "medium", "storage_gib": 50, "zonal_redundancy": True, "backup_days": 14},
            "read_prefixes": ["datasets"],
            "write_prefixes": ["pipelines", "models"],
            "replicas": 2,
            "tracking_namespace": "mlflow",
            "protect": True,
        },
        "KubeflowPipelines": {
            **place,
            **bound,
            "namespace": "kubeflow",
            "bucket": bucket,
            "bucket_url": f"{'s3' if on_aws else 'gs'}://{bucket}",
            "encryption_key": data["encryption_key"],
            "read_prefixes": ["datasets"],
            "write_prefixes": ["models"],
            "client_namespaces": ["training"],
            "tracking_namespace": "mlflow",
            "protect": True,
        },
        "RetrainingTrigger": {
            **place,
            **bound,
            "namespace": "training",
            "queue": "training",
            "image": "registry.example.com/ai-cloud/retraining:0.1.0",
            "pipeline_image": "registry.example.com/ai-cloud/pipelines:0.1.0",
            "model": "sentiment",
            "bucket": bucket,
            "bucket_url": f"{'s3' if on_aws else 'gs'}://{bucket}",
            "network_cidr": "10.16.0.0/16",
            "policy": '{"retrain": {"usd_a_month": 200.0}}',
            "corpus_prefix": "datasets/text",
            "tracking_uri": "http://mlflow.mlflow.svc.cluster.local:5000",
            "parameters": {"champion": "registry"},
            "accelerator": "l4",
            **(
                {"encryption_key": key}
                if on_aws
                else {"catalog": {"type": "rest", "uri": "https://catalog.example.com"}}
            ),
        },
        "SageMakerPipeline": {
            **place,
            "definition": PIPELINE,
            "network_id": network_id,
            "private_subnet_ids": subnets,
            "bucket": bucket,
            "read_prefixes": ["datasets"],
            "write_prefixes": ["pipelines", "models"],
            "encryption_key": key,
            "schedule": "cron(0 3 ? * SUN *)",
            "parameters": {"Corpus": "s3://sim-models/datasets/web"},
        },
        "RegionalEndpoint": {
            **place,
            "network_id": network_id,
            "private_subnet_ids": subnets,
            "node_security_group_id": "sg-2" if on_aws else "",
            "zones": zones,
            "namespace": "serving",
            "service": "triton",
            "port": 8000,
            "certificate_domain": "inference.example.com",
            "hosted_zone_id": "Z0123456789",
            **({"requests_per_client": 1000} if on_aws else {}),
        },
        "GlobalLoadBalancer": {
            "domain": "inference.example.com",
            "hosted_zone_id": "Z0123456789",
            "regions": [
                {"region": f"{cloud}:{region}", "targets": [load_balancer] if on_aws else groups, "weight": 50},
                *([] if on_aws else [{"region": "aws:us-east-1", "targets": [load_balancer], "dial": 80}]),
            ],
            "tags": TAGS,
        },
    }


def arm(name: str) -> dict[str, Any]:
    """The same backend, as a rollout has it."""
    return {key: value for key, value in backend(name, 0).items() if key not in ("name", "weight")}


def backend(name: str, weight: int, **changes: Any) -> dict[str, Any]:
    """A backend of a route, in a namespace of its own."""
    labels = {"app.kubernetes.io/instance": f"triton-{name}"}
    return {
        "name": name,
        "namespace": f"serving-{name}",
        "service": f"triton-{name}",
        "weight": weight,
        "labels": labels,
        **changes,
    }


def system_pool(**changes: Any) -> dict[str, Any]:
    return {"name": "system", "purpose": "system", "min": 2, "max": 4, "ladder": [{"kind": "on-demand"}], **changes}


def serving_pool(**changes: Any) -> dict[str, Any]:
    ladder = [{"kind": "spot", "ceiling": 3}, {"kind": "on-demand", "floor": 1}]
    pool = {"name": "serving", "purpose": "serving", "accelerator": "l4", "min": 1, "max": 4, "ladder": ladder}
    return {**pool, **changes}


def training_pool(cloud: str, **changes: Any) -> dict[str, Any]:
    """H100s with their fabric; on AWS and on GCP of the one machine type that the sample networks fit."""
    return {
        "name": "training",
        "purpose": "training",
        "accelerator": "h100-80gb",
        "machine_type": H100S[cloud],
        "min": 0,
        "max": 4,
        "ladder": [{"kind": "spot"}],
        "fabric": True,
        "local_nvme_raid": True,
        **changes,
    }
