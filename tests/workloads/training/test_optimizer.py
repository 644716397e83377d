"""The schedule's law, which weights decay, clipping, and what of the optimizer a checkpoint holds."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workloads.training import optimizer as optimizers
from workloads.training.config import Model, Optimizer
from workloads.training.model import Transformer, initialize


@given(st.integers(1, 300), st.integers(0, 400), st.floats(1e-6, 1.0), st.just(0.0) | st.floats(1e-6, 1.0))
def test_the_rate_rises_to_its_height_and_falls_to_its_floor(steps, warmup, highest, fraction):
    config = Optimizer(learning_rate=highest, warmup_steps=warmup, final_fraction=fraction)
    rates = [optimizers.learning_rate(step, steps, config) for step in range(1, steps + 1)]
    up = min(warmup, steps)
    slack = 1e-9 * highest
    assert all(0 <= rate <= highest + slack for rate in rates)
    assert all(a < b for a, b in pairwise(rates[:up]))
    assert all(a >= b - slack for a, b in pairwise(rates[up:]))
    if up:
        assert rates[up - 1] == pytest.approx(highest)
    if up < steps:
        assert rates[-1] == pytest.approx(highest * fraction, abs=slack)
    # No jump: a step changes it by no more than the steepest part of line or cosine does.
    steepest = max(highest / max(up, 1) if up else 0.0, highest * math.pi / 2 / max(steps - up, 1))
    assert all(abs(a - b) <= steepest * 1.01 + slack for a, b in pairwise(rates))


def small(**changes) -> Transformer:
    model = Transformer(Model(layers=1, width=16, feed_forward=24, vocabulary=31, **changes), 8)
    initialize(model, 1)
    return model


def test_matrices_decay_and_nothing_else():
    model = small(positions="learned", bias=True, norm="layer")
    names = {parameter: name for name, parameter in model.named_parameters()}
    made = optimizers.build(model, Optimizer(weight_decay=0.3))
    decayed = {names[p] for group in made.param_groups if group["weight_decay"] == 0.3 for p in group["params"]}
    kept = {names[p] for group in made.param_groups if group["weight_decay"] == 0.0 for p in group["params"]}
    assert decayed | kept == set(names.values())
    assert "positions.weight" in kept
    assert {"embedding.weight", "blocks.0.attention.query.weight"} <= decayed
    assert all(name.endswith("bias") or "norm" in name or name == "positions.weight" for name in kept)


def step(model: Transformer, optimizer: torch.optim.Optimizer, seed: int) -> None:
    text = torch.randint(0, 31, (2, 9), generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    model(text[:, :-1], text[:, 1:]).backward()
    optimizer.step()


def test_clipping_is_torchs():
    ours, theirs = small(), small()
    for model in (ours, theirs):
        step(model, optimizers.build(model, Optimizer()), 1)
    norm = optimizers.gradient_norm(ours.parameters())
    optimizers.clip(ours.parameters(), norm, 0.01)
    assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.01).item())
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)
    optimizers.clip(ours.parameters(), optimizers.gradient_norm(ours.parameters()), 0.0)
    assert optimizers.gradient_norm(ours.parameters()) == pytest.approx(0.01)


def test_what_is_saved_of_an_optimizer_is_enough_to_go_on_with_the_same_bits():
    model = small()
    optimizer = optimizers.build(model, Optimizer())
    for seed in range(3):
        step(model, optimizer, seed)
    saved = {
        kind: {name: tensor.clone() for name, tensor in tensors.items()}
        for kind, tensors in optimizers.state(model, optimizer).items()
    }
    step(model, optimizer, 9)

    again = small()
    new = optimizers.build(again, Optimizer())
    for kind, tensors in optimizers.state(again, new).items():
        for name, tensor in tensors.items():
            tensor.copy_(saved[kind][name])
    optimizers.restore(again, new, 3)
    step(again, new, 9)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
