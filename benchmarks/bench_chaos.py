"""A run whose ranks are killed every few seconds for two minutes ends where an undisturbed one does, to the bit.

And it leaves in time: 50 processes that get a notice at a random moment of training, evaluation, a compilation and a
save are all gone within half of the notice.

The run is a small model under torchrun's own agent with two ranks, in processes that fork rather than import torch
again, so that most of the time is training and not Python. Lost steps are those that had been recorded and had to be
done again; goodput is the run's own: seconds of steps that count, of all seconds since its first start.

Run: `make bench`, or `.venv/bin/python benchmarks/bench_chaos.py [SECONDS] [--torchrun]` (five minutes).
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
from pathlib import Path

from measure import ROOT, table, verdict

sys.path.insert(0, str(ROOT))
os.environ["OMP_NUM_THREADS"] = "1"

EVERY = 25
KINDS = {"SIGKILL rank": 6.0, "SIGTERM rank": 1.0, "SIGTERM agent": 1.0}


def main() -> None:
    import workloads.training.run  # noqa: F401  so that forks have it
    from tests.workloads.training import leaving
    from tests.workloads.training.chaos import Outcome, Run, disturbed, undisturbed
    from tests.workloads.training.small import command, make_data
    from workloads.training.errors import STOPPED

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=120.0)
    parser.add_argument("--torchrun", action="store_true", help="start every world of ranks from nothing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        tokens = make_data(here)

        def run(name: str, steps: int) -> Run:
            training = {"steps": steps, "evaluate_every": 100}
            return Run(
                command(tokens, here / name, training=training, checkpoint={"every": EVERY}),
                here / name,
                2,
                not options.torchrun,
            )

        probe = undisturbed(run("probe", 60))
        # What a step takes, and half of the time for what chaos costs.
        steps = max(100, int(options.seconds / 2 / (probe.seconds / 60)))
        calm = undisturbed(run("calm", steps))
        chaos = disturbed(run("chaos", steps), random.Random(1), KINDS, limit_s=20 * options.seconds)

        def row(name: str, one: Outcome) -> list[object]:
            last = one.losses.get(steps, float("nan"))
            return [name, one.exit_code, steps, f"{one.seconds:.0f}", len(one.blows), f"{last!r}", f"{one.goodput:.1%}"]

        table(
            ["run", "exit", "steps", "seconds", "blows", "final loss", "goodput"],
            [row("calm", calm), row("chaos", chaos)],
        )
        rows = []
        for kind in KINDS:
            lost = chaos.lost(kind)
            out = [blow.out_s for blow in chaos.blows if blow.what == kind]
            if lost:
                rows.append([kind, len(lost), max(lost), statistics.mean(lost), statistics.median(out)])
        table(["blow", "times", "most lost steps", "mean", "median s until it goes on"], rows)
        verdict("steps whose loss differs from the undisturbed run's", _differing(calm.losses, chaos.losses), 0)
        verdict("lost steps after SIGTERM", max(chaos.lost("SIGTERM"), default=0), 0)
        verdict(
            f"lost steps after SIGKILL / checkpoint interval of {EVERY}",
            max(chaos.lost("SIGKILL"), default=0) / EVERY,
            1,
        )

        left = leaving.measure(50, random.Random(1), tokens)
    table(
        ["during", "runs", "in time", "slowest, of the notice", "saved", "most lost steps"],
        [
            [
                what,
                len(ones),
                sum(one.in_time for one in ones),
                max(one.share for one in ones),
                sum(one.exit_code == STOPPED for one in ones),
                max(one.lost for one in ones),
            ]
            for what, ones in leaving.by_phase(left).items()
        ],
    )
    verdict("leavings within half of the notice, of 50", sum(one.in_time for one in left), 50, at_least=True)


def _differing(calm: dict[int, float], chaos: dict[int, float]) -> int:
    return sum(calm.get(step) != chaos.get(step) for step in {*calm, *chaos})


if __name__ == "__main__":
    main()
