"""What the list of Triton's metrics says is what a real one exports: rules and dashboards are held to the list."""

from __future__ import annotations

import re
import time

import numpy as np

from tests.support import ROOT
from workloads.serving.client import Client
from workloads.serving.triton import Triton

LIST = ROOT / "tests/fixtures/exported_metrics/triton.txt"


def listed() -> dict[str, set[str]]:
    lines = [line for line in LIST.read_text().splitlines() if line and not line.startswith(("#", "target:"))]
    return {name: set(labels.split()) for name, _, labels in (line.partition(":") for line in lines)}


def test_triton_exports_what_is_listed(triton: Triton, doubler: str, language_model: str) -> None:
    with Client([f"grpc://{triton.grpc}"]) as client:
        client.infer(doubler, {"x": np.ones((1, 3), np.float32)}, deadline_s=30)
        assert list(client.stream(language_model, {"text_input": [["import"]], "stream": [[True]]}, deadline_s=60))
    exported: dict[str, set[str]] = {}

    def complete() -> bool:
        for name, labels in re.findall(r"^(\w+)\{([^}]*)\}", triton.scrape(), re.MULTILINE):
            exported.setdefault(name, set()).update(re.findall(r"(\w+)=", labels))
        return listed().keys() <= exported.keys()

    # A language model's own metrics follow its answers by a moment.
    for _ in range(100):
        if complete():
            break
        triton.check_alive()
        time.sleep(0.1)
    assert {name: exported.get(name, set()) for name in listed()} == listed()
