"""The few calls to a cluster's API that starting a run needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workloads import json_http, kubernetes
from workloads.launch.errors import LaunchError


class Conflict(LaunchError):
    """What was to be made is there already."""


class _Client(json_http.JsonClient):
    wrong = failed = LaunchError


class Cluster(kubernetes.Cluster):
    """Raises LaunchError, Conflict."""

    client = _Client
    timeout_s = 30.0

    def get(self, path: str) -> dict[str, Any]:
        return self._told("GET", path)

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._told("POST", path, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._told("PATCH", path, body, {"Content-Type": kubernetes.MERGE})

    def _told(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        status, said, words = self.ask(method, path, body, headers)
        if status >= 300:
            raise (Conflict if status == 409 and method == "POST" else LaunchError)(words)
        return said
