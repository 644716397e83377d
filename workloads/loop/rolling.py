"""A rollout under the loop's traffic: the real controller, told of in events; and what it came to, in a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.loop.errors import LoopError
from workloads.loop.events import Log
from workloads.loop.settings import Settings
from workloads.loop.traffic import CANDIDATE, CHAMPION
from workloads.rollout.controller import Controller
from workloads.rollout.journal import DECISION, DONE, Journal
from workloads.rollout.observe import LocalObserver
from workloads.rollout.routing import Fence
from workloads.rollout.shells import LocalRoute, Setting
from workloads.rollout.spec import Guardrail, Spec, Step
from workloads.serving.manifest import ModelVersion

MIRROR = 0.5


def spec(settings: Settings, champion: ModelVersion, candidate: ModelVersion) -> Spec:
    """A canary as in production, with seconds for minutes, and margins as wide as a busy laptop's latencies."""
    return Spec(
        name=f"{candidate.name}-{candidate.version}",
        baseline=champion,
        candidate=candidate,
        strategy="canary",
        guardrails={
            "errors": Guardrail(margin=0.05, alpha=0.01),
            "p50_latency": Guardrail(margin=1.0, alpha=0.01),
            "p99_latency": Guardrail(margin=4.0, alpha=0.01),
            "quality": Guardrail(margin=0.05, alpha=0.01),
        },
        steps=(Step(percent=10, looks=3), Step(percent=50, looks=3)),
        mirror_percent=100 * MIRROR,
        harm_budget_requests=60,
        look_interval_s=settings.look_s,
        deadline_s=settings.rollout_s,
        on_inconclusive="rollback",
    )


@dataclass(frozen=True)
class Outcome:
    phase: str
    says: str


class _Told(Journal):
    """A journal that also tells of its decisions."""

    def __init__(self, *journal: Any, tell: Callable[[str, Mapping[str, Any]], None]) -> None:
        super().__init__(*journal)
        self._tell = tell

    def append(self, kind: str, **fields: Any) -> int:
        number = super().append(kind, **fields)
        self._tell(kind, fields)
        return number


class Rolling:
    """One rollout through the router at `admin`."""

    def __init__(
        self, settings: Settings, log: Log, admin: str, champion: ModelVersion, candidate: ModelVersion, output: Path
    ) -> None:
        self.spec = spec(settings, champion, candidate)
        self.journal = output / "rollouts" / f"{self.spec.name}.jsonl"
        self._log, self._output, self._admin = log, output, admin
        self._route = LocalRoute(admin)
        self._answered = self._pairs = 0
        self._reason = ""

    def run(self, say: Callable[[str], None]) -> Outcome:
        """Until it is over, one way or the other. Raises LoopError where it stays inconclusive."""
        self._say = say
        log = self._output / "logs" / f"{self.spec.name}.log"
        for path, title in ((self.journal, "journal: every decision with what was seen"), (log, "controller")):
            self._log.add("file", path=str(path.relative_to(self._output)), title=f"{self.spec.name}: {title}")
        import time

        with (
            log.open("w", encoding="utf-8") as out,
            _Told(self.journal, self.spec, time.time, tell=self._told) as journal,
        ):
            state = Controller(journal, self._route, LocalObserver(self._admin), out=out).run()
        outcome = Outcome(str(state.phase), self._sentence(str(state.phase)))
        self._log.add(
            "outcome", rollout=self.spec.name, version=str(self.spec.candidate), outcome=outcome.phase, says=outcome.says,
            figures={
                "requests that the candidate answered": self._answered,
                "requests scored by both": self._pairs,
                "replayed": str(self.journal.relative_to(self._output)),
            },
        )  # fmt: skip
        return outcome

    def settle(self) -> None:
        """All requests to the champion's server, which serves the promoted version by now. Raises LoopError."""
        setting, fence = self._route.current()
        if not math.isclose(setting.weight, 1.0):
            raise LoopError(f"{self.spec.name}: the candidate has {setting.weight:.0%} of the requests, expected all")
        self._route.set(Setting(), Fence(fence.token + 1))
        self._weights(Setting(), "settled")

    def _sentence(self, phase: str) -> str:
        seen = f"{self._answered:,} requests answered by {self.spec.candidate}, {self._pairs:,} scored by both"
        return f"{phase} for {self._reason}: {seen}"

    def _told(self, kind: str, fields: Mapping[str, Any]) -> None:
        if kind == DECISION:
            decision, seen = fields["decision"], fields["observation"]
            self._answered += seen["candidate"]["requests"]
            self._pairs += len(seen["pairs"])
            self._reason = decision["reason"]
            self._setting = Setting(decision["state"]["weight"], decision["state"]["mirror"])
            self._phase = decision["state"]["phase"]
            words = self._words(decision, seen)
            self._say(f"{decision['action']} ({decision['reason']}): {words}")
            self._log.add(
                "decision", rollout=self.spec.name, action=decision["action"], reason=decision["reason"], says=words,
                evidence=flat(decision["evidence"]),
            )  # fmt: skip
        elif kind == DONE:
            self._weights(self._setting, self._phase)

    def _weights(self, setting: Setting, phase: str) -> None:
        weights = {CHAMPION: round(1 - setting.weight, 6), CANDIDATE: round(setting.weight, 6)}
        self._log.add("weights", rollout=self.spec.name, weights=weights, mirror=setting.mirror, state=phase)

    def _words(self, decision: Mapping[str, Any], seen: Mapping[str, Any]) -> str:
        state = decision["state"]
        return (
            f"{state['phase']}, {state['weight']:.1%} to the candidate, {state['mirror']:.0%} mirrored; since the last look "
            f"{seen['candidate']['requests']} requests, {len(seen['pairs'])} pairs"
        )


def flat(found: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested evidence as names with dots."""
    told: dict[str, Any] = {}
    for key, value in found.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            told |= flat(value, f"{name}.")
        elif isinstance(value, int | float | str):
            told[name] = value if not isinstance(value, float) or math.isfinite(value) else str(value)
    return told
