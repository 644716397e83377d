"""Traffic that never was: observations of two versions whose errors, latencies and quality are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from workloads.rollout.decide import decide
from workloads.rollout.observation import Arm, Observation, histogram
from workloads.rollout.spec import Spec, parse
from workloads.rollout.state import Decision, State

DOCUMENT: dict[str, Any] = {
    "name": "model-2",
    "baseline": "model:1",
    "candidate": "model:2",
    "strategy": "canary",
    "steps": [{"percent": 5, "looks": 3}, {"percent": 25, "looks": 3}, {"percent": 50, "looks": 3}],
    "mirror_percent": 20,
    "guardrails": {
        "errors": {"margin": 0.01, "alpha": 0.0125},
        "p50_latency": {"margin": 0.1, "alpha": 0.0125},
        "p99_latency": {"margin": 0.25, "alpha": 0.0125},
        "quality": {"margin": 0.05, "alpha": 0.0125},
    },
    "on_inconclusive": "hold",
}
STRATEGIES: dict[str, dict[str, Any]] = {
    "canary": {},
    "blue-green": {"strategy": "blue-green", "steps": [{"percent": 100, "looks": 3}]},
    "ab": {"strategy": "ab", "steps": [{"percent": 50, "looks": 3}], "objective": "quality"},
    "shadow": {"strategy": "shadow", "steps": []},
    "rolling": {"strategy": "rolling", "steps": [], "replicas": 4},
}


def spec(strategy: str = "canary", **other: Any) -> Spec:
    return parse({**DOCUMENT, **STRATEGIES[strategy], **other})


@dataclass(frozen=True)
class World:
    """How the candidate does. The baseline fails 1 % of the requests and has log-normal latencies around 82 ms."""

    errors: float = 0.01
    slower: float = 1.0
    worse: float = 0.0
    """Bits per byte."""
    requests: int = 1200
    """In a look."""
    pairs: int = 40
    skew: float = 1.0
    """Times the intended share that the candidate really gets."""
    ready_from: int = 1

    def seen(self, rng: np.random.Generator, spec: Spec, state: State, look: int, **other: Any) -> Observation:
        """One look, a minute after the one before."""
        given = int(rng.binomial(self.requests, min(1.0, state.weight * self.skew)))
        copies = int(rng.binomial(self.requests - given, state.mirror))
        base = rng.normal(2.0, 0.25, self.pairs if state.mirror else 0)
        scored = base + rng.normal(self.worse, 0.1, len(base))
        ready = look >= self.ready_from
        observed: dict[str, Any] = {
            "at": 60.0 * look,
            "baseline": arm(self.requests - given, rng),
            "candidate": arm(given, rng, self.errors, self.slower),
            "mirrored": arm(copies, rng, self.errors, self.slower),
            "pairs": tuple(zip(base.tolist(), scored.tolist(), strict=True)),
            "candidate_ready": ready,
            "baseline_replicas": spec.replicas - (state.replicas or 0),
            "candidate_replicas": (state.replicas or 0) if ready else 0,
        }
        return Observation(**{**observed, **other})

    def roll_out(self, spec: Spec, seed: int, looks: int = 120) -> list[Decision]:
        """A whole rollout, to its end or for so many looks."""
        rng, state, decisions = np.random.default_rng(seed), State(), list[Decision]()
        for look in range(looks):
            decisions.append(decide(spec, state, self.seen(rng, spec, state, look)))
            state = decisions[-1].state
            if state.final:
                break
        return decisions


def arm(requests: int, rng: np.random.Generator, errors: float = 0.01, slower: float = 1.0) -> Arm:
    failed = int(rng.binomial(requests, errors))
    return Arm(requests, failed, histogram(rng.lognormal(-2.5, 0.5, requests - failed) * slower))
