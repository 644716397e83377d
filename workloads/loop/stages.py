"""The stages of the loop, in order. Each gives what it came to in a sentence, or raises what went wrong."""

from __future__ import annotations

import codecs
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from workloads.loop import retraining, rolling, watching
from workloads.loop.errors import LoopError
from workloads.loop.events import Log
from workloads.loop.processes import Program, free_port
from workloads.loop.retraining import Retraining
from workloads.loop.services import Bucket, Prometheus, until
from workloads.loop.settings import MODEL, NAME, Settings
from workloads.loop.texts import CODE, KINDS, Library, library
from workloads.loop.traffic import CANDIDATE, CHAMPION, Traffic
from workloads.loop.watching import Watching
from workloads.loop.world import World
from workloads.pipelines.registry import Registry
from workloads.pipelines.steps.sign import KEY
from workloads.serving import signing
from workloads.serving.client import Client
from workloads.serving.manifest import ModelVersion
from workloads.serving.serve import Server
from workloads.serving.triton import Triton

WARM = 50
"""Requests that warm a candidate up."""


class Loop:
    """What stages share: everything that runs, and where it is. A context manager that ends all of it."""

    bucket: Bucket
    library: Library
    champion: ModelVersion
    candidate: ModelVersion
    traffic: Traffic
    watching: Watching
    prometheus: Prometheus | None = None
    run: Retraining
    rollout: rolling.Rolling
    admin: str

    def __init__(self, settings: Settings, log: Log) -> None:
        self.settings, self.log, self.output = settings, log, settings.output
        self.servers: dict[str, Server] = {}
        self.stage = ""
        self.open = ExitStack()

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *error: object) -> None:
        self.stage = ""
        try:
            if self.prometheus and self.prometheus.program:
                ask_prometheus(self)
        finally:
            self.open.close()

    def say(self, text: str) -> None:
        self.log.add("say", stage=self.stage, text=text)

    @property
    def mlflow(self) -> str:
        return f"sqlite:///{self.output}/mlflow.db"

    def pipeline(self, name: str, corpus: Path, *, champion: str, steps: int) -> Retraining:
        """Start a run of the pipeline."""
        parameters = retraining.parameters(
            self.settings, corpus, self.bucket.url("models"), self.mlflow, champion=champion, steps=steps
        )
        run = Retraining(self.log, name, self.output, parameters, {KEY: str(self.output / "signing.pem")})
        self.open.callback(run.program.stop)
        return run

    def registered(self) -> ModelVersion:
        """The version that the pipeline's run has come to, once it has."""
        found = self.run.finish()
        number = max(ModelVersion.parse(each).version for each in found["places"])
        return ModelVersion(MODEL, number)

    def arm_of(self, version: str) -> str:
        return CHAMPION if version == str(self.champion.version) else CANDIDATE


def train(loop: Loop) -> str:
    loop.say("a bucket, a key to sign with, texts")
    loop.bucket = loop.open.enter_context(Bucket(loop.output / "logs/bucket.log"))
    loop.library = library()
    signing.make_key(loop.output / "signing.pem")
    corpus = loop.library.write([CODE], loop.output / "data/first")
    # MLflow makes its database in ten seconds, which training leaves time for.
    threading.Thread(target=lambda: Registry(loop.mlflow).aliases(NAME), name="mlflow", daemon=True).start()
    loop.say("learning the code of Python's standard library")
    loop.run = loop.pipeline("first", corpus, champion="", steps=loop.settings.train_steps)
    bits = loop.run.until("train").facts["held_out_bits_per_byte"]
    return f"{loop.settings.train_steps} steps on Python's code, {bits:.2f} bits per byte of what was held out"


def export(loop: Loop) -> str:
    loop.champion = loop.registered()
    Registry(loop.mlflow).promote(NAME, str(loop.champion.version))
    loop.log.add("version", version=str(loop.champion), role="champion", origin="learnt code")
    return f"{loop.champion} is signed, in {loop.bucket.url('models')} and MLflow's champion"


