"""That this machine or process is about to end: seen at once, agreed on by all ranks, and left in time in any case.

Signals reach a thread through Python's wakeup descriptor, so they are seen while the main thread sits in a collective,
a compilation or a save; metadata services (metadata.py) are watched by threads of their own. The loop asks once a step:

    with Notices(grace_s=60) as notices:
        stopping = Agreement(notices)
        for batch in loader:
            ...
            if stopping():              # the same answer on all ranks, at the same step
                checkpointer.save(...)
                checkpointer.wait()
                notices.leave()

A loop that does not come back by the deadline is left there and then: the newest committed checkpoint counts.

Exit codes: 75 saved, run again; 76 the time was too short to save, run again; 130 a second Ctrl-C. None of them is 0,
since Kubernetes and torchrun take 0 for a finished job, nor 1, which says that something broke.
"""

from __future__ import annotations

import contextlib
import faulthandler
import http.client
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

from workloads.training.agreement import Agreement, agree, period
from workloads.training.children import STOPPING, dismiss_agent, kill_left_over, kill_left_over_at_exit, spared
from workloads.training.errors import STOPPED
from workloads.training.metadata import NoService, Notice, Source, sources

__all__ = ["INTERRUPTED", "PREEMPTED", "UNSAVED", "Agreement", "Notice", "Notices", "agree", "period", "spared"]

PREEMPTED = STOPPED
UNSAVED = 76
INTERRUPTED = 128 + signal.SIGINT

GRACE_VARIABLE = "TRAINING_GRACE_S"
DEFAULT_GRACE_S = 30.0
"""Kubernetes' terminationGracePeriodSeconds, and torchrun's --shutdown-timeout, where nothing else is said.
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination"""

SHARE = 0.5
"""Of a notice, what may pass until the process is gone."""

LAST_LOOK_S = 0.2
"""At the deadline, for `rescue` to say whether what it saved is still all that there is."""

ONE_KEY_PRESS_S = 0.3
"""Ctrl-C reaches a process twice where a parent in the same terminal passes it on (uv, make, torchrun)."""


