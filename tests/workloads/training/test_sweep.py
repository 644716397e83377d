"""Sweeps of real, small runs: pruned, killed, told to stop, and continued by whoever is left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.workloads.training import small
from workloads.training import sweep
from workloads.training.sweep_trial import Run, Tail, settings, words

SEARCH = "optimizer.learning_rate=log:1e-4:1e-2"
SMALL = {
    **{name: value for name, value in small.OPTIONS.items() if name != "optimizer.learning_rate"},
    "model.layers": 1,
    "model.width": 32,
    "model.feed_forward": 32,
    "data.sequence_length": 32,
    "training.batch_size": 4,
    "training.evaluate_every": 6,
    "checkpoint.every": 4,
}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.make_data(tmp_path_factory.mktemp("corpus"), ("json",))


def command(tokens: Path, directory: Path, *more: str, **options: Any) -> list[str]:
    given = {**SMALL, **options}
    return [
        *("--config", "tiny", "--output", str(directory / "out"), "--journal", str(directory / "journal")),
        *("--data", str(tokens), "--search", SEARCH, *more),
        *(text for name, value in given.items() for text in (f"--{name}", str(value))),
    ]


def start(arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "workloads.training.sweep", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TRAINING_GRACE_S": "200", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(arguments: list[str], timeout: float = 300.0, **environment: str) -> tuple[int, str]:
    process = start(arguments, **environment)
    out, _ = process.communicate(timeout=timeout)
    return process.returncode, out


def trials(directory: Path) -> list[Any]:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    path = str(directory / "journal")
    storage = optuna.storages.JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path)))
    return optuna.load_study(study_name="sweep", storage=storage).trials


def steps(directory: Path, number: int) -> list[int]:
    return [line["step"] for line in small.metrics(directory / "out" / f"trial-{number:05}")]


def began(directory: Path, number: int) -> list[str]:
    """How the runs of a trial began, in their own words."""
    text = (directory / "out" / f"trial-{number:05}" / "log.txt").read_text()
    return re.findall(r"begins|continues after step \d+|already at step \d+", text)


# ---- in a few seconds


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--search", "optimizer.lr=log:1:2"], "sweep: --search optimizer.lr=log:1:2: 'optimizer.lr' is no setting"),
        (["--search", "model.layers=log:1:2"], "model.layers is a whole number from 1: expected int"),
        (["--search", "model.width=int:8:16"], "--model.width is given too: expected one or the other"),
        (["--training.evaluate_every", "0"], "nothing is known of a trial before its last step"),
        (["--journal", "/dev/null/journal"], "/dev/null/journal"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(tmp_path, capsys, more, said):
    arguments = [*command(tmp_path, tmp_path, "--trials", "2"), *more]
    assert sweep.main(arguments) in (2, 5)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "--trials"),
        (["--trials", "0"], "expected a number from 1"),
        (["--trials", "2", "--lease-s", "nan"], "expected a number from 1"),
        (["--trials", "2", "--pruner", "mean"], "invalid choice: 'mean'"),
        (["--trials", "2", "--model.layer", "2"], "did you mean --model.layers?"),
    ],
)
def test_a_mistyped_option_is_told_as_for_any_run(tmp_path, capsys, more, said):
    with pytest.raises(SystemExit) as left:
        sweep.main([*command(tmp_path, tmp_path), *more])
    assert left.value.code == 2
    assert said in capsys.readouterr().err


def test_what_a_run_keeps_for_itself_is_apart_from_other_trials():
    given = {"checkpoint.remote": "s3://bucket/find/", "model.layers": 2}
    assert settings(given, 7) == {"checkpoint.remote": "s3://bucket/find/trial-00007", "model.layers": 2}
    assert words("tiny", "DIR", {"model.bias": True, "optimizer.learning_rate": 0.1 + 0.2})[4:] == [
        *("--model.bias", "true", "--optimizer.learning_rate", "0.30000000000000004")
    ]


def test_evaluations_are_read_once_also_where_a_run_goes_back(tmp_path):
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    assert tail.lines() == []
    path.write_text("1\n2\n3")
    assert tail.lines() == ["1", "2"]
    with path.open("a") as file:
        file.write("3\n4\n")
    assert tail.lines() == ["33", "4"]
    new = tmp_path / "new"
    new.write_text("1\n2\n5\n")
    os.replace(new, path)
    assert tail.lines() == ["1", "2", "5"]
    assert tail.lines() == []


def test_a_run_ends_with_the_process_that_started_it(tmp_path):
    """Whatever ended that; the run has time to save."""
    script = (
        "import subprocess, sys, time; from workloads.training.attached import attached;"
        "child = subprocess.Popen(attached([sys.executable, '-c', sys.argv[1]], sys.argv[2]));"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    saving = (
        "import pathlib, signal, sys, time;"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(tmp_path / 'saved')!r}).touch(), sys.exit(75)));"
        f"pathlib.Path({str(tmp_path / 'up')!r}).touch(); time.sleep(600)"
    )
    lock = tmp_path / "lock"
    parent = subprocess.Popen([sys.executable, "-c", script, saving, str(lock)], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        small.until((tmp_path / "up").exists, 30)
        held = subprocess.run(["flock", "--exclusive", "--nonblock", str(lock), "true"], check=False)
        assert held.returncode == 1
    finally:
        parent.kill()
        parent.wait()
    small.until((tmp_path / "saved").exists, 30)
    # Others may wait for its end.
    subprocess.run(["flock", "--exclusive", "--timeout", "30", str(lock), "true"], check=True)


# ---- real sweeps


def test_a_sweep_of_one_trial_is_a_run(tokens, tmp_path):
    code, out = finish(command(tokens, tmp_path, "--trials", "1", "--pruner", "none", **{"training.steps": 6}))
    assert code == 0, out
    (trial,) = trials(tmp_path)
    assert trial.value == small.metrics(tmp_path / "out/trial-00000")[-1]["held_out_loss"]
    assert json.loads((tmp_path / "out/best.json").read_text())["settings"].items() >= trial.params.items()


@pytest.mark.slow
def test_a_sweep_finds_the_best_and_says_how_to_repeat_it(tokens, tmp_path):
    code, out = finish([*command(tokens, tmp_path, "--trials", "2", **{"training.steps": 12})])
    assert code == 0, out
    assert "2 trials: 2 complete" in out
    found = trials(tmp_path)
    assert all(sorted(trial.intermediate_values) == [6, 12] for trial in found)
    best = json.loads((tmp_path / "out/best.json").read_text())
    assert best["held_out_loss"] == min(trial.value for trial in found) == found[best["trial"]].value
    # Only the best one's weights are kept.
    kept = [path.parent.name for path in (tmp_path / "out").glob("trial-*/checkpoints")]
    assert kept == [f"trial-{best['trial']:05}"]
    (line,) = (line for line in out.splitlines() if "the best again: " in line)
    again = line.partition("the best again: ")[2].split()
    assert again == best["command"]
    again[again.index("DIR")] = str(tmp_path / "again")
    subprocess.run([sys.executable, *again[1:]], check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert small.metrics(tmp_path / "again")[-1]["held_out_loss"] == best["held_out_loss"]


@pytest.mark.slow
def test_the_same_sweep_again_has_nothing_to_do_and_a_larger_one_adds_to_it(tokens, tmp_path):
    first = command(tokens, tmp_path, "--trials", "1")
    assert finish(first)[0] == 0
    code, out = finish(first)
    assert (code, "begins" in out, len(trials(tmp_path))) == (0, False, 1)
    code, out = finish(command(tokens, tmp_path, "--trials", "2"))
    assert code == 0
    assert "trial 1: begins" in out
    code, out = finish([*first, "--training.batch_size", "8"])
    assert code == 2
    assert "has another sweep: config.training.batch_size is 4 there and 8 here" in out


@pytest.mark.slow
def test_trials_that_are_worse_than_others_are_stopped_early(tokens, tmp_path):
    """Learning rates from none to good: at least one trial is worse than the median of the first four."""
    search = ["--search", "optimizer.learning_rate=log:1e-7:2e-2"]
    arguments = [word for word in command(tokens, tmp_path, "--trials", "8") if word not in ("--search", SEARCH)]
    code, out = finish([*arguments, *search], timeout=600)
    assert code == 0, out
    found = trials(tmp_path)
    pruned = [trial for trial in found if trial.state.name == "PRUNED"]
    assert pruned, out
    assert len(found) == 8
    for trial in pruned:
        assert trial.number >= 4
        assert max(trial.intermediate_values) < 24
        assert not (tmp_path / "out" / f"trial-{trial.number:05}" / "checkpoints").exists()
    assert min(found, key=lambda trial: trial.value).state.name == "COMPLETE"


@pytest.mark.slow
def test_two_workers_share_a_journal_and_one_goes_on_with_what_the_other_was_killed_in(tokens, tmp_path):
    arguments = command(tokens, tmp_path, "--trials", "4", "--pruner", "none", **{"training.steps": 48})
    victim = start(arguments)
    small.until(lambda: (tmp_path / "out/trial-00000").exists() and max(steps(tmp_path, 0), default=0) >= 9)
    other = start(arguments)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    out, _ = other.communicate(timeout=600)
    assert other.returncode == 0, out
    found = trials(tmp_path)
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 4
    assert "trial 0: continues" in out
    # Its run had the time to save: no step was trained twice, none is missing.
    assert found[0].user_attrs == {"lost": 1}
    assert began(tmp_path, 0)[0] == "begins"
    assert began(tmp_path, 0)[1].startswith("continues after step ")
    for number in range(4):
        assert steps(tmp_path, number) == list(range(1, 49))
        # What a run evaluates after its worker is gone, and before it saves and ends, is told to nobody.
        untold = range(9, int(began(tmp_path, 0)[1].split()[-1]) + 1) if number == 0 else ()
        missing = set(range(6, 49, 6)) - set(found[number].intermediate_values)
        assert missing <= set(untold), (number, sorted(found[number].intermediate_values))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_notice_stops_a_worker_with_75_and_the_next_one_continues(tokens, tmp_path, number):
    arguments = command(tokens, tmp_path, "--trials", "2", **{"training.steps": 48})
    worker = start(arguments)
    small.until(lambda: (tmp_path / "out/trial-00000").exists() and max(steps(tmp_path, 0), default=0) >= 9)
    worker.send_signal(number)
    out, _ = worker.communicate(timeout=120)
    assert worker.returncode == 75, out
    assert "trial 0: stopped; whoever runs this sweep next continues it" in out
    reached = max(steps(tmp_path, 0))
    code, out = finish(arguments)
    assert code == 0, out
    assert began(tmp_path, 0) == ["begins", f"continues after step {reached}"]
    found = trials(tmp_path)
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 2
    assert "lost" not in found[0].user_attrs
    assert steps(tmp_path, 0) == list(range(1, 49))


@pytest.mark.slow
def test_a_run_that_is_killed_is_tried_again_and_given_up_in_the_end(tokens, tmp_path):
    arguments = command(tokens, tmp_path, "--trials", "1", "--retries", "1", **{"training.steps": 2000})
    worker = start(arguments)
    for attempt in range(2):
        small.until(lambda n=attempt: len(steps(tmp_path, 0) if n == 0 else began(tmp_path, 0)) >= 5 - 3 * n)
        small.until(lambda: _children(worker.pid) != [])
        os.kill(_children(worker.pid)[0], signal.SIGKILL)
    out, _ = worker.communicate(timeout=120)
    assert worker.returncode == 0, out
    assert "broke (signal 9)" in out
    assert "tries again" in out
    assert "given up" in out
    assert trials(tmp_path)[0].state.name == "FAIL"


def _children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


@pytest.mark.slow
def test_settings_that_cannot_be_trained_are_no_trial_and_end_a_sweep_that_has_nothing_else(tokens, tmp_path):
    arguments = command(tokens, tmp_path, "--trials", "8", "--retries", "1")
    code, out = finish([*arguments, "--search", "model.heads=choice:3,5,7"])
    assert code == 2, out
    assert "cannot be trained: model.width: 32: expected a multiple of model.heads" in out


@pytest.mark.slow
def test_what_no_other_settings_would_mend_ends_the_worker_and_costs_no_trial(tokens, tmp_path):
    code, out = finish(command(tmp_path / "nowhere", tmp_path, "--trials", "1"))
    assert code == 3, out
    assert "once that is mended, the same command continues" in out
    code, out = finish(command(tokens, tmp_path, "--trials", "1"))
    assert code == 0, out
    assert trials(tmp_path)[0].state.name == "COMPLETE"
    # Another journal, the same directory: its trials would be continued with other values.
    (tmp_path / "journal").unlink()
    code, out = finish(command(tokens, tmp_path, "--trials", "1", "--seed", "1"))
    assert code == 2, out
    assert "has trials of another sweep: trial-00000 was with other values" in out


@pytest.mark.slow
def test_a_loss_that_leaps_is_told_to_the_search_as_the_worst(tokens, tmp_path):
    more = {"training.on_bad_loss": "stop", "training.steps": 48, "training.spike_factor": 0.1}
    code, out = finish([*command(tokens, tmp_path, "--trials", "1", **more)])
    assert code == 0, out
    assert "trial 0: diverged" in out
    assert trials(tmp_path)[0].state.name == "PRUNED"


@pytest.mark.slow
def test_a_trial_of_two_processes(tokens, tmp_path):
    code, out = finish([*command(tokens, tmp_path, "--trials", "1", "--processes", "2")])
    assert code == 0, out
    assert "on 2 x cpu, ddp" in (tmp_path / "out/trial-00000/log.txt").read_text()


@pytest.mark.slow
def test_the_data_of_all_trials_is_made_once(tmp_path):
    arguments = command(Path("none"), tmp_path, "--trials", "1")
    del arguments[arguments.index("--data") : arguments.index("--data") + 2]
    workers = [start([*arguments, "--training.steps", "4", "--pruner", "none"]) for _ in range(2)]
    for worker in workers:
        out, _ = worker.communicate(timeout=300)
        assert worker.returncode == 0, out
    assert (tmp_path / "out/data/train").is_dir()
    assert not list((tmp_path / "out").glob("data.*"))
    assert not (tmp_path / "out/trial-00000/data").exists()


@pytest.mark.slow
def test_a_run_of_several_processes_is_killed_with_all_of_them(tokens, tmp_path):
    arguments = command(tokens, tmp_path, **{"training.steps": 5000})
    del arguments[2:6], arguments[arguments.index("--search") : arguments.index("--search") + 2]
    run = Run(tmp_path / "run", [*arguments, "--output", str(tmp_path / "run")], processes=2)
    small.until(lambda: len(small.metrics(tmp_path / "run")) > 2)
    found = [pid for pid in processes(str(tmp_path / "run")) if pid != run.process.pid]
    assert len(found) >= 2
    run.kill()
    assert run.process.wait(10) == -signal.SIGKILL
    small.until(lambda: processes(str(tmp_path / "run")) == [], 10)


def processes(words: str) -> list[int]:
    found = subprocess.run(["pgrep", "-f", words], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


@pytest.mark.slow
def test_a_run_is_a_process_whose_end_is_told_apart(tmp_path):
    run = Run(tmp_path / "run", ["--config", "tiny", "--output", str(tmp_path / "run"), "--data", "/nowhere"])
    assert run.process.wait(60) == 3
    assert "/nowhere" in run.last_words()
    assert run.evaluations() == []
