"""The server process: found or fetched, started, given models, drained, killed; all of it with a real Triton."""

from __future__ import annotations

import numpy as np
import tritonclient.grpc as grpcclient

from workloads.serving.triton import Triton


def _double(triton: Triton, model: str, values: list[float]) -> list[float]:
    x = np.array([values], np.float32)
    tensor = grpcclient.InferInput("x", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x)
    with grpcclient.InferenceServerClient(triton.grpc) as client:
        return client.infer(model, [tensor]).as_numpy("y")[0].tolist()


def test_a_real_server_answers(triton: Triton, doubler: str) -> None:
    assert triton.ready(doubler)
    assert _double(triton, doubler, [1.0, -2.5]) == [2.0, -5.0]
