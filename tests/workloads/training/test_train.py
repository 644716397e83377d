"""The loop in this process: it learns, it survives what goes wrong, and says what a person must mend."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.training.small import QuickCheckpointer, command, learnt, make_data, metrics
from workloads.data.tokenizer import BytePairTokenizer, ByteTokenizer
from workloads.training import checkpoint, cli, run
from workloads.training.errors import ConfigError
from workloads.training.train import Phases, Trainer, micro_batches


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def _quick(request, monkeypatch):
    if "real_checkpoints" not in request.fixturenames:
        monkeypatch.setattr(run, "Checkpointer", QuickCheckpointer)


@pytest.fixture
def real_checkpoints():
    assert run.Checkpointer is checkpoint.Checkpointer


def train(tokens: Path, output: Path, **options) -> int:
    return cli.main(command(tokens, output, **options))


def test_the_loss_falls_on_real_text(data, tmp_path, capsys):
    assert train(data, tmp_path / "run", training={"steps": 60, "evaluate_every": 30}) == 0
    found = metrics(tmp_path / "run")
    assert [line["step"] for line in found] == list(range(1, 61))
    assert found[0]["loss"] == pytest.approx(math.log(257), abs=0.5)
    bits = [line["held_out_bits_per_byte"] for line in found if "held_out_bits_per_byte" in line]
    assert bits[1] < bits[0] < 8.0
    # A third less than at first, also on text that it has not seen.
    assert sum(line["loss"] for line in found[-10:]) / 10 < 0.65 * found[0]["loss"]
    assert found[-1]["held_out_loss"] < 0.65 * found[0]["loss"]
    for line in found:
        parts = ("data_wait_seconds", "compute_seconds", "update_seconds", "checkpoint_stall_seconds")
        assert sum(line[part] for part in parts) == pytest.approx(line["step_seconds"])
        assert 0 <= line["goodput"] <= 1
        # Where others use the machine too, the peak that was measured may be less than what a step then gets.
        assert 0 < line["model_flops_utilization"] < 10
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "tiny: begins; 90.5 k parameters on cpu, none, float32"
    assert said[-1].startswith("done: 60 steps, 30.7 k tokens, loss ")

    # The same command again has nothing to do; with more steps it goes on.
    assert train(data, tmp_path / "run", training={"steps": 60, "evaluate_every": 30}) == 0
    assert capsys.readouterr().out == "already at step 60 of 60: nothing is left to do\n"
    assert train(data, tmp_path / "run", training={"steps": 62, "evaluate_every": 30}) == 0
    assert [line["step"] for line in metrics(tmp_path / "run")] == list(range(1, 63))


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not(data, tmp_path):
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        train(data, tmp_path / name, training={"steps": 4, "seed": seed}, model={"dropout": 0.1})
    assert learnt(tmp_path / "one") == learnt(tmp_path / "two")
    assert learnt(tmp_path / "one") != learnt(tmp_path / "three")


def test_micro_batches_change_next_to_nothing(data, tmp_path):
    for name, size in (("whole", 0), ("parts", 3)):
        train(data, tmp_path / name, training={"steps": 6, "micro_batch_size": size})
    for whole, parts in zip(metrics(tmp_path / "whole"), metrics(tmp_path / "parts"), strict=True):
        assert parts["loss"] == pytest.approx(whole["loss"], abs=1e-5)


class Spoilt:
    """Makes the losses of some steps bad, the `times` first times that they are taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: set[int], times: int = 1) -> None:
        self.seen: list[tuple[int, int]] = []
        whole = Trainer._forward_backward

        def forward_backward(trainer: Trainer, tokens, share):
            found, seconds = whole(trainer, tokens, share)
            step = trainer.step
            self.seen.append((step, int(tokens.sum())))
            spoil = step in steps and sum(1 for other, _ in self.seen if other == step) <= times
            return (math.nan if spoil else found), seconds

        monkeypatch.setattr(Trainer, "_forward_backward", forward_backward)


def test_a_step_with_a_bad_loss_is_left_out(data, tmp_path, monkeypatch, capsys):
    Spoilt(monkeypatch, {5})
    assert train(data, tmp_path / "run", training={"steps": 8}) == 0
    assert "step 5: the loss is nan: the step is left out (1 of 10)" in capsys.readouterr().out
    found = metrics(tmp_path / "run")
    assert [line["bad_losses"] for line in found] == [0] * 4 + [1] * 4
    assert found[-1]["loss"] < found[0]["loss"]


