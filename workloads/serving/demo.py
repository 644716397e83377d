"""`make serve`: everything from a checkpoint to streamed answers on this machine, with nothing to prepare.

Trains for a minute if there is no checkpoint, exports it if that has not been done, serves it, asks it something and
measures it.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.serving import serve
from workloads.serving.errors import NotInStore, ServingError
from workloads.serving.export import export, find
from workloads.serving.manifest import ModelVersion
from workloads.serving.store import Repository
from workloads.serving.triton import Triton
from workloads.training.checkpoints import layout

NAME = "language-model"
STREAMS = 16
LEAVE_S = 90.0
"""How long a training run that was told to end may take to save."""


@dataclass(frozen=True)
class Measured:
    """What one load of the model came to."""

    streams: int
    tokens: int
    seconds: float
    first_token_s: float
    """From the request to the first part of its answer, the median."""

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


def checkpoint_of(directory: Path, train_s: float) -> Path:
    """The run's directory, trained for `train_s` seconds if it has no checkpoint yet. Raises ServingError."""
    try:
        found = find(directory)
    except NotInStore:
        say(f"no checkpoint in {directory}: training a small model on Python's standard library for {train_s:.0f} s")
        _train(directory, train_s)
        found = find(directory)
    say(f"checkpoint: {found.checkpoint}, step {found.marker.step:,}")
    return directory


def _train(directory: Path, train_s: float) -> None:
    """Train until it is done or time is up; then as before a preemption: it saves, and `make train` would go on."""
    command = [sys.executable, "-m", "workloads.training", "--config", "tiny", "--output", str(directory)]
    # Its process group is its own, so that it is told to end once, by us.
    process = subprocess.Popen([*command, "--checkpoint.every", "10"], start_new_session=True)
    try:
        # The clock starts with the first step, after the text has been made into tokens; and however slow the machine
        # is, there is to be something to serve.
        started = time.monotonic()
        while process.poll() is None and (time.monotonic() - started < train_s or not _saved(directory)):
            if not (directory / "metrics.jsonl").exists():
                started = time.monotonic()
            time.sleep(0.2)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    try:
        process.wait(LEAVE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise ServingError(f"{directory}: training does not end; train it with `make train`") from None


def _saved(directory: Path) -> bool:
    return any((directory / "checkpoints").glob(f"step-*/{layout.MARKER}"))


def exported(checkpoint: Path, repository: Path) -> ModelVersion:
    """The version that this checkpoint is, exported now unless it is the newest that there is."""
    marker = find(checkpoint).marker
    try:
        model = serve.newest(str(repository), NAME)
        known = Repository(serve.url(str(repository))).manifest(model).provenance
        if known["checkpoint"]["id"] == marker.id:
            say(f"{model} is exported already")
            return model
    except NotInStore:
        pass
    model, manifest = export(checkpoint, str(repository), NAME, slots=STREAMS)
    evaluation = manifest.provenance["evaluation"]
    quality = f", {evaluation['held_out_bits_per_byte']:.2f} bits per byte" if evaluation else ""
    say(f"exported {model} to {repository}, {manifest.total_bytes / 2**20:.1f} MiB{quality}")
    return model


def stream(triton: Triton, prompt: str, **sampling: Any) -> Iterator[tuple[str, int]]:
    """Parts of an answer and their tokens, as they come, over Triton's /generate_stream. Raises ServingError."""
    host, _, port = triton.http.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60.0)
    parameters = {"stream": True, "return_num_output_tokens": True, **sampling}
    try:
        body = json.dumps({"text_input": prompt, "parameters": parameters})
        connection.request("POST", f"/v2/models/{NAME}/generate_stream", body)
        response = connection.getresponse()
        for line in response:
            if line.startswith(b"data: "):
                part = json.loads(line.removeprefix(b"data: "))
                if "error" in part:
                    raise ServingError(part["error"])
                yield part["text_output"], part["num_output_tokens"]
        if response.status != 200:
            raise ServingError(f"HTTP {response.status}")
    except OSError as error:
        raise ServingError(f"{triton.http}: {error}") from error
    finally:
        connection.close()


def measure(triton: Triton, streams: int, seconds: float, prompt: str) -> Measured:
    """Keep as many streams busy for that long."""
    begun = time.monotonic()
    until = begun + seconds
    first: list[float] = []

    def one(index: int) -> int:
        tokens, seed = 0, index * 1_000_000
        while (asked := time.monotonic()) < until:
            seed += 1
            for number, (_, count) in enumerate(stream(triton, prompt, max_tokens=64, seed=seed)):
                if number == 0:
                    first.append(time.monotonic() - asked)
                tokens += count
        return tokens

    with ThreadPoolExecutor(streams) as pool:
        tokens = sum(pool.map(one, range(streams)))
    return Measured(streams, tokens, time.monotonic() - begun, sorted(first)[len(first) // 2])


def run(
    checkpoint: Path, output: Path, *, prompt: str, train_s: float, measure_s: float, stop: threading.Event, stay: bool
) -> None:
    """All of it. Raises a ServingError where a step fails."""
    source = checkpoint_of(checkpoint, train_s)
    repository = output / "repository"
    model = exported(source, repository)
    triton = Triton(output / "models", log=output / "triton.log", exit_timeout_s=10)
    started = time.monotonic()
    with triton:
        server = serve.Server(triton, str(repository))
        server.take(model)
        say(
            f"Triton {triton.http} (HTTP), {triton.grpc} (gRPC), {triton.metrics} (metrics); "
            f"ready after {time.monotonic() - started:.1f} s"
        )
        print(f"\n{prompt}", end="", flush=True)
        for words, _ in stream(triton, prompt, max_tokens=160, temperature=0.7, top_k=20, seed=1):
            print(words, end="", flush=True)
        print("\n")
        if measure_s:
            for streams in (1, STREAMS):
                found = measure(triton, streams, measure_s, prompt)
                say(
                    f"{streams:2} {'streams' if streams > 1 else 'stream '}: {found.tokens_per_second:7,.0f} tokens/s, "
                    f"first token after {found.first_token_s * 1000:.0f} ms"
                )
        question = json.dumps({"text_input": prompt, "parameters": {"max_tokens": 100, "stream": True}})
        say(f"curl -N http://{triton.http}/v2/models/{NAME}/generate_stream -d '{question}'")
        if stay and not stop.is_set():
            say("serving until Ctrl-C")
            server.run([NAME], 5.0, stop)
    say("drained")


def say(line: str) -> None:
    print(line, flush=True)


def stays() -> bool:
    """Whether somebody is there who would end it."""
    return sys.stdout.isatty() and not os.environ.get("CI")
