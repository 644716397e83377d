"""A language model in Triton that answers nothing: text in, bits per byte out, in batches that Triton makes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb  # type: ignore[import-not-found]

from workloads.serving.models import text
from workloads.serving.models.scoring import Scored, Scorer, Unscorable
from workloads.telemetry import traces


class TritonPythonModel:
    """What the backend calls."""

    def initialize(self, arguments: dict[str, str]) -> None:
        directory = Path(arguments["model_repository"]) / arguments["model_version"]
        settings, tokenizer = text.read(directory)
        torch.set_num_threads(settings.threads)
        self._scorer = Scorer(directory, settings, tokenizer)
        self._end_traces = traces.configure(f"model {arguments['model_name']}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Each request may itself have several texts; one that has a text without a score is refused alone."""
        begun = time.perf_counter()
        asked = [self._read(request) for request in requests]
        texts = [one for each in asked if not isinstance(each, str) for one in each]
        scored = iter(self._scorer.score([tokens for tokens, _ in texts], [size for _, size in texts]) if texts else ())
        seconds = time.perf_counter() - begun
        for request in requests:
            # The batch has run for each of them; which are traced, the server knows.
            if parent := traces.of_triton(request):
                traces.record("score", seconds, parent=parent, batch_requests=len(requests), batch_texts=len(texts))
        return [_refused(each) if isinstance(each, str) else _answer([next(scored) for _ in each]) for each in asked]

    def finalize(self) -> None:
        self._end_traces()

    def _read(self, request: Any) -> list[tuple[torch.Tensor, int]] | str:
        given = pb.get_input_tensor_by_name(request, "text_input").as_numpy().reshape(-1)
        try:
            return [(self._scorer.tokens(each), len(each)) for each in given]
        except Unscorable as error:
            return str(error)


def _answer(scored: list[Scored]) -> Any:
    bits = np.array([[each.bits_per_byte] for each in scored], np.float32)
    tokens = np.array([[each.tokens] for each in scored], np.uint32)
    return pb.InferenceResponse([pb.Tensor("bits_per_byte", bits), pb.Tensor("num_tokens", tokens)])


def _refused(why: str) -> Any:
    return pb.InferenceResponse(error=pb.TritonError(why, pb.TritonError.INVALID_ARG))
