"""A configuration search that measures a tenth of the space, most of it briefly, finds what measuring all of it finds.

On simulated queues: five kinds of model, four objectives, measurements that err by 3 %. What is found is judged without
the error, at full length. With the argument `triton` also on a real server, whose model takes as long as its batch says
(it sleeps, so that the search and not the machine is measured): every configuration, which takes ten minutes.

Run: `make bench`, or `.venv/bin/python benchmarks/bench_tuning.py [triton]` (a minute without).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from measure import table, verdict

from workloads.serving.simulator import Service
from workloads.serving.triton import Triton
from workloads.serving.tune import Configuration, Found, Measure, Measured, Objective, Space, exhaustive, tune
from workloads.serving.tuning import Admin, on_queue, on_triton

SPACE = Space()
SECONDS, NOISE, SEEDS = 1.0, 0.03, 3
CLIENT_S = 0.0005
# Seconds by batch size, and how many clients ask.
MODELS = {
    "MLP on 2 cores": (Service(((1, 0.004), (8, 0.006), (32, 0.018), (64, 0.034)), cores=2), 32),
    "GPU, a step at 32": (Service(((1, 0.005), (8, 0.0052), (16, 0.0055), (32, 0.007), (64, 0.012)), cores=1), 64),
    "large fixed cost": (Service.linear(0.02, 0.0002, cores=1.5), 24),
    "nothing to batch": (Service.linear(0.0002, 0.002, cores=2), 16),
    "4 cores": (Service.linear(0.005, 0.001, cores=4), 48),
}
OBJECTIVES = tuple(Objective(seconds) for seconds in (float("inf"), 0.1, 0.05, 0.02))

REAL_SPACE = Space((1, 2, 3), (1, 2, 4, 8, 16, 32), (0, 200, 1000, 3000, 10_000), ((), (0.5,)))
REAL_OBJECTIVE = Objective(0.06)
REAL_CONFIG = """
name: "as_long_as_it_says"
backend: "python"
max_batch_size: 32
input [{ name: "x" data_type: TYPE_FP32 dims: [ 1 ] }]
output [{ name: "y" data_type: TYPE_FP32 dims: [ 1 ] }]
instance_group [{ kind: KIND_CPU count: 1 }]
dynamic_batching { }
"""
REAL_MODEL = """
import time
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        time.sleep(0.02 + 0.001 * len(requests))
        found = [pb.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb.InferenceResponse([pb.Tensor("y", x)]) for x in found]
"""


def noisy(true: Measure, seed: int) -> Measure:
    """A short measurement errs more."""
    chance = np.random.default_rng(seed)

    def measure(configuration: Configuration, seconds: float) -> Measured:
        found = true(configuration, seconds)
        error = float(np.exp(chance.normal(0.0, NOISE / np.sqrt(seconds / SECONDS))))
        return Measured(found.throughput * error, found.latency_s / error)

    return measure


def ratio(found: Measured, best: Measured, objective: Objective) -> float:
    """Of what was found to the best there is; above 0 only if both meet the objective or neither does."""
    mine, its = objective.score(found), objective.score(best)
    if its > 0:
        return max(mine, 0.0) / its
    return its / mine if mine < 0 else 1.0


def simulated() -> tuple[float, float]:
    """The worst ratio, and the largest share of the space that was measured."""
    rows, worst, largest = [], 1.0, 0.0
    total = len(SPACE.configurations())
    for name, (service, concurrency) in MODELS.items():
        for objective in OBJECTIVES:
            true = on_queue(service, concurrency, objective, CLIENT_S)
            best = exhaustive(true, SPACE, objective, seconds=SECONDS)
            ratios, searches = [], []
            for seed in range(SEEDS):
                found = tune(noisy(true, seed), SPACE, objective, seconds=SECONDS, seed=seed)
                ratios.append(ratio(true(found.best.configuration, SECONDS), best.measured, objective))
                searches.append(found)
            share = max(found.configurations for found in searches) / total
            time_share = max(found.seconds for found in searches) / (SECONDS * total)
            rows.append(
                (name, f"{objective.latency_s * 1e3:g} ms", best.measured.throughput, min(ratios), share, time_share)
            )
            worst, largest = min(worst, *ratios), max(largest, share)
    table(("model", "objective", "best, 1/s", "found / best", "of the space", "of the time"), rows)
    return worst, largest


def real() -> tuple[float, Found]:
    """The same on a server: the ratio is of two measurements of the same length, one right after the other."""
    with tempfile.TemporaryDirectory() as directory:
        model = Path(directory) / "models" / "as_long_as_it_says"
        (model / "1").mkdir(parents=True)
        (model / "config.pbtxt").write_text(REAL_CONFIG)
        (model / "1" / "model.py").write_text(REAL_MODEL)
        with Triton(model.parent, log=Path(directory) / "log") as triton:
            triton.load(model.name)
            config = Admin(f"http://{triton.http}", triton.admin).config(model.name)

            def load(changed: Mapping[str, Any]) -> None:
                triton.load(model.name, config=changed)

            inputs = {"x": np.zeros((1, 1), np.float32)}
            endpoint = f"grpc://{triton.grpc}"
            measure = on_triton(endpoint, model.name, inputs, load, config, 32, REAL_OBJECTIVE)
            found = tune(measure, REAL_SPACE, REAL_OBJECTIVE, seconds=2.0)
            best = exhaustive(measure, REAL_SPACE, REAL_OBJECTIVE, seconds=1.0)
            both = [[measure(each.configuration, 2.0) for each in (found.best, best)] for _ in range(3)]
    print(f"found {found.best.configuration}\nbest  {best.configuration}")
    # The best of many measurements is also the luckiest: both are measured again.
    mine, its = (float(np.median([pair[index].throughput for pair in both])) for index in (0, 1))
    return mine / its, found


def main(where: str = "") -> None:
    worst, share = simulated()
    verdict("found / exhaustive best, the worst of all", worst, 0.95, at_least=True)
    verdict("share of the space that was measured", share, 0.10)
    if where == "triton":
        measured, found = real()
        verdict("found / exhaustive best on a real Triton", measured, 0.95, at_least=True)
        verdict("share of the space that was measured there", found.configurations / found.space, 0.10)


if __name__ == "__main__":
    main(*sys.argv[1:])
