"""Inference: models served on a cluster, and how such a deployment starts, scales and is closed off."""

from components.inference.kserve_inference import KServeInference, KServeInferenceArgs, KServeModelArgs
from components.inference.scaling_args import ForecastArgs, ScalingArgs, ScalingStepsArgs
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
    "KServeInference",
    "KServeInferenceArgs",
    "KServeModelArgs",
    "ModelArgs",
    "SavedModelArgs",
    "ScalingArgs",
    "ScalingStepsArgs",
    "TensorFlowServing",
    "TensorFlowServingArgs",
    "TritonInference",
    "TritonInferenceArgs",
]
