"""Every metric of a rollout, declared once: of the router, and of the controller."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

HELP = {
    "rollout_weight_ratio": "share of the requests that an arm shall have",
    "rollout_state": "1 for the state that a rollout is in",
    "rollout_decisions_total": "decisions, by what was decided and why",
    "rollout_requests_total": "requests, by the arm they were sent to and how they ended",
    "rollout_request_duration_seconds": "from a request's arrival to the end of its answer",
    "rollout_copies_total": "copies of requests that nobody waits for, by how they ended",
    "rollout_requests_not_logged_total": "requests that the log had no room for",
    "rollout_quality_difference_bits_per_byte": "mean of candidate minus baseline, of requests that both have scored",
    "rollout_guardrail_e_value": "evidence against a guardrail being kept: large is against it",
}
LABELS = {
    "rollout_weight_ratio": ("rollout", "arm"),
    "rollout_state": ("rollout", "state"),
    "rollout_decisions_total": ("rollout", "action", "reason"),
    "rollout_requests_total": ("rollout", "arm", "outcome"),
    "rollout_request_duration_seconds": ("rollout", "arm"),
    "rollout_copies_total": ("rollout", "arm", "outcome"),
    "rollout_requests_not_logged_total": ("rollout",),
    "rollout_quality_difference_bits_per_byte": ("rollout",),
    "rollout_guardrail_e_value": ("rollout", "guardrail"),
}
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds."""


def counter(name: str, registry: CollectorRegistry) -> Counter:
    return Counter(name.removesuffix("_total"), HELP[name], LABELS[name], registry=registry)


def gauge(name: str, registry: CollectorRegistry) -> Gauge:
    return Gauge(name, HELP[name], LABELS[name], registry=registry)


def histogram(name: str, registry: CollectorRegistry) -> Histogram:
    return Histogram(name, HELP[name], LABELS[name], registry=registry, buckets=BUCKETS)
