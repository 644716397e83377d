"""Floating-point operations that the model needs, that the device could do, and so model FLOPs utilisation (MFU)."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from workloads.training.config import Model

PEAK_BFLOAT16 = {
    "B200": 2.25e15,
    "H200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10G": 70e12,
}
"""Dense bfloat16 operations a second by a part of the device's name, the longer names first. From NVIDIA's data sheets,
whose figures with sparsity are twice as large."""


def per_token(model: Model, sequence_length: int, adapters: int = 0) -> float:
    """Operations for a token of training, forward and backward, as in appendix B of PaLM (Chowdhery et al. 2022).

    6 for each weight that a token is multiplied with (the embedding's look-up is none, the output is), and
    12 x layers x width x length for attention, which counts the half that the causal mask hides. What activation
    checkpointing computes twice does not count: it is no use to anybody.
    With `adapters`, their number of weights, the others are frozen: 4 for each, as they get no gradient of their own.
    """
    shared = model.width * model.key_value_heads // model.heads
    matrices = 3 if model.activation == "swiglu" else 2
    block = 2 * model.width * (model.width + shared) + matrices * model.width * model.feed_forward
    weights = model.layers * block + model.vocabulary * model.width
    return (4.0 if adapters else 6.0) * weights + 6.0 * adapters + 12.0 * model.layers * model.width * sequence_length


def peak(device: torch.device, dtype: torch.dtype, clock: Callable[[], float] = time.perf_counter) -> float:
    """Operations a second that the device can do: from its data sheet, or as measured by a matrix product of 1024."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for part, operations in PEAK_BFLOAT16.items():
            if part in name and dtype == torch.bfloat16:
                return operations
    return measured(device, dtype, clock)


def measured(device: torch.device, dtype: torch.dtype, clock: Callable[[], float] = time.perf_counter) -> float:
    """The quickest of many matrix products, in operations a second; with as many threads as torch now has."""
    size = 8192 if device.type == "cuda" else 1024
    left, right = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    # A quarter of a second on a slow CPU: where others use the machine too, some get it undisturbed.
    for _ in range(10):
        start = clock()
        torch.mm(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, clock() - start)
    return 2.0 * size**3 / best
