"""The command line, as a job or a person uses it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.workloads.monitoring.traffic import MONDAY_S, request
from workloads.monitoring.cli import main
from workloads.monitoring.lakehouse import Lake, local

HOUR_S = 3600.0


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """Four hours of requests, the last harder."""
    path = tmp_path / "requests.jsonl"
    with path.open("w") as file:
        for i in range(800):
            made = request(i, MONDAY_S + i * 18, shift="harder" if i >= 600 else "")
            told = {"id": made.id, "time_s": made.time_s, "model": made.model, "version": made.version}
            file.write(json.dumps({**told, "text": made.text, "bits_per_byte": made.bits_per_byte}) + "\n")
    return path


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    baseline = {"reference_s": 3 * HOUR_S, "seasons_s": []}
    path.write_text(json.dumps({"baseline": baseline, "retrain": {"least_new_bytes": 1000}}))
    return path


def test_log_watch_report_end_retain(
    lines: Path, policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake, state, reports = (str(tmp_path / name) for name in ("lake", "state.json", "reports"))
    assert main(["log", "--lake", lake, "--batch", "300", "--keep-text", str(lines)]) == 0
    assert "800 requests, 800 of them sampled, 0 dropped" in capsys.readouterr().out
    labels = tmp_path / "labels.jsonl"
    label = {"request_id": "0-1", "request_time_s": MONDAY_S + 18, "model": "lm", "time_s": MONDAY_S + 99, "value": 2.0}
    labels.write_text(json.dumps(label) + "\n\n")
    for _ in range(2):
        assert main(["log", "--lake", lake, "--table", "labels", str(labels)]) == 0
    assert len(Lake(local(Path(lake))).read("labels", "lm", MONDAY_S, MONDAY_S + 99)) == 1

    started = tmp_path / "started"
    watch = ["watch", "--lake", lake, "--model", "lm", "--policy", str(policy), "--state", state, "--output", reports]
    watch += ["--end-s", str(MONDAY_S + 4 * HOUR_S), "--hook", f"touch {started}"]
    assert main(watch) == 0
    assert "RETRAIN (own_loss)" in (shown := capsys.readouterr().out)
    assert started.exists()
    assert main(["report", reports]) == 0
    assert shown.endswith(capsys.readouterr().out)
    assert json.loads(Path(state).read_text())["running"]
    assert main(["ended", "--state", state, "--cost-usd", "7.5"]) == 0
    assert json.loads(Path(state).read_text())["spent_usd"] == 7.5

    days = int(time.time() // 86400 - MONDAY_S // 86400) + 1
    assert main(["retain", "--lake", lake, "--days", str(days), "--grace-s", "0"]) == 0
    assert "requests: before 2024-09-30: 0 rows deleted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["report", "nowhere"], 4, "nowhere: no report"),
        (["log", "--lake", "lake", "nowhere.jsonl"], 4, "nowhere.jsonl: No such file"),
        (["log", "--lake", "lake", "--rate", "0", "bad.jsonl"], 2, "rate 0.0"),
        (["log", "--lake", "lake", "bad.jsonl"], 4, "bad.jsonl: line 2: unknown ['colour']; expected id, time_s"),
        (["log", "--lake", "lake", "worse.jsonl"], 4, "worse.jsonl: line 1: "),
        (["retain", "--lake", "s3://bucket/lake", "--days", "1"], 2, "needs a catalog, such as --catalog type=glue"),
        (["ended", "--state", "bad.jsonl"], 4, "bad.jsonl: not JSON"),
        (["ended", "--state", "state.json", "--policy", "nowhere.json"], 4, "nowhere.json: there is no such file"),
    ],
)
def test_what_goes_wrong_is_said_in_a_line(
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    good = {"id": "a", "time_s": MONDAY_S, "model": "lm", "version": 1, "text": "x"}
    Path("bad.jsonl").write_text(json.dumps(good) + "\n" + json.dumps({**good, "colour": "red"}) + "\n")
    Path("worse.jsonl").write_text("[1, 2]\n")
    Path("state.json").write_text("{}")
    assert main(arguments) == code
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["watch", "--lake", "lake", "--model", "../up", "--state", "s", "--output", "o"],
        ["log", "--lake", "lake", "--batch", "0", "-"],
        ["log", "--lake", "lake", "--catalog", "type", "-"],
        ["retain", "--lake", "lake", "--days", "-1"],
        [],
    ],
)
def test_wrong_arguments_end_with_two(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