class Notices:
    """Watches for the end. `notice` is None until one comes; it then stays, and only its deadline may move forward.

    grace_s: what SIGTERM leaves, in seconds: a pod's grace period. Without it, $TRAINING_GRACE_S, else 30.
      Under torchrun, its own --shutdown-timeout must not be shorter than half of it.
    watch: metadata services to ask: `auto` (whichever answers), `none`, or `ec2`, `gce`.
    where: what the main thread is doing, for the message at the deadline (`Watch.where`).
    rescue: called in a thread of its own `rescue_s` before the deadline, if the loop has not come back: whether
      everything is saved then (a checkpoint under way that only wants waiting for).

    Children forked meanwhile don't die of the signals either; for others there is `spared`.
    Raises ValueError when entered outside the main thread, where signals cannot be watched.
    """

    def __init__(
        self,
        *,
        grace_s: float | None = None,
        watch: str = "auto",
        where: Callable[[], str] = lambda: "",
        rescue: Callable[[], bool] | None = None,
        rescue_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        end: Callable[[int], Any] = os._exit,
        out: TextIO | None = None,
    ) -> None:
        self.grace_s = grace(os.environ.get(GRACE_VARIABLE)) if grace_s is None else grace_s
        if not 0 < self.grace_s < math.inf:
            raise ValueError(f"grace_s {self.grace_s}: expected seconds, more than 0")
        self.notice: Notice | None = None
        self.deadline = math.inf  # by `clock`
        self.agreed = False  # all ranks know of it: set by Agreement, at the same point on all of them
        self.information: list[str] = []  # what was said that ends nothing
        self._sources, self._asked = sources(watch), watch != "auto"
        self._where, self._rescue, self._rescue_s = where, rescue, rescue_s
        self._clock, self._end, self._out = clock, end, out
        self._own = False  # the notice is this machine's own and came from no signal
        self._saved = self._rescued = self._leaving = self._closed = False
        self._interrupted_at = -math.inf
        self._changed = threading.Condition()

    # ---- the loop's side

    def left(self) -> float:
        """Seconds until this process will be left, whatever it does then; infinite without a notice."""
        return self.deadline - self._clock()

    def give(self, notice: Notice, *, own: bool = False, left_s: float | None = None) -> None:
        """Take a notice; a later one counts where it leaves less time. Safe to call from any thread.

        own: it is this machine's own, and came from no signal. left_s: until the deadline, if another rank has set it.
        """
        left_s = max(0.0, allowed(notice.seconds) if left_s is None else left_s)
        with self._changed:
            deadline = self._clock() + left_s
            first = self.notice is None
            self._own |= own
            if not first and deadline >= self.deadline:
                return
            self.notice, self.deadline = self.notice or notice, deadline
            self._changed.notify_all()
        self._say(f"{notice.reason}: {notice.seconds:.0f} s left; leaving within {left_s:.1f} s")
        if self._end is os._exit and sys.__stderr__ is not None:
            # Where something holds the interpreter's lock, no thread of ours runs; faulthandler's needs none.
            late = max(0.1, left_s + 0.5 * (SHARE * notice.seconds - allowed(notice.seconds)))
            with contextlib.suppress(ValueError, OSError):  # stderr has no descriptor
                faulthandler.dump_traceback_later(late, exit=True, file=sys.__stderr__)

    def leave(self, *, saved: bool = True) -> NoReturn:
        """End this process in order, once the state is saved (or cannot be): SystemExit with the code that says so.

        The deadline still holds for what runs at exit. If the notice is this machine's own and torchrun is above, it is
        told to stop too: it would otherwise start the ranks anew on a machine that is about to vanish.
        """
        self._saved, self._leaving = saved, True
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)
        if self._own:
            dismiss_agent()
        self._say(f"left: {'everything is saved' if saved else 'the newest committed checkpoint counts'}")
        raise SystemExit(PREEMPTED if saved else UNSAVED)

    # ---- watching

    def __enter__(self) -> Notices:
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("Notices: signals can be watched from the main thread only")
        kill_left_over_at_exit()
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._before = {number: signal.signal(number, _seen_elsewhere) for number in STOPPING}
        self._wakeup_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in STOPPING:
            signal.siginterrupt(number, False)
        self._signals = self._start("signals", self._watch_signals)
        self._start("deadline", self._watch_deadline)
        for source in self._sources:
            self._start(f"notices-{source.name}", self._watch_source, source)
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = not self._leaving
            self._changed.notify_all()
        if self._leaving:
            return
        faulthandler.cancel_dump_traceback_later()
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._writer.send(b"\0")  # no signal: ends the thread's wait
        self._signals.join()
        self._reader.close()
        self._writer.close()

    def _start(self, name: str, target: Callable[..., None], *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
        thread.start()
        return thread

    def _watch_signals(self) -> None:
        while not self._closed:
            for number in self._reader.recv(64):
                self._on_signal(number)

    def _on_signal(self, number: int) -> None:
        if number not in STOPPING or self._leaving:
            return
        now = self._clock()
        if number == signal.SIGINT:
            if -math.inf < self._interrupted_at < now - ONE_KEY_PRESS_S:
                self._say("interrupted again: leaving at once; the newest committed checkpoint counts")
                self._leave_now(INTERRUPTED)
                return
            if self._interrupted_at == -math.inf:
                self._interrupted_at = now
        self.give(Notice(signal.Signals(number).name, self.grace_s))

    def _watch_source(self, source: Source) -> None:
        warned = missing = False
        while not self._closed:
            try:
                found = source.look()
            except NoService as error:
                if self._asked and not warned:
                    self._say(f"{source.name} was asked for: {error}")
                if not self._asked and missing:
                    return
                # The network of a machine that has just come up may be late.
                warned, missing, found = True, True, None
                time.sleep(10.0)
            except (OSError, http.client.HTTPException) as error:
                if not warned:
                    self._say(f"{source.name}: notices cannot be read for now: {error or type(error).__name__}")
                warned, found = True, None
                time.sleep(1.0)
            if isinstance(found, Notice):
                self.give(found, own=True)
                return
            if found and found not in self.information:
                self.information.append(found)
                self._say(found)
            time.sleep(source.pause_s)

    def _watch_deadline(self) -> None:
        rescue: threading.Thread | None = None
        while not self._closed:
            with self._changed:
                left = self.left()
                early = self._rescue_s if self._rescue is not None and rescue is None else 0.0
                if left > early:
                    self._changed.wait(None if left == math.inf else min(left - early, threading.TIMEOUT_MAX))
                    continue
            if self._rescue is not None and rescue is None:
                rescue = threading.Thread(target=self._try_rescue, name="rescue", daemon=True)
                rescue.start()
                continue
            if self._closed:
                return
            if rescue is not None and not rescue.is_alive():
                # What it said then may not hold any more: the loop may have come one step further.
                self._rescued = False
                rescue = threading.Thread(target=self._try_rescue, name="rescue", daemon=True)
                rescue.start()
                rescue.join(LAST_LOOK_S)
            saved = self._saved or self._rescued
            doing = self._where()
            self._say(
                f"out of time{f' in {doing}' if doing else ''}: leaving now; "
                + ("everything is saved" if saved else "the newest committed checkpoint counts")
            )
            self._leave_now(PREEMPTED if saved else UNSAVED)
            return

    def _try_rescue(self) -> None:
        assert self._rescue is not None
        try:
            self._rescued = self._rescue()
        except Exception as error:  # noqa: BLE001  whatever it is, it must not keep us from leaving
            self._say(f"nothing more could be saved: {type(error).__name__}: {error}")

    def _leave_now(self, code: int) -> None:
        kill_left_over()
        if self._own:
            dismiss_agent()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        self._end(code)

    def _say(self, line: str) -> None:
        rank = os.environ.get("RANK")
        with contextlib.suppress(OSError, ValueError):  # nobody may be there to read it any more
            print(f"preemption{f' (rank {rank})' if rank else ''}: {line}", file=self._out or sys.stderr, flush=True)


# ---- helpers


def _seen_elsewhere(number: int, frame: object) -> None:
    """Python wants a handler; the wakeup descriptor has told the thread already. In a fork: not to die is all."""


def _forget_in_fork() -> None:
    """A fork shares the wakeup descriptor: its signals would be taken for ours."""
    if signal.getsignal(signal.SIGTERM) is _seen_elsewhere:
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_forget_in_fork)


def allowed(seconds: float) -> float:
    """How long a process may still go on after a notice of `seconds`: half of it, less a margin for its teardown."""
    return max(0.0, SHARE * seconds - max(0.5, 0.05 * seconds))


def grace(text: str | None) -> float:
    """Seconds from $TRAINING_GRACE_S. Raises ValueError."""
    if text is None:
        return DEFAULT_GRACE_S
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"${GRACE_VARIABLE}: {text!r}: expected seconds, more than 0") from None
