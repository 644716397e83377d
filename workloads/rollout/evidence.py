"""What is known about the guardrails, after each look: plain data in, plain data out.

For each guardrail two bettors (workloads.rollout.sequential) are followed: `alarm` bets that the candidate is worse
than the baseline, `proof` that it is not worse by the margin. With alpha, a guardrail's own:

- Alarm: the capitals of all guardrails, each times its alpha, reach 1 together. A weighted mean of e-values is an
  e-value whatever their dependence (Vovk & Wang 2021), so the chance that a healthy candidate is ever rolled back, by
  any guardrail, is at most the sum of the alphas; and it is never later than each alone at its own alpha (Bonferroni).
- Proven: the capital has reached 1/alpha, and has not gone back to where it began. All guardrails have to be proven;
  so a candidate that is worse by any margin passes with a chance of at most that alpha, unshared (Berger 1982).
- What is proven to be within its margin raises no alarm: a worsening that is tolerated is no reason to roll back.

Latencies are compared by how many requests of each arm take longer than the baseline's quantile, as it was known before
the look: with the same distribution both have the same chance, so nothing is assumed about its form. For the proof the
candidate's may be longer by the margin, rounded down to whole buckets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workloads.rollout import sequential
from workloads.rollout.observation import BUCKETS, PER_OCTAVE, Arm, lower_bound_s
from workloads.rollout.spec import Guardrail, GuardrailName, Spec

QUANTILES: Mapping[str, float] = {"p50_latency": 0.5, "p99_latency": 0.99}
FIRST_PAIRS = 10
"""Only tell the scale of differences; nothing is bet on them."""
_NEARLY = 1e-9


def begin(spec: Spec) -> dict[str, Any]:
    """Before anything was seen."""
    return {
        "baseline": Arm().to_json(),
        "candidate": Arm().to_json(),
        "pending": {"baseline": Arm().to_json(), "candidate": Arm().to_json()},
        "pairs": {"count": 0, "sum": 0.0, "squares": 0.0},
        "tests": {name: _test(spec, name) for name in spec.guardrails},
    }


def _test(spec: Spec, name: GuardrailName) -> dict[str, Any]:
    alarm = sequential.EFFECT_WEIGHTS if name == "quality" else sequential.ODDS_WEIGHTS
    proof = sequential.FRACTION_WEIGHTS if name == "errors" and spec.objective != name else alarm
    return {"alarm": np.log(alarm).tolist(), "proof": np.log(proof).tolist(), "proven": False}


def learn_baseline(evidence: Mapping[str, Any], baseline: Arm) -> dict[str, Any]:
    """A look at the baseline without anything to compare it with: what is usual becomes known."""
    return {**evidence, "baseline": (Arm.from_json(evidence["baseline"]) + baseline).to_json()}


def learn(
    spec: Spec, evidence: Mapping[str, Any], baseline: Arm, candidate: Arm, pairs: Sequence[tuple[float, float]]
) -> dict[str, Any]:
    """One look at two arms at the same time. Counts wait until both arms have any: a look in which one was not asked
    compares nothing."""
    pending = evidence["pending"]
    baseline, candidate = Arm.from_json(pending["baseline"]) + baseline, Arm.from_json(pending["candidate"]) + candidate
    tests, known = dict(evidence["tests"]), dict(evidence)
    if baseline.requests and candidate.requests:
        history = Arm.from_json(evidence["baseline"])
        for name, guardrail in spec.guardrails.items():
            if name != "quality":
                tests[name] = _compared(spec, name, guardrail, tests[name], history, baseline, candidate)
        known["baseline"] = (history + baseline).to_json()
        known["candidate"] = (Arm.from_json(evidence["candidate"]) + candidate).to_json()
        baseline = candidate = Arm()
    known["pending"] = {"baseline": baseline.to_json(), "candidate": candidate.to_json()}
    if "quality" in spec.guardrails and pairs:
        tests["quality"], known["pairs"] = _paired(spec, tests["quality"], evidence["pairs"], pairs)
    return {**known, "tests": tests}


def learn_alone(spec: Spec, evidence: Mapping[str, Any], candidate: Arm) -> dict[str, Any]:
    """One look at a candidate that has all traffic, against what the baseline did before plus the margin. Not at the
    same time, so only as good as the baseline would still be what it was."""
    history, tests = Arm.from_json(evidence["baseline"]), dict(evidence["tests"])
    for name, guardrail in spec.guardrails.items():
        if name == "quality" or not history.requests:
            continue
        rate, hits, requests = _rate(history) + guardrail.margin, candidate.errors, candidate.requests
        if name in QUANTILES:
            limit = threshold(history, QUANTILES[name])
            rate, requests = (_over(history, limit) + 0.5) / (_answered(history) + 1), _answered(candidate)
            hits = _over(candidate, limit + buckets_of(guardrail.margin))
        alarm = sequential.against_rate(np.array(tests[name]["alarm"]), np.array(hits), np.array(requests), rate)
        tests[name] = {**tests[name], "alarm": alarm.tolist(), "proven": False}
    known = {**evidence, "candidate": (Arm.from_json(evidence["candidate"]) + candidate).to_json()}
    return {**known, "tests": tests}


def begin_step(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Deal a third of each alarm's capital anew: what a version cannot bear shows when it gets more traffic, and by
    then the bets on great harm would have lost nearly all of theirs. Together they keep what they have."""
    tests = {}
    for name, test in evidence["tests"].items():
        weights = sequential.EFFECT_WEIGHTS if name == "quality" else sequential.ODDS_WEIGHTS
        alarm = sequential.rebalance(np.array(test["alarm"]), weights, np.array(1.0), memory=2.0)
        tests[name] = {**test, "alarm": alarm.tolist()}
    return {**evidence, "tests": tests}


