"""How long a server of KServe's or TensorFlow's may take to start: its probe, and when its rollout counts as failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from components.inference.cold_start import DEFAULT_DEVICE_GIB_S, DEFAULT_LOAD_GIB_S, IMAGE_S, NODE_S
from components.inference.pod import Model
from components.inference.startup import StartupProbe, progress_deadline_s, seconds_to_move, startup_probe

_GIB = 2**30


def starting(models: Iterable[Model], args: Mapping[str, Any]) -> tuple[StartupProbe, int]:
    """The server's probe, and seconds in which a new pod is ready: machine, image, fetch, and the server's start."""
    size_bytes = sum(model.size_gib for model in models) * _GIB
    probe = startup_probe(size_bytes, args.get("device_bandwidth_gib_s", DEFAULT_DEVICE_GIB_S) * _GIB)
    fetch_s = seconds_to_move(size_bytes, args.get("load_bandwidth_gib_s", DEFAULT_LOAD_GIB_S) * _GIB)
    return probe, progress_deadline_s(NODE_S + IMAGE_S + fetch_s, probe)
