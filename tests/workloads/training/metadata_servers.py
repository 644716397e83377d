"""The metadata services of EC2 and GCE as their documentation describes them, on a local port."""

from __future__ import annotations

import http.server
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, handler: type[http.server.BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.values: dict[str, str] = {}
        self.tokens: set[str] = set()
        self.requests: list[str] = []
        self.changed = threading.Condition()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def set(self, key: str, value: str) -> None:
        with self.changed:
            self.values[key] = value
            self.changed.notify_all()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: str = "", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


class Ec2(Handler):
    """IMDSv2: a token by PUT with a lifetime; every GET needs it; keys that are not set are 404."""

    def do_PUT(self) -> None:
        self.server.requests.append(f"PUT {self.path}")
        lifetime = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if self.path != "/latest/api/token" or not lifetime.isdecimal() or not 1 <= int(lifetime) <= 21600:
            return self.answer(400)
        token = f"token-{len(self.server.tokens)}"
        self.server.tokens.add(token)
        return self.answer(200, token)

    def do_GET(self) -> None:
        self.server.requests.append(f"GET {self.path}")
        if self.headers.get("X-aws-ec2-metadata-token") not in self.server.tokens:
            return self.answer(401)
        key = self.path.removeprefix("/latest/meta-data/")
        return self.answer(200, self.server.values[key]) if key in self.server.values else self.answer(404)


class Gce(Handler):
    """Needs its header, gives it back, and waits for a change where asked to."""

    def do_GET(self) -> None:
        self.server.requests.append(f"GET {self.path}")
        flavor = {"Metadata-Flavor": "Google"}
        if self.headers.get("Metadata-Flavor") != "Google":
            return self.answer(403, headers=flavor)
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        key = parts.path.removeprefix("/computeMetadata/v1/instance/")
        if key not in self.server.values:
            return self.answer(404, headers=flavor)
        end = time.monotonic() + float(query.get("timeout_sec", "3600"))
        with self.server.changed:
            while query.get("wait_for_change") == "true" and query.get("last_etag") == self._etag(key):
                left = end - time.monotonic()
                if left <= 0 or not self.server.changed.wait(left):
                    break
            value = self.server.values[key]
        return self.answer(200, value, {**flavor, "ETag": self._etag(key)})

    def _etag(self, key: str) -> str:
        return f"{hash(self.server.values[key]) & 0xFFFFFFFF:08x}"


@contextmanager
def serving(handler: type[Handler]) -> Iterator[Server]:
    server = Server(handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