def serve(loop: Loop) -> str:
    settings = loop.settings
    loop.say("two Tritons")
    for arm in (CHAMPION, CANDIDATE):
        log = loop.output / f"logs/triton-{arm}.log"
        loop.log.add("file", path=str(log.relative_to(loop.output)), title=f"the {arm}'s Triton")
        triton = loop.open.enter_context(Triton(loop.output / f"serving/{arm}", log=log, exit_timeout_s=5))
        out = loop.open.enter_context((loop.output / f"logs/serving-{arm}.log").open("w"))
        loop.servers[arm] = Server(triton, loop.bucket.url("models"), out)
    loop.servers[CHAMPION].take(loop.champion)
    loop.say("the router, and the log of requests")
    properties = watching.lake_properties(loop.output / "lake", loop.bucket.url("lake"), loop.bucket.endpoint)
    url, admin = _front(loop, properties)
    targets = {"router": admin.removeprefix("http://")}
    targets |= {f"triton-{arm}": server.triton.metrics for arm, server in loop.servers.items()}
    prometheus = loop.prometheus = loop.open.enter_context(Prometheus(loop.output / "prometheus", targets))
    loop.watching = Watching(settings, loop.log, properties)
    world = World(loop.library.passages(settings.passage_bytes), settings.seed)
    loop.log.add("weights", rollout="", weights={CHAMPION: 1.0}, mirror=0.0, state="")
    loop.traffic = Traffic(url, MODEL, world, loop.log, rate=settings.rate, prose=settings.before, arm=loop.arm_of)
    loop.open.enter_context(loop.traffic)
    until(20.0, "the first answers", lambda: loop.traffic.answered >= 20)
    return f"{loop.champion} at {url}" + ("" if prometheus.installed else "; Prometheus is not installed")


def _front(loop: Loop, lake: Mapping[str, str]) -> tuple[str, str]:
    """Where users ask, and where weights are set."""
    port, admin_port = free_port(), free_port()
    command = [
        sys.executable, "-m", "workloads.loop.front", "--model", MODEL, "--lake", json.dumps(dict(lake)),
        "--flush-s", str(watching.FLUSH_S),
        "--port", str(port), "--admin-port", str(admin_port), "--state", str(loop.output / "routing.json"),
        "--baseline", f"http://{loop.servers[CHAMPION].triton.http}",
        "--candidate", f"http://{loop.servers[CANDIDATE].triton.http}",
    ]  # fmt: skip
    program = loop.open.enter_context(Program("the router", command, loop.output / "logs/router.log", dict(os.environ)))
    program.wait_for(admin_port, "/live")
    loop.admin = f"http://127.0.0.1:{admin_port}"
    return f"http://127.0.0.1:{port}", loop.admin


SERIES = (
    (
        "Requests that the router has answered", "a second",
        'sum by (arm) (rate(rollout_requests_total{outcome="ok"}[10s]))',
    ),
    ("Requests that failed", "a second", 'sum by (arm) (rate(rollout_requests_total{outcome!="ok"}[10s]))'),
    (
        "Time of the slowest hundredth", "s",
        "histogram_quantile(0.99, sum by (arm, le) (rate(rollout_request_duration_seconds_bucket[10s])))",
    ),
    ("Texts that the Tritons have scored", "a second", "sum by (job) (rate(nv_inference_request_success[10s]))"),
)  # fmt: skip
"""What Prometheus is asked at the end: title, unit, query."""


def ask_prometheus(loop: Loop) -> None:
    """What it has seen of the router and the Tritons, for the page."""
    assert loop.prometheus, "it is asked"
    for title, unit, query in SERIES:
        try:
            points = loop.prometheus.query(query, loop.log.began, time.time(), 2.0)
        except LoopError as error:
            loop.say(str(error))
        else:
            loop.log.add("series", title=title, unit=unit, query=query, points=points)


def shift(loop: Loop) -> str:
    settings = loop.settings
    loop.say("traffic as the champion learnt it, watched")
    healthy = loop.watching.until(settings.notice_s, lambda report: report.decision.reason == "healthy", 2.0)
    if healthy is None:
        raise LoopError("monitoring did not find the traffic healthy before it shifted")
    loop.traffic.shift(settings.shift_s, settings.shifted)
    return f"healthy until now; over {settings.shift_s:.0f} s {settings.shifted:.0%} of the requests become English"


def notice(loop: Loop) -> str:
    looks: list[str] = []

    def fired(report: watching.Report) -> bool:
        looks.append(report.decision.reason)
        return report.decision.fire

    report = loop.watching.until(loop.settings.notice_s, fired, loop.settings.look_s)
    if report is None:
        raise LoopError(f"monitoring did not notice within {loop.settings.notice_s:.0f} s; it said {', '.join(looks)}")
    before = ", ".join(dict.fromkeys(looks[:-1]))
    return f"fired for {report.decision.reason}" + (f", after it had held back: {before}" if before else " at once")


