"""The AWS side of Observability: a workspace of Amazon Managed Service for Prometheus, and X-Ray for traces."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from components.observability.parts import GATEWAY, GRAFANA, Parts, kept
from components.observability.prometheus import ACCOUNT
from components.security.statements import iam_governs
from components.tags import aws_tags

if TYPE_CHECKING:
    from components.observability.arguments import ObservabilityArgs

DEFAULT_DAYS = 395
_PLUGINS = ("grafana-amazonprometheus-datasource 3.3.5", "grafana-x-ray-datasource 2.16.0")
"""Plugins with versions: the first as its page says in November 2026, the second remembered.
https://grafana.com/grafana/plugins/grafana-amazonprometheus-datasource"""
_QUERY = ("aps:QueryMetrics", "aps:GetLabels", "aps:GetSeries", "aps:GetMetricMetadata")
_LOOK_AT_TRACES = (
    *("xray:BatchGetTraces", "xray:GetTraceSummaries", "xray:GetTraceGraph", "xray:GetGroups"),
    *("xray:GetTimeSeriesServiceStatistics", "xray:GetServiceGraph", "xray:GetInsightSummaries"),
)
_SEND_TRACES = ("xray:PutTraceSegments", "xray:PutTelemetryRecords")


def build(parent: pulumi.Resource, name: str, args: ObservabilityArgs, series: str) -> Parts:
    """What is needed under `parent`; `series` are the metrics to send, and empty sends none."""
    region = args["region"]
    workspace = _workspace(parent, name, args) if series else None
    permissions: dict[str, Any] = {
        GATEWAY: {"aws_policy_json": _policy(_SEND_TRACES)},
        GRAFANA: {"aws_policy_json": _policy(_LOOK_AT_TRACES)},
    }
    xray = {"name": "Traces", "uid": "traces", "type": "grafana-x-ray-datasource", "jsonData": _signed(region)}
    sources: list[dict[str, Any]] = [xray]
    prometheus: dict[str, Any] = {}
    if workspace is not None:
        permissions[ACCOUNT] = {"aws_policy_json": workspace.arn.apply(lambda arn: _policy(["aps:RemoteWrite"], arn))}
        permissions[GRAFANA] = {"aws_policy_json": workspace.arn.apply(_reads)}
        prometheus["remoteWrite"] = [
            {
                "url": workspace.prometheus_endpoint.apply(lambda endpoint: f"{endpoint}api/v1/remote_write"),
                "sigv4": {"region": region},
                "writeRelabelConfigs": [kept(series)],
                # https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-onboard-ingest-metrics-new-Prometheus.html
                "queueConfig": {"maxSamplesPerSend": 1000, "maxShards": 20, "capacity": 2500},
            }
        ]
        sources.append(
            {
                "name": "Long term",
                "uid": "long-term",
                "type": "grafana-amazonprometheus-datasource",
                "url": workspace.prometheus_endpoint.apply(lambda endpoint: endpoint.rstrip("/")),
                "jsonData": {
                    **{"httpMethod": "POST", "sigV4Auth": True, "sigV4AuthType": "default", "sigV4Region": region},
                },
            }
        )
    return Parts(
        endpoint=workspace.prometheus_endpoint if workspace else pulumi.Output.from_input(""),
        store=workspace.id if workspace else pulumi.Output.from_input(""),
        prometheus=prometheus,
        permissions=permissions,
        traces={
            "extensions": {"sigv4auth": {"region": region, "service": "xray"}},
            # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-OTLPEndpoint.html
            "exporters": {
                "otlp_http": {
                    "traces_endpoint": f"https://xray.{region}.amazonaws.com/v1/traces",
                    "compression": "gzip",
                    "auth": {"authenticator": "sigv4auth"},
                }
            },
            "processors": {},
        },
        plugins=_PLUGINS if workspace else _PLUGINS[1:],
        data_sources=sources,
        ready=_destination(parent, name, args),
    )


