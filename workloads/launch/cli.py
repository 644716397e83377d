"""The command line by which a trigger starts the pipeline; deployments and their contract test read it."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from workloads.launch.errors import LaunchError
from workloads.launch.jobs import start, tell
from workloads.launch.kubernetes import Cluster

REPORT = "MONITORING_REPORT"
"""What workloads.monitoring's hook is told: the report that says why. The same report starts one run."""
EXIT_CODES = "exit codes: 0 started, or under way already; 1 failed; 2 wrong arguments"


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("python -m workloads.launch", description=__doc__, epilog=EXIT_CODES)
    commands = root.add_subparsers(dest="command", required=True)
    job = commands.add_parser("job", help="a Job of a CronJob's template", epilog=EXIT_CODES)
    _add_cronjob(job)
    job.add_argument("--reason", help=f"the same reason starts one run (default: ${REPORT}, else now)")
    follow = commands.add_parser("follow", help="run a command when a Job that was started so has ended")
    _add_cronjob(follow)
    follow.add_argument("--then", required=True, metavar="COMMAND", help="is told LAUNCH_JOB and LAUNCH_END")
    follow.add_argument("--every-s", type=float, default=30.0, help="seconds between two looks (default %(default)s)")
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        {"job": _job, "follow": _follow}[options.command](options)
    except LaunchError as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 1
    return 0


def _add_cronjob(command: argparse.ArgumentParser) -> None:
    command.add_argument("--cronjob", required=True, metavar="NAME")
    command.add_argument("--namespace", required=True)


def _job(options: argparse.Namespace) -> None:
    reason = options.reason or os.environ.get(REPORT) or f"at {time.time():.0f}"
    name, now = start(Cluster.of_this_pod(), options.namespace, options.cronjob, reason)
    print(f"{name}: {'started' if now else 'was started before'}", flush=True)


def _follow(options: argparse.Namespace) -> None:
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    api = Cluster.of_this_pod()

    def say(job: str, end: str) -> None:
        told = {**os.environ, "LAUNCH_JOB": job, "LAUNCH_END": end}
        finished = subprocess.run(shlex.split(options.then), env=told, check=False)
        if finished.returncode:
            raise LaunchError(f"{options.then}: exit code {finished.returncode}")
        print(f"{job}: {end}", flush=True)

    while not ended.is_set():
        try:
            tell(api, options.namespace, options.cronjob, say)
        except LaunchError as error:
            # The API is away for a while at each upgrade of the cluster.
            print(f"follow: {error}", file=sys.stderr, flush=True)
        ended.wait(options.every_s)