def retrain(loop: Loop) -> str:
    corpus = loop.library.write(KINDS, loop.output / "data/second")
    loop.say(f"going on from {loop.champion}, with what users ask about now")
    loop.run = loop.pipeline("second", corpus, champion="registry", steps=loop.settings.retrain_steps)
    bits = loop.run.until("train").facts["held_out_bits_per_byte"]
    return f"{loop.settings.retrain_steps} steps on code and English, {bits:.2f} bits per byte of what was held out"


def evaluate(loop: Loop) -> str:
    loop.candidate = loop.registered()
    loop.watching.ended(loop.run.cost_usd)
    loop.log.add("version", version=str(loop.candidate), role="candidate", origin="learnt code and English")
    return f"{loop.candidate} is no worse than the champion on any slice; int8 made, signed, registered"


def serve_candidate(loop: Loop) -> None:
    """Load it, and have its first answers, which are slow, before anybody waits for one."""
    server = loop.servers[CANDIDATE]
    server.take(loop.candidate)
    texts = loop.library.passages(loop.settings.passage_bytes)[CODE][:WARM]
    with Client([f"http://{server.triton.http}"]) as client:
        for text in texts:
            client.infer(MODEL, {"text_input": [[text]]})


def canary(loop: Loop) -> str:
    loop.rollout = rolling.Rolling(loop.settings, loop.log, loop.admin, loop.champion, loop.candidate, loop.output)
    serve_candidate(loop)
    outcome = loop.rollout.run()
    if outcome.phase != "promoted":
        raise LoopError(f"{loop.candidate} was not promoted: {outcome.says}; see {loop.rollout.journal}")
    return outcome.says


def promote(loop: Loop) -> str:
    Registry(loop.mlflow).promote(NAME, str(loop.candidate.version))
    loop.say("MLflow's champion has moved; the champion's Triton takes it over")
    loop.servers[CHAMPION].take(loop.candidate)
    before, loop.champion = loop.champion, loop.candidate
    loop.rollout.settle()
    loop.servers[CANDIDATE].triton.unload(MODEL)
    return f"{loop.champion} answers everybody, {before} nobody; {loop.traffic.failed} requests have failed so far"


def spoil(loop: Loop) -> str:
    corpus = loop.library.write(KINDS, loop.output / "data/third", lambda text: codecs.encode(text, "rot13"))
    loop.say("a broken export of the texts has turned each letter by 13; nobody has noticed")
    loop.run = loop.pipeline("third", corpus, champion="registry", steps=loop.settings.spoil_steps)
    loop.candidate = loop.registered()
    loop.log.add("version", version=str(loop.candidate), role="candidate", origin="learnt spoiled texts")
    return f"{loop.candidate} passed its evaluation, for what was held out is spoiled as well"


def catch(loop: Loop) -> str:
    loop.traffic.bad = str(loop.candidate.version)
    loop.rollout = rolling.Rolling(loop.settings, loop.log, loop.admin, loop.champion, loop.candidate, loop.output)
    serve_candidate(loop)
    outcome = loop.rollout.run()
    if outcome.phase != "rolled-back":
        raise LoopError(f"{loop.candidate} was not rolled back: {outcome.says}; see {loop.rollout.journal}")
    return outcome.says


def roll_back(loop: Loop) -> str:
    answered = loop.traffic.answered
    until(20.0, "answers after the rollback", lambda: loop.traffic.answered >= answered + 50)
    loop.servers[CANDIDATE].triton.unload(MODEL)
    champion = Registry(loop.mlflow).aliases(NAME)["champion"]
    if champion != str(loop.champion.version):
        raise LoopError(f"MLflow's champion is version {champion}; expected {loop.champion.version}")
    return (
        f"{loop.champion} answers everybody and is MLflow's champion; the bad model harmed {loop.traffic.harmed} "
        f"requests, {loop.traffic.failed} have failed in all"
    )


STAGES: Sequence[tuple[str, str, Callable[[Loop], str]]] = (
    ("train", "Train", train),
    ("export", "Export", export),
    ("serve", "Serve", serve),
    ("shift", "Shift the traffic", shift),
    ("notice", "Notice", notice),
    ("retrain", "Retrain", retrain),
    ("evaluate", "Evaluate", evaluate),
    ("canary", "Canary", canary),
    ("promote", "Promote", promote),
    ("spoil", "A bad model", spoil),
    ("catch", "Canary of it", catch),
    ("roll-back", "Roll back", roll_back),
)
