"""Inference: models served on a cluster or without one, how that starts, scales and is closed off, and its routes."""

from components.inference.inference_route import InferenceRoute, InferenceRouteArgs, RouteBackendArgs
from components.inference.kserve_inference import KServeInference, KServeInferenceArgs, KServeModelArgs
from components.inference.model_rollout import ModelRollout, ModelRolloutArgs, RolloutArmArgs
from components.inference.scaling_args import ForecastArgs, ScalingArgs, ScalingStepsArgs
from components.inference.serverless import ServerlessInference, ServerlessInferenceArgs
from components.inference.tensorflow_serving import (
    BatchingArgs,
    SavedModelArgs,
    TensorFlowServing,
    TensorFlowServingArgs,
)
from components.inference.triton_inference import (
    ColdStartArgs,
    GroupArgs,
    ModelArgs,
    TritonInference,
    TritonInferenceArgs,
)

__all__ = [
    "BatchingArgs",
    "ColdStartArgs",
    "ForecastArgs",
    "GroupArgs",
    "InferenceRoute",
    "InferenceRouteArgs",
    "KServeInference",
    "KServeInferenceArgs",
    "KServeModelArgs",
    "ModelArgs",
    "ModelRollout",
    "ModelRolloutArgs",
    "RolloutArmArgs",
    "RouteBackendArgs",
    "SavedModelArgs",
    "ScalingArgs",
    "ScalingStepsArgs",
    "ServerlessInference",
    "ServerlessInferenceArgs",
    "TensorFlowServing",
    "TensorFlowServingArgs",
    "TritonInference",
    "TritonInferenceArgs",
]
