"""Smaller and faster weights, and what that costs: size, speed, and bits per byte lost, with a limit to the latter.

    report = convert(Path("model.safetensors"), Path("int8.safetensors"), "int8", held_out("data"))

Everything is measured with the decoder that serves, so the loss is that of the answers.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from workloads.serving.engine import files
from workloads.serving.engine.decoder import Decoder, Part
from workloads.serving.engine.files import INT4_GROUP, SCALE, Description
from workloads.serving.errors import ArgumentError, ServingError
from workloads.serving.progress import gib

LIMIT = 0.01
"""Share of bits per byte that an export may be worse by."""
_INT4_OUTPUTS = 16
"""What torch's kernel wants a multiple of."""
STREAMS = 16
"""Sequences at once for which speed is measured."""


class QualityLost(ServingError):
    """A model lost more by its conversion than it may."""


@dataclass(frozen=True)
class HeldOut:
    """Text on which quality is measured."""

    tokens: Sequence[int] | Tensor
    """Consecutive tokens, at least two."""
    token_bytes: Sequence[int] | Tensor
    """Of each token of the vocabulary the bytes of text that it stands for."""


def held_out(data: str, count: int = 16_384) -> HeldOut:
    """The first `count` tokens that were held out of the data of a training run, from its directory or URL.

    Raises ArgumentError if they cannot be read.
    """
    # What serves a model needs nothing of data sets.
    from workloads.data.dataset import open_dataset
    from workloads.data.errors import DataError
    from workloads.training.run import token_bytes

    try:
        with (
            tempfile.TemporaryDirectory() as cache,
            open_dataset(f"{data.rstrip('/')}/validation", cache=Path(cache) if "://" in data else None) as dataset,
        ):
            tokens = torch.from_numpy(dataset.acquire(0)[:count].astype("int64"))
            dataset.release(0)
            return HeldOut(tokens, token_bytes(dataset.tokenizer))
    except DataError as error:
        raise ArgumentError(f"held-out text: {error}") from None


@dataclass(frozen=True)
class Report:
    """What a conversion did; `before` and `after` it."""

    precision: str
    bytes_before: int
    bytes_after: int
    bits_per_byte_before: float
    bits_per_byte_after: float
    tokens_per_second_before: float
    """Of STREAMS sequences at once, in CPU seconds."""
    tokens_per_second_after: float

    @property
    def size(self) -> float:
        return self.bytes_after / self.bytes_before

    @property
    def speed(self) -> float:
        return self.tokens_per_second_after / self.tokens_per_second_before

    @property
    def loss(self) -> float:
        """Share by which bits per byte are worse; below 0: they are better."""
        return self.bits_per_byte_after / self.bits_per_byte_before - 1

    def __str__(self) -> str:
        return (
            f"{self.precision}: {gib(self.bytes_after)}, {self.size:.2f} of the size; {self.speed:.2f} times the "
            f"speed; {self.bits_per_byte_after:.4f} bits per byte, {self.loss:+.2%}"
        )


def quantized(weights: Mapping[str, Tensor], bits: int = 8) -> dict[str, Tensor]:
    """Matrices that are multiplied with as int8, or those of the blocks as int4; with the scales that they need.

    What embeds and predicts tokens, for which small differences decide, is int8 at least. Norms, biases and positions,
    which are small and only added, stay float32. ArgumentError where a shape does not fit int4.
    """
    made: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if weight.ndim != 2 or name.startswith("positions."):
            made[name] = weight.float()
        elif bits == 4 and name.startswith("blocks."):
            made[name], made[name + SCALE] = _int4(name, weight.float())
        else:
            # Each row has the scale that its largest value gives it.
            scale = weight.float().abs().amax(dim=1).clamp(min=2**-100) / 127
            made[name] = (weight.float() / scale[:, None]).round().to(torch.int8)
            made[name + SCALE] = scale
    return made


