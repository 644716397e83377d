"""A Kubernetes cluster for accelerators, the same arguments and outputs on AWS (EKS) and GCP (GKE)."""

from components.cluster.gpu_cluster import (
    GpuCluster,
    GpuClusterArgs,
    GpuSharingArgs,
    NodePoolArgs,
    RungArgs,
    TaintArgs,
)

__all__ = ["GpuCluster", "GpuClusterArgs", "GpuSharingArgs", "NodePoolArgs", "RungArgs", "TaintArgs"]
