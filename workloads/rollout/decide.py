"""What to do next, from what is known. Pure: the same in a cluster, on a laptop, in a simulation and in a replay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workloads.rollout import evidence as guardrails
from workloads.rollout import harm, sample_ratio
from workloads.rollout.errors import StateError
from workloads.rollout.observation import Arm, Observation
from workloads.rollout.spec import MIRRORS, Spec
from workloads.rollout.state import FINAL, NARROWEST, Decision, Phase, State, check_next

Known = Mapping[str, Any]
_NEARLY = 1e-9


def decide(spec: Spec, state: State, observation: Observation) -> Decision:
    """One look. The same arguments give the same decision, to the last bit.

    StateError where the observation is older than the state.
    """
    if state.at is not None and observation.at < state.at:
        raise StateError(f"observation.at: {observation.at:.3f}: expected {state.at:.3f} or later, the last look's")
    started = observation.at if state.started_at is None else state.started_at
    looked = replace(state, at=observation.at, started_at=started, evidence=state.evidence or _begin(spec))
    decision = _next(spec, looked, observation)
    check_next(spec, state, decision.state)
    return decision


def _begin(spec: Spec) -> Known:
    return {**guardrails.begin(spec), "split": sample_ratio.begin(), "harm": harm.begin()}


def _next(spec: Spec, state: State, seen: Observation) -> Decision:
    """By phase. What makes it worse to wait comes first: a person's wish, an alarm, a broken split."""
    back = state.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    if seen.request == "rollback" and not back:
        return _roll_back(spec, state, "requested")
    if state.phase is Phase.ROLLING_BACK:
        if not seen.applied:
            return _decision(spec, state, "roll-back", state.reason)
        return _decision(spec, replace(state, phase=Phase.ROLLED_BACK), "rest", state.reason)
    if state.phase in FINAL:
        return _decision(spec, state, "rest", state.reason)
    if state.phase is Phase.PENDING:
        return _wait(spec, _learned(spec, state, seen), "replicas")
    state = _learned(spec, state, seen)
    verdict = guardrails.verdict(spec, state.evidence)
    if verdict.worse and state.phase is not Phase.WAITING:
        return _roll_back(spec, state, f"{verdict.worse}-worse")
    if sample_ratio.log_e_value(state.evidence["split"]) >= -math.log(spec.sample_ratio_alpha) and state.weight:
        stopped = replace(state, phase=Phase.STOPPED, weight=0.0, mirror=0.0, reason="sample-ratio-mismatch")
        return _decision(spec, stopped, "stop", stopped.reason)
    if state.phase is Phase.INCONCLUSIVE:
        return _held(spec, state, seen, verdict.proven)
    sure = verdict.proven or state.weight == 1
    if seen.at - (state.started_at or 0.0) >= spec.deadline_s and not (sure and _last(spec, state)):
        return _give_up(spec, state, "deadline", state.weight)
    if not _ready(spec, seen):
        return _wait(spec, state, "replicas-lost" if state.phase is not Phase.WAITING else "replicas")
    if state.phase is Phase.WAITING:
        if spec.strategy in MIRRORS and not verdict.proven:
            return _begun(spec, replace(state, phase=Phase.SHADOWING, mirror=spec.mirror), "shadow", "replicas-ready")
        return _step(spec, state, seen, state.step, "replicas-ready")
    if state.phase is Phase.SHADOWING:
        return _shadowed(spec, state, seen, verdict.proven)
    return _stepped(spec, state, seen, verdict.proven)


# ---- what a look teaches


