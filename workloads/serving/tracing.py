"""Triton's own traces: the options by which it sends them to where this process's go, too."""

from __future__ import annotations

from collections.abc import Mapping

from workloads.serving.errors import ArgumentError
from workloads.telemetry import traces

SAMPLER, RATIO = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
RATIOS = ("traceidratio", "parentbased_traceidratio")
NONE = ("always_off", "parentbased_always_off")
NEVER = 2**31 - 1
"""Requests between two that are traced of those that come without a trace."""


def arguments(environment: Mapping[str, str], service: str = "triton") -> list[str]:
    """Options of tritonserver; none where no address is named. Raises ArgumentError for a ratio that is none.

    A request that comes with a trace goes on with it whatever the ratio: who sends it has decided. (2.51, measured: all
    of them over HTTP, nine in ten over gRPC; the server drops the trace of the others.) Of requests without one as many
    are traced as OTEL_TRACES_SAMPLER says, of which Triton knows ratios.
    """
    where = traces.endpoint(environment)
    if not where:
        return []
    return [
        "--trace-config=mode=opentelemetry",
        "--trace-config=level=TIMESTAMPS",
        f"--trace-config=rate={_rate(environment)}",
        f"--trace-config=opentelemetry,url={where}",
        f"--trace-config=opentelemetry,resource=service.name={service}",
    ]


def _rate(environment: Mapping[str, str]) -> int:
    """One of how many requests is traced."""
    sampler, given = environment.get(SAMPLER, ""), environment.get(RATIO, "")
    if sampler in NONE:
        return NEVER
    if sampler not in RATIOS or not given:
        return 1
    try:
        ratio = float(given)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ArgumentError(f"{RATIO}={given!r}: expected a number from 0 to 1")
    return min(round(1 / ratio), NEVER) if ratio else NEVER
