"""The model: its size, its arithmetic, and that the future cannot be seen."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from workloads.training import flops
from workloads.training.config import NAMED, Model
from workloads.training.model import Attention, Transformer, initialize, rotate, rotation

GPT = {"norm": "layer", "positions": "learned", "activation": "gelu", "bias": True, "key_value_heads": 4}
VARIANTS = {"llama": {}, "gpt": GPT, "untied": {"tied": False}, "one key head": {"key_value_heads": 1}}


def small(**changes) -> Model:
    return dataclasses.replace(Model(layers=2, width=32, feed_forward=48, vocabulary=61), **changes)


def made(config: Model, seed: int = 1) -> Transformer:
    model = Transformer(config, 16)
    initialize(model, seed)
    return model


def tokens(*shape: int) -> torch.Tensor:
    return torch.randint(0, 61, shape, generator=torch.Generator().manual_seed(3))


# GPT-2: 124,439,808 with its 50,257 tokens, and 47 rows of 768 more. Llama 3.2 1B and Llama 3 8B: as Meta says.
@pytest.mark.parametrize(
    ("name", "parameters"),
    [("gpt2_124m", 124_439_808 + 47 * 768), ("llama_1b", 1_235_814_400), ("llama_8b", 8_030_261_248)],
)
def test_named_models_have_the_size_that_their_names_say(name, parameters):
    config = NAMED[name]()
    with torch.device("meta"):
        model = Transformer(config.model, config.data.sequence_length)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize("variant", VARIANTS)
def test_flops_are_what_torch_counts(variant):
    config = small(**VARIANTS[variant])
    text = tokens(2, 17)
    # The fused kernels' backward computes scores a second time, which is no use to the model.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        made(config)(text[:, :-1], text[:, 1:]).backward()
    assert counter.get_total_flops() == flops.per_token(config, 16) * 2 * 16


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_token_cannot_see_the_future(variant):
    model = made(small(**VARIANTS[variant]))
    text = tokens(1, 16)
    changed = text.clone()
    changed[0, 9] = (changed[0, 9] + 1) % 61
    before, after = model(text)[0], model(changed)[0]
    assert torch.equal(before[:9], after[:9])
    assert not torch.allclose(before[9:], after[9:])


def test_loss_is_the_mean_cross_entropy_of_what_comes_next():
    model, text = made(small()), tokens(3, 17)
    logits = model(text[:, :-1])
    assert logits.shape == (3, 16, 61)
    expected = F.cross_entropy(logits.reshape(-1, 61), text[:, 1:].reshape(-1))
    torch.testing.assert_close(model(text[:, :-1], text[:, 1:]), expected)


def test_a_new_model_knows_nothing():
    model, text = made(small(tied=False)), tokens(8, 17)
    assert model(text[:, :-1], text[:, 1:]).item() == pytest.approx(math.log(61), abs=0.05)


def test_shared_keys_are_keys_repeated():
    shared, whole = Attention(small(key_value_heads=2)), Attention(small(key_value_heads=4))
    with torch.no_grad():
        for name in ("query", "output"):
            getattr(whole, name).weight.copy_(getattr(shared, name).weight)
        for name in ("key", "value"):
            heads = getattr(shared, name).weight.view(2, 8, 32)
            getattr(whole, name).weight.copy_(heads.repeat_interleave(2, dim=0).reshape(32, 32))
    x = torch.randn(2, 16, 32)
    angles = rotation(16, 8, 10_000.0, torch.device("cpu"))
    torch.testing.assert_close(shared(x, angles), whole(x, angles))


def test_rotary_positions_tell_distance_only():
    query, key = torch.randn(8), torch.randn(8)
    angles = rotation(32, 8, 10_000.0, torch.device("cpu"))

    def score(i: int, j: int) -> float:
        return float(rotate(query.expand(32, 8), angles)[i] @ rotate(key.expand(32, 8), angles)[j])

    assert score(5, 2) == pytest.approx(score(25, 22), abs=1e-4)
    assert score(5, 2) != pytest.approx(score(5, 4), abs=1e-4)


def test_first_weights_follow_from_the_seed_alone():
    torch.manual_seed(1)
    one = made(small())
    torch.manual_seed(2)
    two, other = made(small()), made(small(), seed=2)
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, two.get_parameter(name))
        assert parameter.ndim == 1 or not torch.equal(parameter, other.get_parameter(name))
    deviation = one.blocks[0].attention.output.weight.std().item()
    assert deviation == pytest.approx(0.02 / math.sqrt(2 * 2), rel=0.2)


def test_checkpointed_activations_change_no_bit():
    text, gradients = tokens(2, 17), []
    for checkpointing in (False, True):
        model = Transformer(small(), 16, activation_checkpointing=checkpointing)
        initialize(model, 1)
        model(text[:, :-1], text[:, 1:]).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_the_peak_of_a_cpu_is_measured():
    ticks = iter(range(100))
    assert flops.measured(torch.device("cpu"), torch.float32, lambda: float(next(ticks))) == 2.0 * 1024**3