def _learned(spec: Spec, state: State, seen: Observation) -> State:
    known = state.evidence
    looks = state.looks + 1
    if state.phase is Phase.SHADOWING:
        known = guardrails.learn(spec, known, seen.baseline, seen.mirrored, seen.pairs)
    elif not state.weight:
        known = guardrails.learn_baseline(known, seen.baseline)
    else:
        known = {
            **known,
            "split": sample_ratio.learn(
                known["split"], _share(state, seen), seen.baseline.requests, seen.candidate.requests
            ),
            "harm": harm.learn(known["harm"], seen.candidate),
        }
        if state.weight < 1:
            known = guardrails.learn(spec, known, seen.baseline, seen.candidate, seen.pairs)
        else:
            known = guardrails.learn_alone(spec, known, seen.candidate)
    return replace(state, evidence=known, looks=looks)


def _share(state: State, seen: Observation) -> float:
    """Of the requests of both arms, those that were to be the candidate's; 0 where other weights were in force."""
    return state.weight / (state.weight + _baseline_weight(state, seen)) if seen.applied else 0.0


def _baseline_weight(state: State, seen: Observation) -> float:
    return 1 - state.weight if seen.baseline_weight is None or state.weight == 1 else seen.baseline_weight


# ---- the ways on


def _shadowed(spec: Spec, state: State, seen: Observation, proven: bool) -> Decision:
    if not proven or not _long_enough(spec, state, seen):
        return _decision(spec, state, "watch", "not-yet-proven" if not proven else "too-early")
    if spec.strategy == "shadow":
        return _decision(spec, replace(state, phase=Phase.PASSED, mirror=0.0, reason="proven"), "pass", "proven")
    return _step(spec, state, seen, 0, "proven")


def _stepped(spec: Spec, state: State, seen: Observation, proven: bool) -> Decision:
    step = spec.all_steps[state.step]
    complete = state.weight == step.weight and _long_enough(spec, state, seen)
    if complete and not _last(spec, state):
        return _step(spec, state, seen, state.step + 1, "no-harm-seen")
    # Blue-green was proven before it got any traffic, and has nothing beside it now that could prove it again.
    if complete and (proven or state.weight == 1):
        return _promote(spec, state)
    weight = _weight(spec, state, seen)
    if not weight:
        return _give_up(spec, state, "harm-budget-spent", 0.0)
    reason = "not-yet-proven" if complete else "too-early"
    action = "watch"
    if weight != state.weight:
        action, reason = ("narrow", "harm-budget") if weight < state.weight else ("step", "room")
    return _decision(spec, replace(state, weight=weight, mirror=_mirror(spec, weight)), action, reason)


def _held(spec: Spec, state: State, seen: Observation, proven: bool) -> Decision:
    if not state.weight:
        return _decision(spec, state, "hold", state.reason)
    if not _ready(spec, seen):
        return _decision(spec, replace(state, weight=0.0, mirror=0.0, reason="replicas-lost"), "hold", "replicas-lost")
    if proven and _last(spec, state):
        return _promote(spec, state)
    return _decision(spec, state, "hold", state.reason)


def _step(spec: Spec, state: State, seen: Observation, index: int, reason: str) -> Decision:
    """Begin a step, or take it up again, as far as its harm budget and the ready replicas go."""
    again = state.phase is Phase.WAITING and state.step_since is not None
    fresh = state.evidence if again else {**guardrails.begin_step(state.evidence), "harm": harm.begin()}
    begun = replace(state, phase=Phase.STEPPING, step=index, evidence=fresh)
    if spec.strategy == "rolling":
        begun = replace(begun, replicas=index + 1)
    weight = _weight(spec, begun, seen)
    if not weight:
        return _give_up(spec, replace(state, evidence=fresh), "harm-budget-spent", 0.0)
    return _begun(spec, replace(begun, weight=weight, mirror=_mirror(spec, weight)), "step", reason)


def _begun(spec: Spec, state: State, action: str, reason: str) -> Decision:
    return _decision(spec, replace(state, looks=0, step_since=state.at, reason=reason), action, reason)


