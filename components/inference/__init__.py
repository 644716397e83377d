"""Inference: models served by Triton on a cluster, and how such a deployment starts, scales and is closed off."""

from components.inference.scaling_args import ForecastArgs, ScalingArgs, ScalingStepsArgs
from components.inference.triton_inference import ModelArgs, TritonInference, TritonInferenceArgs

__all__ = ["ForecastArgs", "ModelArgs", "ScalingArgs", "ScalingStepsArgs", "TritonInference", "TritonInferenceArgs"]
