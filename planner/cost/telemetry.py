"""What it costs to keep metrics and traces with the clouds: by what is sent there, which no plan tells."""

from __future__ import annotations

from collections.abc import Iterator

from planner.cost.model import Line, Unpriced
from planner.cost.reader import Reader
from planner.inventory.references import at
from planner.plan import Resource

Found = Iterator[Line | Unpriced]

_GOOGLE_BUILD = "prometheus-engine/prometheus"
_CLOUD_TRACE = "telemetry.googleapis.com"


def workspace(reader: Reader, resource: Resource) -> Found:
    """Amazon Managed Service for Prometheus: samples taken in. Keeping and asking for so few costs cents."""
    yield from _samples(reader, resource, "managed-prometheus")


def spans(reader: Reader, resource: Resource) -> Found:
    """Spans of an AWS region, where they are kept as logs."""
    if resource.inputs.get("destination") == "CloudWatchLogs":
        kept = reader.assumptions.spansMillions.times(reader.assumptions.spanKib * 1e6 / 2**20)
        yield from reader.line(
            resource, "span-ingestion", kept, "spans taken in", kind="service", assumption="spansMillions"
        )


def release(reader: Reader, resource: Resource) -> Found:
    """What charts send to Google: metrics by its build of Prometheus, spans by a collector. Charts cost no more."""
    values = resource.inputs.get("values")
    if at(values, "prometheus.prometheusSpec.image.repository") == _GOOGLE_BUILD:
        yield from _samples(reader, resource, "managed-prometheus")
    exporters = at(values, "alternateConfig.exporters")
    if isinstance(exporters, dict) and any(_CLOUD_TRACE in str(at(one, "endpoint")) for one in exporters.values()):
        yield from reader.line(
            resource,
            "cloud-trace",
            reader.assumptions.spansMillions,
            "spans taken in",
            kind="service",
            assumption="spansMillions",
        )


def _samples(reader: Reader, resource: Resource, service: str) -> Found:
    sent = reader.assumptions.longTermSamplesMillions
    yield from reader.line(
        resource, service, sent, "metrics for the long term", kind="service", assumption="longTermSamplesMillions"
    )


HANDLERS = {
    "aws:amp/workspace:Workspace": workspace,
    "aws:xray/traceSegmentDestination:TraceSegmentDestination": spans,
    "kubernetes:helm.sh/v3:Release": release,
}
