"""A stage that fails is told with its log; one that is done with what it came to and cost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from workloads.loop import events, story
from workloads.loop.cli import main, parser
from workloads.loop.errors import LoopError, StageFailed
from workloads.loop.events import NAME, Log
from workloads.loop.front import text_of
from workloads.loop.loop import Interrupted, do
from workloads.loop.processes import Program, cpu_seconds, free_port
from workloads.loop.rolling import measured
from workloads.loop.settings import Settings


def told(directory: Path, stage: object) -> story.Stage:
    log = Log(directory / NAME)
    try:
        do(log, directory, "train", "Train", stage)  # type: ignore[arg-type]
    finally:
        log.close()
        found = story.story(events.read(directory)).stages["train"]
    return found


def test_a_stage_says_what_it_came_to_and_what_it_used(tmp_path: Path) -> None:
    def stage() -> str:
        return f"{sum(number * number for number in range(3_000_000)):,}"

    found = told(tmp_path, stage)
    assert (found.state, found.says) == (story.DONE, "8,999,995,500,000,500,000")
    assert 0 < found.cpu_seconds <= found.seconds + 0.1


def test_a_stage_that_fails_is_named_with_its_log_which_has_where(tmp_path: Path) -> None:
    def stage() -> str:
        raise LoopError("the disk is made of cheese")

    with pytest.raises(StageFailed, match=r"(?s)Train: the disk is made of cheese.*logs/train\.error"):
        told(tmp_path, stage)
    found = story.story(events.read(tmp_path)).stages["train"]
    assert (found.state, found.says) == (story.FAILED, "the disk is made of cheese")
    assert "def stage" not in found.says
    assert "LoopError: the disk is made of cheese" in (tmp_path / found.log).read_text()


def test_a_stage_that_is_interrupted_is_no_fault(tmp_path: Path) -> None:
    def stage() -> str:
        raise Interrupted("SIGINT")

    with pytest.raises(Interrupted):
        told(tmp_path, stage)
    assert story.story(events.read(tmp_path)).stages["train"].says == "stopped"


def test_a_program_that_ends_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print('no cheese'); sys.exit(7)"]
    with (
        Program("the shop", command, tmp_path / "shop.log") as program,
        pytest.raises(LoopError, match=r"(?s)the shop ended with 7.*shop\.log.*no cheese"),
    ):
        program.wait_for(free_port(), "/")
    with Program("the shop", command, tmp_path / "shop.log") as program, pytest.raises(LoopError, match="7"):
        program.finish(20.0)


def test_a_program_is_ended_with_all_that_it_started_and_its_seconds_are_counted(tmp_path: Path) -> None:
    inner = "import time\nbegun = time.process_time()\nwhile time.process_time() < begun + 0.3: pass\n"
    outer = (
        f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {inner!r}])\nprint('x')\ntime.sleep(60)"
    )
    before = cpu_seconds()
    with Program("a tree", [sys.executable, "-u", "-c", outer], tmp_path / "tree.log") as program:
        while "x" not in program.tail():
            program.check()
        assert cpu_seconds() - before >= 0.3
    assert program.process.poll() is not None


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, b'{"inputs": [{"name": "text_input", "shape": [1, 1], "data": [["x = 1"]]}]}', "x = 1"),
        ({}, b"no JSON", None),
        ({}, b'{"inputs": [{"name": "other", "data": [1]}]}', None),
    ],
)  # fmt: skip
def test_the_text_of_a_request_is_found(headers: dict[str, str], body: bytes, expected: str | None) -> None:
    assert text_of(headers, body) == expected


def test_the_text_of_a_binary_request_is_found_behind_other_inputs() -> None:
    head = (
        b'{"inputs":[{"name":"seed","parameters":{"binary_data_size":8}},'
        b'{"name":"text_input","parameters":{"binary_data_size":9}}]}'
    )
    body = head + b"8 bytes." + (5).to_bytes(4, "little") + b"h\xc3\xa9!\n"
    assert text_of({"Inference-Header-Content-Length": str(len(head))}, body) == "hé!\n"


def test_evidence_is_told_on_the_scale_on_which_one_is_enough() -> None:
    found = measured({"e_value": 10.0, "needed": 100.0, "proof_e_value": 100.0, "proven": True, "margin": 0.1,
                      "difference": -0.25, "pairs": 7})  # fmt: skip
    assert found == {"alarm": 0.5, "proof": 1.0, "proven": True, "difference": -0.25, "pairs": 7}


def test_the_command_line() -> None:
    options = parser().parse_args([])
    assert (options.what, options.output, options.short, options.seed) == ("run", Path("out/loop"), False, 1)
    assert parser().parse_args(["page", "elsewhere"]).output == Path("elsewhere")


def test_a_page_of_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["page", str(tmp_path)]) == 2
    assert "events.jsonl" in capsys.readouterr().err


def test_passages_fit_the_model() -> None:
    with pytest.raises(LoopError, match="passage_bytes 300"):
        Settings(Path("x"), passage_bytes=300)
