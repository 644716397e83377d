"""Runs a program as the CLI's language host does: flags and environment in, gRPC to an engine in another process."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pulumi
import pulumi.runtime

from planner.engine import runner, sdk
from planner.engine.diagnostics import Diagnostics
from planner.engine.project import import_path

FAILED = 32
"""Exit status of a program that failed and whose error was reported to the engine, as in Pulumi's own launcher."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="planner.engine.launch", description=__doc__)
    for flag in ("project", "stack", "organization", "monitor", "engine", "root-directory", "pwd"):
        parser.add_argument(f"--{flag}", required=True)
    parser.add_argument("--dry-run", choices=("true", "false"), required=True)
    parser.add_argument("--parallel", type=int, default=16)
    parser.add_argument("program")
    arguments = parser.parse_args()
    root = Path(arguments.root_directory)

    pulumi.runtime.set_all_config(pulumi.runtime.get_config_env(), pulumi.runtime.get_config_secret_keys_env())
    settings = pulumi.runtime.Settings(
        project=arguments.project,
        stack=arguments.stack,
        monitor=arguments.monitor,
        engine=arguments.engine,
        parallel=arguments.parallel,
        dry_run=arguments.dry_run == "true",
        organization=arguments.organization,
        root_directory=arguments.root_directory,
    )
    pulumi.runtime.configure(settings)
    pulumi.runtime.settings.SETTINGS.monitor = sdk.PositionedMonitor(settings.monitor)
    os.chdir(arguments.pwd)
    sys.argv = [arguments.program]
    sys.path[:0] = dict.fromkeys([arguments.pwd, arguments.root_directory])
    sys.path += map(str, import_path(root))
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_exception_handler(lambda *_: None)
    loop.set_default_executor(ThreadPoolExecutor(max_workers=arguments.parallel))
    with sdk.patched() as failed:
        try:
            loop.run_until_complete(pulumi.runtime.run_in_stack(runner.entry(Path(arguments.program))))
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a program raises is its result
            failed.add(error)
        found = Diagnostics()
        runner.report(failed, found, root)
        for diagnostic in found.sorted():
            # The place travels in the message: the Log call has no field for it.
            pulumi.log.error(f"{diagnostic.place}\x00{diagnostic.message}")
        return FAILED if found.sorted() else 0


if __name__ == "__main__":
    try:
        status = main()
    except Exception:  # noqa: BLE001  the engine's side has gone: all that is left is to say so
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    # Threads of gRPC may outlive the loop; the work is done.
    os._exit(status)
