"""Hyper-parameter search: `python -m workloads.training.sweep --config tiny --output DIR --trials 20 --journal FILE
--search optimizer.learning_rate=log:1e-4:1e-2 [--SECTION.SETTING VALUE ...]`.

Each trial is a run of `workloads.training` as a process of its own, in DIR/trial-NUMBER, judged by its held-out loss;
those that fall behind are stopped early. Any number of workers, on any machines that share the journal's directory (and
DIR, if trials are to continue elsewhere), do it together with this same command. A trial whose worker was stopped or
lost is continued from its checkpoint. Ends with a table of the best trials and the command that repeats the best.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.training import cli, search
from workloads.training.config import Config
from workloads.training.errors import (
    EXIT_CODES,
    STOPPED,
    CheckpointError,
    ConfigError,
    DataError,
    DiskError,
    Diverged,
    TrainingError,
    on_disk,
)
from workloads.training.search import Dimension, word

if TYPE_CHECKING:
    from workloads.training.sweep_journal import Claim, Journal
    from workloads.training.sweep_trial import Run

POLL_S = 0.2
SHOWN = 10
"""Trials in the table."""
HOPELESS = {error.exit_code for error in (ConfigError, DataError, CheckpointError, DiskError)}
"""Exit codes of a run that a person must mend: were the first trials all so, the sweep ends with it."""


def parser() -> argparse.ArgumentParser:
    root = cli.parser()
    root.prog = "python -m workloads.training.sweep"
    root.usage = (
        "%(prog)s --config NAME --output DIR --trials N --journal FILE --search SECTION.SETTING=SPACE ...\n"
        "       [--SECTION.SETTING VALUE ...]"
    )
    root.description, root.epilog = __doc__, EXIT_CODES
    root.formatter_class = argparse.RawDescriptionHelpFormatter
    group = root.add_argument_group("sweep")
    group.add_argument("--trials", type=_at_least(int, 1), required=True, metavar="N", help="of all workers together")
    group.add_argument(
        "--search",
        nargs="+",
        action="extend",
        required=True,
        metavar="SETTING=SPACE",
        help=f"what is tried: {search.GRAMMAR}",
    )
    group.add_argument(
        "--journal", type=Path, required=True, metavar="FILE", help="Optuna's journal, shared by all workers"
    )
    group.add_argument(
        "--pruner",
        choices=("median", "hyperband", "none"),
        default="median",
        help="which trials are stopped early: those worse than the median of others at that step; those that "
        "Hyperband gives no more steps; none (default median)",
    )
    group.add_argument(
        "--processes", type=_at_least(int, 1), default=1, help="of each trial, as torchrun's (default 1)"
    )
    group.add_argument("--seed", type=int, default=0, help="of the search, not of the training (default 0)")
    group.add_argument(
        "--retries",
        type=_at_least(int, 0),
        default=3,
        help="of a trial that broke or whose worker vanished (default 3)",
    )
    group.add_argument(
        "--lease-s",
        type=_at_least(float, 1.0),
        default=120.0,
        metavar="SECONDS",
        help="of silence until a worker on another machine counts as lost (default 120)",
    )
    group.add_argument(
        "--leave-early",
        action="store_true",
        default=False,
        help="end when no trial is left to begin; default: wait for what others run, and continue what they lose",
    )
    return root


def _at_least(kind: Callable[[str], Any], low: float) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a number from {low:g}")
        return value

    return read


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return Worker(options).work()
    except TrainingError as error:
        print(f"sweep: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        print("sweep: interrupted before the first trial", file=sys.stderr, flush=True)
        return 130


@dataclass
class Sweep:
    """What is searched. Raises ConfigError."""

    config: Config
    given: dict[str, Any]
    dimensions: list[Dimension]

    @staticmethod
    def of(options: argparse.Namespace) -> Sweep:
        given = {name: value for name, value in vars(options).items() if "." in name}
        named = options.config()
        dimensions = search.space(options.search, named, given)
        return Sweep(named.override(given), given, dimensions)

    def description(self, pruner: str) -> dict[str, Any]:
        """What workers must agree on: all that changes a loss, or who is stopped early."""
        config = self.config.to_json()
        for unseen in ("checkpoint", "tracking", "parallel"):
            del config[unseen]
        del config["data"]["source"], config["data"]["cache"], config["data"]["cache_limit_gib"]
        return {"config": config, "search": sorted(map(str, self.dimensions)), "pruner": pruner}


def configuration(options: argparse.Namespace) -> Sweep:
    """What is searched, once it is found good. Raises ConfigError."""
    found = Sweep.of(options)
    every, steps = found.config.training.evaluate_every, found.config.training.steps
    if options.pruner != "none" and (not every or every >= steps):
        raise ConfigError(
            f"--pruner {options.pruner}: training.evaluate_every: {every}: nothing is known of a trial before its last "
            f"step, {steps}: expected fewer steps than that, or --pruner none"
        )
    return found


class Worker:
    """One worker, whatever the others do. Raises TrainingError."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.sweep, self.output = options, configuration(options), options.output
        try:
            # Here and not above: it takes a second, and a mistyped option is told at once.
            from workloads.training import sweep_journal, sweep_trial
        except ModuleNotFoundError as error:
            raise ConfigError(f"sweep: needs the package optuna: {error}") from error
        self._trial, self._shared = sweep_trial, sweep_journal
        self.journal: Journal = sweep_journal.Journal(
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
        self.hopeless: list[tuple[int, str]] = []
        """How trials ended that a person must mend, as long as no other kind of end was seen."""

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
                        print_table(self.journal.study, self.sweep, self.options, left)
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
        values = {**self._trial.settings(self.sweep.given, number), **claim.values}
        try:
            self.sweep.config.override(claim.values)
        except ConfigError as error:
            return self._give_up(claim, ConfigError.exit_code, str(error))
        if "data.source" not in values:
            values["data.source"] = str(self.output / "data")
        arguments = self._trial.words(self.sweep.config.name, directory, values)
        self.run = run = self._trial.Run(directory, arguments, self.options.processes)
        if self.stopped:
            run.tell(self.stopped)
        try:
            code, pruned = self._follow(claim, run)
        except self._shared.LeaseLost:
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
        known = self.journal.study.trials[claim.number].intermediate_values
        news = [(step, loss) for step, loss in run.evaluations() if step not in known]
        for step, loss in news:
            claim.trial.report(loss, step)
            say(f"trial {claim.number}: step {step}/{self.sweep.config.training.steps}  held-out loss {loss:.4f}")
        last = news and news[-1][0] >= self.sweep.config.training.steps
        return bool(news) and not last and claim.trial.should_prune()

    def _ended(self, claim: Claim, run: Run, code: int, pruned: bool) -> int | None:
        from optuna.trial import TrialState

        number, study = claim.number, self.journal.study
        steps, found = self.sweep.config.training.steps, study.trials[claim.number].intermediate_values
        if code == 0 or steps in found:
            if math.isfinite(loss := found.get(steps, math.nan)):
                study.tell(number, loss)
                self._finished(number, f"done: held-out loss {loss:.4f}")
            else:
                study.tell(number, state=TrialState.PRUNED)
                self._finished(number, "done: its held-out loss is no number")
            self.hopeless = []
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
        if code in HOPELESS:
            return self._give_up(claim, code, run.last_words())
        if self.stopped or code in (STOPPED, 76, 130):
            self.journal.release(number)
            say(f"trial {number}: stopped; whoever runs this sweep next continues it")
            # A run that had no time to save says so with 76; before its first step there was nothing to save.
            return 76 if code == 76 else STOPPED
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
                self._shared.discard_checkpoints(self.output / f"trial-{one.number:05}")

    def _give_up(self, claim: Claim, code: int, words: str) -> int | None:
        """Of a trial that a person would have to mend. Raises SystemExit if all of the first ones were so."""
        from optuna.trial import TrialState

        self.journal.study.tell(claim.number, state=TrialState.FAIL)
        self._finished(claim.number, f"cannot be trained: {words}")
        self.hopeless.append((code, words))
        nothing_else = all(one.state in (TrialState.FAIL, TrialState.RUNNING) for one in self.journal.study.trials)
        if nothing_else and len(self.hopeless) > self.options.retries:
            say("no trial can be trained; the sweep ends: expected what the messages above say")
            return code
        return None

    # ---- around it

    def _told(self, number: int, frame: object) -> None:  # noqa: ARG002
        if self.stopped or self.run:
            # Passed on each time: a second Ctrl-C asks a run to leave at once.
            self.stopped = number
            if self.run:
                self.run.tell(number)
        elif number == signal.SIGINT:
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
    from optuna import pruners

    every, steps = config.training.evaluate_every, config.training.steps
    if name == "none":
        return pruners.NopPruner()
    if name == "hyperband":
        return pruners.HyperbandPruner(min_resource=every, max_resource=steps, reduction_factor=3)
    # Before the learning rate is at its highest, the trials with the highest one look worst.
    return pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=max(every, config.optimizer.warmup_steps))


