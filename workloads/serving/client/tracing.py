"""A span for each request, which the server goes on with, whatever carries the request."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from workloads.serving.client.messages import Request
from workloads.telemetry import traces
from workloads.telemetry.traces import Span


@contextlib.contextmanager
def traced(verb: str, request: Request) -> Iterator[tuple[Request, Span]]:
    """The request as it is to be sent, all attempts alike, and its span. A trace that the caller's own headers name is
    left as it is."""
    span = traces.begin(f"{verb} {request.model}", kind=traces.CLIENT, model=request.model)
    try:
        yield replace(request, headers={**span.headers(), **request.headers}), span
    except Exception as error:
        span.fail(error)
        raise
    finally:
        # Of a stream that nobody reads to its end, too.
        span.end()
