"""Requests that join between tokens: 16 streams at least 4 times one at a time, and nothing lost for one alone.

Claims: tokens/s of 16 concurrent streams are at least 4 times those of the same requests one after another; tokens/s of
one stream are at least 0.8 of a plain loop with a cache of keys and values, in the same process; and of the engine's
own decoder called in a loop, with nothing around it.

Prompts of 8 to 64 tokens, answers of 64, greedy; requests of 16 streams come four at a time, between tokens of the
others. Reading prompts counts. CPU time, one thread; rounds of all of them in turns, and the best of each counts.
Weights are random: what they say takes no time.

Run: `make bench`, or `.venv/bin/python benchmarks/bench_continuous_batching.py` (a minute or two).
"""

from __future__ import annotations

import dataclasses
import random
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from measure import ROOT, table, verdict

sys.path.insert(0, str(ROOT))
from workloads.serving.engine import Engine, Request
from workloads.serving.engine.decoder import Decoder, Part
from workloads.serving.engine.files import described
from workloads.training.config import Model, tiny
from workloads.training.model import Transformer, initialize, rotate, rotation

STREAMS, ANSWER, CONTEXT = 16, 64, 256
ROUNDS = 5
MODELS = {
    "tiny, 0.8 M": dataclasses.replace(tiny().model, vocabulary=257),
    "12.7 M": Model(layers=4, width=512, heads=8, key_value_heads=4, feed_forward=1536, vocabulary=257),
}


def main() -> None:
    torch.set_num_threads(1)
    rows, worst = [], {"many": float("inf"), "plain": float("inf"), "decoder": float("inf")}
    for name, config in MODELS.items():
        model = Transformer(config, CONTEXT).eval()
        initialize(model, 1)
        rates = measured(model)
        ratios = {
            "many": rates["16 streams"] / rates["one at a time"],
            "plain": rates["one stream"] / rates["plain loop"],
            "decoder": rates["one stream"] / rates["decoder alone"],
        }
        worst = {key: min(worst[key], ratio) for key, ratio in ratios.items()}
        rows.append([name, *rates.values(), *ratios.values()])
    table(["tokens per CPU second", *rates, "16 / one", "one / plain", "one / decoder"], rows)
    verdict("16 streams / one request at a time, worst model", worst["many"], 4.0, at_least=True)
    verdict("one stream / a plain loop with a cache, worst model", worst["plain"], 0.8, at_least=True)
    verdict("one stream / the decoder alone, worst model", worst["decoder"], 0.8, at_least=True)


def measured(model: Transformer) -> dict[str, float]:
    """Tokens of answers a CPU second."""
    draw = random.Random(1)
    prompts = [[draw.randrange(257) for _ in range(draw.randint(8, 64))] for _ in range(STREAMS)]
    engine = Engine(model, slots=STREAMS, context=CONTEXT)
    decoder = Decoder(*described(model), slots=1, context=CONTEXT)
    ways: dict[str, tuple[int, Callable[[], object]]] = {
        "16 streams": (STREAMS, lambda: together(engine, prompts)),
        "one at a time": (STREAMS, lambda: [together(engine, [prompt]) for prompt in prompts]),
        "one stream": (4, lambda: [together(engine, [prompt]) for prompt in prompts[:4]]),
        "plain loop": (4, lambda: [plain(model, prompt) for prompt in prompts[:4]]),
        "decoder alone": (4, lambda: [bare(decoder, prompt) for prompt in prompts[:4]]),
    }
    best = dict.fromkeys(ways, float("inf"))
    for turn in range(ROUNDS + 1):
        for name, (_, way) in ways.items():
            begun = time.process_time()
            way()
            if turn:
                # The first warms caches and allocators.
                best[name] = min(best[name], time.process_time() - begun)
    return {name: count * ANSWER / best[name] for name, (count, _) in ways.items()}


def together(engine: Engine, prompts: list[list[int]]) -> int:
    """Ask four more after each fourth step, as long as there are some. Returns the number of tokens."""
    waiting, count, step = list(prompts), 0, 0
    while waiting or engine.busy:
        if step % 4 == 0:
            for prompt in waiting[:4]:
                engine.submit(Request(prompt, ANSWER))
            waiting = waiting[4:]
        count += sum(event.token is not None for event in engine.step())
        step += 1
    assert count == len(prompts) * ANSWER, count
    return count


def bare(decoder: Decoder, prompt: list[int]) -> list[int]:
    """The engine's decoder with nothing around it."""
    logits = decoder.forward(prompt, [], [Part(0, 0, len(prompt))], logits=[len(prompt) - 1])
    answer = [int(logits[0].argmax())]
    for position in range(len(prompt), len(prompt) + ANSWER - 1):
        answer.append(int(decoder.forward([answer[-1]], [position])[0].argmax()))
    return answer


@torch.inference_mode()
def plain(model: Transformer, prompt: list[int]) -> list[int]:
    """The model as it was trained, with keys and values kept, as one would write it first."""
    config = model.config
    kept: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * config.layers
    cosine, sine = rotation(CONTEXT, config.width // config.heads, config.rotary_base, torch.device("cpu"))
    answer, tokens, start = [], torch.tensor([prompt]), 0
    while len(answer) < ANSWER:
        length = tokens.shape[1]
        angles = cosine[start : start + length], sine[start : start + length]
        x = model.embedding(tokens)
        for layer, block in enumerate(model.blocks):
            attention, normed = block.attention, block.attention_norm(x)
            query, key, value = (
                part(normed).view(1, length, -1, attention.head_width).transpose(1, 2)
                for part in (attention.query, attention.key, attention.value)
            )
            query, key = rotate(query, angles), rotate(key, angles)
            before = kept[layer]
            if before is not None:
                key, value = torch.cat((before[0], key), dim=2), torch.cat((before[1], value), dim=2)
            kept[layer] = key, value
            mixed = F.scaled_dot_product_attention(query, key, value, is_causal=length > 1, enable_gqa=True)
            x = x + attention.output(mixed.transpose(1, 2).reshape(1, length, -1))
            x = x + block.feed_forward(block.feed_forward_norm(x))
        logits = F.linear(model.norm(x[:, -1]), model.embedding.weight)
        answer.append(int(logits.argmax()))
        start, tokens = start + length, torch.tensor([answer[-1:]])
    return answer


if __name__ == "__main__":
    main()
