"""Whether to train again: a pure function of a policy, what happened before and what was found now.

That inputs have drifted is no reason: a model may answer new requests as well as old ones, and training costs. It needs
a loss of quality, measured on labels, measured as the model's own bits per byte, or predicted; with a lower confidence
bound that is above what is tolerated. Then it needs to be allowed: by the cool-down, the budget and the data there is.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from workloads.monitoring.errors import ArgumentError
from workloads.monitoring.quality import Estimate

REASONS: Mapping[str, str] = {
    # fired
    "measured_loss": "labels show that the loss has grown",
    "own_loss": "the model's own bits per byte have grown",
    "predicted_loss": "the loss is predicted to have grown; labels have not come yet",
    # a loss, but
    "already_running": "a run has been started and has not ended",
    "cooling_down": "the last run was too short a time ago",
    "runs_spent": "the month's runs are used up",
    "budget_spent": "a run more would cost more than is left of the month's budget",
    "too_little_data": "there is too little new data to train on",
    # no loss
    "no_data": "there are too few requests to tell anything",
    "healthy": "nothing has drifted and the loss has not grown",
    "input_drift_only": "inputs have drifted, the loss has not grown",
    "inconclusive": "the loss may have grown, but not surely enough",
}
"""Every reason code, and what it means."""
FIRED = ("measured_loss", "own_loss", "predicted_loss")


@dataclass(frozen=True)
class RetrainPolicy:
    tolerated_loss: float = 0.05
    """Bits per byte by which the loss may grow."""
    confidence: float = 0.95
    """That the growth is more than tolerated; one-sided."""
    least_completeness: float = 0.05
    """Share of requests with a label in time, below which labels are not believed."""
    least_labels: float = 30.0
    """In effect: of equal weight."""
    own_loss_counts: bool = True
    """Whether the model's own bits per byte are a quality. They are where it predicts the text itself."""
    predicted_loss_counts: bool = True
    least_rows: int = 100
    """Requests in the window and the baseline, below which nothing is judged."""
    cooldown_s: float = 86400.0
    """From one start to the next, whatever became of the first."""
    runs_a_month: int = 8
    usd_a_month: float = 1000.0
    usd_a_run: float = 100.0
    """What a run is expected to cost."""
    least_new_bytes: float = 1e6
    """New data since the last run, below which training again learns nothing."""

    def __post_init__(self) -> None:
        for field_ in fields(self):
            value = getattr(self, field_.name)
            if isinstance(value, (int, float)) and not value >= 0:
                raise ArgumentError(f"{field_.name} {value!r}: expected a number from 0")
        if not 0.5 <= self.confidence < 1:
            raise ArgumentError(f"confidence {self.confidence!r}: expected from 0.5 and below 1")
        if self.least_completeness > 1:
            raise ArgumentError(f"least_completeness {self.least_completeness!r}: expected from 0 to 1")


@dataclass(frozen=True)
class State:
    """What earlier decisions left behind."""

    last_started_s: float | None = None
    running: bool = False
    """Set by a decision that fires; whoever runs the pipeline clears it with `ended`."""
    month: str = ""
    """Of the two below, such as 2026-11, in UTC."""
    runs: int = 0
    spent_usd: float = 0.0

    @classmethod
    def from_json(cls, found: Any) -> State:
        known = {field_.name for field_ in fields(cls)}
        if not isinstance(found, dict) or set(found) - known:
            raise ArgumentError(f"state {found!r:.80}: expected an object with {', '.join(sorted(known))}")
        return cls(**found)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Evidence:
    """What was found of a version in a window. Changes are of the mean loss in bits per byte, above 0 is worse."""

    time_s: float
    rows: int
    """In the window."""
    baseline_rows: int
    drifted: tuple[str, ...] = ()
    """Columns."""
    measured: Estimate | None = None
    """By labels."""
    completeness: float = 0.0
    """Of the labels behind `measured`."""
    measured_before: bool = False
    """`measured` is of an earlier window, since this one's labels have not come yet."""
    own: Estimate | None = None
    """By the model's own bits per byte."""
    predicted: Estimate | None = None
    new_bytes: float = math.inf
    """Data that came since the last run and can be trained on."""