def ranked(study: Any) -> list[Any]:
    """The trials that were trained to the end, the best first."""
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(done, key=lambda trial: (trial.value, trial.number))


def print_table(study: Any, sweep: Sweep, options: argparse.Namespace, left: int) -> None:
    """The best trials, and the command that repeats the best; that one also in DIR/best.json."""
    from rich.console import Console
    from rich.table import Table

    from workloads.training.sweep_trial import words

    states = [trial.state.name.lower() for trial in study.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
    say(f"{len(states)} trials: {counts}" + (f"; {left} still run elsewhere" if left else ""))
    best = ranked(study)
    if not best:
        say("no trial was trained to its end")
        return
    table = Table("trial", "held-out loss", *(one.name for one in sweep.dimensions))
    for trial in best[:SHOWN]:
        table.add_row(str(trial.number), f"{trial.value:.4f}", *(short(trial.params[d.name]) for d in sweep.dimensions))
    # As wide as it is: a log has no width.
    Console(width=None if sys.stdout.isatty() else 40 * (2 + len(sweep.dimensions))).print(table)
    settings: Mapping[str, Any] = {**sweep.given, **best[0].params}
    command = ["python", "-m", "workloads.training", *words(sweep.config.name, "DIR", settings)]
    found = {"trial": best[0].number, "held_out_loss": best[0].value, "settings": settings, "command": command}
    path = options.output / "best.json"
    with on_disk(path):
        new = path.with_name(f"best.{os.getpid()}.new")
        new.write_text(json.dumps(found, indent=1), encoding="utf-8")
        os.replace(new, path)
    say(f"the best again: {' '.join(command)}")


def short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else word(value)


def say(line: str) -> None:
    print(f"sweep: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
