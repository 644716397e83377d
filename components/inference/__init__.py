"""Inference: models served by Triton on a cluster, and how such a deployment starts, scales and is closed off."""

from components.inference.triton_inference import (
    ColdStartArgs,
    GroupArgs,
    ModelArgs,
    TritonInference,
    TritonInferenceArgs,
)

__all__ = ["ColdStartArgs", "GroupArgs", "ModelArgs", "TritonInference", "TritonInferenceArgs"]
