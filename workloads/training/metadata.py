"""What a cloud's metadata service says of the machine's end: EC2 spot interruptions, GCE preemptions and maintenance.

Each service is asked in the documented way and through its own client's environment variable, so that tests and proxies
can stand in for it (`AWS_EC2_METADATA_SERVICE_ENDPOINT`, `GCE_METADATA_HOST`). Link-local addresses never go through a
proxy, so `http_proxy` is not looked at.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

PROBE_S = 1.0
"""How long a metadata service may take to say that it is there. Both answer in milliseconds, or never."""

GCE_PREEMPTED_S = 30.0
"""What a spot VM has left once `preempted` is TRUE, at best.
https://cloud.google.com/compute/docs/instances/spot#preemption-process"""

GCE_MAINTENANCE_S = 60.0
"""What is left at least once `maintenance-event` has changed; machines with GPUs have up to an hour.
https://cloud.google.com/compute/docs/gpus/gpu-host-maintenance"""


@dataclass(frozen=True)
class Notice:
    """That this machine or process is about to end."""

    reason: str
    seconds: float
    """What is left when the notice came."""


class NoService(Exception):
    """There is no such metadata service here, or it doesn't offer this key."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str] | http.client.HTTPMessage
    body: str


class Source(Protocol):
    """A place to look for notices. `look` may wait for a change; between looks `pause_s` seconds pass."""

    name: str
    pause_s: float

    def look(self) -> Notice | str | None:
        """A notice, a line of information that ends nothing, or neither.

        Raises NoService where it will never say anything, OSError or HTTPException where it may later.
        """


@dataclass
class Ec2Spot:
    """EC2's interruption notice (two minutes before), and its rebalance recommendation as information.

    IMDSv2: a token by PUT, then `spot/instance-action`, 404 until the instance is marked:
    `{"action": "terminate", "time": "2026-11-23T08:22:00Z"}`. AWS recommends a look every 5 s.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
    """

    name: str = "ec2"
    pause_s: float = 2.0
    timeout_s: float = PROBE_S
    now: Callable[[], float] = time.time
    endpoint: str = field(
        default_factory=lambda: os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254")
    )
    _token: str = ""
    _rebalance: str = ""

    TOKEN_S = 21600

    def look(self) -> Notice | str | None:
        if not self._token:
            lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": str(self.TOKEN_S)}
            try:
                answer = _ask(self.endpoint, "PUT", "/latest/api/token", lifetime, self.timeout_s)
            except OSError as error:
                # In a container this also happens when the instance's hop limit is 1: the answer never arrives.
                raise NoService(f"no EC2 metadata at {self.endpoint}: {error}") from error
            if answer.status != 200 or not answer.body:
                raise NoService(f"{self.endpoint} is not EC2's metadata service: HTTP {answer.status}")
            self._token = answer.body
        action = self._get("spot/instance-action")
        if action is not None:
            return self._notice(action)
        rebalance = self._get("events/recommendations/rebalance")
        if rebalance and rebalance != self._rebalance:
            self._rebalance = rebalance
            return f"EC2 recommends to rebalance: this spot instance is at elevated risk ({rebalance.strip()})"
        return None

    def _get(self, key: str) -> str | None:
        token = {"X-aws-ec2-metadata-token": self._token}
        answer = _ask(self.endpoint, "GET", f"/latest/meta-data/{key}", token, self.timeout_s)
        if answer.status == 401:  # the token has expired
            self._token = ""
        return answer.body if answer.status == 200 else None

    def _notice(self, body: str) -> Notice | str:
        try:
            found = json.loads(body)
            action, at = found["action"], datetime.fromisoformat(found["time"].replace("Z", "+00:00"))
        except (ValueError, KeyError, TypeError, AttributeError):
            # Marked for interruption, in words that we don't know: what is documented is two minutes.
            return Notice(f"EC2 spot interruption: {body.strip()!r}", 120.0)
        left = at.timestamp() - self.now()
        if action == "hibernate":
            return f"EC2 hibernates this instance at {at:%H:%M:%S} UTC; its memory is kept"
        return Notice(f"EC2 spot interruption: {action} at {at:%H:%M:%S} UTC", max(0.0, left))


@dataclass
class GceKey:
    """One key of GCE's metadata server, waited for: the server answers when it changes.

    https://cloud.google.com/compute/docs/metadata/querying-metadata#waitforchange
    """

    name: str
    key: str
    meaning: Callable[[str], Notice | str | None]
    pause_s: float = 0.0
    timeout_s: float = PROBE_S
    wait_s: int = 60
    host: str = field(default_factory=lambda: os.environ.get("GCE_METADATA_HOST", "metadata.google.internal"))
    _etag: str = ""

    def look(self) -> Notice | str | None:
        headers = {"Metadata-Flavor": "Google"}
        query, timeout_s = "", self.timeout_s
        if self._etag:
            query = f"?wait_for_change=true&last_etag={self._etag}&timeout_sec={self.wait_s}"
            timeout_s = self.wait_s + 5.0
        path = f"/computeMetadata/v1/instance/{self.key}{query}"
        try:
            answer = _ask(f"http://{self.host}", "GET", path, headers, timeout_s)
        except OSError as error:
            if not self._etag:
                raise NoService(f"no GCE metadata at {self.host}: {error}") from error
            raise
        if answer.headers.get("Metadata-Flavor") != "Google":
            raise NoService(f"{self.host} is not GCE's metadata server")
        if answer.status == 404:
            raise NoService(f"{self.host} doesn't offer {self.key}")
        if answer.status != 200:
            raise http.client.HTTPException(f"HTTP {answer.status}")
        self._etag = answer.headers.get("ETag", "") or "0"
        return self.meaning(answer.body.strip())


def gce_preempted() -> GceKey:
    """`instance/preempted`: FALSE, then TRUE.
    https://cloud.google.com/compute/docs/instances/create-use-spot#detect-preemption"""
    return GceKey(
        "gce", "preempted", lambda value: Notice("GCE preempts this VM", GCE_PREEMPTED_S) if value == "TRUE" else None
    )


