"""The few calls to a cluster's API that a rollout needs, with the pod's own service account, over plain HTTPS."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from workloads.rollout.errors import RoutingError, ShellFailed
from workloads.rollout.shells import JsonClient

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token and whom to trust; both are replaced there when they expire."""
MERGE = "application/merge-patch+json"


class Conflict(ShellFailed):
    """What was to be changed has changed since it was read."""


class Cluster:
    def __init__(self, url: str, *, account: Path = ACCOUNT, timeout_s: float = 10.0) -> None:
        self._account = account
        context = None
        if url.startswith("https"):
            try:
                context = ssl.create_default_context(cafile=str(account / "ca.crt"))
            except OSError as error:
                raise RoutingError(f"{account / 'ca.crt'}: {error}: expected a pod's service account") from None
        self._http = JsonClient(url, timeout_s=timeout_s, context=context)

    @classmethod
    def of_this_pod(cls, environment: Mapping[str, str] = os.environ) -> Cluster:
        """The cluster that this runs in. Raises RoutingError where it runs in none."""
        try:
            host, port = environment["KUBERNETES_SERVICE_HOST"], environment["KUBERNETES_SERVICE_PORT"]
        except KeyError as error:
            raise RoutingError(f"{error.args[0]} is not set: expected to run in a pod, or --cluster URL") from None
        return cls(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}")

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Raises ShellFailed."""
        return self._ask("GET", path + (f"?{urlencode(query)}" if query else ""))

    def patch(self, path: str, change: Mapping[str, Any]) -> dict[str, Any]:
        """Merge a change into an object: objects by key, lists as a whole (RFC 7396). With the `resourceVersion` that
        was read in its metadata, nothing is changed if another was faster: Conflict. Raises ShellFailed."""
        return self._ask("PATCH", path, change, {"Content-Type": MERGE})

    def _ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        status, said = self._http.ask(method, path, body, {**self._authorization(), **(headers or {})})
        reason = said.get("message") or said.get("error") or str(said)[:300]
        words = f"{method} {path.partition('?')[0]}: {status}: {reason}"
        if status == 409:
            raise Conflict(words)
        if status in (401, 403, 404, 422):
            # Nothing that time will mend: the role, a name, or what we ask for.
            raise RoutingError(words)
        if status not in (200, 201):
            raise ShellFailed(words)
        return said

    def _authorization(self) -> dict[str, str]:
        try:
            token = (self._account / "token").read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ShellFailed(f"{self._account / 'token'}: {error.strerror or error}") from None
        return {"Authorization": f"Bearer {token}"}


def route_path(namespace: str, name: str) -> str:
    return f"/apis/gateway.networking.k8s.io/v1/namespaces/{quote(namespace)}/httproutes/{quote(name)}"


def slices_path(namespace: str) -> str:
    return f"/apis/discovery.k8s.io/v1/namespaces/{quote(namespace)}/endpointslices"


def scale_path(namespace: str, deployment: str) -> str:
    return f"/apis/apps/v1/namespaces/{quote(namespace)}/deployments/{quote(deployment)}/scale"
