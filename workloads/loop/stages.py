"""The stages of the loop, in order. Each gives what it came to in a sentence, or raises what went wrong."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from workloads.loop import texts
from workloads.loop.errors import LoopError
from workloads.loop.events import Log
from workloads.loop.processes import Program, free_port
from workloads.loop.services import Bucket, Prometheus
from workloads.loop.settings import MODEL, Settings
from workloads.loop.texts import CODE
from workloads.loop.traffic import Traffic
from workloads.loop.world import World
from workloads.serving import scorer
from workloads.serving.manifest import ModelVersion
from workloads.serving.serve import Server
from workloads.serving.triton import Triton

CHAMPION, CANDIDATE = "champion", "candidate"


class Loop:
    """What stages share: everything that runs, and where it is. A context manager that ends all of it."""

    def __init__(self, settings: Settings, log: Log) -> None:
        self.settings, self.log = settings, log
        self.output = settings.output
        self.library = texts.library()
        self.champion = ModelVersion(MODEL, 1)
        self.candidate: ModelVersion | None = None
        self.stage = ""
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def say(self, text: str) -> None:
        self.log.add("say", stage=self.stage, text=text)

    def run(self, name: str, module: str, *words: str, seconds: float = 300.0) -> None:
        """One of our own programs, until it ends. Raises LoopError."""
        log = self.output / "logs" / f"{name}.log"
        self.log.add("file", path=str(log.relative_to(self.output)), title=f"what {name} said")
        with Program(name, [sys.executable, "-m", module, *words], log) as program:
            program.finish(seconds)


def train(loop: Loop) -> str:
    settings = loop.settings
    bucket = loop.bucket = loop._stack.enter_context(Bucket(loop.output / "logs/bucket.log"))
    loop.repository = bucket.url("models")
    corpus = loop.library.write([CODE], loop.output / "data/learnt")
    tokens = loop.output / "data/tokens"
    loop.run("prepare", "workloads.data", "prepare", "--corpus", str(corpus), "--output", str(tokens))
    words = ["--config", "tiny", "--output", str(loop.output / "train"), "--data", str(tokens)]
    options = {
        "model.layers": settings.layers, "model.width": settings.width, "data.sequence_length": settings.sequence_length,
        "training.steps": settings.train_steps, "training.batch_size": settings.batch_size,
        "training.evaluate_every": settings.train_steps, "checkpoint.every": settings.train_steps,
        "optimizer.learning_rate": 3e-3,
    }  # fmt: skip
    loop.run("train", "workloads.training", *words, *(w for k, v in options.items() for w in (f"--{k}", str(v))))
    return f"{settings.train_steps} steps on the standard library's code"


def export(loop: Loop) -> str:
    loop.champion, manifest = scorer.export(loop.output / "train", loop.repository, MODEL, runtime="eager")
    return f"{loop.champion} in {loop.repository}, {manifest.total_bytes / 2**20:.1f} MiB"


def serve(loop: Loop) -> str:
    loop.servers = {}
    for arm in (CHAMPION, CANDIDATE):
        triton = Triton(loop.output / arm, log=loop.output / f"logs/triton-{arm}.log", exit_timeout_s=5)
        loop._stack.enter_context(triton)
        out = loop._stack.enter_context((loop.output / f"logs/{arm}.log").open("w"))
        loop.servers[arm] = Server(triton, loop.repository, out)
    loop.servers[CHAMPION].take(loop.champion)
    port, admin_port = free_port(), free_port()
    words = [
        "--model", MODEL, "--port", str(port), "--admin-port", str(admin_port),
        "--state", str(loop.output / "routing.json"),
        "--baseline", f"http://{loop.servers[CHAMPION].triton.http}",
        "--candidate", f"http://{loop.servers[CANDIDATE].triton.http}",
    ]  # fmt: skip
    router = Program("router", [sys.executable, "-m", "workloads.loop.front", *words], loop.output / "logs/router.log")
    loop._stack.enter_context(router)
    router.wait_for(admin_port, "/live")
    targets = {"router": f"127.0.0.1:{admin_port}"} | {a: s.triton.metrics for a, s in loop.servers.items()}
    loop.prometheus = loop._stack.enter_context(Prometheus(loop.output / "prometheus", targets))
    asked = loop.library.passages(loop.settings.passage_bytes)
    loop.traffic = loop._stack.enter_context(
        Traffic(
            f"http://127.0.0.1:{port}", MODEL, World(asked, loop.settings.seed), loop.log,
            rate=loop.settings.rate, prose=0.05, arm=lambda version: CHAMPION,
        )
    )  # fmt: skip
    loop.log.add("weights", rollout="", weights={CHAMPION: 1.0}, state="")
    time.sleep(loop.settings.before_s)
    return f"{loop.traffic.answered:,} requests answered"


def shift(loop: Loop) -> str:
    loop.traffic.shift(loop.settings.shift_s, loop.settings.shifted)
    time.sleep(loop.settings.shift_s + 10)
    return f"{loop.traffic.prose:.0%} English"


STAGES: Sequence[tuple[str, str, Callable[[Loop], str]]] = (
    ("train", "Train", train),
    ("export", "Export", export),
    ("serve", "Serve", serve),
    ("shift", "Shift the traffic", shift),
)