def gce_maintenance() -> GceKey:
    """`instance/maintenance-event`: NONE, MIGRATE_ON_HOST_MAINTENANCE or TERMINATE_ON_HOST_MAINTENANCE.
    https://cloud.google.com/compute/docs/metadata/getting-live-migration-notice"""

    def meaning(value: str) -> Notice | str | None:
        if value == "TERMINATE_ON_HOST_MAINTENANCE":
            return Notice("GCE stops this VM for host maintenance", GCE_MAINTENANCE_S)
        return None if value == "NONE" else f"GCE maintenance event: {value}"

    return GceKey("gce", "maintenance-event", meaning)


SOURCES: Mapping[str, tuple[Callable[[], Source], ...]] = {
    "ec2": (Ec2Spot,),
    "gce": (gce_preempted, gce_maintenance),
}


def sources(asked: str) -> list[Source]:
    """The sources of a setting: `auto` (whichever answers), `none`, or names with commas between. ValueError else."""
    names = list(SOURCES) if asked == "auto" else [] if asked == "none" else asked.split(",")
    if unknown := [name for name in names if name not in SOURCES]:
        raise ValueError(f"notice sources {asked!r}: {unknown[0]!r} is none; expected auto, none, {', '.join(SOURCES)}")
    return [make() for name in names for make in SOURCES[name]]


def _ask(endpoint: str, method: str, path: str, headers: Mapping[str, str], timeout_s: float) -> Answer:
    parts = urllib.parse.urlsplit(endpoint)
    if parts.scheme != "http" or not parts.hostname:
        raise NoService(f"metadata endpoint {endpoint!r}: expected http://HOST[:PORT]")
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout_s)
    with contextlib.closing(connection):
        connection.request(method, path, headers=dict(headers))
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read(65536).decode(errors="replace"))
