"""The few requests of Kubernetes' API that a pod needs, as its own service account."""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workloads.launch.errors import LaunchError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_S = 30.0
MERGE = "application/merge-patch+json"


class Conflict(LaunchError):
    """What was to be made is there already."""


class Api:
    """Asks the API server. Raises LaunchError, Conflict."""

    def __init__(self, url: str, token: Path | None = None, authority: Path | None = None) -> None:
        self._url, self._token = url.rstrip("/"), token
        self._context = ssl.create_default_context(cafile=str(authority)) if authority else None

    @classmethod
    def within(cls) -> Api:
        """Of the cluster that the pod is in."""
        try:
            host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        except KeyError as error:
            raise LaunchError(f"{error.args[0]} is not set: expected to run in a pod of a cluster") from None
        host = f"[{host}]" if ":" in host else host
        return cls(f"https://{host}:{port}", ACCOUNT / "token", ACCOUNT / "ca.crt")

    def get(self, path: str) -> dict[str, Any]:
        return self._ask("GET", path)

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._ask("POST", path, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._ask("PATCH", path, body, MERGE)

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, kind: str = "application/json"
    ) -> dict[str, Any]:
        headers = {"Accept": "application/json", "Content-Type": kind}
        if self._token:
            # Read anew: the kubelet exchanges it.
            headers["Authorization"] = f"Bearer {self._token.read_text()}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=self._context) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:500]
            kind_of = Conflict if error.code == 409 and method == "POST" else LaunchError
            raise kind_of(f"{method} {path}: {error.code}: {said}") from None
        except (OSError, json.JSONDecodeError) as error:
            raise LaunchError(f"{method} {path}: {error}") from error
        assert isinstance(found, dict)
        return found
