"""The training loop is as fast as a straightforward one: same model, same batches' size, same run, in CPU seconds.

Ours reads shards through the loader, looks out for notices, judges losses, times phases, records metrics and saves
checkpoints; the reference has its tokens in memory and does nothing but train, as one would write it first.

Run: `make bench`, or `.venv/bin/python benchmarks/bench_training.py [STEPS]` (two minutes).
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from measure import table, verdict

from workloads.data import corpus
from workloads.data.prepare import prepare
from workloads.training.config import Config, tiny
from workloads.training.model import Transformer, initialize
from workloads.training.run import run

WARM_UP = 5
ROUNDS = 3


def main(steps: int = 30) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        prepare(corpus.standard_library(0.05), root / "data")
        config = tiny().override(
            {
                "data.source": str(root / "data"),
                "training.steps": steps + WARM_UP,
                "training.evaluate_every": 0,
                "training.evaluation_batches": 1,
                "parallel.device": "cpu",
            }
        )
        seconds: dict[str, list[float]] = {"reference": [], "ours": []}
        # In turns: what others do on the machine meets both.
        for turn in range(ROUNDS):
            seconds["reference"].append(reference(config, root / "data"))
            seconds["ours"].append(ours(config, root / f"run-{turn}"))
    tokens = steps * config.training.batch_size * config.data.sequence_length
    best = {name: tokens / min(found) for name, found in seconds.items()}
    table(["loop", "tokens per CPU second"], [[name, rate] for name, rate in best.items()])
    verdict("tokens per CPU second, ours against the reference", best["ours"] / best["reference"], 1.0, at_least=True)


def ours(config: Config, output: Path) -> float:
    """CPU seconds of the steps after the warm-up, with everything that happens between them but the last evaluation."""
    with contextlib.redirect_stdout(io.StringIO()):
        run(config, output, {}, clock=time.process_time, now=time.process_time)
    ends = [json.loads(line)["time"] for line in (output / "metrics.jsonl").read_text().splitlines()]
    return ends[-1] - ends[WARM_UP - 1]


def reference(config: Config, data: Path, clock: Callable[[], float] = time.process_time) -> float:
    """A plain loop over tokens in memory."""
    shards = sorted((data / "train").glob("shard-*.bin"))
    text = torch.from_numpy(np.concatenate([np.fromfile(shard, np.uint16) for shard in shards]).astype(np.int64))
    training, length = config.training, config.data.sequence_length
    with contextlib.ExitStack() as stack:
        stack.callback(torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled())
        torch.use_deterministic_algorithms(False)
        torch.manual_seed(training.seed)
        model = Transformer(config.override({"model.vocabulary": 257}).model, length)
        initialize(model, training.seed)
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.optimizer.learning_rate, weight_decay=0.1)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.steps)
        for step in range(training.steps):
            if step == WARM_UP:
                begun = clock()
            starts = torch.randint(0, len(text) - length - 1, (training.batch_size,))
            batch = torch.stack([text[start : start + length + 1] for start in starts])
            optimizer.zero_grad()
            loss = model(batch[:, :-1], batch[:, 1:])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip_norm)
            optimizer.step()
            schedule.step()
            loss.item()
        return clock() - begun


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
