"""What goes wrong with a request, with the status by which each protocol tells its client."""

from __future__ import annotations

from workloads.serving.client.failures import Failure, Kind

RETRY_AFTER_S = 1
"""What a client is told to wait when Triton cannot be asked, or has enough to do."""

GRPC = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    413: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""HTTP statuses as gRPC's codes."""


class Refusal(Exception):
    """A request that is not answered. `status`: of HTTP. `message`: for whoever asked."""

    def __init__(self, status: int, message: str) -> None:
        assert status in GRPC, status
        super().__init__(message)
        self.status, self.message = status, message

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(RETRY_AFTER_S)} if self.status == 503 else {}


def wrong(message: str) -> Refusal:
    """The request is at fault."""
    return Refusal(400, message)


def of_failure(failure: Failure, model: str, version: str, deadline_s: float) -> Refusal:
    """What a failure at Triton is to whoever asked."""
    asked = f"{model} version {version}" if version else model
    match failure.kind:
        case Kind.UNSENT:
            return Refusal(503, f"{asked}: Triton cannot be reached: {failure.said}")
        case Kind.LOST:
            return Refusal(503, f"{asked}: the connection to Triton broke, it may have run: {failure.said}")
        case Kind.BUSY:
            return Refusal(503, f"{asked}: {failure.said}")
        case Kind.NOT_NOW:
            return Refusal(503, f"{asked} is not ready: {failure.said}")
        case Kind.NOT_HERE:
            return Refusal(404, f"{asked} is not served: {failure.said}")
        case Kind.TIMED_OUT:
            return Refusal(504, f"{asked}: no answer within {deadline_s:g} s")
    if failure.status >= 500:
        return Refusal(500, f"{asked}: {failure.said}")
    if failure.status:
        return Refusal(400, f"{asked}: {failure.said}")
    return Refusal(502, f"{asked}: {failure.said}")