def _workspace(parent: pulumi.Resource, name: str, args: ObservabilityArgs) -> aws.amp.Workspace:
    region, tags = args["region"], aws_tags(args.get("tags") or {}, f"{name}-metrics")
    child = pulumi.ResourceOptions(parent=parent)
    kept_safe = pulumi.ResourceOptions(parent=parent, protect=bool(args.get("protect")))
    invoke = pulumi.InvokeOptions(parent=parent)
    account, partition = aws.get_caller_identity(opts=invoke).account_id, aws.get_partition(opts=invoke).partition
    key = aws.kms.Key(
        f"{name}-metrics",
        region=region,
        description=f"Metrics of {name}",
        enable_key_rotation=True,
        # Without it all metrics are lost: the longest time in which its deletion can be taken back.
        deletion_window_in_days=30,
        policy=json.dumps(_key_policy(partition, account, region)),
        tags=tags,
        opts=kept_safe,
    )
    aws.kms.Alias(f"{name}-metrics", region=region, name=f"alias/{name}-metrics", target_key_id=key.key_id, opts=child)
    workspace = aws.amp.Workspace(
        f"{name}-metrics", region=region, alias=name, kms_key_arn=key.arn, tags=tags, opts=kept_safe
    )
    aws.amp.WorkspaceConfiguration(
        f"{name}-metrics",
        region=region,
        workspace_id=workspace.id,
        retention_period_in_days=int((args.get("long_term") or {}).get("retention_days") or DEFAULT_DAYS),
        opts=child,
    )
    return workspace


def _key_policy(partition: str, account: str, region: str) -> dict[str, Any]:
    """IAM governs, and whoever uses the workspace lets the service use the key.

    https://docs.aws.amazon.com/prometheus/latest/userguide/encryption-at-rest-Amazon-Service-Prometheus.html
    (as remembered)
    """
    return {
        "Version": "2012-10-17",
        "Statement": [
            iam_governs(partition, account),
            {
                "Sid": "PrometheusKeepsMetrics",
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": ["kms:DescribeKey", "kms:GenerateDataKey", "kms:Decrypt", "kms:CreateGrant"],
                "Resource": "*",
                "Condition": {
                    "StringEquals": {"kms:ViaService": f"aps.{region}.amazonaws.com", "kms:CallerAccount": account}
                },
            },
        ],
    }


def _destination(parent: pulumi.Resource, name: str, args: ObservabilityArgs) -> list[pulumi.Resource]:
    """Spans as logs: a setting of the account in this region, and leave for X-Ray to write them.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Enable-TransactionSearch.html (as remembered)
    """
    if not (args.get("tracing") or {}).get("own_destination", True):
        return []
    region = args["region"]
    invoke = pulumi.InvokeOptions(parent=parent)
    account, partition = aws.get_caller_identity(opts=invoke).account_id, aws.get_partition(opts=invoke).partition
    groups = ("aws/spans", "/aws/application-signals/data")
    leave = aws.cloudwatch.LogResourcePolicy(
        f"{name}-spans",
        region=region,
        policy_name=f"{name}-spans",
        policy_document=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "XRayWritesSpans",
                        "Effect": "Allow",
                        "Principal": {"Service": "xray.amazonaws.com"},
                        "Action": "logs:PutLogEvents",
                        "Resource": [f"arn:{partition}:logs:{region}:{account}:log-group:{one}:*" for one in groups],
                        "Condition": {
                            "ArnLike": {"aws:SourceArn": f"arn:{partition}:xray:{region}:{account}:*"},
                            "StringEquals": {"aws:SourceAccount": account},
                        },
                    }
                ],
            }
        ),
        opts=pulumi.ResourceOptions(parent=parent),
    )
    destination = aws.xray.TraceSegmentDestination(
        f"{name}-spans",
        region=region,
        destination="CloudWatchLogs",
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[leave]),
    )
    return [leave, destination]


def _policy(actions: Any, resource: str = "*") -> str:
    """X-Ray's actions know of no resources."""
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _reads(workspace: str) -> str:
    statements = [{"Effect": "Allow", "Action": list(actions), "Resource": resource}
                  for actions, resource in ((_QUERY, workspace), (_LOOK_AT_TRACES, "*"))]  # fmt: skip
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _signed(region: str) -> dict[str, Any]:
    return {"authType": "default", "defaultRegion": region}
