"""The command line of the loop."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from workloads.loop.errors import LoopError

EXIT_CODES = """exit codes: 0 the loop did all it is there for; 2 wrong arguments; 3 a stage failed, and the page says
which; 130 stopped by Ctrl-C, and nothing of it runs any more"""


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("python -m workloads.loop", description=__doc__, epilog=EXIT_CODES)
    root.add_argument(
        "what", nargs="?", choices=("run", "page"), default="run",
        help="run the loop (default), or draw the page of a run anew",
    )  # fmt: skip
    root.add_argument(
        "output", nargs="?", type=Path, default=Path("out/loop"), metavar="DIR",
        help="where all of it is kept (default %(default)s); a run begins with an empty one",
    )  # fmt: skip
    root.add_argument("--seed", type=int, default=1, help="of the traffic (default %(default)s)")
    root.add_argument("--short", action="store_true", help="less of everything, for a test")
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    # Before torch or a server starts: on few cores, more threads than cores make everything slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # It tells each table that it makes, in the middle of the live view.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    try:
        if options.what == "page":
            from workloads.loop import events, page, story

            print(page.write(story.story(events.read(options.output)), options.output))
            return 0
        from workloads.loop.loop import run
        from workloads.loop.settings import Settings

        make = Settings.short if options.short else Settings
        return run(make(options.output.absolute(), options.seed))
    except LoopError as error:
        print(f"loop: {error}", file=sys.stderr, flush=True)
        return error.exit_code
