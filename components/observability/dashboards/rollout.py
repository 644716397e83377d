"""Rollouts: where each stands, who gets which version, and the evidence for and against the new one."""

from __future__ import annotations

from typing import Any

from components.observability import vocabulary
from components.observability.dashboards.panels import (
    BLUE,
    BUDGET_LEFT,
    RED,
    WHERE,
    WINDOW,
    YELLOW,
    Query,
    alerts,
    dashboard,
    lines,
    number,
    rows,
    states,
)
from components.observability.objectives import REMAINING

_IN = f'{WHERE},rollout=~"$rollout"'


def build(runbooks: str) -> dict[str, Any]:
    ended = f"sum by (rollout, arm%s) (rate(rollout_requests_total{{{_IN}%s}}[{WINDOW}]))"
    failures = f',outcome=~"{"|".join((*vocabulary.FAILURES, vocabulary.CLIENT_ERROR))}"'
    timed = f"sum by (le, rollout, arm) (rate(rollout_request_duration_seconds_bucket{{{_IN}}}[{WINDOW}]))"
    moving = f'rollout_state{{{_IN},state=~"{"|".join(vocabulary.MOVING)}"}}'
    undecided = f'rollout_state{{{_IN},state=~"{vocabulary.INCONCLUSIVE}|{vocabulary.STOPPED}"}}'
    return dashboard(
        "rollout",
        "Rollouts of model versions: weights, evidence, decisions. Their journals hold the same to the last digit.",
        {"rollout": f"rollout_state{{{WHERE}}}, rollout"},
        {
            "Now": [
                [
                    number(
                        "Under way", "Rollouts that go on by themselves.", "short", f"count({moving} == 1) or vector(0)"
                    ),
                    number(
                        "Waiting for a person",
                        "Inconclusive, or stopped for a sample ratio mismatch. Alert: RolloutInconclusive.",
                        "short",
                        f"count({undecided} == 1) or vector(0)",
                        lines={1: YELLOW},
                    ),
                    number(
                        "Strongest evidence",
                        "Against a guardrail being kept, as an e-value: at 100, one is broken at a risk of 1 %. "
                        "Alert: RolloutGuardrailBroken.",
                        "none",
                        f"max(rollout_guardrail_e_value{{{_IN}}})",
                        lines={20: YELLOW, 100: RED},
                    ),
                    number(
                        "Worst quality difference",
                        "Bits per byte of candidate less baseline, worst rollout, on requests that both have scored; "
                        "below 0 is better.",
                        "none",
                        f"max(rollout_quality_difference_bits_per_byte{{{_IN}}})",
                        lines={0.005: YELLOW, 0.02: RED},
                        decimals=4,
                    ),
                    number(
                        "Budget left",
                        "Of what rollouts may break in 30 days. Alert: RolloutAvailabilityBurn.",
                        "percentunit",
                        f'min({REMAINING}{{{_IN},objective="rollout-availability"}})',
                        **BUDGET_LEFT,
                    ),
                ],
                [alerts("models", runbooks)],
            ],
            "Where it stands": [
                [
                    states(
                        "State",
                        "Each line is a state of a rollout; a band is the time that it was in it.",
                        Query(f"max by (rollout, state) (rollout_state{{{_IN}}} == 1)", "{{rollout}} {{state}}"),
                        texts={"1": ("there", BLUE)},
                    ),
                    lines(
                        "Weights",
                        "Share of the requests that each arm shall have.",
                        "percentunit",
                        Query(f"max by (rollout, arm) (rollout_weight_ratio{{{_IN}}})", "{{rollout}} {{arm}}"),
                        top=1,
                    ),
                    lines(
                        "Share that it really has",
                        "Of the requests that were sent to an arm by weight. Where that is not the weights for long: "
                        "RolloutSampleRatioMismatch.",
                        "percentunit",
                        Query(
                            f"{ended % ('', '')} / on (rollout) group_left () sum by (rollout) ({ended % ('', '')})",
                            "{{rollout}} {{arm}}",
                        ),
                        top=1,
                    ),
                ],
            ],
            "Guardrails": [
                [
                    lines(
                        "Evidence against",
                        "E-value of each guardrail. It may be looked at as often as one likes.",
                        "none",
                        Query(
                            f"max by (rollout, guardrail) (rollout_guardrail_e_value{{{_IN}}})",
                            "{{rollout}} {{guardrail}}",
                        ),
                        lines={20: YELLOW, 100: RED},
                    ),
                    lines(
                        "Errors",
                        "Part of an arm's requests that is held against it, mistakes of clients among them.",
                        "percentunit",
                        Query(f"{ended % ('', failures)} / {ended % ('', '')}", "{{rollout}} {{arm}}"),
                    ),
                    lines(
                        "Latency",
                        "Half of the requests, and 99 of 100, take at most this.",
                        "s",
                        Query(f"histogram_quantile(0.5, {timed})", "{{rollout}} {{arm}} half"),
                        Query(f"histogram_quantile(0.99, {timed})", "{{rollout}} {{arm}} 99 %"),
                    ),
                    lines(
                        "Quality difference",
                        "Bits per byte of candidate less baseline, on the same requests: above 0 it is worse.",
                        "none",
                        Query(
                            f"max by (rollout) (rollout_quality_difference_bits_per_byte{{{_IN}}})",
                            "{{rollout}}",
                        ),
                        lines={0.02: RED},
                    ),
                ],
            ],
            "What was decided": [
                [
                    rows(
                        "Decisions of the last day",
                        "By what was decided and why.",
                        "short",
                        "sort_desc(sum by (rollout, action, reason)"
                        f" (increase(rollout_decisions_total{{{_IN}}}[1d])) > 0)",
                        ("rollout", "action", "reason"),
                        empty="none",
                    ),
                    lines(
                        "How requests ended",
                        "A second, by arm.",
                        "reqps",
                        Query(ended % (", outcome", ""), "{{rollout}} {{arm}} {{outcome}}"),
                    ),
                    lines(
                        "Copies",
                        "Requests a second that a shadow got as well; nobody waits for them.",
                        "reqps",
                        Query(
                            f"sum by (rollout, arm, outcome) (rate(rollout_copies_total{{{_IN}}}[{WINDOW}]))",
                            "{{rollout}} {{arm}} {{outcome}}",
                        ),
                        empty="none",
                    ),
                ],
            ],
        },
    )
