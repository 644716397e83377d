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

MIRROR = 0.25
"""Of the requests. Copies are work for the candidate alone, so more of them would make it look slow."""


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
            "p99_latency": Guardrail(margin=4.0, alpha=0.03),
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
        self._decision: Mapping[str, Any] | None = None

    def run(self) -> Outcome:
        """Until it is over, one way or the other."""
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
            "outcome", rollout=self.spec.name, version=str(self.spec.candidate), outcome=outcome.phase,
            says=outcome.says, answered=self._answered, pairs=self._pairs,
        )  # fmt: skip
        return outcome

    def settle(self) -> None:
        """All requests to the champion's server, which serves the promoted version by now. Raises LoopError."""
        setting, fence = self._route.current()
        if not math.isclose(setting.weight, 1.0):
            raise LoopError(f"{self.spec.name}: the candidate has {setting.weight:.0%} of the requests, expected all")
        self._route.set(Setting(), Fence(fence.token + 1))
        self._weights(Setting(), "settled")

    def _told(self, kind: str, fields: Mapping[str, Any]) -> None:
        if kind == DECISION:
            decision, seen = fields["decision"], fields["observation"]
            state = decision["state"]
            self._answered += seen["candidate"]["requests"]
            self._pairs += len(seen["pairs"])
            self._decision = decision
            self._log.add(
                "decision", rollout=self.spec.name, action=decision["action"], reason=decision["reason"],
                says=f"{state['phase']}, {state['weight']:.0%} to the candidate",
                seen={"candidate": seen["candidate"]["requests"], "beside": seen["baseline"]["requests"],
                      "pairs": len(seen["pairs"])},
                guardrails={name: measured(one) for name, one in decision["evidence"]["guardrails"].items()},
                sample_ratio=share(decision["evidence"]["sample_ratio"]),
            )  # fmt: skip
        elif kind == DONE and self._decision:
            state = self._decision["state"]
            self._weights(Setting(state["weight"], state["mirror"]), state["phase"])

    def _weights(self, setting: Setting, phase: str) -> None:
        weights = {CHAMPION: round(1 - setting.weight, 6), CANDIDATE: round(setting.weight, 6)}
        self._log.add("weights", rollout=self.spec.name, weights=weights, mirror=setting.mirror, state=phase)

    def _sentence(self, phase: str) -> str:
        assert self._decision is not None, "it has ended by a decision"
        found = self._decision["evidence"]["guardrails"]
        reason = self._decision["reason"]
        words = f"{phase} ({reason})"
        worse = reason.removesuffix("-worse")
        if worse in found:
            words += (
                f": evidence {found[worse]['e_value']:,.0f} to 1 against it, {found[worse]['needed']:,.0f} is enough"
            )
        if "difference" in found.get("quality", {}):
            quality = found["quality"]
            sign = "worse" if quality["difference"] > 0 else "better"
            words += f"; {abs(quality['difference']):.2f} bits per byte {sign} on {quality['pairs']:,} texts of both"
        return f"{words}; it answered {self._answered:,} requests"


def measured(guardrail: Mapping[str, Any]) -> dict[str, Any]:
    """What a decision knew of a guardrail. `alarm`, `proof`: 1 is enough, on the scale of evidence, a logarithm."""
    enough = math.log(guardrail["needed"])
    told = {
        "alarm": round(math.log(max(guardrail["e_value"], 1e-9)) / enough, 4),
        "proof": round(math.log(max(guardrail["proof_e_value"], 1e-9)) / enough, 4),
        "proven": guardrail["proven"],
    }
    for name in ("baseline", "candidate", "baseline_s", "candidate_s", "difference", "pairs"):
        if guardrail.get(name) is not None:
            told[name] = round(guardrail[name], 6)
    return told


def share(sample_ratio: Mapping[str, Any]) -> dict[str, Any]:
    """What a decision knew of how the requests were split."""
    return {name: round(value, 4) for name, value in sample_ratio.items() if math.isfinite(value)}
