"""What a run has come to: read from its markers alone, so that it is the same whoever ran it, and is always there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from workloads.pipelines.run import Done, Run

REGISTERED, REJECTED, FAILED, UNFINISHED = "registered", "rejected", "failed", "unfinished"


@dataclass(frozen=True)
class Status:
    run: str
    place: str
    outcome: str
    """`registered`, `rejected` by the gate, `failed` in a step, or `unfinished`."""
    reasons: tuple[str, ...]
    """Why it was rejected, or failed."""
    steps: dict[str, Done | None]
    begun: float

    @property
    def cost_usd(self) -> float:
        return sum(done.cost_usd for done in self.steps.values() if done)

    @property
    def ended(self) -> float | None:
        """When the last step that is done had ended."""
        ends = [done.started + done.wall_s for done in self.steps.values() if done]
        return max(ends) if ends else None

    def digests(self, run: Run) -> dict[str, str]:
        """Artifact -> its digest, of all that do not tell of time."""
        volatile = {name for step in run.pipeline.steps for name in step.volatile}
        found = {name: sha for done in self.steps.values() if done for name, sha in done.digests().items()}
        return {name: sha for name, sha in found.items() if name not in volatile}

    def to_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "place": self.place,
            "outcome": self.outcome,
            "reasons": list(self.reasons),
            "begun": self.begun,
            "ended": self.ended,
            "cost_usd": self.cost_usd,
            "steps": {name: vars(done) if done else None for name, done in self.steps.items()},
        }

    def lines(self) -> list[str]:
        """For people."""
        found = [f"{self.run} at {self.place}: {self.outcome}"]
        for name, done in self.steps.items():
            if done is None:
                found.append(f"  {name:15} -")
                continue
            facts = ", ".join(f"{key} {_short(value)}" for key, value in done.facts.items())
            found.append(f"  {name:15} {done.wall_s:8.1f} s  {done.cost_usd:9.4f} USD  {facts}")
        return found + [f"  {reason}" for reason in self.reasons]


def status(run: Run) -> Status:
    """Raises StoreFailed, DiskFailed."""
    steps = run.newest()
    outcome, reasons = UNFINISHED, tuple[str, ...]()
    verdict = _verdict(run, steps[run.pipeline.gate.after])
    if all(steps.values()):
        outcome = REGISTERED
    elif verdict and not verdict["accepted"]:
        outcome, reasons = REJECTED, tuple(verdict["reasons"])
    else:
        missing = next(step for step in run.pipeline.steps if steps[step.name] is None)
        text = run.store.read(f"failures/{missing.name}.json")
        # Of an attempt with other parameters, it says nothing.
        if text and (failure := json.loads(text))["parameters"] == run.values(missing):
            outcome, reasons = FAILED, (f"{missing.name}: {failure['reason']}",)
    return Status(run.id, run.store.url, outcome, reasons, steps, run.begun)


def verdict_of(run: Run) -> dict[str, Any] | None:
    """The gate's answer; None where the evaluation is not done."""
    return _verdict(run, run.done(run.pipeline.step(run.pipeline.gate.after)))


def _verdict(run: Run, done: Done | None) -> dict[str, Any] | None:
    return run.document(done, run.pipeline.gate.verdict) if done else None


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
