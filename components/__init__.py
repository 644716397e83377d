"""The parts of the platform that a stack, or another team's program, is composed of."""

from components.cluster import GpuCluster, GpuClusterArgs
from components.inference import TritonInference, TritonInferenceArgs
from components.network import RegionalNetwork, RegionalNetworkArgs
from components.routing import GlobalLoadBalancer, GlobalLoadBalancerArgs, RegionalEndpoint, RegionalEndpointArgs
from components.security import WorkloadIdentity, WorkloadIdentityArgs
from components.storage import TieredStorage, TieredStorageArgs

__all__ = [
    "GlobalLoadBalancer",
    "GlobalLoadBalancerArgs",
    "GpuCluster",
    "GpuClusterArgs",
    "RegionalEndpoint",
    "RegionalEndpointArgs",
    "RegionalNetwork",
    "RegionalNetworkArgs",
    "TieredStorage",
    "TieredStorageArgs",
    "TritonInference",
    "TritonInferenceArgs",
    "WorkloadIdentity",
    "WorkloadIdentityArgs",
]
