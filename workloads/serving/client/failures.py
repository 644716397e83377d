"""What can go wrong between a client and a server, sorted by the one question that matters: may it be asked again?"""

from __future__ import annotations

import enum

from workloads.serving.errors import ServingError


class Kind(enum.Enum):
    """Why an attempt failed. Each says what the server may have done with the request by then."""

    UNSENT = "no connection"
    """Nothing reached a server, or one that is stopping. Safe for every request, and costs no server anything."""
    NOT_HERE = "not served there"
    """The server does not have this model or version: another region may. It did nothing."""
    NOT_NOW = "not served now"
    """The model is being loaded, unloaded or drained: another may have it, or this one soon. It did nothing."""
    BUSY = "refused for now"
    """The server's queue is full, or a gateway says that it has enough. It did nothing."""
    LOST = "connection lost"
    """The connection broke under way: the request may have been run, so only idempotent ones are sent again."""
    TIMED_OUT = "no answer in time"
    """As LOST, and the server may be working on it still."""
    WRONG = "refused"
    """The request is at fault, or the model failed on it: any server would say the same, and what killed one would kill
    the next."""


class Failure(Exception):
    """One attempt at one endpoint failed. Internal to the client: what leaves it is a RequestFailed."""

    def __init__(self, kind: Kind, message: str, status: int = 0, said: str = "") -> None:
        """`status`: of an HTTP answer, and what the server said in it."""
        super().__init__(message)
        self.kind, self.message, self.status, self.said = kind, message, status, said or message


class RequestFailed(ServingError):
    """A request that was not answered. `kind` is the last failure's; `attempts` counts requests that were sent;
    `received` the responses of a stream that had been handed out."""

    exit_code = 10

    def __init__(self, message: str, kind: Kind, attempts: int, received: int = 0) -> None:
        super().__init__(message)
        self.kind, self.attempts, self.received = kind, attempts, received


class DeadlineExceeded(RequestFailed):
    """The deadline passed first. Whether a server ran the request is not known."""


class Refused(RequestFailed):
    """A server refused the request itself, or its model failed on it. Asking again would not help."""


class Unavailable(RequestFailed):
    """No server could be asked, or none took it."""


class StreamBroken(RequestFailed):
    """A stream ended early and could not be taken up elsewhere."""


# Triton and gRPC tell these apart by words alone. Sources: triton-inference-server/core and /server, grpc/grpc; each
# was seen from a real server (tests/workloads/serving/test_client_triton.py).
_NEVER_CONNECTED = ("failed to connect to all addresses", "dns resolution failed", "name resolution", "tls handshake")
_NO_SERVER = ("no healthy upstream",)  # Envoy, and gateways made of it
_LEAVING = ("server is stopping", "stopped accepting", "server exiting")
_REFUSALS = ("exceeds maximum queue size",)
_NOT_NOW = ("no available versions", "is not ready", "is not at ready state")
_NOT_SERVED = ("unknown model",)
# A Python model's process has died, of this request or of one before: who knows.
_DIED = ("stub process", "is not healthy")


def of_grpc(code: str, details: str) -> Failure:
    """`code` as gRPC names it (`UNAVAILABLE`), `details` as the server or gRPC's core worded it."""
    message = f"{code}: {details}"
    if code in ("UNAVAILABLE", "NOT_FOUND", "INVALID_ARGUMENT", "INTERNAL") and (kind := _by_words(details)):
        return Failure(kind, message)
    kinds = {
        "UNAVAILABLE": Kind.LOST,
        "NOT_FOUND": Kind.NOT_HERE,
        "DEADLINE_EXCEEDED": Kind.TIMED_OUT,
        # Not our own cancelling, which never gets here: the server hung up.
        "CANCELLED": Kind.LOST,
    }
    return Failure(kinds.get(code, Kind.WRONG), message)


def of_http(status: int, body: str) -> Failure:
    """`status` of an HTTP answer that is not a 200, and its text."""
    said = body.strip()[:500] or "no reason given"
    message = f"HTTP {status}: {said}"
    if status in (400, 404, 500, 503) and (kind := _by_words(body)):
        return Failure(kind, message, status, said)
    # Without Triton's words these are a gateway's: the server behind it may have had the request, and then died or gone
    # on with it. Envoy says 503 of that too.
    kinds = {
        429: Kind.BUSY,
        503: Kind.LOST,
        502: Kind.LOST,
        408: Kind.TIMED_OUT,
        504: Kind.TIMED_OUT,
    }
    return Failure(kinds.get(status, Kind.WRONG), message, status, said)


def _by_words(text: str) -> Kind | None:
    said = text.lower()
    for kind, words in (
        (Kind.UNSENT, _NEVER_CONNECTED + _NO_SERVER + _LEAVING),
        (Kind.BUSY, _REFUSALS),
        (Kind.NOT_NOW, _NOT_NOW),
        (Kind.NOT_HERE, _NOT_SERVED),
    ):
        if any(each in said for each in words):
            return kind
    return Kind.LOST if all(each in said for each in _DIED) else None
