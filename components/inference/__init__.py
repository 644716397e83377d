"""Inference: models served by Triton on a cluster or without one, and how a server starts, scales and is closed off."""

from components.inference.serverless import ServerlessInference, ServerlessInferenceArgs
from components.inference.triton_inference import ModelArgs, TritonInference, TritonInferenceArgs

__all__ = [
    "ModelArgs",
    "ServerlessInference",
    "ServerlessInferenceArgs",
    "TritonInference",
    "TritonInferenceArgs",
]
