"""A rollout without statistics, and a route and an observer that are files: for what has to survive kills."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workloads.rollout import controller
from workloads.rollout.errors import Fenced, ShellFailed
from workloads.rollout.journal import Journal, read, remember
from workloads.rollout.metrics import ControllerMetrics
from workloads.rollout.observation import Arm, Observation
from workloads.rollout.observe import Seen
from workloads.rollout.routing import Fence
from workloads.rollout.shells import BASELINE, CANDIDATE, CONTROL, Replicas, Setting
from workloads.rollout.spec import Spec, parse
from workloads.rollout.state import Decision, Phase, State, allowed_weights

BEGAN = 1_800_000_000.0


def spec(**changes: Any) -> Spec:
    document = {
        "name": "lm-2",
        "baseline": "lm:1",
        "candidate": "lm:2",
        "strategy": "canary",
        "steps": [{"percent": 5, "looks": 2}, {"percent": 25, "looks": 2}, {"percent": 50, "looks": 2}],
        "mirror_percent": 10,
        "guardrails": {"errors": {"margin": 0.05, "alpha": 0.05}},
        "harm_budget_requests": 10_000,
        "look_interval_s": 60,
    }
    return parse({**document, **changes})


def decide(spec: Spec, state: State, seen: Observation) -> Decision:
    """The way of a canary by the number of looks alone; back where somebody asks, or anything has failed."""
    steps = spec.all_steps

    def to(phase: Phase, reason: str, **changes: Any) -> Decision:
        after = dataclasses.replace(state, phase=phase, reason=reason, at=seen.at, **changes)
        return Decision(str(phase), reason, after, {"failed": seen.candidate.errors})

    if state.phase is Phase.ROLLING_BACK:
        return to(Phase.ROLLED_BACK if seen.applied else Phase.ROLLING_BACK, "back")
    if state.phase is not Phase.ROLLED_BACK and (seen.request or seen.candidate.errors):
        return to(Phase.ROLLING_BACK, "asked" if seen.request else "errors", weight=0.0, mirror=0.0)
    if state.phase is Phase.PENDING:
        return to(Phase.WAITING, "begun", started_at=seen.at)
    if state.phase is Phase.WAITING and seen.candidate_ready:
        return to(Phase.SHADOWING, "ready", mirror=spec.mirror)
    if state.phase is Phase.SHADOWING and seen.applied:
        return to(Phase.STEPPING, "shadowed", step=0, looks=0, weight=steps[0].weight, mirror=spec.mirror)
    if state.phase is Phase.STEPPING and seen.applied:
        if state.looks + 1 < steps[state.step].looks:
            return to(Phase.STEPPING, "watch", looks=state.looks + 1)
        if state.step + 1 < len(steps):
            return to(Phase.STEPPING, "next", step=state.step + 1, looks=0, weight=steps[state.step + 1].weight)
        return to(Phase.PROMOTED, "proven", weight=1.0, mirror=0.0)
    return to(state.phase, "rest")


class FileRoute:
    """A router whose whole life is a file, and which looks into the journal each time that it is told something.

    It proves what the controller must never do: `wrong` has each setting that the journal's state does not allow.
    """

    def __init__(self, directory: Path) -> None:
        self.path, self.journal = directory / "route.jsonl", directory / "journal.jsonl"
        self.wrong = directory / "wrong"
        self.fail: Callable[[], bool] = lambda: False
        self.ready = 1

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def current(self) -> tuple[Setting, Fence]:
        if not self.told:
            return Setting(), Fence()
        last = self.told[-1]
        return Setting(last["weight"], last["mirror"]), Fence(*last["fence"])

    def set(self, setting: Setting, fence: Fence) -> None:
        if self.fail():
            raise ShellFailed("as told")
        before, word = self.current()
        if fence < word:
            raise Fenced(f"{fence} after {word}")
        memory = remember(read(self.journal), "journal")
        if not allowed_weights(memory.spec, memory.state).permits(setting.weight, setting.mirror):
            self.wrong.write_text(f"{setting} in {memory.state.phase}, step {memory.state.step}")
        if setting.weight > before.weight and not self.ready:
            self.wrong.write_text(f"{setting} with nobody ready")
        with self.path.open("a") as file:
            line = {"weight": setting.weight, "mirror": setting.mirror, "fence": [fence.token, fence.number]}
            file.write(json.dumps(line) + "\n")

    def replicas(self) -> Replicas:
        return Replicas(3, self.ready)

    def scale(self, candidate: int, baseline: int) -> None:
        raise AssertionError(f"nobody asks for {candidate} and {baseline}")

    @property
    def settings(self) -> list[tuple[float, float]]:
        """What was in force, one after the other."""
        found: list[tuple[float, float]] = []
        for line in self.told:
            setting = (line["weight"], line["mirror"])
            if not found or found[-1] != setting:
                found.append(setting)
        return found


class Counting:
    """A thousand requests a look, shared as the route says. `failing_from`: look from which the candidate fails a
    fifth of its own."""

    def __init__(self, directory: Path, failing_from: int = 10**9) -> None:
        self._route, self._failing_from = FileRoute(directory), failing_from

    def look(self, cursor: Any, since: float) -> tuple[Seen, Any]:
        del since
        number = (cursor or 0) + 1
        counts = {arm: round(1000 * share) for arm, share in self._route.current()[0].shares.items()}
        errors = counts[CANDIDATE] // 5 if number >= self._failing_from else 0
        return Seen(Arm(counts[BASELINE]), Arm(counts[CONTROL]), Arm(counts[CANDIDATE], errors)), number


class Time:
    """That passes only when somebody sleeps, and not for ever."""

    def __init__(self, now: float) -> None:
        self._now, self._end = now, now + 36_000

    def __call__(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds
        assert self._now < self._end, "it never ends"


def control(
    directory: Path,
    *,
    failing_from: int = 10**9,
    failpoint: Callable[[str], None] = lambda _: None,
    decides: Callable[[Spec, State, Observation], Decision] | None = decide,
    route: FileRoute | None = None,
    observer: Any = None,
    metrics: ControllerMetrics | None = None,
    asked: str = "asked",
    rollout: Spec | None = None,
    alone: bool = False,
    linger_s: float = 0.0,
    sleeping: Callable[[float], None] = lambda _: None,
) -> State:
    """A controller's life. `sleeping` is told the time whenever it sleeps."""
    before = controller.decide
    controller.decide = decides or before
    try:
        with Journal(directory / "journal.jsonl", rollout or spec(), lambda: BEGAN) as journal:
            time = Time(journal.memory.state.at or BEGAN)
            journal._clock = time
            with (directory / "out").open("a") as out:
                return controller.Controller(
                    journal,
                    route or FileRoute(directory),
                    observer or Counting(directory, failing_from),
                    metrics=metrics,
                    control=alone,
                    requested=(directory / asked).exists,
                    fulfilled=(directory / asked).unlink,
                    clock=time,
                    sleep=lambda seconds: (time.sleep(seconds), sleeping(time()))[0],
                    failpoint=failpoint,
                    out=out,
                ).run(linger_s)
    finally:
        controller.decide = before


def killed_at(hits: set[int], count: list[int] | None = None) -> Callable[[str], None]:
    """A failpoint that ends its process, without a word to anybody, at the given hits."""
    seen = count if count is not None else [0]

    def failpoint(_: str) -> None:
        seen[0] += 1
        if seen[0] in hits:
            os.kill(os.getpid(), signal.SIGKILL)

    return failpoint


def in_a_process(work: Callable[[], object]) -> int:
    """Do something in a process of its own; its exit code, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - nothing of pytest may run in the child
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
