"""A small API server: HTTPRoutes with optimistic concurrency and merge patches, EndpointSlices, scales, and who may."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.servers import serving

TOKEN = "of-this-pod"
ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/gateway/httproutes/"


@functools.cache
def definitions() -> Any:
    """Of custom resources, where there is a directory of them."""
    if not (known := os.environ.get("AICLOUD_CRDS")):
        return None
    from planner.engine.kubernetes import CustomResourceDefinitions

    return CustomResourceDefinitions.from_directory(known)


class ApiServer:
    """`route`: the one HTTPRoute, called `route-lm`. `ready`: Service -> addresses, and whether each is ready."""

    def __init__(self, route: dict[str, Any], account: Path) -> None:
        self.route = {**route, "metadata": {"name": "route-lm", "namespace": "gateway", "resourceVersion": "1"}}
        self.ready: dict[str, dict[str, bool | None]] = {}
        self.scales: dict[str, int] = {}
        self.patches: list[dict[str, Any]] = []
        self.meanwhile: list[Any] = []
        """Called, one a patch, before it is looked at: what others do."""
        self.fail: list[int] = []
        """Statuses that the next requests are told."""
        self.account = account
        account.mkdir(parents=True, exist_ok=True)
        (account / "token").write_text(TOKEN)
        self._definitions = definitions()

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(*api.get(self))

            def do_PATCH(self) -> None:
                length = int(self.headers["Content-Length"])
                self._answer(*api.patch(self, json.loads(self.rfile.read(length))))

            def _answer(self, status: int, said: Any) -> None:
                body = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        with serving(Handler) as url:
            yield url

    def _refused(self, handler: BaseHTTPRequestHandler) -> tuple[int, Any] | None:
        if self.fail:
            return self.fail.pop(0), {"message": "as told"}
        if handler.headers["Authorization"] != f"Bearer {TOKEN}":
            return 401, {"message": "Unauthorized"}
        return None

    def get(self, handler: BaseHTTPRequestHandler) -> tuple[int, Any]:
        if refused := self._refused(handler):
            return refused
        parts = urlsplit(handler.path)
        if parts.path == f"{ROUTES}route-lm":
            return 200, self.route
        if parts.path == "/apis/discovery.k8s.io/v1/namespaces/serving/endpointslices":
            (selector,) = parse_qs(parts.query)["labelSelector"]
            label, _, service = selector.partition("=")
            assert label == "kubernetes.io/service-name"
            endpoints = [
                {"addresses": [address], "conditions": {} if ready is None else {"ready": ready}}
                for address, ready in self.ready.get(service, {}).items()
            ]
            # In two slices, of which one has an endpoint that the other has too.
            return 200, {"items": [{"endpoints": endpoints}, {"endpoints": endpoints[:1]}, {"endpoints": None}]}
        return 404, {"message": f"{parts.path} not found"}

    def patch(self, handler: BaseHTTPRequestHandler, change: dict[str, Any]) -> tuple[int, Any]:
        if refused := self._refused(handler):
            return refused
        if self.meanwhile:
            self.meanwhile.pop(0)(self)
        assert handler.headers["Content-Type"] == "application/merge-patch+json"
        if handler.path.startswith("/apis/apps/v1/namespaces/serving/deployments/"):
            self.scales[handler.path.split("/")[-2]] = change["spec"]["replicas"]
            return 200, change
        if handler.path != f"{ROUTES}route-lm":
            return 404, {"message": f"{handler.path} not found"}
        if change["metadata"].get("resourceVersion") != self.route["metadata"]["resourceVersion"]:
            return 409, {"message": "the object has been modified"}
        new = merged(self.route, change)
        if problems := self.problems(new):
            return 422, {"message": "; ".join(problems)}
        self.patches.append(change)
        self.put(new)
        return 200, self.route

    def put(self, new: dict[str, Any]) -> None:
        version = int(self.route["metadata"]["resourceVersion"]) + 1
        self.route = {**new, "metadata": {**new["metadata"], "resourceVersion": str(version)}}

    def problems(self, route: dict[str, Any]) -> list[str]:
        """What is wrong with an HTTPRoute; where definitions are at hand, by those too."""
        found = []
        for rule in route["spec"]["rules"]:
            references = rule["backendRefs"]
            if not 1 <= len(references) <= 16 or not any(each["weight"] for each in references):
                found.append("backendRefs: nobody answers")
            for each in references:
                if type(each["weight"]) is not int or not 0 <= each["weight"] <= 1_000_000:
                    found.append(f"weight {each['weight']!r}")
            for each in rule.get("filters", []):
                mirror = each.get("requestMirror", {})
                fraction = mirror.get("fraction", {"numerator": 1})
                if "fraction" in mirror and "percent" in mirror:
                    found.append("one of percent and fraction")
                if type(fraction["numerator"]) is not int or fraction["numerator"] > fraction.get("denominator", 100):
                    found.append(f"fraction {fraction}")
        if self._definitions:
            manifest = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", **route}
            found += [
                str(problem) for problem in self._definitions.check(manifest["apiVersion"], "HTTPRoute", manifest)
            ]
        return found


def merged(target: Any, change: Any) -> Any:
    """RFC 7396."""
    if not isinstance(change, dict):
        return copy.deepcopy(change)
    made = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merged(made.get(key), value)
    return made