def test_a_leap_goes_back_and_passes_over_the_data(data, tmp_path, monkeypatch, capsys):
    spoilt = Spoilt(monkeypatch, {6})
    options = {"training": {"steps": 8, "on_bad_loss": "roll-back"}, "checkpoint": {"every": 4}}
    assert train(data, tmp_path / "run", **options) == 0
    assert "step 6: the loss is nan: back to the last checkpoint, past this data" in capsys.readouterr().out
    steps = [step for step, _ in spoilt.seen]
    assert steps == [1, 2, 3, 4, 5, 6, 5, 6, 7, 8]
    texts = [text for _, text in spoilt.seen]
    assert len(set(texts)) == len(texts), "some data was seen twice"
    assert [line["step"] for line in metrics(tmp_path / "run")] == list(range(1, 9))


def test_a_run_that_diverges_again_and_again_is_given_up(data, tmp_path, monkeypatch, capsys):
    Spoilt(monkeypatch, {3, 4, 5}, times=9)
    assert train(data, tmp_path / "run", training={"bad_losses": 2}, checkpoint={"every": 2}) == 6
    assert "step 5: the loss is nan, 3 times by now: more than training.bad_losses, 2" in capsys.readouterr().err
    # What was saved before is still there.
    assert [path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*")]


def test_other_data_is_refused_and_nothing_is_lost(data, tmp_path, capsys):
    train(data, tmp_path / "run", training={"steps": 8})
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    other = make_data(tmp_path / "other", ("xml",))
    assert train(other, tmp_path / "run", training={"steps": 16}) == 3
    assert "continue with the dataset that the run began with" in capsys.readouterr().err
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before
    assert train(data, tmp_path / "run", training={"steps": 9}) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("real_checkpoints")
def test_another_model_is_refused(data, tmp_path, capsys):
    train(data, tmp_path / "run", training={"steps": 2})
    assert train(data, tmp_path / "run", training={"steps": 4}, model={"width": 32}) == 4
    assert "is a checkpoint of another model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ({"parallel": {"device": "cuda"}}, 2, "parallel.device: cuda: there is no GPU that torch can use here"),
        ({"parallel": {"tensor": 2}, "model": {"tied": "false"}}, 2, "expected a divisor of the world size, 1"),
        ({"model": {"vocabulary": 100}}, 2, "model.vocabulary: 100: the data has 257 tokens"),
        ({"data": {"sequence_length": 10_000_000}}, 3, "sequence_length 10000000: expected at most"),
        ({"data": {"source": "nowhere"}}, 3, "nowhere/train/manifest.json: not there"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_what_cannot_be_trained_is_told_before_anything_is_done(data, tmp_path, capsys, options, code, said):
    assert train(data, tmp_path / "run", **options) == code
    assert said in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_named(data, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert train(data, tmp_path / "file" / "run") == 5
    assert str(tmp_path / "file") in capsys.readouterr().err


@given(st.integers(1, 64), st.integers(1, 8), st.integers(0, 40))
def test_micro_batches_are_the_share_of_a_process(each, processes, most):
    found = micro_batches(each * processes, processes, most)
    assert sum(found) == each
    assert all(0 < size <= (most or each) for size in found)


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ConfigError, match=r"training\.batch_size: 16: expected a multiple of the 3 processes"):
        micro_batches(16, 3, 0)


def test_a_first_step_counts_as_much_as_the_second():
    now = [0.0]

    class Watch:
        rank = 0

        def at(self, *_, **__):
            pass

    phases = Phases(Watch(), lambda: now[0])  # type: ignore[arg-type]

    def step(seconds: float, stall: float) -> float:
        phases.begin(1)
        now[0] += seconds
        phases.enter("checkpoint")
        now[0] += stall
        phases.enter("logging")
        return phases.useful()

    assert step(60.0, 1.0) == 0.0
    assert step(2.0, 5.0) == 4.0
    assert step(3.0, 0.0) == 3.0


def test_bytes_of_tokens():
    assert run.token_bytes(ByteTokenizer()).tolist() == [1] * 256 + [0]
    pairs = BytePairTokenizer([*(bytes([byte]) for byte in range(256)), b"th", b"the"])
    assert run.token_bytes(pairs).tolist() == [1] * 256 + [2, 3, 0]
