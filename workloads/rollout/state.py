"""Where a rollout stands, what may come next, and the weights that each phase allows.

                            .--> promoted <------- inconclusive (held)
    pending -> waiting-for-replicas -> stepping ...
                    |          ^        ^   |
                    v          |        |   v
                 shadowing ----+--------'  rolling-back -> rolled-back      stopped (sample ratio mismatch)

Rolling back can be decided in every phase. Nothing but `weight` and `mirror` of a state is ever set, and `allowed`
says of any state which of them could be right.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from workloads.rollout.errors import StateError
from workloads.rollout.spec import Spec


class Phase(StrEnum):
    """Of a rollout."""

    PENDING = "pending"
    WAITING = "waiting-for-replicas"
    SHADOWING = "shadowing"
    STEPPING = "stepping"
    PROMOTED = "promoted"
    PASSED = "passed"
    """The end of a shadow: proven, and without traffic as before."""
    ROLLING_BACK = "rolling-back"
    ROLLED_BACK = "rolled-back"
    INCONCLUSIVE = "inconclusive"
    """Neither proven nor refuted in time. Held, it stays guarded, and is promoted if the evidence still comes."""
    STOPPED = "stopped"
    """The traffic was not split as intended, so nothing that was measured means anything."""


TRANSITIONS: Mapping[Phase, frozenset[Phase]] = {
    Phase.PENDING: frozenset({Phase.PENDING, Phase.WAITING, Phase.ROLLING_BACK}),
    Phase.WAITING: frozenset({Phase.WAITING, Phase.SHADOWING, Phase.STEPPING, Phase.ROLLING_BACK, Phase.INCONCLUSIVE}),
    Phase.SHADOWING: frozenset(
        {Phase.SHADOWING, Phase.WAITING, Phase.STEPPING, Phase.PASSED, Phase.ROLLING_BACK, Phase.INCONCLUSIVE}
    ),
    Phase.STEPPING: frozenset(
        {Phase.STEPPING, Phase.WAITING, Phase.PROMOTED, Phase.ROLLING_BACK, Phase.INCONCLUSIVE, Phase.STOPPED}
    ),
    Phase.INCONCLUSIVE: frozenset({Phase.INCONCLUSIVE, Phase.PROMOTED, Phase.ROLLING_BACK, Phase.STOPPED}),
    Phase.PROMOTED: frozenset({Phase.PROMOTED, Phase.ROLLING_BACK}),
    Phase.PASSED: frozenset({Phase.PASSED, Phase.ROLLING_BACK}),
    Phase.STOPPED: frozenset({Phase.STOPPED, Phase.ROLLING_BACK}),
    Phase.ROLLING_BACK: frozenset({Phase.ROLLING_BACK, Phase.ROLLED_BACK}),
    Phase.ROLLED_BACK: frozenset({Phase.ROLLED_BACK, Phase.ROLLING_BACK}),
}
FINAL = frozenset({Phase.PROMOTED, Phase.PASSED, Phase.ROLLED_BACK, Phase.STOPPED})
"""Nothing more happens by itself. (A held inconclusive one goes on looking.)"""

NARROWEST = 1 / 1024
"""Of a step's weight: the least that a harm budget leaves of it. With less the step is over."""


