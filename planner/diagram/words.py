"""How the diagram says things: counts, ranges, and what is worth a line of its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from planner.plan import Resource

MANAGED = {"aws": "EKS", "gcp": "GKE"}
"""Cloud -> its Kubernetes."""

_NOTABLE = """
    rds dynamodb elasticache memorydb docdb neptune redshift opensearch kinesis msk lambda ecs apprunner batch emr glue
    athena sagemaker bedrock sfn mq appsync apigateway apigatewayv2 cloudfront mwaa
    sql spanner bigtable firestore redis memcache bigquery pubsub cloudrun cloudrunv2 cloudfunctions cloudfunctionsv2
    dataflow dataproc composer vertex notebooks workbench tpu alloydb dataform
"""
NOTABLE = frozenset(_NOTABLE.split())
"""Modules of the clouds' SDKs whose resources are parts of an architecture, not plumbing."""
_SERVICES = {"dynamodb": "DynamoDB", "opensearch": "OpenSearch", "documentdb": "DocumentDB", "bigquery": "BigQuery",
             "elasticache": "ElastiCache", "sagemaker": "SageMaker", "cloudrun": "Cloud Run", "cloudrunv2": "Cloud Run",
             "cloudfunctions": "Cloud", "cloudfunctionsv2": "Cloud", "pubsub": "Pub/Sub"}  # fmt: skip
DASH, TIMES = "\N{EN DASH}", "\N{MULTIPLICATION SIGN}"
_MACHINES = ("aws:ec2/instance:Instance", "aws:autoscaling/group:Group", "gcp:compute/instance:Instance",
             "gcp:compute/instanceGroupManager:InstanceGroupManager")  # fmt: skip


_PARTS = frozenset({"aws:rds/subnetGroup:SubnetGroup", "gcp:sql/database:Database", "gcp:sql/user:User"})
"""Of a database, which is what is notable."""


def plural(count: int, word: str) -> str:
    """`1 region`, `2 regions`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def span(low: int, high: int | None, word: str = "") -> str:
    """`3`, `0-8` with a dash, or `2 or more` where nothing limits it."""
    text = f"{low:,} or more" if high is None else f"{low:,}" if low == high else f"{low:,}{DASH}{high:,}"
    return f"{text} {word}{'' if high == 1 else 's'}" if word else text


def kinds(resources: Iterable[Resource], *, notable: bool) -> Counter[str]:
    """How many of a kind there are, named as people do: `RDS Instance`. Only what is notable, or everything."""
    counted: Counter[str] = Counter()
    for resource in resources:
        module = resource.type.split(":")[1].split("/")[0] if resource.type.count(":") == 2 else ""
        own = module in NOTABLE and resource.package != "kubernetes"  # batch/v1 is no AWS Batch
        if resource.is_provider or (notable and not own and resource.type not in _MACHINES):
            continue
        if notable and resource.type in _PARTS:
            continue
        last = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", resource.type.rsplit(":", 1)[-1])
        service = _SERVICES.get(module) or (module.upper() if len(module) < 4 else module.capitalize())
        counted[last if last.lower().startswith(module.lower()) or "." in module else f"{service} {last}"] += 1
    return Counter(dict(sorted(counted.items())))
