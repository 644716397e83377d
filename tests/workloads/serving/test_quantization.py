"""Conversions: as small as they say, close to what they came from, and refused where they lose too much."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from tests.workloads.serving import tiny
from workloads.data import corpus
from workloads.data.prepare import prepare
from workloads.serving import quantization
from workloads.serving.engine import Engine, Finish, Request, files, load, save
from workloads.serving.engine.decoder import Decoder, Part
from workloads.serving.errors import ArgumentError, VerificationFailed
from workloads.serving.quantization import HeldOut, QualityLost, bits_per_byte, compare, convert, held_out

SHAPE = {"width": 64, "feed_forward": 128, "heads": 4, "key_value_heads": 2}
TEXT = torch.randint(0, tiny.VOCABULARY, (200,), generator=torch.Generator().manual_seed(2))
HELD_OUT = HeldOut(TEXT, [1] * tiny.VOCABULARY)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    description, weights = files.described(tiny.model(**SHAPE))
    described = dataclasses.replace(description, sequence_length=tiny.CONTEXT)
    save(tmp_path / "model.safetensors", described, weights)
    return tmp_path / "model.safetensors"


def decoder(path: Path) -> Decoder:
    return Decoder(*load(path), slots=2, context=tiny.CONTEXT)


def test_bits_per_byte_are_those_of_the_model_that_was_trained(exported):
    model = tiny.model(**SHAPE)
    sizes = list(range(1, tiny.VOCABULARY + 1))
    nats = size = 0.0
    for window in TEXT.split(tiny.CONTEXT):
        with torch.no_grad():
            nats += model(window[None, :-1], window[None, 1:]).item() * (len(window) - 1)
        size += sum(sizes[token] for token in window[1:])
    found = bits_per_byte(decoder(exported), HeldOut(TEXT, sizes))
    assert found == pytest.approx(nats / size / 0.6931471805599453, rel=1e-5)


def floats(weights: dict[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """What the numbers of an export mean, and how far rounding may have moved each."""
    found = {}
    for name, tensor in weights.items():
        scale = weights.get(name + ".scale")
        if tensor.dtype == torch.int8:
            found[name] = tensor * scale[:, None], scale[:, None] * 0.501
        elif tensor.dtype == torch.uint8:
            values = torch.stack((tensor & 15, tensor >> 4), dim=-1).view(*scale.shape[:2], files.INT4_GROUP).float()
            step, zero = scale.float()[..., None].unbind(2)
            # Besides, the zero of a group is rounded to 8 bits.
            moved = (step * 0.501 + (zero.abs() + 8 * step) / 200).expand_as(values)
            found[name] = ((values - 8) * step + zero).flatten(1), moved.flatten(1)
        elif not name.endswith(".scale"):
            found[name] = tensor.float(), tensor.float().abs() / 256 + 1e-9
    return found


# The error is a share of the logits' deviation and comes of rounding activations: to 7 bits in int8.
@pytest.mark.parametrize(
    ("precision", "size", "error"), [("int8", 0.30, 0.12), ("int4", 0.27, 0.03), ("bfloat16", 0.5, 0.03)]
)
def test_converted_weights_are_small_and_mean_nearly_the_same(exported, precision, size, error):
    target = exported.with_name("small.safetensors")
    report = convert(exported, target, precision, HELD_OUT, limit=0.1)
    assert report.size <= size
    assert target.stat().st_size <= exported.stat().st_size * (size + 0.1)
    meant = floats(load(target)[1])
    for name, (value, moved) in meant.items():
        assert ((value - load(exported)[1][name]).abs() <= moved).all(), name
    same = exported.with_name("same.safetensors")
    save(same, load(exported)[0], {name: value for name, (value, _) in meant.items()})
    tokens = TEXT[:20].tolist()
    one, other = (
        made.forward(tokens, [], [Part(0, 0, 20)], logits=range(20)) for made in (decoder(same), decoder(target))
    )
    assert (one - other).std() <= error * one.std()
    assert bits_per_byte(decoder(target), HELD_OUT) == report.bits_per_byte_after
    assert f"{report.loss:+.2%}" in str(report)


@pytest.mark.parametrize("precision", ["int8", "int4", "bfloat16"])
def test_converted_models_answer_many_at_once(exported, precision):
    target = exported.with_name("small.safetensors")
    convert(exported, target, precision, HELD_OUT, limit=1.0)
    engine = Engine(target, slots=3, context=tiny.CONTEXT, prompt_tokens=4)
    handles = [engine.submit(Request([n] * n, 10)) for n in range(1, 8)]
    ended = {}
    while engine.busy:
        for event in engine.step():
            if event.finished:
                ended[event.request_id] = event.finished
    assert ended == {handle.id: Finish.LENGTH for handle in handles}
    assert engine.metrics().generated_tokens == 70


def test_held_out_text_is_what_training_held_out(tmp_path):
    (tmp_path / "text").mkdir()
    for name in "abcdefgh":
        (tmp_path / "text" / f"{name}.py").write_text(f"{name} = 'ü'\n" * 50, encoding="utf-8")
    prepare(corpus.directory(tmp_path / "text", 0.3), tmp_path / "data")
    found = held_out(str(tmp_path / "data"), 40)
    text = bytes(token for token in found.tokens.tolist() if token < 256).decode(errors="ignore")
    assert " = 'ü'\n" in text
    assert (len(found.tokens), found.token_bytes.tolist()) == (40, [1] * 256 + [0])
    with pytest.raises(ArgumentError, match=r"held-out text: .*elsewhere"):
        held_out(str(tmp_path / "elsewhere"))


def test_what_loses_too_much_is_refused_and_nothing_is_written(exported, monkeypatch):
    def blunt(weights: dict[str, torch.Tensor], bits: int = 8) -> dict[str, torch.Tensor]:
        made = quantized(weights, bits)
        return {name: tensor & 64 if tensor.dtype == torch.int8 else tensor for name, tensor in made.items()}

    quantized = quantization.quantized
    monkeypatch.setattr(quantization, "quantized", blunt)
    target = exported.with_name("small.safetensors")
    # Text that the model itself finds likely: on noise, nothing can be lost.
    model = tiny.model(**SHAPE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0 if parameter.ndim == 2 else 1.0)
    description, weights = files.described(model)
    save(exported, description, weights)
    engine = Engine(exported, slots=1, context=tiny.CONTEXT)
    engine.submit(Request([1], 47 - 1, temperature=1.0))
    said = [1]
    while engine.busy:
        said += [event.token for event in engine.step() if event.token is not None]
    with pytest.raises(QualityLost, match=r"worse by at most 1\.00%; nothing was written"):
        convert(exported, target, "int8", dataclasses.replace(HELD_OUT, tokens=said))
    assert not target.exists()


def test_what_cannot_be_converted_is_refused(exported):
    description, weights = load(exported)
    with pytest.raises(ArgumentError, match="precision 'int2': expected int8, int4 or bfloat16"):
        compare(description, weights, "int2", HELD_OUT)
    with pytest.raises(ArgumentError, match="the model is int8 already"):
        compare(dataclasses.replace(description, precision="int8"), weights, "int8", HELD_OUT)
    narrow = files.described(tiny.model(width=48))
    with pytest.raises(ArgumentError, match=r"int4: blocks\.0\.attention\.query\.weight is 48 x 48"):
        compare(*narrow, "int4", HELD_OUT)
    for wrong in (HeldOut([1], [1] * tiny.VOCABULARY), HeldOut(TEXT, [1])):
        with pytest.raises(ArgumentError, match="held-out text"):
            compare(description, weights, "int8", wrong)


def test_scales_that_are_missing_or_of_another_shape_are_refused(exported):
    target = exported.with_name("small.safetensors")
    convert(exported, target, "int8", HELD_OUT, limit=1.0)
    description, weights = load(target)
    for change, said in (
        (None, "embedding.weight is torch.int8; int8 and int4 need a scale"),
        (torch.ones(3), r"embedding.weight.scale is \(3,\); expected \(61,\)"),
    ):
        changed = {name: tensor for name, tensor in weights.items() if name != "embedding.weight.scale"}
        if change is not None:
            changed["embedding.weight.scale"] = change
        save(target, description, changed)
        with pytest.raises(VerificationFailed, match=said):
            load(target)
