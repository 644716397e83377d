"""WorkloadIdentity: a Kubernetes service account that may use just its buckets, on either cloud, without a key."""

import re
from collections.abc import Mapping
from typing import Any, NotRequired, Optional, TypedDict

import pulumi

from components import arguments
from components.security import aws, gcp

GOOGLE_ACCOUNT = "iam.gke.io/gcp-service-account"
"""Annotation of a Kubernetes service account whose pods act as a Google one.
https://cloud.google.com/kubernetes-engine/docs/how-to/workload-identity#kubernetes-sa-to-iam"""

_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class BucketAccessArgs(TypedDict):
    """What the workload may do with one bucket."""

    bucket: pulumi.Input[str]
    """Name of the bucket."""
    write: NotRequired[bool]
    """Also create, overwrite and delete objects; default false."""
    prefix: NotRequired[str]
    """Only objects whose name begins so, such as `models/`; default the whole bucket."""
    key: NotRequired[pulumi.Input[str]]
    """ARN of the KMS key that encrypts the bucket. Not needed on GCP, where Cloud Storage itself uses the key."""


class WorkloadIdentityArgs(TypedDict):
    """Arguments of WorkloadIdentity."""

    cloud: str
    """`aws` or `gcp`."""
    region: str
    """The cluster's region, such as `us-east-1`."""
    cluster_name: pulumi.Input[str]
    """The cluster's name in its cloud."""
    workload_identity_pool: pulumi.Input[str]
    """`<project>.svc.id.goog` on GCP, empty on AWS: GpuCluster's output of that name."""
    namespace: str
    """Kubernetes namespace of the service account."""
    service_account: str
    """Name of the service account; it needs no annotation on either cloud."""
    buckets: NotRequired[list[BucketAccessArgs]]
    """Buckets that the workload uses; default none."""
    aws_policy_json: NotRequired[pulumi.Input[str]]
    """On AWS: a policy document with whatever else the workload may do."""
    gcp_project_roles: NotRequired[list[str]]
    """On GCP: roles that the workload has on the whole project, such as `roles/monitoring.metricWriter`."""
    google_account: NotRequired[bool]
    """On GCP: the pods act as a Google service account, made here, for services that know no other identity, such as
    Cloud SQL. Their own service account then needs what `annotations` gives. Default false."""
    tags: NotRequired[dict[str, str]]
    """Tags of the role on AWS."""


class IdentityPlace(TypedDict):
    """What identities of one component have in common."""

    cloud: str
    region: str
    cluster_name: pulumi.Input[str]
    workload_identity_pool: pulumi.Input[str]
    namespace: str
    tags: dict[str, str]


def identity_place(args: Mapping[str, Any]) -> IdentityPlace:
    """Arguments of an identity, from those of a component in a cluster, which have them by the same names."""
    return {
        "cloud": args["cloud"],
        "region": args["region"],
        "cluster_name": args["cluster_name"],
        "workload_identity_pool": args["workload_identity_pool"],
        "namespace": args["namespace"],
        "tags": args.get("tags") or {},
    }


class WorkloadIdentity(pulumi.ComponentResource):
    """Lets the pods of one service account act in the cloud, with the least that they need.

    - AWS: an IAM role that only this service account of this cluster can assume, one inline policy for its buckets (and
      one for `aws_policy_json`), and the EKS Pod Identity association that hands the role to the pods.
    - GCP: no service account at all. The Kubernetes identity is itself the member of the buckets' IAM policies
      (workload identity federation for GKE), with a condition where a prefix is given. With `google_account` it acts as
      that account instead, which nothing else may.

    ValueError when the cloud is unknown, a name is not a Kubernetes name, or a prefix begins with a slash.
    """

    principal: pulumi.Output[str]
    """The role's ARN, or the member of Google's IAM (`principal://`, or `serviceAccount:` with `google_account`), for
    policies that other components write."""
    google_account: pulumi.Output[str]
    """E-mail address of the Google service account; empty without one."""

    def __init__(self, name: str, args: WorkloadIdentityArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        arguments.check(f"WorkloadIdentity {name!r}", args, WorkloadIdentityArgs)
        _check(name, args)
        super().__init__("aicloud:index:WorkloadIdentity", name, {**args}, opts)
        build = {"aws": aws.bind, "gcp": gcp.bind}[args["cloud"]]
        self.principal, self.google_account = build(self, name, args)
        self.register_outputs({"principal": self.principal, "googleAccount": self.google_account})

    @property
    def annotations(self) -> pulumi.Output[dict[str, str]]:
        """What the Kubernetes service account has to be annotated with; empty without a Google service account."""
        return self.google_account.apply(lambda email: {GOOGLE_ACCOUNT: email} if email else {})


def _check(name: str, args: WorkloadIdentityArgs) -> None:
    where = f"WorkloadIdentity {name!r}"
    if args["cloud"] not in ("aws", "gcp"):
        raise ValueError(f"{where}: cloud is {args['cloud']!r}; accepted are 'aws' and 'gcp'")
    for field in ("namespace", "service_account"):
        value = args[field]
        if not _DNS_NAME.fullmatch(value):
            raise ValueError(
                f"{where}: {field} is {value!r}; a Kubernetes name has lower-case letters, digits and dashes"
            )
    if args.get("google_account") and args["cloud"] != "gcp":
        raise ValueError(f"{where}: google_account is True; on aws there is none")
    for index, access in enumerate(args.get("buckets") or []):
        prefix = access.get("prefix") or ""
        if prefix.startswith("/") or '"' in prefix or "*" in prefix:
            raise ValueError(
                f"{where}: buckets[{index}].prefix is {prefix!r}; a prefix has no leading slash, quote or asterisk"
            )
