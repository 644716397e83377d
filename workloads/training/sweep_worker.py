"""A worker of a sweep: takes trials from the journal, runs them, tells what became of them, until none is left."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna import pruners
from optuna.trial import TrialState

from workloads.training.config import Config
from workloads.training.errors import (
    STOPPED,
    CheckpointError,
    ConfigError,
    DataError,
    DiskError,
    Diverged,
    on_disk,
)
from workloads.training.search import word
from workloads.training.sweep_journal import Claim, Journal, LeaseLost, discard_checkpoints
from workloads.training.sweep_trial import Run, settings, words

if TYPE_CHECKING:
    from workloads.training.sweep import Sweep

POLL_S = 0.2
UNSAVED = 76
"""As in preemption.py, which takes torch along."""
ELSEWHERE = {error.exit_code for error in (DataError, CheckpointError, DiskError)}
"""Exit codes of a run that no other settings would mend: the worker ends with it, and the trial is continued later."""


class Worker:
    """One worker, whatever the others do. Raises TrainingError."""

    def __init__(self, options: argparse.Namespace, sweep: Sweep) -> None:
        self.options, self.sweep, self.output = options, sweep, options.output
        self.journal = Journal(
            options.journal,
            self.sweep.dimensions,
            pruner(options.pruner, self.sweep.config),
            self.sweep.description(options.pruner),
            trials=options.trials,
            seed=options.seed,
            lease_s=options.lease_s,
            retries=options.retries,
        )
        self.run: Run | None = None
        self.stopped = 0
        """The signal that asked this worker to leave."""

    # ---- the loop

    def work(self) -> int:
        before = {number: signal.signal(number, self._told) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self._prepare_data()
            waiting = False
            while not self.stopped:
                claim = self.journal.claim()
                if claim is None:
                    left = self.journal.under_way()
                    if not left or self.options.leave_early:
                        return 0
                    if not waiting:
                        say(f"no trial is left to begin; waits for {left} that others run")
                    waiting = True
                    time.sleep(5 * POLL_S)
                    continue
                waiting = False
                code = self._run(claim)
                if code is not None:
                    return code
            return STOPPED
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _run(self, claim: Claim) -> int | None:
        """Run a trial to its end; the worker's exit code if it is to leave too."""
        number, directory = claim.number, self.output / f"trial-{claim.number:05}"
        tried = ", ".join(f"{name} {short(value)}" for name, value in claim.values.items())
        say(f"trial {number}: {'continues' if claim.continued else 'begins'}: {tried}")
        values = {**settings(self.sweep.given, number), **claim.values}
        try:
            self.sweep.config.override(claim.values)
        except ConfigError as error:
            return self._give_up(claim, str(error))
        self._own(directory, claim)
        if "data.source" not in values:
            values["data.source"] = str(self.output / "data")
        arguments = words(self.sweep.config.name, directory, values)
        self.run = run = Run(directory, arguments, self.options.processes)
        if self.stopped:
            run.tell(self.stopped)
        try:
            code, pruned = self._follow(claim, run)
        except LeaseLost:
            run.kill()
            say(f"trial {number}: another worker has taken it; this one was not heard of for too long")
            return None
        finally:
            if run.poll() is None:
                run.kill()
            self.run = None
        return self._ended(claim, run, code, pruned)

    def _follow(self, claim: Claim, run: Run) -> tuple[int, bool]:
        """Until the run ends: its exit code, and whether it was stopped for being worse than others."""
        beaten = -math.inf
        while True:
            code = run.poll()
            if time.monotonic() - beaten > self.options.lease_s / 8:
                beaten = time.monotonic()
                self.journal.beat(claim.number, [run.process.pid])
            if self._report(claim, run) and code is None and not self.stopped:
                return run.stop(self._grace()), True
            if code is not None:
                return code, False
            time.sleep(POLL_S)

    def _report(self, claim: Claim, run: Run) -> bool:
        """Tell the journal of new evaluations; whether the trial is to be stopped for them."""
        read = run.evaluations()
        if not read:
            return False
        known = self.journal.study.trials[claim.number].intermediate_values
        news = [(step, loss) for step, loss in read if step not in known]
        for step, loss in news:
            claim.trial.report(loss, step)
            say(f"trial {claim.number}: step {step}/{self.sweep.config.training.steps}  held-out loss {loss:.4f}")
        last = news and news[-1][0] >= self.sweep.config.training.steps
        return bool(news) and not last and claim.trial.should_prune()

    def _ended(self, claim: Claim, run: Run, code: int, pruned: bool) -> int | None:
        number, study = claim.number, self.journal.study
        steps, found = self.sweep.config.training.steps, study.trials[claim.number].intermediate_values
        if code == 0 or steps in found:
            if math.isfinite(loss := found.get(steps, math.nan)):
                study.tell(number, loss)
                self._finished(number, f"done: held-out loss {loss:.4f}")
            else:
                study.tell(number, state=TrialState.PRUNED)
                self._finished(number, "done: its held-out loss is no number")
            return STOPPED if self.stopped else None
        if pruned:
            study.tell(number, state=TrialState.PRUNED)
            self._finished(number, f"stopped early: worse than others at step {max(found)}")
            return None
        if code == Diverged.exit_code:
            # Not `failed`: the search is to learn of it.
            study.tell(number, state=TrialState.PRUNED)
            self._finished(number, f"diverged: {run.last_words()}")
            return None
        if code == ConfigError.exit_code:
            return self._give_up(claim, run.last_words())
        if code in ELSEWHERE:
            self.journal.release(number)
            say(f"trial {number}: {run.last_words()}; once that is mended, the same command continues")
            return code
        if self.stopped or code in (STOPPED, UNSAVED, 130):
            self.journal.release(number)
            say(f"trial {number}: stopped; whoever runs this sweep next continues it")
            # A run that had no time to save says so with 76; before its first step there was nothing to save.
            return UNSAVED if code == UNSAVED else STOPPED
        again = self.journal.lost(claim.trial)
        self.journal.release(number)
        ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        say(f"trial {number}: broke ({ended}): {run.last_words()}" + ("; tries again" if again else "; given up"))
        return None

    def _finished(self, number: int, words: str) -> None:
        """Say so, and keep the checkpoints of the best trial only."""
        self.journal.release(number)
        say(f"trial {number}: {words}")
        done = ranked(self.journal.study)
        for one in self.journal.study.trials:
            if one.state.is_finished() and not (done and one.number == done[0].number):
                discard_checkpoints(self.output / f"trial-{one.number:05}")

    def _give_up(self, claim: Claim, words: str) -> int | None:
        """Of a trial whose settings contradict each other; the worker's exit code if all of the first ones did."""
        self.journal.study.tell(claim.number, state=TrialState.FAIL)
        self._finished(claim.number, f"cannot be trained: {words}")
        states = [one.state for one in self.journal.study.trials]
        others = set(states) - {TrialState.FAIL, TrialState.RUNNING}
        if not others and states.count(TrialState.FAIL) > self.options.retries:
            say("no trial can be trained; expected what the lines above say")
            return ConfigError.exit_code
        return None

    def _own(self, directory: Path, claim: Claim) -> None:
        """Be sure that what is in a trial's directory is of this trial. Raises ConfigError."""
        path = directory / "trial.json"
        with on_disk(path):
            directory.mkdir(parents=True, exist_ok=True)
            if path.exists():
                if json.loads(path.read_text(encoding="utf-8")) != claim.values:
                    self.journal.release(claim.number)
                    raise ConfigError(
                        f"--output {self.output}: has trials of another sweep: {directory.name} was with other values: "
                        "expected a directory of its own for each journal"
                    )
                return
            new = path.with_suffix(".new")
            new.write_text(json.dumps(claim.values), encoding="utf-8")
            os.replace(new, path)

    # ---- around it

    def _told(self, number: int, frame: object) -> None:  # noqa: ARG002
        if self.run:
            # Each time: a second Ctrl-C asks a run to leave at once.
            self.run.tell(number)
        elif self.stopped and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.stopped = number

    def _grace(self) -> float:
        """Seconds that a run may take to leave: half of a notice, as preemption.py has it, and a little."""
        return max(10.0, float(os.environ.get("TRAINING_GRACE_S", "30")))

    def _prepare_data(self) -> None:
        """The standard library's tokens, once for all trials, unless there are others."""
        directory = self.output / "data"
        if self.sweep.given.get("data.source") or directory.exists():
            return
        from workloads.data import corpus
        from workloads.data.prepare import prepare
        from workloads.training.run import HELD_OUT

        say(f"prepares {directory}")
        with on_disk(directory):
            self.output.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix="data.", dir=self.output))
            try:
                prepare(corpus.standard_library(HELD_OUT), part / "data")
                if not directory.exists():
                    os.replace(part / "data", directory)
            except OSError:
                # Another worker was faster.
                if not directory.exists():
                    raise
            finally:
                shutil.rmtree(part, ignore_errors=True)


def pruner(name: str, config: Config) -> Any:
    """Who is stopped early; evaluations are all that it sees."""
    every, steps = config.training.evaluate_every, config.training.steps
    if name == "none":
        return pruners.NopPruner()
    if name == "hyperband":
        return pruners.HyperbandPruner(min_resource=every, max_resource=steps, reduction_factor=3)
    # Before the learning rate is at its highest, the trials with the highest one look worst.
    return pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=max(every, config.optimizer.warmup_steps))


def ranked(study: Any) -> list[Any]:
    """The trials that were trained to the end, the best first."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(done, key=lambda trial: (trial.value, trial.number))


def short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else word(value)


def say(line: str) -> None:
    print(f"sweep: {line}", flush=True)