def _wait(spec: Spec, state: State, reason: str) -> Decision:
    """Without weight, until the replicas are ready."""
    replicas = state.step + 1 if spec.strategy == "rolling" else None
    waiting = replace(state, phase=Phase.WAITING, weight=0.0, mirror=0.0, replicas=replicas, reason=reason)
    return _decision(spec, waiting, "wait", reason)


def _promote(spec: Spec, state: State) -> Decision:
    replicas = spec.replicas if spec.strategy == "rolling" else None
    promoted = replace(state, phase=Phase.PROMOTED, weight=1.0, mirror=0.0, replicas=replicas, reason="proven")
    return _decision(spec, promoted, "promote", "proven")


def _roll_back(spec: Spec, state: State, reason: str) -> Decision:
    """All at once, and nothing of it needs the candidate."""
    replicas = 0 if spec.strategy == "rolling" else None
    back = replace(state, phase=Phase.ROLLING_BACK, weight=0.0, mirror=0.0, replicas=replicas, reason=reason)
    return _decision(spec, back, "roll-back", reason)


def _give_up(spec: Spec, state: State, reason: str, weight: float) -> Decision:
    if spec.on_inconclusive == "rollback":
        return _roll_back(spec, state, reason)
    mirror = _mirror(spec, weight) if weight else 0.0
    held = replace(state, phase=Phase.INCONCLUSIVE, weight=weight, mirror=mirror, reason=reason)
    return _decision(spec, held, "hold", reason)


# ---- conditions


def _ready(spec: Spec, seen: Observation) -> bool:
    return seen.candidate_replicas > 0 if spec.strategy == "rolling" else seen.candidate_ready


def _last(spec: Spec, state: State) -> bool:
    return state.phase in (Phase.STEPPING, Phase.INCONCLUSIVE) and state.step == len(spec.all_steps) - 1


def _long_enough(spec: Spec, state: State, seen: Observation) -> bool:
    if state.phase is Phase.SHADOWING:
        return True
    step = spec.all_steps[state.step]
    return state.looks >= step.looks and seen.at - (state.step_since or 0.0) >= step.duration_s


def _mirror(spec: Spec, weight: float) -> float:
    return spec.mirror if "quality" in spec.guardrails and weight < 1 else 0.0


def _weight(spec: Spec, state: State, seen: Observation) -> float:
    """The step's weight, or what the ready replicas and the harm budget leave of it; 0 if that is nothing."""
    most = spec.all_steps[state.step].weight
    if spec.strategy == "rolling":
        ready = seen.candidate_replicas / (seen.candidate_replicas + seen.baseline_replicas)
        most = most if ready >= most - _NEARLY else ready
    known = state.evidence
    arms = [Arm.from_json(known[arm]) + Arm.from_json(known["pending"][arm]) for arm in ("baseline", "candidate")]
    base_rate = arms[0].errors / arms[0].requests if arms[0].requests else 0.0
    excess = max(0.0, harm.worst_rate(arms[1].requests, arms[1].errors) - base_rate)
    left = spec.harm_budget_requests - harm.spent(known["harm"], base_rate)
    counted = state.weight + _baseline_weight(state, seen)
    requests = math.ceil((seen.baseline.requests + seen.candidate.requests) / counted)
    return harm.bounded(most, left, excess, requests, NARROWEST) if left > 0 else 0.0


# ---- what is written down


def _decision(spec: Spec, state: State, action: str, reason: str) -> Decision:
    known = state.evidence
    found = {
        "guardrails": guardrails.summary(spec, known),
        "alarm": guardrails.verdict(spec, known).alarm,
        "sample_ratio": {
            **{arm: known["split"][arm] for arm in ("baseline", "candidate")},
            "e_value": math.exp(min(700.0, sample_ratio.log_e_value(known["split"]))),
            "needed": 1 / spec.sample_ratio_alpha,
        },
        "harm": {**known["harm"], "budget": spec.harm_budget_requests},
        "step": state.step,
        "looks": state.looks,
    }
    return Decision(action, reason, state, found)
