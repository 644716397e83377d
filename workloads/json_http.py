"""JSON over HTTP(S), a connection a request: for what is asked a few times a minute."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


class JsonClient:
    """Asks one server. A room derives its own, with the errors that it tells."""

    wrong: type[ValueError] = ValueError
    """What an address is that is none."""
    failed: type[ValueError] = ValueError
    """No answer, or none that is a JSON object."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise self.wrong(f"{url!r}: expected http://HOST:PORT or https://HOST:PORT")
        self.url, self._timeout_s, self._context = url.rstrip("/"), timeout_s, context
        self._parts, self._headers = parts, dict(headers or {})

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Status and answer. Raises `failed` where there is none, or it is no JSON object."""
        made: http.client.HTTPConnection
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            made = http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._context)
        else:
            made = http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        sent = {"Content-Type": "application/json", "Accept": "application/json", **self._headers, **(headers or {})}
        try:
            made.request(method, self._parts.path.rstrip("/") + path, None if body is None else json.dumps(body), sent)
            response = made.getresponse()
            status, text = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self.failed(f"{self.url}{path}: {error or type(error).__name__}") from error
        finally:
            made.close()
        try:
            said = json.loads(text or b"{}")
        except ValueError:
            said = {"error": text.decode(errors="replace")[:300]}
            if status < 400:
                raise self.failed(f"{self.url}{path}: {status}: no JSON: {said['error']!r}") from None
        if not isinstance(said, dict):
            raise self.failed(f"{self.url}{path}: {status}: no JSON object: {said!r:.200}")
        return status, said

    def get(self, path: str) -> dict[str, Any]:
        status, said = self.ask("GET", path)
        if status != 200:
            raise self.failed(f"{self.url}{path}: {status}: {said.get('error') or said.get('message')}")
        return said

    def says(self, path: str) -> bool:
        """Whether it answers 200."""
        try:
            return self.ask("GET", path)[0] == 200
        except self.failed:
            return False