@dataclass(frozen=True)
class State:
    """All that a controller has to remember. JSON, so that a kill at any point loses nothing."""

    phase: Phase = Phase.PENDING
    step: int = 0
    """Index of the step in `spec.all_steps` that is taken, or is taken again once the replicas are ready."""
    weight: float = 0.0
    """The candidate's share of requests, 0 to 1; the baseline has the rest."""
    mirror: float = 0.0
    """Share of requests that the candidate also gets, unheard."""
    replicas: int | None = None
    """`rolling` only: replicas that the candidate shall have, the baseline having the rest of them."""
    started_at: float | None = None
    """Unix seconds of the first look."""
    step_since: float | None = None
    looks: int = 0
    """Since the step began."""
    at: float | None = None
    """Unix seconds of the last look."""
    reason: str = ""
    """Code of the reason of the last change of phase or step."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """Test statistics so far: plain data, of workloads.rollout.evidence."""

    @property
    def final(self) -> bool:
        return self.phase in FINAL

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back as the same state."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)} | {"phase": str(self.phase)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> State:
        """Read what `to_json` wrote. StateError says what is wrong with it."""
        try:
            state = cls(**{**document, "phase": Phase(document["phase"])})
            good = 0 <= state.weight <= 1 and 0 <= state.mirror <= 1 and state.step >= 0
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"state: not one: {error!r:.200}") from None
        if not good or not isinstance(state.evidence, Mapping):
            raise StateError(
                f"state: weight {state.weight!r}, mirror {state.mirror!r}, step {state.step!r}: "
                "expected shares from 0 to 1, a step from 0 and evidence"
            )
        return state


@dataclass(frozen=True)
class Decision:
    """What one look led to. `state` is what is to be remembered, and its weight, mirror and replicas what is to be set;
    to set them again does no harm."""

    action: str
    """`wait`, `shadow`, `step`, `watch`, `narrow`, `hold`, `promote`, `pass`, `roll-back`, `stop`, `rest`."""
    reason: str
    """A code such as `errors-worse`, never a sentence."""
    state: State
    evidence: Mapping[str, Any]
    """What the decision rests on, for people and for the log: plain data."""

    @property
    def weight(self) -> float:
        return self.state.weight

    @property
    def mirror(self) -> float:
        return self.state.mirror

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back as the same decision."""
        return {
            "action": self.action,
            "reason": self.reason,
            "state": self.state.to_json(),
            "evidence": self.evidence,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Decision:
        """Read what `to_json` wrote. StateError says what is wrong with it."""
        try:
            return cls(**{**document, "state": State.from_json(document["state"])})
        except (KeyError, TypeError) as error:
            raise StateError(f"decision: not one: {error!r:.200}") from None


@dataclass(frozen=True)
class Allowed:
    """The candidate's shares that a state allows."""

    lowest: float
    highest: float
    mirror: float
    """At most."""

    def permits(self, weight: float, mirror: float) -> bool:
        return self.lowest <= weight <= self.highest and 0 <= mirror <= self.mirror


def allowed_weights(spec: Spec, state: State) -> Allowed:
    """What may be set in a state, told by its phase and step alone. StateError where the step is none of the spec's."""
    if state.phase is Phase.PROMOTED:
        return Allowed(1.0, 1.0, 0.0)
    if state.phase is Phase.SHADOWING:
        return Allowed(0.0, 0.0, spec.mirror)
    if state.phase in (Phase.STEPPING, Phase.INCONCLUSIVE):
        steps = spec.all_steps
        # A shadow has no steps, and is inconclusive without weight.
        if not steps and state.phase is Phase.INCONCLUSIVE:
            return Allowed(0.0, 0.0, spec.mirror)
        if state.step >= len(steps):
            raise StateError(f"state: step {state.step}: expected one of {len(steps)}, counted from 0")
        most = steps[state.step].weight
        least = most * NARROWEST if state.phase is Phase.STEPPING else 0.0
        return Allowed(math.nextafter(least, 0), most, spec.mirror)
    return Allowed(0.0, 0.0, 0.0)


def check_next(spec: Spec, before: State, after: State) -> None:
    """StateError where a state may not follow another, or asks for weights that it does not allow."""
    if after.phase not in TRANSITIONS[before.phase]:
        raise StateError(f"state: {after.phase} cannot follow {before.phase}")
    if not allowed_weights(spec, after).permits(after.weight, after.mirror):
        raise StateError(
            f"state: weight {after.weight:g}, mirror {after.mirror:g} in {after.phase}, step {after.step}: "
            f"expected {allowed_weights(spec, after)}"
        )
