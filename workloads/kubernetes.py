"""A cluster's API, as a pod's own service account may use it, over plain HTTPS: a few calls need no client library."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from workloads.json_http import JsonClient

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token and whom to trust; both are replaced there when they expire."""
MERGE = "application/merge-patch+json"


class Cluster:
    """A room derives its own, with the client whose errors it tells, and the calls that it makes."""

    client: type[JsonClient] = JsonClient
    expected: str = "to run in a pod of a cluster"
    timeout_s: float = 10.0

    def __init__(self, url: str, *, account: Path = ACCOUNT) -> None:
        self._account = account
        context = None
        if url.startswith("https"):
            try:
                context = ssl.create_default_context(cafile=str(account / "ca.crt"))
            except OSError as error:
                raise self.client.wrong(f"{account / 'ca.crt'}: {error}: expected a pod's service account") from None
        self._http = self.client(url, timeout_s=self.timeout_s, context=context)

    @classmethod
    def of_this_pod(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The cluster that this runs in. Raises `client.wrong` where it runs in none."""
        try:
            host, port = environment["KUBERNETES_SERVICE_HOST"], environment["KUBERNETES_SERVICE_PORT"]
        except KeyError as error:
            raise cls.client.wrong(f"{error.args[0]} is not set: expected {cls.expected}") from None
        return cls(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}")

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any], str]:
        """Status, answer, and words for whoever it is refused to. Raises `client.failed` where there is no answer."""
        status, said = self._http.ask(method, path, body, {**self._authorization(), **(headers or {})})
        reason = said.get("message") or said.get("error") or str(said)[:300]
        return status, said, f"{method} {path.partition('?')[0]}: {status}: {reason}"

    def _authorization(self) -> dict[str, str]:
        try:
            token = (self._account / "token").read_text(encoding="utf-8").strip()
        except OSError as error:
            raise self.client.failed(f"{self._account / 'token'}: {error.strerror or error}") from None
        return {"Authorization": f"Bearer {token}"}