def _int4(name: str, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Two values a byte, and of each group its scale and zero: the range from its least to its largest value."""
    outputs, inputs = weight.shape
    if outputs % _INT4_OUTPUTS or inputs % INT4_GROUP:
        raise ArgumentError(
            f"precision int4: {name} is {outputs} x {inputs}; expected multiples of {_INT4_OUTPUTS} and {INT4_GROUP}"
        )
    groups = weight.view(outputs, -1, INT4_GROUP)
    least, most = groups.aminmax(dim=-1)
    # As they are stored, so that values are rounded to what they will be multiplied with.
    scale = ((most - least) / 15).clamp(min=2**-100).bfloat16().float()
    zero = (least + 8 * scale).bfloat16().float()
    values = ((groups - zero[..., None]) / scale[..., None] + 8).round().clamp(0, 15).to(torch.uint8)
    pairs = values.view(outputs, -1, 2)
    return pairs[..., 0] | pairs[..., 1] << 4, torch.stack((scale, zero), dim=-1).bfloat16()


def converted(description: Description, weights: Mapping[str, Tensor], precision: str) -> dict[str, Tensor]:
    """Weights of that precision. ArgumentError if there is no such, or they have been converted already."""
    if description.precision != "float32":
        raise ArgumentError(f"precision {precision}: the model is {description.precision} already; expected float32")
    if precision in ("int8", "int4"):
        return quantized(weights, 8 if precision == "int8" else 4)
    if precision == "bfloat16":
        return {name: weight.bfloat16() for name, weight in weights.items()}
    raise ArgumentError(f"precision {precision!r}: expected int8, int4 or bfloat16")


def convert(
    source: Path,
    target: Path,
    precision: str,
    held_out: HeldOut,
    *,
    limit: float = LIMIT,
    clock: Callable[[], float] = time.process_time,
) -> Report:
    """Write an export with smaller weights. QualityLost, and nothing is written, if it is worse by more than `limit`.

    `limit`: a share of bits per byte. `clock`: in seconds; CPU time holds on a machine that others use too.
    """
    description, weights = files.load(source)
    report, made = compare(description, weights, precision, held_out, clock=clock)
    if not report.loss <= limit:
        raise QualityLost(f"{source}: {report}; it may be worse by at most {limit:.2%}; nothing was written")
    files.save(target, replace(description, precision=precision), made)
    return report


def compare(
    description: Description,
    weights: Mapping[str, Tensor],
    precision: str,
    held_out: HeldOut,
    *,
    clock: Callable[[], float] = time.process_time,
) -> tuple[Report, dict[str, Tensor]]:
    """What a conversion would do, and the weights that it makes."""
    made = converted(description, weights, precision)
    context = min(description.sequence_length or 256, 256)
    decoders = [
        Decoder(replace(description, precision=kind), found, slots=STREAMS, context=context)
        for kind, found in (("float32", weights), (precision, made))
    ]
    before, after = (bits_per_byte(decoder, held_out) for decoder in decoders)
    slow, fast = speeds(decoders, clock=clock)
    report = Report(precision, files.size(weights), files.size(made), before, after, slow, fast)
    return report, made


def bits_per_byte(decoder: Decoder, held_out: HeldOut) -> float:
    """Of held-out text, in windows of the decoder's context."""
    tokens = torch.as_tensor(held_out.tokens, dtype=torch.long)
    sizes = torch.as_tensor(held_out.token_bytes, dtype=torch.long)
    if len(tokens) < 2 or len(sizes) != decoder.model.vocabulary:
        raise ArgumentError(
            f"held-out text: {len(tokens)} tokens, {len(sizes)} sizes of tokens; expected at least 2 tokens and "
            f"{decoder.model.vocabulary} sizes"
        )
    nats = size = 0.0
    for window in tokens.split(decoder.context):
        count = len(window) - 1
        if count:
            logits = decoder.forward(window[:-1].tolist(), [], [Part(0, 0, count)], logits=range(count))
            nats += F.cross_entropy(logits.cpu(), window[1:], reduction="sum").item()
            size += sizes[window[1:]].sum().item()
    return nats / math.log(2) / size


def speeds(
    decoders: Sequence[Decoder],
    *,
    streams: int = STREAMS,
    steps: int = 8,
    rounds: int = 5,
    clock: Callable[[], float] = time.process_time,
) -> list[float]:
    """Tokens a second of each, the best of rounds in turns: what others do on the machine meets all of them."""
    best = [math.inf] * len(decoders)
    for turn in range(rounds + 1):
        for index, decoder in enumerate(decoders):
            first = decoder.context // 2
            begun = clock()
            for step in range(steps):
                position = min(first + step, decoder.context - 1)
                decoder.forward([step % decoder.model.vocabulary] * streams, [position] * streams)
            if turn:
                # The first makes caches warm.
                best[index] = min(best[index], clock() - begun)
    return [streams * steps / seconds for seconds in best]
