"""Where a rollout stands, in words and figures for a person."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from workloads.rollout.journal import DECISION, Memory

LATEST = 8
"""Decisions that are shown."""


def status(memory: Memory, entries: Sequence[Mapping[str, Any]], now: float, going_back: bool) -> str:
    """Several lines. `going_back`: a person has asked for it, and nobody has heard yet."""
    spec, state = memory.spec, memory.state
    steps = len(spec.all_steps)
    step = f", step {min(state.step + 1, steps)} of {steps}" if steps else ""
    mirrored = f", {state.mirror:.0%} mirrored" if state.mirror else ""
    rows = [
        ("phase", f"{state.phase}{step}" + (f" ({state.reason})" if state.reason else "")),
        ("traffic", f"{state.weight:.2%} to {spec.candidate}, {1 - state.weight:.2%} to {spec.baseline}{mirrored}"),
        ("in force", "yes" if memory.done else "not yet"),
    ]
    if state.started_at is not None:
        rows.append(("running", f"{_span(now - state.started_at)} of at most {_span(spec.deadline_s)}"))
    if state.at is not None:
        rows.append(("last look", f"{_span(now - state.at)} ago; {state.looks} in this step"))
    if going_back:
        rows.append(("asked", "to go back; no controller has heard of it yet"))
    lines = [f"{spec.name}: {spec.baseline} -> {spec.candidate}, {spec.strategy}"]
    lines += [f"  {name:<10} {words}" for name, words in rows]

    decisions = [entry for entry in entries if entry["kind"] == DECISION]
    if decisions:
        lines += _evidence(decisions[-1]["decision"]["evidence"])
        lines.append("  decisions")
        lines += [f"    {_decision(entry)}" for entry in _changes(decisions)[-LATEST:]]
    return "\n".join(lines)


def _changes(decisions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of several in a row that say the same, the last."""
    kept: list[Mapping[str, Any]] = []
    for entry in decisions:
        if kept and _said(kept[-1]) == _said(entry):
            kept.pop()
        kept.append(entry)
    return kept


def _said(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    decision = entry["decision"]
    return decision["action"], decision["reason"], decision["state"]["phase"], decision["state"]["weight"]


def _decision(entry: Mapping[str, Any]) -> str:
    decision, seen = entry["decision"], entry["observation"]
    at = time.strftime("%H:%M:%S", time.localtime(entry["at"]))
    counts = f"{seen['candidate']['requests']} requests, {seen['candidate']['errors']} failed"
    return (
        f"{at}  {decision['action']:<10} {decision['reason']:<28} {decision['state']['weight']:>7.2%}  "
        f"{counts}; beside: {seen['baseline']['requests']}, {seen['baseline']['errors']} failed"
    )


def _evidence(evidence: Mapping[str, Any]) -> list[str]:
    """A guardrail a line: what was measured, against the evidence that an alarm, or a proof, needs; then the split."""
    lines = []
    for name, found in evidence.get("guardrails", {}).items():
        measured = {
            key: found[key] for key in found if key in ("pairs", "difference") or key.startswith(("base", "cand"))
        }
        words = ", ".join(f"{key} {_figure(value)}" for key, value in measured.items())
        proof = "proven" if found["proven"] else f"proof {_figure(found['proof_e_value'])} of {found['needed']:.0f}"
        alarm = f"alarm {_figure(found['e_value'])} of {found['needed']:.0f}"
        lines.append(f"    {name:<12} {alarm:<22} {proof:<22} margin {found['margin']:g}; {words}")
    split = evidence.get("sample_ratio")
    if split:
        words = f"{split['candidate']} candidate, {split['baseline']} baseline"
        alarm = f"alarm {_figure(split['e_value'])} of {split['needed']:.0f}"
        lines.append(f"    {'split':<12} {alarm:<22} {words}")
    return ["  evidence", *lines] if lines else []


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _span(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
