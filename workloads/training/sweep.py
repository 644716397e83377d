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
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.training import cli, search
from workloads.training.config import Config
from workloads.training.errors import (
    EXIT_CODES,
    ConfigError,
    TrainingError,
    on_disk,
)
from workloads.training.search import Dimension

SHOWN = 10
"""Trials in the table."""


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
        return search_on(options)
    except TrainingError as error:
        print(f"sweep: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        print("sweep: interrupted; the same command continues", file=sys.stderr, flush=True)
        return 130


def search_on(options: argparse.Namespace) -> int:
    """Do this worker's share of the sweep; the exit code. Raises TrainingError."""
    found = configuration(options)
    try:
        # Here and not above: it takes a second, and a mistyped option is told at once.
        from workloads.training.sweep_worker import Worker
    except ModuleNotFoundError as error:
        raise ConfigError(f"sweep: needs the package optuna: {error}") from error
    worker = Worker(options, found)
    code = worker.work()
    if code == 0:
        print_table(worker.journal.study, found, options, worker.journal.under_way())
    return code


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


def print_table(study: Any, sweep: Sweep, options: argparse.Namespace, left: int) -> None:
    """The best trials, and the command that repeats the best; that one also in DIR/best.json."""
    from rich.console import Console
    from rich.table import Table

    from workloads.training.sweep_trial import words
    from workloads.training.sweep_worker import ranked, say, short

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


if __name__ == "__main__":
    sys.exit(main())