# ---- one guardrail


def _compared(
    spec: Spec, name: str, guardrail: Guardrail, test: Mapping[str, Any], history: Arm, baseline: Arm, candidate: Arm
) -> dict[str, Any]:
    alarm, proof = np.array(test["alarm"]), np.array(test["proof"])
    better = spec.objective == name
    if name == "errors":
        ours, theirs = (candidate.errors, candidate.requests), (baseline.errors, baseline.requests)
        allowed = ours
    else:
        if not _answered(history):
            return dict(test)
        limit = threshold(history, QUANTILES[name])
        longer = limit + (0 if better else buckets_of(guardrail.margin))
        ours = (_over(candidate, limit), _answered(candidate))
        theirs = (_over(baseline, limit), _answered(baseline))
        allowed = (_over(candidate, longer), _answered(candidate))
    alarm = sequential.conditional(alarm, *_counts(ours, theirs), guardrail.alpha)
    if name == "errors" and not better:
        # Half an error in fifty requests, until more is known: it only decides how boldly is bet.
        rate = (history.errors + 0.5) / (history.requests + 50)
        proof = sequential.difference(proof, *_counts(ours, theirs), rate, guardrail.margin)
    else:
        proof = sequential.conditional(proof, *_counts(theirs, allowed), guardrail.alpha)
    return _judged(test, alarm, proof, guardrail.alpha)


