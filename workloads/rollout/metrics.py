"""Every metric of a rollout, declared once: of the router, and of the controller."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from workloads.rollout.state import Decision, Phase, State

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


class ControllerMetrics:
    """What a controller says of its rollout, in a registry of its own."""

    def __init__(self, rollout: str) -> None:
        self.registry = CollectorRegistry()
        self._rollout = rollout
        self._weight = gauge("rollout_weight_ratio", self.registry)
        self._state = gauge("rollout_state", self.registry)
        self._decisions = counter("rollout_decisions_total", self.registry)
        self._quality = gauge("rollout_quality_difference_bits_per_byte", self.registry)
        self._evidence = gauge("rollout_guardrail_e_value", self.registry)

    def state(self, state: State) -> None:
        for phase in Phase:
            self._state.labels(self._rollout, str(phase)).set(phase is state.phase)
        self._weight.labels(self._rollout, "candidate").set(state.weight)
        self._weight.labels(self._rollout, "baseline").set(1 - state.weight)

    def decided(self, decision: Decision) -> None:
        self.state(decision.state)
        self._decisions.labels(self._rollout, decision.action, decision.reason).inc()
        for guardrail, found in decision.evidence.get("guardrails", {}).items():
            self._evidence.labels(self._rollout, guardrail).set(found["e_value"])
            if "difference" in found:
                self._quality.labels(self._rollout).set(found["difference"])
