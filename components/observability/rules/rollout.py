"""Rollouts: that they end, that a person looks where a controller couldn't decide, and that what it did is known."""

from __future__ import annotations

from components.observability import vocabulary
from components.observability.rule import Alert, Group, Scope

ENOUGH = 1_000
"""An e-value that no guardrail survives: at a risk of one in a thousand that nothing is wrong (Ville's inequality).
Rollouts are told to risk one in fifty or a hundred, and roll back far below."""


def groups(scope: Scope) -> list[Group]:
    return [Group("aicloud-rollout", _alerts(scope))]


def _alerts(scope: Scope) -> list[Alert]:
    def state(*states: str, offset: str = "") -> str:
        return f'max by (rollout) (rollout_state{{state=~"{"|".join(states)}"}}{offset}) == 1'

    def lately(*states: str) -> str:
        return f'max by (rollout) (max_over_time(rollout_state{{state=~"{"|".join(states)}"}}[1h])) == 1'

    moving = state(*vocabulary.MOVING)
    hours = f"{scope.rollout_s / 3_600:g} hours"
    decided = "sum by (rollout) (increase(rollout_decisions_total[15m]))"
    # Ends stay as they are for as long as the controller runs; a day of telling is enough. A state is there from its
    # begin on, while a counter's first increase is one that Prometheus doesn't see.
    return [
        Alert(
            name="RolloutRolledBack",
            expr=f"{state(*vocabulary.ROLLED_BACK)} unless on (rollout)"
            f" {state(*vocabulary.ROLLED_BACK, offset=' offset 1d')}",
            severity="warning",
            team="models",
            dashboard="rollout",
            summary="{{ $labels.rollout }} was rolled back",
            description="The version before it answers again. The journal holds the evidence.",
        ),
        Alert(
            name="RolloutSampleRatioMismatch",
            expr=f"{state(vocabulary.STOPPED)} unless on (rollout) {state(vocabulary.STOPPED, offset=' offset 1d')}",
            severity="critical",
            team="models",
            dashboard="rollout",
            summary="{{ $labels.rollout }} was stopped: its arms don't get the requests that they should",
            description="Something decides who gets which version besides the weights, so no comparison holds.",
        ),
        Alert(
            name="RolloutInconclusive",
            expr=state(vocabulary.INCONCLUSIVE),
            lasts="30m",
            severity="warning",
            team="models",
            dashboard="rollout",
            summary="{{ $labels.rollout }} could not be decided",
            description="Neither worse nor proven good enough with the traffic that there was: a person decides.",
        ),
        Alert(
            name="RolloutStuck",
            expr=f"({moving}) and on (rollout)"
            f" max by (rollout) (changes(rollout_weight_ratio[{scope.rollout_s}s])) == 0"
            f" and on (rollout) {state(*vocabulary.MOVING, offset=f' offset {scope.rollout_s}s')}",
            lasts="10m",
            severity="warning",
            team="models",
            dashboard="rollout",
            summary="{{ $labels.rollout }} has not moved for " + hours,
            description="It is under way, and no weight has changed.",
        ),
        Alert(
            name="RolloutControllerSilent",
            # Of a controller that is gone, what it last said: its series end with it.
            expr=f"{lately(*vocabulary.MOVING)} unless on (rollout) {decided} > 0"
            f" unless on (rollout) {lately(*vocabulary.ENDED)}",
            lasts="15m",
            severity="critical",
            team="models",
            dashboard="rollout",
            summary="nobody watches {{ $labels.rollout }}",
            description="Its controller has decided nothing for a quarter of an hour, while a new version has traffic.",
        ),
        Alert(
            name="RolloutGuardrailBroken",
            expr=f"max by (rollout, guardrail) (rollout_guardrail_e_value) > {ENOUGH}"
            f" and on (rollout) {state(*vocabulary.COMPARING)}",
            lasts="10m",
            severity="warning",
            team="models",
            dashboard="rollout",
            summary="{{ $labels.guardrail }} of {{ $labels.rollout }} is broken, and it still has traffic",
            description="Evidence of {{ $value | humanize }} to one for ten minutes; the controller should have rolled "
            "back at once.",
        ),
    ]
