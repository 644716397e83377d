"""Slips that the policies of the clouds find."""

from __future__ import annotations

import json

from tests.faults.fault import Fault, State, all_of, remove, the

EKS_CLUSTER = "aws:eks/cluster:Cluster"
BUCKET_POLICY = "aws:s3/bucketPolicy:BucketPolicy"
GKE_POOL = "gcp:container/nodePool:NodePool"


def _reach_the_api_from_home(states: list[State]) -> None:
    the(states, EKS_CLUSTER)["inputs"]["vpcConfig"] |= {"endpointPublicAccess": True, "publicAccessCidrs": None}


def _let_ssh_in(states: list[State]) -> None:
    rule = the(states, "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "us-east-1-endpoint-clients")
    rule["inputs"] |= {"fromPort": 22, "toPort": 22, "description": "debugging"}


def _hop_to_pods(states: list[State]) -> None:
    for template in all_of(states, "aws:ec2/launchTemplate:LaunchTemplate", "serving-l4"):
        template["inputs"]["metadataOptions"]["httpPutResponseHopLimit"] = 2


def _forget_the_key_of_the_disks(states: list[State]) -> None:
    for pool in all_of(states, GKE_POOL, "europe-west4"):
        pool["inputs"]["nodeConfig"].pop("bootDiskKmsKey", None)


def _forget_the_key_of_the_metrics(states: list[State]) -> None:
    workspace = the(states, "aws:amp/workspace:Workspace", "us-east-1-observability-metrics")
    workspace["inputs"].pop("kmsKeyArn")


def _grant_all_of_s3(states: list[State]) -> None:
    policy = the(states, "aws:iam/rolePolicy:RolePolicy", "us-east-1-triton-identity")
    policy["inputs"]["policy"] = json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    )


def _give_nodes_the_bucket(states: list[State]) -> None:
    attachment = the(states, "aws:iam/rolePolicyAttachment:RolePolicyAttachment", "nodes-AmazonEKS_CNI_Policy")
    attachment["inputs"]["policyArn"] = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"


def _copy_to_another_continent(states: list[State]) -> None:
    for state in states:
        if state["urn"].endswith("::eu-central-1-storage-replica") and state["type"].startswith("aws:"):
            state["inputs"]["region"] = "sa-east-1"


def _serve_over_old_tls(states: list[State]) -> None:
    the(states, "gcp:compute/sSLPolicy:SSLPolicy")["inputs"]["minTlsVersion"] = "TLS_1_0"


def _hand_a_token_to_the_driver(states: list[State]) -> None:
    container = the(states, "kubernetes:apps/v1:Deployment", "triton")["inputs"]["spec"]["template"]["spec"][
        "containers"
    ]
    container[0].setdefault("env", []).append({"name": "HF_TOKEN", "value": "not-a-real-token"})


def _ten_times_the_gpus(states: list[State]) -> None:
    for pool in all_of(states, "kubernetes:karpenter.sh/v1:NodePool", "serving-l4"):
        limits = pool["inputs"]["spec"]["limits"]
        pool["inputs"]["spec"]["limits"] = {name: str(int(float(str(value)) * 10)) for name, value in limits.items()
                                            if str(value).isdigit()} or {"nodes": "200"}  # fmt: skip


FAULTS = (
    Fault(
        "a public control plane", "dev", "private-control-plane", "cluster-control-cluster", _reach_the_api_from_home
    ),
    Fault("SSH from everywhere", "prod", "nothing-open-to-the-world", "us-east-1-endpoint-clients", _let_ssh_in),
    Fault(
        "no web ACL before the load balancer",
        "prod",
        "public-load-balancers-have-a-firewall",
        "eu-central-1-endpoint",
        lambda states: remove(states, "aws:wafv2/webAclAssociation:WebAclAssociation", "eu-central-1"),
    ),
    Fault("metadata two hops far", "staging", "instance-metadata-is-closed-to-pods", "serving-l4", _hop_to_pods),
    Fault(
        "GKE's disks under Google's key",
        "prod",
        "node-disks-under-own-key",
        "europe-west4",
        _forget_the_key_of_the_disks,
    ),
    Fault(
        "metrics under Amazon's key",
        "prod",
        "metrics-under-own-key",
        "us-east-1-observability-metrics",
        _forget_the_key_of_the_metrics,
    ),
    Fault("all of S3 for the server", "prod", "no-wildcard-permissions", "us-east-1-triton-identity", _grant_all_of_s3),
    Fault(
        "the bucket for every pod", "dev", "node-roles-are-for-nodes", "AmazonEKS_CNI_Policy", _give_nodes_the_bucket
    ),
    Fault(
        "a copy on another continent", "prod", "data-stays-where-it-may-be", "eu-central-1", _copy_to_another_continent
    ),
    Fault("TLS 1.0 at the front door", "staging", "tls-floor", "front-door", _serve_over_old_tls),
    Fault("a token in the environment", "dev", "no-plaintext-secrets", "triton", _hand_a_token_to_the_driver),
    Fault("ten times the GPUs", "dev", "accelerator-ceiling", "", _ten_times_the_gpus),
    Fault(
        "Filestore without its backups",
        "prod",
        "file-systems-have-backups",
        "asia-southeast1-storage-warm",
        lambda states: remove(
            states, "gcp:backupdisasterrecovery/backupPlanAssociation:BackupPlanAssociation", "asia-southeast1"
        ),
    ),
    Fault(
        "nobody hears of the money",
        "staging",
        "budget-alarm-present",
        "",
        lambda states: remove(states, "gcp:billing/budget:Budget"),
    ),
)
