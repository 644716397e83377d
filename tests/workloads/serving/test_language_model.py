"""A checkpoint that was trained here, exported, in a real Triton: text in, text out while it is computed."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from workloads.serving.triton import Triton


def ask(triton: Triton, model: str, body: dict[str, Any], path: str = "generate") -> tuple[int, list[dict[str, Any]]]:
    """Status and answers of a request over plain HTTP."""
    request = urllib.request.Request(f"http://{triton.http}/v2/models/{model}/{path}", json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            status, text = response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.strip()]
    return status, [json.loads(line) for line in lines]


def test_an_exported_checkpoint_streams_text(triton: Triton, language_model: str) -> None:
    sampling = {"max_tokens": 12, "temperature": 0}
    whole = ask(triton, language_model, {"text_input": "import json", "parameters": sampling})
    assert whole[0] == 200
    streamed = ask(
        triton,
        language_model,
        {"text_input": "import json", "parameters": {**sampling, "stream": True, "return_num_output_tokens": True}},
        "generate_stream",
    )
    assert streamed[0] == 200
    assert sum(part["num_output_tokens"] for part in streamed[1]) == 12
    assert "".join(part["text_output"] for part in streamed[1]) == whole[1][0]["text_output"] != ""
