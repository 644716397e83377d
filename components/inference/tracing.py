"""Where a server's traces go: Triton's own spans, and those of the models that it runs."""

from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import pulumi

from components.security.traffic import namespace, ports

OTLP_HTTP = 4318
"""Port of a collector for OTLP over HTTP, the protocol that Triton speaks."""
DEFAULT_RATIO = 0.01


class TracesArgs(TypedDict):
    """Where traces go, and how many."""

    endpoint: pulumi.Input[str]
    """Base URL of a collector for OTLP over HTTP, on port 4318: Observability's `otlp_endpoint`."""
    namespace: str
    """Its namespace, which pods may then send to."""
    ratio: NotRequired[float]
    """Share of the requests that is traced, of those that come without a trace: who sends one has decided. Default
    0.01."""


@dataclass(frozen=True)
class Traces:
    """The same, checked."""

    endpoint: pulumi.Input[str]
    namespace: str
    ratio: float

    def environment(self) -> list[dict[str, Any]]:
        """Of the server's container; its Python models have it too (workloads.telemetry.traces)."""
        return [
            {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": self.endpoint},
            {"name": "OTEL_TRACES_SAMPLER", "value": "parentbased_traceidratio"},
            {"name": "OTEL_TRACES_SAMPLER_ARG", "value": f"{self.ratio:g}"},
        ]

    def arguments(self, service: str) -> list[str]:
        """Of tritonserver, as workloads.serving.tracing has them (tests/test_contract.py compares the two)."""
        return [
            "--trace-config=mode=opentelemetry",
            "--trace-config=level=TIMESTAMPS",
            f"--trace-config=rate={round(1 / self.ratio)}",
            "--trace-config=opentelemetry,url=$(OTEL_EXPORTER_OTLP_ENDPOINT)/v1/traces",
            f"--trace-config=opentelemetry,resource=service.name={service}",
        ]

    def egress(self) -> dict[str, Any]:
        return {"to": [namespace(self.namespace)], "ports": ports(OTLP_HTTP)}
