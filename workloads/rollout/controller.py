"""The loop around `decide`: look, decide, write it down, carry it out, write that down.

What is decided is in the journal before anything is done about it, and all that is done about it is to set the weights
of the state that is in the journal, which does no harm if it is done twice. So whoever is killed, anywhere, is
continued by the next one: it takes a greater token, sets what was decided last, and looks on. What another has changed
meanwhile is seen, since each look asks the route what is in force.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from workloads.rollout.decide import decide
from workloads.rollout.errors import Fenced, NotAllowed, RoutingError, ShellFailed, StateError
from workloads.rollout.journal import CONTROLLER, DECISION, DONE, Journal
from workloads.rollout.metrics import ControllerMetrics
from workloads.rollout.observation import Observation
from workloads.rollout.observe import Observer, Seen
from workloads.rollout.routing import Fence
from workloads.rollout.shells import CONTROL, Replicas, Route, Setting
from workloads.rollout.state import Decision, Phase, State, allowed_weights, check_next

AGAIN_S = 2.0
"""After what did not work, where looks are further apart."""
POLL_S = 0.5
"""How often a person's request is looked for."""
ROUNDING = 1e-3
"""Weights are whole numbers somewhere; ours are shares."""


class Controller:
    """Of one rollout, whose journal is open. `failpoint` is told where the loop is, and may not return."""

    def __init__(
        self,
        journal: Journal,
        route: Route,
        observer: Observer,
        *,
        ready_replicas: int = 1,
        control: bool = False,
        requested: Callable[[], bool] = lambda: False,
        fulfilled: Callable[[], None] = lambda: None,
        metrics: ControllerMetrics | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        failpoint: Callable[[str], None] = lambda _: None,
        out: TextIO = sys.stdout,
    ) -> None:
        """`ready_replicas`: of the candidate, before it gets requests. `control`: compare it with the control alone, a
        sample of its own size, and not with all that the old version answers meanwhile. `requested`: whether a person
        wants to go back; `fulfilled` is called once that is decided."""
        self.journal, self.route, self.observer = journal, route, observer
        self.memory, self.spec = journal.memory, journal.memory.spec
        self._ready_replicas, self._control = ready_replicas, control
        self._requested, self._fulfilled = requested, fulfilled
        self._metrics = metrics or ControllerMetrics(self.spec.name)
        self._clock, self._sleep, self._failpoint, self._out = clock, sleep, failpoint, out

    def run(self, linger_s: float = 0.0) -> State:
        """Until the rollout is over; its last state. Raises Fenced, NotAllowed, JournalError, RoutingError.

        It stays for `linger_s` more: so long its metrics tell the end, and a person can still have it go back.
        """
        self.take_over()
        while True:
            while not self.over:
                pause = self.spec.look_interval_s if self.look() else min(AGAIN_S, self.spec.look_interval_s)
                if not self.over:
                    self._pause(pause)
            self._pause(linger_s)
            if self.over:
                return self.memory.state

    @property
    def over(self) -> bool:
        return self.memory.state.final and self.memory.done and not self._requested()

    # ---- becoming the one who decides

    def take_over(self) -> None:
        """With a token that is greater than anybody's, have in force what was decided last."""
        while True:
            try:
                setting, fence = self.route.current()
                break
            except ShellFailed as error:
                self._say(f"waiting: {error}")
                self._sleep(min(AGAIN_S, self.spec.look_interval_s))
        if not self.memory.decisions and setting.weight:
            raise RoutingError(
                f"{self.spec.name}: {self.spec.candidate} has {setting.weight:.1%} of the requests already: expected "
                "none at the beginning"
            )
        self.journal.append(CONTROLLER, token=max(self.memory.token, fence.token) + 1)
        self._failpoint("taken-over")
        self._metrics.state(self.memory.state)
        self._carry_out()

    # ---- a look

    def look(self) -> bool:
        """Observe, decide, and carry it out. False where something of it did not work and is to be tried again soon."""
        now, state = self._clock(), self.memory.state
        wanted = self._requested()
        seen, cursor, applied, replicas = Seen(), self.memory.cursor, False, Replicas(0, 0)
        worked = True
        try:
            applied = self._in_force() and self.memory.done
            replicas = self.route.replicas()
            seen, cursor = self.observer.look(self.memory.cursor, self.memory.since)
        except ShellFailed as error:
            # Nothing was counted, nothing is lost: a person may still go back, and deadlines pass.
            self._say(f"nothing seen: {error}")
            worked = False
        # There is a control only beside a candidate with requests.
        control = self._control and 0 < state.weight < 1
        observation = Observation(
            now,
            seen.control if control else seen.baseline + seen.control,
            seen.candidate,
            seen.mirrored,
            seen.pairs,
            candidate_ready=replicas.candidate >= (state.replicas or self._ready_replicas),
            baseline_replicas=replicas.baseline,
            candidate_replicas=replicas.candidate,
            applied=applied,
            request="rollback" if wanted else "",
            baseline_weight=Setting(state.weight).shares[CONTROL] if control else None,
        )
        self._failpoint("observed")
        decision = decide(self.spec, state, observation)
        self._check(state, decision.state)
        self._failpoint("decided")
        self.journal.append(DECISION, observation=observation.to_json(), decision=decision.to_json(), cursor=cursor)
        self._failpoint("journalled")
        if wanted:
            self._fulfilled()
        self._tell(state, decision, observation)
        carried_out = self.memory.done and applied
        return (carried_out or self._carry_out()) and worked

    def _in_force(self) -> bool:
        setting, fence = self.route.current()
        if fence.token > self.memory.token:
            raise Fenced(f"{self.spec.name}: another controller (token {fence.token}) has taken over: this one ends")
        state = self.memory.state
        return abs(setting.weight - state.weight) < ROUNDING and abs(setting.mirror - state.mirror) < ROUNDING

    def _carry_out(self) -> bool:
        """Have the state's weights in force; whether they are."""
        state = self.memory.state
        self._check(state, state)
        self._failpoint("checked")
        try:
            self.route.set(Setting(state.weight, state.mirror), Fence(self.memory.token, self.memory.number))
            if state.replicas is not None:
                # Afterwards: replicas go only where requests no longer do.
                self.route.scale(state.replicas, self.spec.replicas - state.replicas)
        except ShellFailed as error:
            self._say(f"not set: {error}")
            return False
        self._failpoint("set")
        if not self.memory.done or not self.memory.since:
            self.journal.append(DONE, of=self.memory.decided)
        self._failpoint("done")
        return True

    def _check(self, before: State, after: State) -> None:
        """The last gate: nothing passes that the states do not allow, whoever has decided it."""
        try:
            if before is not after:
                check_next(self.spec, before, after)
            allowed = allowed_weights(self.spec, after).permits(after.weight, after.mirror)
        except StateError as error:
            raise NotAllowed(str(error)) from error
        if not allowed:
            raise NotAllowed(f"weight {after.weight:g}, mirror {after.mirror:g} in {after.phase}: nothing was set")

    # ---- telling, and waiting

    def _tell(self, before: State, decision: Decision, observation: Observation) -> None:
        self._metrics.decided(decision)
        if before.phase is not decision.state.phase or before.weight != decision.weight or decision.action != "watch":
            counts = (
                f"{observation.candidate.requests} of {self.spec.candidate}, {observation.baseline.requests} beside"
            )
            self._say(
                f"{decision.action} ({decision.reason}): {decision.state.phase}, {decision.weight:.1%} to the candidate"
                + (f", {decision.mirror:.0%} mirrored" if decision.mirror else "")
                + f"; seen {counts}"
            )

    def _say(self, words: str) -> None:
        print(f"{self.spec.name}: {words}", file=self._out, flush=True)

    def _pause(self, seconds: float) -> None:
        until = self._clock() + seconds
        while (left := until - self._clock()) > 0 and not self._requested():
            self._sleep(min(left, POLL_S))


EXITS = {Phase.PROMOTED: 0, Phase.PASSED: 0, Phase.ROLLED_BACK: 10, Phase.STOPPED: 11, Phase.INCONCLUSIVE: 12}
"""Exit code by how a rollout ended."""
