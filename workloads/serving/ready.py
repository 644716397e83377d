"""Whether the Triton beside us serves each of the given models: a probe that knows more than one model."""

from __future__ import annotations

import http.client
import time
import urllib.parse
from collections.abc import Sequence

from workloads.serving.errors import ArgumentError
from workloads.serving.manifest import ModelVersion


def not_ready(url: str, models: Sequence[ModelVersion], timeout_s: float) -> dict[ModelVersion, str]:
    """The models that are not ready, each with the reason; empty when all are. `timeout_s` covers all of them.

    Asks `/v2/models/<name>/versions/<version>/ready` (KServe's open inference protocol; Triton answers 200 or 400).
    """
    host, port = _host_and_port(url)
    deadline = time.monotonic() + timeout_s
    reasons = {}
    for model in models:
        left = deadline - time.monotonic()
        reason = _ask(host, port, model, left) if left > 0 else f"not asked within {timeout_s} s"
        if reason:
            reasons[model] = reason
    return reasons


def _host_and_port(url: str) -> tuple[str, int]:
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port or 80
    except ValueError:  # a port that is no number
        host = None
    if not host or parts.scheme != "http" or parts.path.strip("/"):
        raise ArgumentError(f"--url {url!r}: expected http://HOST:PORT")
    return host, port


def _ask(host: str, port: int, model: ModelVersion, timeout_s: float) -> str:
    """Why a model is not ready; empty when it is."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", f"/v2/models/{model.name}/versions/{model.version}/ready")
        response = connection.getresponse()
        body = response.read(2048)
    except (OSError, http.client.HTTPException) as error:
        return f"no answer from {host}:{port}: {error or type(error).__name__}"
    finally:
        connection.close()
    return "" if response.status == 200 else f"HTTP {response.status} {body.decode(errors='replace').strip()}".strip()