@dataclass(frozen=True)
class Decision:
    fire: bool
    reason: str
    """A key of REASONS; if not fired, what kept it from it."""
    explanation: str
    state: State
    evidence: Evidence
    loss: str = ""
    """Which loss there is (one of FIRED), also where it did not fire."""
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Of each change that was looked at: what it surely is at least, and at most."""

    def as_json(self) -> dict[str, Any]:
        def plain(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {key: plain(each) for key, each in value.items()}
            if isinstance(value, (tuple, list)):
                return [plain(each) for each in value]
            return None if isinstance(value, float) and not math.isfinite(value) else value

        return plain(asdict(self))


def decide(policy: RetrainPolicy, state: State, evidence: Evidence) -> Decision:
    """Fire only with a loss of quality and nothing against it. The returned state holds what a firing used up."""
    state = _this_month(state, evidence.time_s)
    bounds = _bounds(policy, evidence)

    def decision(reason: str, loss: str, words: str, after: State = state) -> Decision:
        return Decision(reason in FIRED, reason, f"{REASONS[reason]}: {words}", after, evidence, loss, bounds)

    rows = min(evidence.rows, evidence.baseline_rows)
    if rows < policy.least_rows:
        return decision(
            "no_data",
            "",
            f"{evidence.rows} requests in the window, {evidence.baseline_rows} in the baseline, at least "
            f"{policy.least_rows} are needed",
        )
    loss, words = _loss(policy, bounds, evidence.measured_before)
    if loss not in FIRED:
        if loss == "healthy" and evidence.drifted:
            loss, words = "input_drift_only", f"{', '.join(evidence.drifted)}; {words}"
        return decision(loss, "", words)
    against = _against(policy, state, evidence)
    if against is not None:
        reason, why = against
        return decision(reason, loss, f"{why}; otherwise it would have fired: {REASONS[loss]}: {words}")
    after = replace(
        state,
        last_started_s=evidence.time_s,
        running=True,
        runs=state.runs + 1,
        spent_usd=state.spent_usd + policy.usd_a_run,
    )
    return decision(loss, loss, words, after)


def ended(policy: RetrainPolicy, state: State, cost_usd: float | None = None) -> State:
    """After a run has ended, well or not; `cost_usd` replaces what it was expected to cost."""
    if not state.running:
        return state
    spent = state.spent_usd if cost_usd is None else max(0.0, state.spent_usd - policy.usd_a_run + cost_usd)
    return replace(state, running=False, spent_usd=spent)


def _this_month(state: State, time_s: float) -> State:
    month = f"{datetime.datetime.fromtimestamp(time_s, datetime.UTC):%Y-%m}"
    # A clock that goes back must not give a budget anew.
    return state if month <= state.month else replace(state, month=month, runs=0, spent_usd=0.0)


def _bounds(policy: RetrainPolicy, evidence: Evidence) -> dict[str, tuple[float, float]]:
    """Of each change that may be believed, those that say most first."""
    looked_at: dict[str, Estimate | None] = {
        "measured_loss": evidence.measured if evidence.completeness >= policy.least_completeness else None,
        "own_loss": evidence.own if policy.own_loss_counts else None,
        "predicted_loss": evidence.predicted if policy.predicted_loss_counts else None,
    }
    # Each bound alone is to hold with the policy's confidence, so the interval is a little wider than that.
    both = 2 * policy.confidence - 1
    return {
        name: change.interval(both)
        for name, change in looked_at.items()
        if change is not None and math.isfinite(change.mean) and change.count >= policy.least_labels
    }


def _loss(policy: RetrainPolicy, bounds: Mapping[str, tuple[float, float]], measured_before: bool) -> tuple[str, str]:
    """A reason and the numbers behind it: a loss, none, or that it cannot be told.

    What says more settles it: where labels show none, a prediction does not matter. Labels of an earlier window may
    show a loss, but not that there is none now.
    """
    fine: list[str] = []
    unclear: list[str] = []
    for name, (low, high) in bounds.items():
        words = f"{_what(name)} changed by {_range(low, high)} bits per byte, {policy.tolerated_loss:g} are tolerated"
        if low > policy.tolerated_loss:
            return name, words
        if high > policy.tolerated_loss:
            unclear.append(words)
        elif name == "measured_loss" and measured_before:
            fine.append(f"in an earlier window {words}")
        elif not unclear:
            return "healthy", "; ".join([*fine, words])
    if unclear:
        return "inconclusive", "; ".join(unclear)
    return "healthy", "; ".join(fine) or "no loss could be measured or predicted"


def _against(policy: RetrainPolicy, state: State, evidence: Evidence) -> tuple[str, str] | None:
    if state.running:
        return "already_running", "it counts as running until it is told to have ended"
    if state.last_started_s is not None and evidence.time_s - state.last_started_s < policy.cooldown_s:
        left = policy.cooldown_s - (evidence.time_s - state.last_started_s)
        return "cooling_down", f"{left:.0f} of {policy.cooldown_s:.0f} s are left"
    if state.runs >= policy.runs_a_month:
        return "runs_spent", f"{state.runs} of {policy.runs_a_month} in {state.month}"
    if state.spent_usd + policy.usd_a_run > policy.usd_a_month:
        return (
            "budget_spent",
            f"{state.spent_usd:.2f} of {policy.usd_a_month:.2f} USD spent in {state.month}, a run costs "
            f"{policy.usd_a_run:.2f}",
        )
    if evidence.new_bytes < policy.least_new_bytes:
        return "too_little_data", f"{evidence.new_bytes:.0f} bytes, {policy.least_new_bytes:.0f} are needed"
    return None


def _what(name: str) -> str:
    return {
        "measured_loss": "by labels the loss",
        "own_loss": "the model's own loss",
        "predicted_loss": "by prediction the loss",
    }[name]


def _range(low: float, high: float) -> str:
    return f"{low:+.3f} to {high:+.3f}"
