"""Every metric of a rollout, declared once: of the router, and of the controller."""

from __future__ import annotations

from workloads.rollout.state import Decision, Phase, State
from workloads.telemetry.metrics import COUNTER, HISTOGRAM, Metric, Metrics

ROUTER = {
    "rollout_weight_ratio": Metric("share of the requests that an arm shall have", ("rollout", "arm")),
    "rollout_requests_total": Metric(
        "requests, by the arm they were sent to and how they ended", ("rollout", "arm", "outcome"), COUNTER
    ),
    "rollout_request_duration_seconds": Metric(
        "from a request's arrival to the end of its answer", ("rollout", "arm"), HISTOGRAM
    ),
    "rollout_copies_total": Metric(
        "copies of requests that nobody waits for, by how they ended", ("rollout", "arm", "outcome"), COUNTER
    ),
    "rollout_requests_not_logged_total": Metric("requests that the log had no room for", ("rollout",), COUNTER),
}
CONTROLLER = {
    "rollout_weight_ratio": ROUTER["rollout_weight_ratio"],
    "rollout_state": Metric("1 for the state that a rollout is in", ("rollout", "state")),
    "rollout_decisions_total": Metric(
        "decisions, by what was decided and why", ("rollout", "action", "reason"), COUNTER
    ),
    "rollout_quality_difference_bits_per_byte": Metric(
        "mean of candidate minus baseline, of requests that both have scored", ("rollout",)
    ),
    "rollout_guardrail_e_value": Metric(
        "evidence against a guardrail being kept: large is against it", ("rollout", "guardrail")
    ),
}
METRICS = ROUTER | CONTROLLER


class ControllerMetrics:
    """What a controller says of its rollout, in a registry of its own."""

    def __init__(self, rollout: str) -> None:
        self.exported = Metrics(CONTROLLER)
        self._rollout = rollout

    def state(self, state: State) -> None:
        for phase in Phase:
            self.exported["rollout_state"].labels(self._rollout, str(phase)).set(phase is state.phase)
        self.exported["rollout_weight_ratio"].labels(self._rollout, "candidate").set(state.weight)
        self.exported["rollout_weight_ratio"].labels(self._rollout, "baseline").set(1 - state.weight)

    def decided(self, decision: Decision) -> None:
        self.state(decision.state)
        self.exported["rollout_decisions_total"].labels(self._rollout, decision.action, decision.reason).inc()
        for guardrail, found in decision.evidence.get("guardrails", {}).items():
            self.exported["rollout_guardrail_e_value"].labels(self._rollout, guardrail).set(found["e_value"])
            if "difference" in found:
                self.exported["rollout_quality_difference_bits_per_byte"].labels(self._rollout).set(found["difference"])
