"""Workers on one journal: each trial is run by one of them, and goes on with another where the first one is gone."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from workloads.training import sweep_journal
from workloads.training.config import tiny
from workloads.training.errors import ConfigError
from workloads.training.search import parse
from workloads.training.sweep_journal import LOST, Journal, LeaseLost, started

RATE = parse("optimizer.learning_rate=log:1e-4:1e-2", tiny())
LAYERS = parse("model.layers=choice:1,2,4", tiny())


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def journal(path: Path, trials: int = 4, **changes) -> Journal:
    options = {"seed": 0, "lease_s": 60.0, "retries": 2, "clock": Clock(), **changes}
    description = options.pop("description", {"config": {"model": {"width": 64}}, "search": [str(RATE)]})
    return Journal(path, [RATE, LAYERS], optuna.pruners.NopPruner(), description, trials=trials, **options)


def elsewhere(one: Journal) -> None:
    """As if that worker's leases were of another machine: from now on they are only known by their silence."""
    for path in one._leases.glob("0*"):
        lease = json.loads(path.read_text()) | {"host": "another machine"}
        path.write_text(json.dumps(lease))


def test_workers_share_the_trials_and_no_more_are_begun(tmp_path):
    one, other = journal(tmp_path / "journal"), journal(tmp_path / "journal")
    claims = [worker.claim() for worker in (one, other, one, other)]
    assert [claim.number for claim in claims] == [0, 1, 2, 3]
    assert len({claim.values["optimizer.learning_rate"] for claim in claims}) == 4
    assert one.claim() is None
    assert other.claim() is None
    assert one.under_way() == 4


def test_the_same_seed_tries_the_same_values(tmp_path):
    tried = []
    for name in ("a", "b"):
        worker = journal(tmp_path / name)
        found = []
        for loss in (3.0, 2.0, 1.0):
            claim = worker.claim()
            worker.study.tell(claim.number, loss)
            worker.release(claim.number)
            found.append(claim.values)
        tried.append(found)
    assert tried[0] == tried[1]
    assert journal(tmp_path / "c", seed=1).claim().values != tried[0][0]


def test_what_was_left_in_order_is_continued_at_once_with_the_same_values(tmp_path):
    one, other = journal(tmp_path / "journal"), journal(tmp_path / "journal")
    left = one.claim()
    left.trial.report(2.5, 4)
    one.release(left.number)
    found = other.claim()
    assert (found.number, found.values, found.continued) == (left.number, left.values, True)
    assert other.study.trials[0].intermediate_values == {4: 2.5}
    assert LOST not in other.study.trials[0].user_attrs


def test_a_worker_on_another_machine_is_lost_when_its_lease_no_longer_changes(tmp_path):
    clock = Clock()
    one, other = journal(tmp_path / "journal", 1), journal(tmp_path / "journal", 1, clock=clock)
    lost = one.claim()
    for _ in range(5):
        one.beat(0, [])
        elsewhere(one)
        assert other.claim() is None
        clock.now += 59.0
    assert other.claim() is None
    clock.now += 2.0
    found = other.claim()
    assert (found.number, found.values, found.continued) == (0, lost.values, True)
    assert other.study.trials[0].user_attrs[LOST] == 1
    # The first one was only slow: it must not go on.
    with pytest.raises(LeaseLost):
        one.beat(0, [])
    other.beat(0, [])


def test_a_trial_that_loses_worker_after_worker_has_failed(tmp_path):
    clock = Clock()
    worker = journal(tmp_path / "journal", 1, clock=clock, retries=2)
    for _ in range(3):
        assert worker.claim().number == 0
        elsewhere(worker)
        assert worker.claim() is None
        clock.now += 61.0
    assert worker.claim() is None
    assert worker.study.trials[0].state == TrialState.FAIL
    assert worker.under_way() == 0


def test_processes_of_this_machine_are_looked_at(tmp_path):
    """Also the run that a killed worker leaves behind: it may still be saving."""
    script = (
        "import sys, subprocess, time; sys.path.insert(0, '.');"
        "from tests.workloads.training.test_sweep_journal import journal; from pathlib import Path;"
        "run = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE);"
        f"worker = journal(Path({str(tmp_path / 'journal')!r})); claim = worker.claim(); worker.beat(0, [run.pid]);"
        "print(run.pid, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    )
    child = int(process.stdout.readline())
    try:
        other = journal(tmp_path / "journal", 1, lease_s=1e9)
        assert other.claim() is None
        os.kill(process.pid, signal.SIGSTOP)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    finally:
        process.kill()
        process.stdout.close()
    # Its standard input is closed with the worker, so it ends by itself.
    deadline = time.monotonic() + 10
    while started(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    found = other.claim()
    assert (found.number, found.continued) == (0, True)


def test_a_worker_that_dies_while_values_are_chosen_leaves_a_trial_that_can_be_run(tmp_path):
    one = journal(tmp_path / "journal")
    trial = one.study.ask()
    chosen = sweep_journal.suggest(trial, RATE)
    found = journal(tmp_path / "journal").claim()
    assert found.number == trial.number
    assert found.values["optimizer.learning_rate"] == chosen
    assert found.values["model.layers"] in (1, 2, 4)


@pytest.mark.parametrize("left", [b'{"op_code":4,"worker_id":"', b'{"op_code":4', b"{"])
def test_half_a_line_of_a_machine_that_lost_its_power_breaks_nothing(tmp_path, left):
    path = tmp_path / "journal"
    one = journal(path)
    assert one.claim().number == 0
    with path.open("ab") as file:
        file.write(left)
    assert one.claim().number == 1
    assert journal(path).claim().number == 2
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_lock_whose_holder_died_is_taken_over(tmp_path):
    worker = journal(tmp_path / "journal")
    for lock in (worker._claiming, worker.study._storage._backend._lock):
        lock.grace_period = 0.2
        Path(lock._lock_file).touch()
    assert worker.claim().number == 0


def test_workers_of_another_sweep_are_told_so(tmp_path):
    journal(tmp_path / "journal")
    with pytest.raises(ConfigError) as error:
        journal(tmp_path / "journal", description={"config": {"model": {"width": 32}}, "search": [str(RATE)]})
    assert "has another sweep: config.model.width is 64 there and 32 here" in str(error.value)


def _take(path: str, queue) -> None:
    worker, found = journal(Path(path), 12), []
    while (claim := worker.claim()) is not None:
        found.append(claim.number)
        worker.study.tell(claim.number, claim.values["optimizer.learning_rate"])
        worker.release(claim.number)
    queue.put(found)


def test_many_workers_at_once_take_each_trial_once(tmp_path):
    # Not forked: beside gRPC's threads, which other tests start here, forks end at once.
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    workers = [context.Process(target=_take, args=(str(tmp_path / "journal"), queue)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    taken = sorted(number for _ in workers for number in queue.get())
    assert taken == list(range(12))
