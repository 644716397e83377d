"""Inference: models served on a cluster or without one, how that starts, scales and is closed off, and its routes."""

from components.inference.inference_route import InferenceRoute, InferenceRouteArgs, RouteBackendArgs
from components.inference.scaling_args import ForecastArgs, ScalingArgs, ScalingStepsArgs
from components.inference.serverless import ServerlessInference, ServerlessInferenceArgs
from components.inference.triton_inference import (
    ColdStartArgs,
    GroupArgs,
    ModelArgs,
    TritonInference,
    TritonInferenceArgs,
)

__all__ = [
    "ColdStartArgs",
    "ForecastArgs",
    "GroupArgs",
    "InferenceRoute",
    "InferenceRouteArgs",
    "ModelArgs",
    "RouteBackendArgs",
    "ScalingArgs",
    "ScalingStepsArgs",
    "ServerlessInference",
    "ServerlessInferenceArgs",
    "TritonInference",
    "TritonInferenceArgs",
]
