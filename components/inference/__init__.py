"""Inference: models served on a cluster or without one: how it starts, scales and is closed off, and the way to it."""

from components.inference.inference_route import InferenceRoute, InferenceRouteArgs, RouteBackendArgs
from components.inference.kserve_inference import KServeInference, KServeInferenceArgs, KServeModelArgs
from components.inference.scaling_args import ForecastArgs, ScalingArgs, ScalingStepsArgs
from components.inference.serverless import ServerlessInference, ServerlessInferenceArgs
from components.inference.tensorflow_serving import (
    BatchingArgs,
    SavedModelArgs,
    TensorFlowServing,
    TensorFlowServingArgs,
)
from components.inference.triton_inference import ModelArgs, TritonInference, TritonInferenceArgs

__all__ = [
    "BatchingArgs",
    "ForecastArgs",
    "InferenceRoute",
    "InferenceRouteArgs",
    "KServeInference",
    "KServeInferenceArgs",
    "KServeModelArgs",
    "ModelArgs",
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
