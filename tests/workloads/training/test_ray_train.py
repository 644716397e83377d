"""Training under Ray Train: the same numbers as without it, and it goes on when workers die."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.workloads.training import small
from workloads.training import ray_stop, ray_train
from workloads.training.errors import ConfigError


@pytest.mark.parametrize(("text", "meant"), [("2", (2, 2)), ("1:4", (1, 4))])
def test_workers_are_a_number_or_a_range(text, meant):
    assert ray_train.parser().parse_args([*BASE, "--workers", text]).workers == meant


@pytest.mark.parametrize("text", ["0", "4:2", "two", "1:2:3", ""])
def test_other_words_are_told_with_what_is_accepted(text, capsys):
    with pytest.raises(SystemExit):
        ray_train.parser().parse_args([*BASE, "--workers", text])
    assert "expected a number from 1, or the least and the most as in 2:8" in capsys.readouterr().err


def test_a_batch_that_no_size_of_the_gang_can_share_is_refused_before_ray_is_asked(tmp_path, capsys):
    arguments = ["--config", "tiny", "--output", str(tmp_path), "--workers", "3", "--training.batch_size", "16"]
    assert ray_train.main(arguments) == ConfigError.exit_code
    assert "training.batch_size: 16: expected a multiple of the least workers, 3" in capsys.readouterr().err


def test_only_as_many_workers_train_as_share_a_batch():
    from workloads.training.ray_board import processes

    assert [processes(workers, 16, 1) for workers in (1, 2, 3, 4, 5, 8, 9)] == [1, 2, 2, 4, 4, 8, 8]
    assert [processes(workers, 16, 2) for workers in (2, 3, 6, 8)] == [2, 2, 4, 8]


def test_the_board_and_training_mean_the_same_by_an_exit_code():
    from workloads.training import preemption, ray_board

    assert {preemption.PREEMPTED, preemption.UNSAVED} == {ray_board.STOPPED, ray_board.UNSAVED}


def test_what_ended_first_is_what_counts():
    from workloads.training.ray_board import Board

    board = Board(restarts=1)
    assert board.begin("a") == 0
    # A notice never counts, and what others say of it neither.
    assert not board.end("a", 0, 75)
    assert not board.end("a", 1, 1)
    assert board.failures == 0
    board.begin("b")
    assert not board.end("b", 1, -9)
    assert not board.end("b", 0, 1)
    assert not board.end("a", 0, 1)  # of workers before
    assert board.failures == 1
    board.begin("c")
    assert board.end("c", 0, -9)
    assert board.begin("d") == 1
    # Whoever says it, and whenever: no other try would change it.
    wrong = Board(restarts=9)
    wrong.begin("a")
    wrong.end("a", 0, 1)
    assert wrong.end("a", 1, 2)
    assert wrong.code() == 2


def test_metrics_of_workers_before_are_not_taken_for_those_of_now():
    from workloads.training.ray_board import Board

    board = Board(restarts=0)
    board.begin("a")
    board.post("a", [{"step": 1}], False)
    board.begin("b")
    board.post("a", [{"step": 2}], True)
    assert board.read(0) == ([], False)
    board.post("b", [{"step": 1}], True)
    assert board.read(0) == ([{"step": 1}], True)
    assert board.read(1) == ([], True)


def test_a_pod_that_ends_tells_its_runs_and_waits_for_them(tmp_path):
    """Only runs of training, in the container that is told."""
    run = subprocess.Popen(
        [sys.executable, "-c", SAVES, "-m", "workloads.training", str(tmp_path)], stdout=subprocess.PIPE
    )
    other = subprocess.Popen([sys.executable, "-c", "input()", "-m", "workloads.serving"], stdin=subprocess.PIPE)
    try:
        assert run.stdout.read(1) == b"."
        assert {run.pid} <= ray_stop.runs()
        assert other.pid not in ray_stop.runs()
        begun = time.monotonic()
        # Other tests' runs are none of ours.
        mine = f"import workloads.training.ray_stop as r; found = r.runs; r.runs = lambda: found() & {{{run.pid}}};"
        waits = [sys.executable, "-c", f"{mine} raise SystemExit(r.main(['--within', '20']))"]
        waiting = subprocess.Popen(waits, cwd=ROOT)
        assert run.wait(20) == 75
        assert waiting.wait(20) == 0
        assert time.monotonic() - begun >= 0.5
        assert (tmp_path / "saved").exists()
        assert other.poll() is None
    finally:
        run.kill()
        other.kill()
        other.wait()
        run.stdout.close()
        other.stdin.close()


SAVES = """
import pathlib, signal, sys, time
def save(*_):
    time.sleep(0.5)
    pathlib.Path(sys.argv[3], "saved").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
