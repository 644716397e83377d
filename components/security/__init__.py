"""Who may do what in the cloud: identities of workloads, bound to Kubernetes service accounts without any key."""

from components.security.workload_identity import (
    BucketAccessArgs,
    WorkloadIdentity,
    WorkloadIdentityArgs,
    identity_place,
)

__all__ = ["BucketAccessArgs", "WorkloadIdentity", "WorkloadIdentityArgs", "identity_place"]