def _paired(
    spec: Spec, test: Mapping[str, Any], sums: Mapping[str, Any], pairs: Sequence[tuple[float, float]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    guardrail = spec.guardrails["quality"]
    margin = 0.0 if spec.objective == "quality" else guardrail.margin
    alarm, proof, found = np.array(test["alarm"]), np.array(test["proof"]), dict(test)
    count, total, squares = sums["count"], sums["sum"], sums["squares"]
    for baseline, candidate in pairs:
        worse = candidate - baseline
        if count >= FIRST_PAIRS:
            alarm = sequential.symmetric(alarm, worse, math.sqrt(squares / count))
            around_margin = max(0.0, squares - 2 * margin * total + count * margin**2)
            proof = sequential.symmetric(proof, margin - worse, math.sqrt(around_margin / count))
            found = _judged(found, alarm, proof, guardrail.alpha)
            alarm, proof = np.array(found["alarm"]), np.array(found["proof"])
        count, total, squares = count + 1, total + worse, squares + worse**2
    return found, {"count": count, "sum": total, "squares": squares}


def _judged(test: Mapping[str, Any], alarm: Any, proof: Any, alpha: float) -> dict[str, Any]:
    """A proof's capital is not kept beyond 1/alpha, so that it is soon lost again by a candidate that has got worse."""
    whole = float(sequential.log_e_value(proof))
    proof = proof - max(0.0, whole + math.log(alpha))
    proven = whole >= -math.log(alpha) - _NEARLY or (test["proven"] and whole > 0)
    return {"alarm": alarm.tolist(), "proof": proof.tolist(), "proven": bool(proven)}


def _counts(one: tuple[int, int], other: tuple[int, int]) -> tuple[Any, Any, Any, Any]:
    return np.array(one[0]), np.array(one[1]), np.array(other[0]), np.array(other[1])


# ---- latencies


def buckets_of(margin: float) -> int:
    """Whole buckets within a relative margin."""
    return math.floor(PER_OCTAVE * math.log2(1 + margin) + _NEARLY)


def threshold(arm: Arm, quantile: float) -> int:
    """The first bucket such that no more than 1 - quantile of the answers are in it or later ones."""
    most, over = (1 - quantile) * _answered(arm) + _NEARLY, 0
    for bucket, count in reversed(arm.latencies):
        over += count
        if over > most:
            return bucket + 1
    return 0


def _over(arm: Arm, bucket: int) -> int:
    # The last bucket has no upper bound.
    bucket = min(bucket, BUCKETS - 1)
    return sum(count for each, count in arm.latencies if each >= bucket)


def _answered(arm: Arm) -> int:
    return sum(count for _, count in arm.latencies)


def _rate(arm: Arm) -> float:
    return arm.errors / arm.requests if arm.requests else 0.0


# ---- what it amounts to


@dataclass(frozen=True)
class Verdict:
    """Of all guardrails together."""

    worse: str
    """The guardrail that most of the alarm comes from; empty without alarm."""
    proven: bool
    """All of them are."""
    alarm: float
    """1 is the alarm."""


def verdict(spec: Spec, evidence: Mapping[str, Any]) -> Verdict:
    parts = {
        name: 0.0 if test["proven"] else spec.guardrails[name].alpha * math.exp(min(700.0, _log_e(test["alarm"])))
        for name, test in evidence["tests"].items()
    }
    alarm = math.fsum(parts.values())
    worse = max(parts, key=lambda name: parts[name]) if alarm >= 1 - _NEARLY else ""
    return Verdict(worse, all(test["proven"] for test in evidence["tests"].values()), alarm)


def summary(spec: Spec, evidence: Mapping[str, Any]) -> dict[str, Any]:
    """For people and for the log: each guardrail with what was measured."""
    baseline, candidate = Arm.from_json(evidence["baseline"]), Arm.from_json(evidence["candidate"])
    found: dict[str, Any] = {}
    for name, test in evidence["tests"].items():
        guardrail = spec.guardrails[name]
        entry = {
            "e_value": math.exp(min(700.0, _log_e(test["alarm"]))),
            "needed": 1 / guardrail.alpha,
            "proof_e_value": math.exp(min(700.0, _log_e(test["proof"]))),
            "proven": test["proven"],
            "margin": guardrail.margin,
        }
        if name == "errors":
            entry |= {"baseline": _rate(baseline), "candidate": _rate(candidate)}
        elif name == "quality":
            count = evidence["pairs"]["count"]
            entry |= {"pairs": count, "difference": evidence["pairs"]["sum"] / count if count else 0.0}
        else:
            for arm, place in (("baseline", baseline), ("candidate", candidate)):
                entry[f"{arm}_s"] = lower_bound_s(threshold(place, QUANTILES[name])) if _answered(place) else None
        found[name] = entry
    return found


def _log_e(log_capital: Sequence[float]) -> float:
    return float(sequential.log_e_value(np.array(log_capital)))