print(".", end="", flush=True)
time.sleep(60)
"""
BASE = ["--config", "tiny", "--output", "out"]


# ---- with Ray


@pytest.fixture(scope="session")
def ray() -> Iterator[Any]:
    os.environ["OMP_NUM_THREADS"] = "1"
    import ray

    ray_train.connect(ray, 4)
    yield ray
    ray.shutdown()


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.make_data(tmp_path_factory.mktemp("corpus"), ("json", "email"))


def trained(tokens: Path, output: Path, workers: str, *more: str, **options: Any) -> int:
    return ray_train.main([*small.command(tokens, output, **options), "--workers", workers, *more])


def in_the_middle(action: Callable[[], None], ready: Callable[[], bool]) -> threading.Thread:
    """Do something as soon as a run has got so far."""

    def wait() -> None:
        small.until(ready, 600)
        action()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def processes(words: str) -> list[int]:
    found = subprocess.run(["pgrep", "-f", words], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def ranks(output: Path) -> list[int]:
    """Processes that train into a directory, and have no parent that does: the runs themselves."""
    pids = set(processes(f"workloads.training --config tiny --output {output}"))
    return sorted(pid for pid in pids if parent(pid) not in pids)


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_two_workers_give_the_loss_of_one_process(tokens, tmp_path):
    assert trained(tokens, tmp_path / "two", "2") == 0
    assert small.finish(small.command(tokens, tmp_path / "one"))[0] == 0
    two, one = small.metrics(tmp_path / "two"), small.metrics(tmp_path / "one")
    assert [line["step"] for line in two] == list(range(1, 25))
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], abs=1e-6)
    assert two[-1]["held_out_loss"] == pytest.approx(one[-1]["held_out_loss"], abs=1e-6)
    # The same command again finds everything done.
    assert trained(tokens, tmp_path / "two", "2") == 0
    assert small.metrics(tmp_path / "two") == two


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("who", ["worker", "run"])
def test_a_killed_process_and_it_continues(tokens, tmp_path, who, capfd):
    """Ray's worker, whose run then has the time to save; and the run itself, which has not."""
    output = tmp_path / "out"
    options = {"training": {"steps": 150, "evaluate_every": 50}}

    def kill() -> None:
        (victim, *_) = ranks(output)
        os.kill(parent(victim) if who == "worker" else victim, signal.SIGKILL)

    killing = in_the_middle(kill, lambda: len(small.metrics(output)) >= 20 and len(ranks(output)) == 2)
    assert trained(tokens, output, "2", **options) == 0
    assert not killing.is_alive()
    assert small.finish(small.command(tokens, tmp_path / "undisturbed", **options), processes=2)[0] == 0
    assert [line["step"] for line in small.metrics(output)] == list(range(1, 151))
    # To the last bit: it is the same world of ranks.
    assert small.learnt(output) == small.learnt(tmp_path / "undisturbed")
    starts = re.findall(r"continues after step (\d+)", capfd.readouterr().out)
    assert starts, "nothing was killed"
    assert int(starts[0]) > 0
    assert ranks(output) == []


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_what_a_person_must_mend_ends_the_job_at_once(tokens, tmp_path):
    # A model without the words of the data.
    assert trained(tokens, tmp_path / "out", "2", model={"vocabulary": 16}) == ConfigError.exit_code


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_ray_is_told_of_every_evaluation_by_all_workers(tokens, tmp_path, monkeypatch):
    import ray.train

    # In a file: Ray's controller is another process, and its Result has the metrics of its own checkpoints only.
    heard, real = tmp_path / "heard", ray.train.RunConfig

    class Listener(ray.train.UserCallback):
        def after_report(self, run_context, metrics, checkpoint):  # noqa: ARG002
            with heard.open("a") as file:
                file.write(json.dumps(metrics) + "\n")

    def listening(**options):
        monkeypatch.undo()  # Ray finds the class again by its name
        return real(**options, callbacks=[Listener()])

    monkeypatch.setattr(ray.train, "RunConfig", listening)
    assert trained(tokens, tmp_path / "out", "1:2") == 0
    told = [json.loads(line) for line in heard.read_text().splitlines()]
    assert all(one == other for one, *others in told for other in others)
    recorded = small.metrics(tmp_path / "out")
    assert [one for one, *_ in told] == [one for one in recorded if one["step"] % 10 == 0 or "held_out_loss" in one]
