"""A Prometheus that knows Envoy's counters of one route's arms."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.servers import serving

NAMES = {
    arm: f"httproute/gateway/route-lm/rule/0/backend/{n}" for n, arm in enumerate(("candidate", "baseline", "control"))
}
NAMES["mirror"] = "httproute/gateway/route-lm/rule/0-mirror-0"
BOUNDS = ("1", "10", "100", "1000", "+Inf")
"""Milliseconds."""


class Prometheus:
    """Answers instant queries for one metric of one cluster. `pods`: pod -> arm -> counters."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, dict[str, float]]] = {}
        self.error = ""

    def add(self, pod: str, arm: str, *, ok: int = 0, failed: int = 0, refused: int = 0, ms: float = 5.0) -> None:
        counters = self.pods.setdefault(pod, {}).setdefault(arm, dict.fromkeys(("2", "4", "5", *BOUNDS), 0.0))
        for name, count in (("2", ok), ("4", refused), ("5", failed)):
            counters[name] += count
        for bound in BOUNDS:
            counters[bound] += (ok + failed + refused) * (ms <= float(bound))

    def answer(self, query: str) -> dict[str, Any]:
        if self.error:
            return {"status": "error", "error": self.error}
        metric, _, rest = query.partition("{")
        cluster = rest.split('"')[1]
        (arm,) = [arm for arm, name in NAMES.items() if name == cluster]
        key, names = (
            ("envoy_response_code_class", ("2", "4", "5"))
            if metric == "envoy_cluster_upstream_rq_xx"
            else ("le", BOUNDS)
        )
        found = [
            {"metric": {"pod": pod, "envoy_cluster_name": cluster, key: name}, "value": [0, str(arms[arm][name])]}
            for pod, arms in self.pods.items()
            if arm in arms
            for name in names
        ]
        return {"status": "success", "data": {"resultType": "vector", "result": found}}

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        prometheus = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                (query,) = parse_qs(urlsplit(self.path).query)["query"]
                body = json.dumps(prometheus.answer(query)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        with serving(Handler) as url:
            yield url
