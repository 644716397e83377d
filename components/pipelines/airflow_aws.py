"""Managed Airflow on AWS: an environment of MWAA in the private subnets, with its key, its logs and its role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws

from components.pipelines.airflow_parts import Managed
from components.security.statements import document, iam_governs, logs_may_use
from components.tags import aws_tags

CLASSES = {"small": "mw1.small", "medium": "mw1.medium", "large": "mw1.large"}
VERSION = "3.0.6"
"""Of Airflow; the newest that MWAA has, as remembered."""
LOGS = ("DAGProcessing", "Scheduler", "Task", "WebServer", "Worker")
LOG_DAYS = 30


def build(
    parent: pulumi.Resource, name: str, args: Mapping[str, Any], prefix: str, child: pulumi.ResourceOptions
) -> Managed:
    """Key, log groups, role, security group, and the environment."""
    return _Mwaa(parent, name, args, prefix, child).build()


class _Mwaa:
    def __init__(
        self, parent: pulumi.Resource, name: str, args: Mapping[str, Any], prefix: str, child: pulumi.ResourceOptions
    ) -> None:
        self.name, self.args, self.prefix, self.child = name, args, prefix, child
        self.region: str = args["region"]
        self.tags = args.get("tags") or {}
        invoke = pulumi.InvokeOptions(parent=parent)
        self.account = aws.get_caller_identity(opts=invoke).account_id
        self.partition = aws.get_partition(opts=invoke).partition

    def build(self) -> Managed:
        key = self.key()
        logs = [self.log_group(kind, key) for kind in LOGS]
        role, policy = self.role(key)
        group, rules = self.group()
        environment = aws.mwaa.Environment(
            self.name,
            region=self.region,
            name=self.name,
            airflow_version=self.args.get("airflow_version", VERSION),
            environment_class=CLASSES[self.args.get("size", "small")],
            min_workers=1,
            max_workers=int(self.args.get("max_workers", 5)),
            source_bucket_arn=pulumi.Output.concat(f"arn:{self.partition}:s3:::", self.args["bucket"]),
            dag_s3_path=f"{self.prefix}/dags",
            execution_role_arn=role.arn,
            kms_key=key.arn,
            # Nobody reaches the page from outside the network.
            webserver_access_mode="PRIVATE_ONLY",
            network_configuration={
                # It takes two, of different zones.
                "subnet_ids": pulumi.Output.from_input(self.args["private_subnet_ids"]).apply(lambda ids: ids[:2]),
                "security_group_ids": [group.id],
            },
            logging_configuration={
                name: {"enabled": True, "log_level": "INFO"}
                for name in ("dag_processing_logs", "scheduler_logs", "task_logs", "webserver_logs", "worker_logs")
            },
            weekly_maintenance_window_start="SUN:03:30",
            tags=aws_tags(self.tags, self.name),
            opts=self.after(policy, *logs, *rules),
        )
        return Managed(
            url=pulumi.Output.concat("https://", environment.webserver_url),
            principal=role.arn,
            dags_url=pulumi.Output.concat("s3://", self.args["bucket"], f"/{self.prefix}/dags"),
        )

    def after(self, *resources: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions.merge(self.child, pulumi.ResourceOptions(depends_on=list(resources)))

    def key(self) -> aws.kms.Key:
        """Of its own, for logs may use it, which the bucket's key doesn't allow."""
        statements = [
            iam_governs(self.partition, self.account),
            logs_may_use(self.partition, self.region, self.account, f"airflow-{self.name}-*"),
        ]
        protect = True if self.args.get("protect") else None
        return aws.kms.Key(
            self.name,
            region=self.region,
            description=f"Queue, database and logs of {self.name}",
            enable_key_rotation=True,
            deletion_window_in_days=30,
            policy=document(statements),
            tags=aws_tags(self.tags, self.name),
            opts=pulumi.ResourceOptions.merge(self.child, pulumi.ResourceOptions(protect=protect)),
        )

    def log_group(self, kind: str, key: aws.kms.Key) -> aws.cloudwatch.LogGroup:
        """Made beforehand, or MWAA makes it, without a key and for ever."""
        return aws.cloudwatch.LogGroup(
            f"{self.name}-{kind.lower()}",
            region=self.region,
            name=f"airflow-{self.name}-{kind}",
            kms_key_id=key.arn,
            retention_in_days=LOG_DAYS,
            tags=aws_tags(self.tags, f"{self.name}-{kind.lower()}"),
            opts=self.child,
        )

    def role(self, key: aws.kms.Key) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
        """https://docs.aws.amazon.com/mwaa/latest/userguide/mwaa-create-role.html, as remembered"""
        trust = {
            "Effect": "Allow",
            "Principal": {"Service": ["airflow.amazonaws.com", "airflow-env.amazonaws.com"]},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:SourceAccount": self.account}},  # not for another account's
        }
        role = aws.iam.Role(
            f"{self.name}-role",
            description=f"Airflow {self.name} and its tasks",
            assume_role_policy=document([trust]),
            tags=dict(self.tags),
            opts=self.child,
        )
        needs = pulumi.Output.all(self.args["bucket"], self.args["encryption_key"], key.arn).apply(
            lambda known: document(self.needs(*known))
        )
        return role, aws.iam.RolePolicy(f"{self.name}-needs", role=role.name, policy=needs, opts=self.child)

    def needs(self, bucket: str, bucket_key: str, own_key: str) -> list[dict[str, Any]]:
        objects = f"arn:{self.partition}:s3:::{bucket}"
        writes = self.args.get("write_prefixes") or []
        reads = [self.prefix, *(self.args.get("read_prefixes") or []), *writes]
        where = f"{self.region}:{self.account}"
        uses = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"]

        def through(*services: str) -> dict[str, Any]:
            return {"StringLike": {"kms:ViaService": [f"{one}.{self.region}.amazonaws.com" for one in services]}}

        return [
            _allow(["airflow:PublishMetrics"], f"arn:{self.partition}:airflow:{where}:environment/{self.name}"),
            _allow(["s3:GetBucketPublicAccessBlock", "s3:GetBucketVersioning", "s3:ListBucket"], objects),
            _allow(["s3:GetAccountPublicAccessBlock"], "*"),
            _allow(["s3:GetObject", "s3:GetObjectVersion"], *(f"{objects}/{one}/*" for one in reads)),
            *(
                [_allow(["s3:PutObject", "s3:DeleteObject"], *(f"{objects}/{one}/*" for one in writes))]
                if writes
                else []
            ),
            _allow(
                [
                    "logs:CreateLogStream",
                    "logs:PutLogEvents",
                    "logs:GetLogEvents",
                    "logs:GetLogRecord",
                    "logs:GetLogGroupFields",
                ],
                f"arn:{self.partition}:logs:{where}:log-group:airflow-{self.name}-*",
            ),
            _allow(["logs:DescribeLogGroups", "logs:GetQueryResults"], "*"),
            _allow(["cloudwatch:PutMetricData"], "*"),
            _allow(
                [
                    "sqs:ChangeMessageVisibility",
                    "sqs:DeleteMessage",
                    "sqs:GetQueueAttributes",
                    "sqs:GetQueueUrl",
                    "sqs:ReceiveMessage",
                    "sqs:SendMessage",
                ],
                f"arn:{self.partition}:sqs:{self.region}:*:airflow-celery-*",  # in the account of the service
            ),
            {**_allow(uses, own_key), "Condition": through("sqs", "s3")},
            {**_allow(["kms:Decrypt", "kms:GenerateDataKey"], bucket_key), "Condition": through("s3")},
        ]

    def group(self) -> tuple[aws.ec2.SecurityGroup, list[pulumi.Resource]]:
        """Its parts among themselves, clients of the network at the page, and HTTPS to the outside."""
        group = aws.ec2.SecurityGroup(
            self.name,
            region=self.region,
            vpc_id=self.args["network_id"],
            description="Managed Airflow",
            revoke_rules_on_delete=True,
            tags=aws_tags(self.tags, self.name),
            opts=self.child,
        )
        common = {
            "region": self.region,
            "security_group_id": group.id,
            "tags": aws_tags(self.tags, self.name),
            "opts": self.child,
        }
        itself = {"referenced_security_group_id": group.id, "ip_protocol": "-1"}
        https = {"ip_protocol": "tcp", "from_port": 443, "to_port": 443}
        return group, [
            aws.vpc.SecurityGroupIngressRule(f"{self.name}-itself", description="Its own parts", **itself, **common),
            aws.vpc.SecurityGroupIngressRule(
                f"{self.name}-page",
                description="HTTPS from the network",
                cidr_ipv4=self.args["network_cidr"],
                **https,
                **common,
            ),
            aws.vpc.SecurityGroupEgressRule(f"{self.name}-itself", description="Its own parts", **itself, **common),
            aws.vpc.SecurityGroupEgressRule(
                f"{self.name}-https", description="HTTPS to services of AWS", cidr_ipv4="0.0.0.0/0", **https, **common
            ),
        ]  # fmt: skip


def _allow(actions: Sequence[str], *resources: str) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": list(resources) if len(resources) > 1 else resources[0],
    }
