"""The engine's decisions, its draws and its files, each by itself."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.workloads.serving import tiny
from workloads.serving.engine import Description, Request, files, load, save, scheduler
from workloads.serving.engine.sampling import choose
from workloads.serving.errors import DiskFailed, VerificationFailed


@given(st.lists(st.booleans(), max_size=8), st.lists(st.booleans(), max_size=4))
def test_moves_leave_no_gap_lose_nobody_and_keep_the_order_of_prompts(answering, reading):
    slots: list[str | None] = [f"a{i}" if stays else None for i, stays in enumerate(answering)]
    slots += [f"r{i}" if stays else None for i, stays in enumerate(reading)]
    wanted = {name for name in slots if name}
    moves = scheduler.close_gaps(answering, reading)
    for move in moves:
        assert slots[move.source] is not None
        slots[move.target] = slots[move.source]
    kept = slots[: len(wanted)]
    assert set(kept) == wanted
    assert [name[0] for name in kept] == ["a"] * sum(answering) + ["r"] * sum(reading)
    read = [name for name in kept if name.startswith("r")]
    assert read == sorted(read)
    assert len(moves) <= sum(not stays for stays in answering) + sum(reading)


@given(st.lists(st.integers(1, 50), max_size=6), st.integers(1, 60))
def test_the_oldest_prompt_is_read_first_and_no_step_reads_more_than_it_may(unread, most):
    shares = scheduler.parts(unread, scheduler.Limits(8, 8, most))
    assert sum(shares) == min(sum(unread), most)
    partly = [i for i, (share, tokens) in enumerate(zip(shares, unread, strict=True)) if share < tokens]
    assert all(shares[i] == 0 for i in partly[1:])


def test_draws_have_the_probabilities_of_the_model():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    count, request = 4000, Request([0], temperature=0.7)
    uniform = [(i + 0.5) / count for i in range(count)]
    found = torch.tensor(choose(logits.expand(count, 4), [request] * count, uniform)).bincount(minlength=4) / count
    torch.testing.assert_close(found, (logits[0] / 0.7).softmax(0), atol=1 / count, rtol=0)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(-30, 30), min_size=2, max_size=12, unique=True),
    st.integers(0, 14),
    st.floats(0.01, 1.0),
    st.floats(0.2, 3.0),
    st.floats(0, 1, exclude_max=True),
)
def test_only_the_k_likeliest_and_of_these_the_nucleus_are_drawn(scores, top_k, top_p, temperature, uniform):
    logits = torch.tensor([scores], dtype=torch.float32) / 5
    request = Request([0], temperature=temperature, top_k=top_k, top_p=top_p)
    # Others in the batch, with other limits, change nothing.
    others = [Request([0], temperature=1.0, top_k=1), Request([0]), Request([0], temperature=0.5)]
    token = choose(logits.expand(4, -1), [request, *others], [uniform] * 4)
    assert token[1] == token[2] == logits.argmax()
    chances = (logits[0].double() / temperature).softmax(0).tolist()
    best = sorted(range(len(scores)), key=lambda i: -chances[i])[: top_k or len(scores)]
    whole, total, nucleus = math.fsum(chances[i] for i in best), 0.0, []
    for index in best:
        nucleus.append(index)
        total += chances[index]
        if total >= top_p * whole - 1e-6:
            break
    assert token[0] in nucleus or (total - top_p * whole < 1e-5 and token[0] == best[len(nucleus)])


def test_a_nucleus_wider_than_the_first_look_is_found_whole(monkeypatch):
    monkeypatch.setattr("workloads.serving.engine.sampling.FEW", 8)
    logits = torch.zeros(1, 64)
    requests, uniform = [Request([0], temperature=1.0, top_p=0.5)] * 64, [(i + 0.5) / 64 for i in range(64)]
    assert len(set(choose(logits.expand(64, -1), requests, uniform))) == 32


def test_what_is_no_number_gives_no_token():
    logits = torch.tensor([[0.0, 1.0], [math.nan, 1.0], [math.inf, 1.0], [-math.inf, 1.0]])
    requests = [Request([0]), Request([0]), Request([0], temperature=1.0), Request([0], temperature=1.0)]
    assert choose(logits, requests, [0.5] * 4) == [1, None, None, 1]


def described() -> tuple[Description, dict[str, torch.Tensor]]:
    return files.described(tiny.model())


def test_a_model_is_read_as_it_was_written(tmp_path):
    description, weights = described()
    save(tmp_path / files.FILE, description, weights)
    for path in (tmp_path, tmp_path / files.FILE):
        again, read = load(path)
        assert again == description
        assert all(torch.equal(read[name], weights[name]) for name in weights)


def test_what_is_no_export_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(DiskFailed, match="No such file"):
        load(path)
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(VerificationFailed, match=r"model\.safetensors"):
        load(path)
    description, weights = described()
    save(path, description, weights)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(VerificationFailed, match=r"model\.safetensors"):
        load(path)
    good = {
        "format": files.FORMAT,
        "model": json.dumps({**vars(description.model)}),
        "sequence_length": "48",
        "precision": "float32",
    }
    for change, said in (
        ({"format": "pt"}, "format 'pt'"),
        ({"precision": "int3"}, "precision 'int3'; expected one of float32"),
        ({"model": "{}"}, "is missing or not known"),
        ({"model": "[]"}, "cannot be read|missing"),
        ({"model": json.dumps({**vars(description.model), "heads": "x"})}, "cannot be read"),
    ):
        save_file({"x": torch.zeros(1)}, path, metadata={**good, **change})
        with pytest.raises(VerificationFailed, match=said):
            load(path)
    save_file({"x": torch.zeros(1)}, path, metadata=good)
    with pytest.raises(VerificationFailed, match=r"embedding\.weight is missing"):
        load(path)
