"""Training under Ray Train: `python -m workloads.training.ray_train --config tiny --output DIR --workers 2
[--SECTION.SETTING VALUE ...]`, on the cluster of $RAY_ADDRESS or, without one, on this machine.

Ray places the workers, one for each GPU, and starts them anew where one was lost, with as many as there are between
the least and the most. Each worker runs the same command that torchrun would, as a process of its own: the loop wants
the main thread, for signals, and its own exit codes. It continues from its newest checkpoint, which therefore has to
be where all workers see it: in DIR on a shared file system, or in --checkpoint.remote.

Ray is told of metrics, of every evaluation and every --training.log_every steps. Exit codes are those of training: what
a person must mend ends the job at once, a notice never counts as a failure, anything else may happen --restarts times.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from workloads.training import cli
from workloads.training.config import Config
from workloads.training.errors import EXIT_CODES, STOPPED, ConfigError, TrainingError, on_disk
from workloads.training.sweep_trial import words

STARTS = 3
"""Times that Ray is tried to start, or to be reached."""


def parser() -> argparse.ArgumentParser:
    root = cli.parser()
    root.prog = "python -m workloads.training.ray_train"
    root.usage = "%(prog)s --config NAME --output DIR --workers N[:MOST] [--SECTION.SETTING VALUE ...]"
    root.description, root.epilog = __doc__, EXIT_CODES
    root.formatter_class = argparse.RawDescriptionHelpFormatter
    group = root.add_argument_group("Ray")
    group.add_argument("--workers", type=_workers, required=True, metavar="N[:MOST]", help="fixed, or least and most")
    group.add_argument("--gpu", action="store_true", default=False, help="a GPU for each worker; default: CPUs only")
    group.add_argument(
        "--restarts", type=int, default=10, metavar="N", help="after failures that were no notice (default 10)"
    )
    return root


def _workers(text: str) -> tuple[int, int]:
    least, _, most = text.partition(":")
    try:
        found = int(least), int(most or least)
    except ValueError:
        found = 0, 0
    if not 1 <= found[0] <= found[1]:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 1, or the least and the most as in 2:8")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return train(options)
    except TrainingError as error:
        print(f"training: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def configuration(options: argparse.Namespace) -> Config:
    """The config with what the command line changes. Raises ConfigError."""
    config, (least, _) = cli.configuration(options), options.workers
    if config.training.batch_size % least:
        raise ConfigError(
            f"training.batch_size: {config.training.batch_size}: expected a multiple of the least workers, {least}"
        )
    return config


def train(options: argparse.Namespace) -> int:
    """Train on the cluster that there is; the exit code. Raises TrainingError."""
    config = configuration(options)
    given = {name: value for name, value in vars(options).items() if "." in name}
    least, most = options.workers
    # By its absolute path: Ray's workers start elsewhere.
    output = options.output.absolute()
    with on_disk(output):
        output.mkdir(parents=True, exist_ok=True)
    try:
        import ray
        from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.torch import TorchConfig, TorchTrainer
    except ModuleNotFoundError as error:
        raise ConfigError(f"ray_train: needs the package ray[train]: {error}") from error
    from workloads.training.ray_board import Board
    from workloads.training.ray_worker import work

    alone = connect(ray, most)
    board: Any = ray.remote(Board).options(num_cpus=0).remote(options.restarts)
    loop: dict[str, Any] = {
        "arguments": words(config.name, output, given),
        "output": str(output),
        "batch_size": config.training.batch_size,
        "tensor": config.parallel.tensor,
        "every": config.training.log_every,
        "board": board,
    }
    # mypy sees the RunConfig of Ray Train's first version.
    running: Any = RunConfig
    size: Any = least if least == most else (least, most)
    trainer = TorchTrainer(
        work,
        train_loop_config=loop,
        # Ray's own process group carries nothing: the runs make theirs.
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=size, use_gpu=options.gpu),
        run_config=running(
            name="ray-train",
            storage_path=str(output),
            # The board counts: Ray cannot tell a notice from a failure.
            failure_config=FailureConfig(max_failures=-1),
            # Without a dashboard Ray says every second that it cannot ask it.
            logging_config=LoggingConfig(log_level="ERROR" if alone else "WARNING"),
        ),
    )
    try:
        with _leaving():
            trainer.fit()
    except TrainingFailedError as error:
        print(f"training: {error}", file=sys.stderr, flush=True)
        return ray.get(board.code.remote()) or 1
    return ray.get(board.code.remote())


@contextlib.contextmanager
def _leaving() -> Iterator[None]:
    """A SIGTERM ends this process, and Ray its workers, whose runs save: to be run again."""

    def leave(number: int, frame: object) -> None:  # noqa: ARG001
        raise SystemExit(STOPPED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def connect(ray: Any, workers: int) -> bool:
    """To $RAY_ADDRESS, or to a cluster of this machine alone that ends with this process; whether it is that.

    Raises TrainingError.
    """
    # A worker's run gets SIGTERM when the worker is gone, and saves; Ray would kill it. On a cluster, the pods' own
    # environment says so (components/training/ray_pods.py).
    os.environ.setdefault("RAY_kill_child_processes_on_worker_exit", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    alone = not os.environ.get("RAY_ADDRESS")
    machine = {"num_cpus": max(workers, os.cpu_count() or 1), "include_dashboard": False} if alone else {}
    for left in reversed(range(STARTS)):
        if ray.is_initialized():
            break
        try:
            ray.init(**machine)
        except Exception as error:
            # Its node gives its own parts 15 s to start, which on a busy machine is not enough.
            if not left:
                raise TrainingError(f"ray: {error}") from error
            ray.shutdown()
    return alone


if __name__ == "__main__":
    # Not this module's own functions: Ray would send `__main__` to its workers as code.
    from workloads.training import ray_train

    sys.exit(ray_train.main())
