"""The parts of the platform that a stack, or another team's program, is composed of.

Each is imported when it is asked for: who reads only the catalog (`components.accelerators`) does without Pulumi.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.billing import BudgetAlarm, BudgetAlarmArgs
    from components.cluster import GpuCluster, GpuClusterArgs
    from components.inference import (
        InferenceRoute,
        InferenceRouteArgs,
        KServeInference,
        KServeInferenceArgs,
        ModelRollout,
        ModelRolloutArgs,
        ServerlessInference,
        ServerlessInferenceArgs,
        TensorFlowServing,
        TensorFlowServingArgs,
        TritonInference,
        TritonInferenceArgs,
    )
    from components.network import RegionalNetwork, RegionalNetworkArgs
    from components.observability import Observability, ObservabilityArgs
    from components.pipelines import (
        AirflowDeployment,
        AirflowDeploymentArgs,
        KubeflowPipelines,
        KubeflowPipelinesArgs,
        MlflowServer,
        MlflowServerArgs,
        RetrainingTrigger,
        RetrainingTriggerArgs,
        SageMakerPipeline,
        SageMakerPipelineArgs,
    )
    from components.routing import GlobalLoadBalancer, GlobalLoadBalancerArgs, RegionalEndpoint, RegionalEndpointArgs
    from components.security import WorkloadIdentity, WorkloadIdentityArgs
    from components.storage import TieredStorage, TieredStorageArgs
    from components.training import (
        HyperparameterSweep,
        HyperparameterSweepArgs,
        RayCluster,
        RayClusterArgs,
        RayJob,
        RayJobArgs,
        TrainingJob,
        TrainingJobArgs,
        TrainingQueue,
        TrainingQueueArgs,
        TrainingRuntimes,
        TrainingRuntimesArgs,
    )

_ROOMS = {
    "AirflowDeployment": "pipelines",
    "AirflowDeploymentArgs": "pipelines",
    "BudgetAlarm": "billing",
    "BudgetAlarmArgs": "billing",
    "GlobalLoadBalancer": "routing",
    "GlobalLoadBalancerArgs": "routing",
    "GpuCluster": "cluster",
    "GpuClusterArgs": "cluster",
    "HyperparameterSweep": "training",
    "HyperparameterSweepArgs": "training",
    "KServeInference": "inference",
    "KServeInferenceArgs": "inference",
    "InferenceRoute": "inference",
    "InferenceRouteArgs": "inference",
    "Observability": "observability",
    "ObservabilityArgs": "observability",
    "KubeflowPipelines": "pipelines",
    "KubeflowPipelinesArgs": "pipelines",
    "MlflowServer": "pipelines",
    "MlflowServerArgs": "pipelines",
    "ModelRollout": "inference",
    "ModelRolloutArgs": "inference",
    "RayCluster": "training",
    "RayClusterArgs": "training",
    "RayJob": "training",
    "RayJobArgs": "training",
    "RegionalEndpoint": "routing",
    "RegionalEndpointArgs": "routing",
    "RegionalNetwork": "network",
    "RegionalNetworkArgs": "network",
    "RetrainingTrigger": "pipelines",
    "RetrainingTriggerArgs": "pipelines",
    "SageMakerPipeline": "pipelines",
    "SageMakerPipelineArgs": "pipelines",
    "TensorFlowServing": "inference",
    "TensorFlowServingArgs": "inference",
    "ServerlessInference": "inference",
    "ServerlessInferenceArgs": "inference",
    "TieredStorage": "storage",
    "TieredStorageArgs": "storage",
    "TrainingJob": "training",
    "TrainingJobArgs": "training",
    "TrainingQueue": "training",
    "TrainingQueueArgs": "training",
    "TrainingRuntimes": "training",
    "TrainingRuntimesArgs": "training",
    "TritonInference": "inference",
    "TritonInferenceArgs": "inference",
    "WorkloadIdentity": "security",
    "WorkloadIdentityArgs": "security",
}

__all__ = [
    "AirflowDeployment",
    "AirflowDeploymentArgs",
    "BudgetAlarm",
    "BudgetAlarmArgs",
    "GlobalLoadBalancer",
    "GlobalLoadBalancerArgs",
    "GpuCluster",
    "GpuClusterArgs",
    "HyperparameterSweep",
    "HyperparameterSweepArgs",
    "InferenceRoute",
    "InferenceRouteArgs",
    "KServeInference",
    "KServeInferenceArgs",
    "KubeflowPipelines",
    "KubeflowPipelinesArgs",
    "MlflowServer",
    "MlflowServerArgs",
    "ModelRollout",
    "ModelRolloutArgs",
    "Observability",
    "ObservabilityArgs",
    "RayCluster",
    "RayClusterArgs",
    "RayJob",
    "RayJobArgs",
    "RegionalEndpoint",
    "RegionalEndpointArgs",
    "RegionalNetwork",
    "RegionalNetworkArgs",
    "RetrainingTrigger",
    "RetrainingTriggerArgs",
    "SageMakerPipeline",
    "SageMakerPipelineArgs",
    "ServerlessInference",
    "ServerlessInferenceArgs",
    "TensorFlowServing",
    "TensorFlowServingArgs",
    "TieredStorage",
    "TieredStorageArgs",
    "TrainingJob",
    "TrainingJobArgs",
    "TrainingQueue",
    "TrainingQueueArgs",
    "TrainingRuntimes",
    "TrainingRuntimesArgs",
    "TritonInference",
    "TritonInferenceArgs",
    "WorkloadIdentity",
    "WorkloadIdentityArgs",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'components' has no part {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"components.{_ROOMS[name]}"), name)
