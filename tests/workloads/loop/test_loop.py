"""The loop as a person starts it: all of it really happens, and whatever becomes of it, nothing is left running."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import ROOT
from workloads.loop import events, page, story
from workloads.loop.errors import ArgumentError
from workloads.loop.loop import begin
from workloads.pipelines.registry import Registry
from workloads.rollout import journal

STAGES = [
    "train", "export", "serve", "shift", "notice", "retrain", "evaluate", "canary", "promote", "spoil", "catch",
    "roll-back",
]  # fmt: skip


def start(output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "workloads.loop", "run", str(output), "--short"]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def left_of(output: Path) -> list[str]:
    """Command lines of processes that have to do with that directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(output) in words:
            found.append(words)
    return found


@pytest.mark.slow
def test_the_whole_loop_with_its_promotion_and_its_rollback(tmp_path: Path) -> None:
    output = tmp_path / "loop"
    process = start(output)
    said, _ = process.communicate(timeout=1500)
    assert process.returncode == 0, said
    told = story.story(events.read(output))
    assert [stage.name for stage in told.stages.values() if stage.state == story.DONE] == STAGES
    assert told.state == story.DONE

    # It noticed, and not at once: it fired once, and said before why it did not.
    fired = [event["fired"] for event in told.of("trigger")]
    assert fired.count(True) == 1
    assert fired[-1]
    assert len(fired) > 2

    # Retrained, evaluated against the champion on both slices, promoted with evidence of every guardrail.
    second = told.of("evaluation")[1]
    assert {row["slice"] for row in second["rows"]} == {"overall", "source=code", "source=prose"}
    assert all(row["candidate"] is not None and row["champion"] is not None for row in second["rows"])
    promoted, rolled_back = told.of("outcome")
    assert (promoted["version"], promoted["outcome"]) == ("language-scorer:2", "promoted")
    assert (rolled_back["version"], rolled_back["outcome"]) == ("language-scorer:3", "rolled-back")
    last = [event for event in told.of("decision") if event["action"] == "promote"]
    assert [all(one["proven"] for one in event["guardrails"].values()) for event in last] == [True]
    assert next(event["reason"] for event in told.of("decision") if event["action"] == "roll-back") == "quality-worse"

    # Nobody's request failed; the bad model harmed some, and all that it answered count.
    traffic = told.of("traffic")[-1]
    assert traffic["asked"] == traffic["answered"] > 500
    assert traffic["failed"] == 0
    assert 0 < rolled_back["answered"] <= traffic["harmed"]
    assert Registry(f"sqlite:///{output}/mlflow.db").aliases("language")["champion"] == "2"

    # What was decided can be decided again, from what was seen.
    for path in sorted((output / "rollouts").glob("*.jsonl")):
        count, different = journal.replay(path.read_text(), str(path))
        assert count > 2
        assert different == []

    assert (output / page.NAME).read_text() == page.html(told)
    assert all((output / event["path"]).exists() for event in told.of("file"))
    assert left_of(output) == []


@pytest.mark.slow
def test_ctrl_c_ends_all_of_it_and_the_page_tells_how_far_it_got(tmp_path: Path) -> None:
    output = tmp_path / "loop"
    process = start(output)
    deadline = time.monotonic() + 120
    while not (output / "runs/first").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(left_of(output)) > 1
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    told = story.story(events.read(output))
    assert (told.state, told.stages["train"].state, told.stages["export"].state) == (
        story.STOPPED, story.FAILED, story.WAITING,
    )  # fmt: skip
    assert "It was stopped before its end." in (output / page.NAME).read_text()
    assert left_of(output) == []


def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(ArgumentError, match="empty directory"):
        begin(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "all of it"
    (tmp_path / events.NAME).write_text("")
    begin(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ArgumentError, match="empty directory"):
        begin(Path(__file__))
    with pytest.raises(ArgumentError, match="/dev/null/loop: Not a directory"):
        begin(Path("/dev/null/loop"))
