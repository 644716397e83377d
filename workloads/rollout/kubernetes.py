"""The few calls to a cluster's API that a rollout needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from workloads import kubernetes
from workloads.rollout.errors import RoutingError, ShellFailed
from workloads.rollout.shells import JsonClient


class Conflict(ShellFailed):
    """What was to be changed has changed since it was read."""


class Cluster(kubernetes.Cluster):
    """Raises RoutingError for what time will not mend, ShellFailed for what it may."""

    client = JsonClient
    expected = "to run in a pod, or --cluster URL"

    def get(self, path: str, **query: str) -> dict[str, Any]:
        return self._told("GET", path + (f"?{urlencode(query)}" if query else ""))

    def patch(self, path: str, change: Mapping[str, Any]) -> dict[str, Any]:
        """Merge a change into an object: objects by key, lists as a whole (RFC 7396). With the `resourceVersion` that
        was read in its metadata, nothing is changed if another was faster: Conflict."""
        return self._told("PATCH", path, change, {"Content-Type": kubernetes.MERGE})

    def _told(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        status, said, words = self.ask(method, path, body, headers)
        if status == 409:
            raise Conflict(words)
        if status in (401, 403, 404, 422):
            # Nothing that time will mend: the role, a name, or what we ask for.
            raise RoutingError(words)
        if status not in (200, 201):
            raise ShellFailed(words)
        return said


def route_path(namespace: str, name: str) -> str:
    return f"/apis/gateway.networking.k8s.io/v1/namespaces/{quote(namespace)}/httproutes/{quote(name)}"


def slices_path(namespace: str) -> str:
    return f"/apis/discovery.k8s.io/v1/namespaces/{quote(namespace)}/endpointslices"


def scale_path(namespace: str, deployment: str) -> str:
    return f"/apis/apps/v1/namespaces/{quote(namespace)}/deployments/{quote(deployment)}/scale"
