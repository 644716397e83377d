"""What a run tells, and to whom."""

from __future__ import annotations

import io
import json
import socket
import urllib.request

import pytest

from workloads.training.config import tiny
from workloads.training.display import Display, thousands
from workloads.training.errors import ConfigError, DiskError
from workloads.training.metrics import HELP, JsonLines, Prometheus, Recorder, sinks

VALUES = {"loss": 2.5, "tokens_per_second": 1000.0, "model_flops_utilization": 0.5, "goodput": 0.9, "step_seconds": 0.5}


def test_a_run_that_continues_has_each_step_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step"')
    sink = JsonLines(path, 2)
    sink.record({"step": 3, "loss": 0.1 + 0.2})
    # Written already: a process that is killed has told what it did.
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 1},
        {"step": 2},
        {"step": 3, "loss": 0.1 + 0.2},
    ]
    sink.back(1)
    sink.record({"step": 2})
    sink.close()
    assert path.read_text().splitlines() == ['{"step": 1}', '{"step": 2}']


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(DiskError, match=r"metrics\.jsonl"):
        JsonLines(tmp_path / "metrics.jsonl", 0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_prometheus_reads_every_metric(tmp_path):
    port = free_port()
    config = tiny().override({"tracking.prometheus_port": port})
    recorder = Recorder(sinks(config, tmp_path, 0))
    recorder.record(7, VALUES)
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    assert "training_step 7.0\n" in text
    assert "training_goodput 0.9\n" in text
    assert all(f"# HELP training_{name} " in text for name in HELP)
    with pytest.raises(ConfigError, match=f"tracking.prometheus_port: .*:{port}: "):
        Prometheus(port)
    recorder.close()


def test_a_log_has_plain_lines_at_intervals():
    out = io.StringIO()
    with Display(10, 4, out=out) as display:
        for step in range(1, 11):
            # A step that waited long counts with the others.
            seconds = 4.0 if step == 8 else 0.5
            display.step(step, {**VALUES, "step_seconds": seconds, "tokens_per_second": 500 / seconds})
        display.evaluation(10, {"held_out_loss": 2.0, "held_out_bits_per_byte": 1.25})
        display.evaluation(10, {"held_out_loss": 1.9, "held_out_bits_per_byte": 1.2})
        display.evaluation(10, {})
    lines = out.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["1/10", "4/10", "8/10", "10/10", "10/10", "10/10"]
    assert lines[1] == "step 4/10  loss 2.5000  1 k tokens/s  MFU 50.0%  goodput 90.0%"
    assert lines[2] == "step 8/10  loss 2.5000  364 tokens/s  MFU 50.0%  goodput 90.0%"
    assert lines[-1] == "step 10/10  held-out loss 1.9000, 1.2000 bits per byte (before: 1.2500)"


def test_a_terminal_has_a_bar():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    with Display(4, 2, out=out) as display:
        display.say("tiny: begins")
        for step in range(1, 5):
            display.step(step, VALUES)
    assert "tiny: begins" in out.getvalue()
    assert "4/4" in out.getvalue()


def test_other_processes_say_nothing(capsys):
    with Display(4, 2, shown=False) as display:
        display.say("tiny: begins")
        display.step(2, VALUES)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("count", "text"), [(950, "950"), (12_345, "12.3 k"), (4.56e6, "4.56 M"), (8.03e9, "8.03 G")])
def test_large_counts_are_short(count, text):
    assert thousands(count) == text
