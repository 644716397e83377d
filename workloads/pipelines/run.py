"""A run of the pipeline: what it was told, which steps are done, and how one more of them is done.

    RUN/pipeline.json                         parameters, and what they came to when the run began
    RUN/steps/<step>/<key>/<attempt>/…        artifacts
    RUN/steps/<step>/<key>.json               the marker: written last, and once; a step without one is not done
    RUN/last/<step>.json                      the newest marker, for whoever reads it with another version of the code

The key is a digest of the step, its code, the parameters that it reads and its inputs. So a step is done again when one
of these has changed, and only then; of two that do the same at once, the first to write the marker counts.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import importlib.metadata
import inspect
import json
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from workloads.pipelines.definition import RETRAIN, Pipeline, Step
from workloads.pipelines.errors import DiskFailed, NotReady, PipelineError, on_disk
from workloads.pipelines.parameters import Parameters
from workloads.pipelines.store import Directory, Store, as_files, digest, open_store, tree

FILE = "pipeline.json"
WORKLOADS = Path(__file__).parents[1]
PLACES = ("corpus", "champion")
"""Parameters that say where something is. What it is counts, by its digest: it may be moved."""
PACKAGES = ("torch", "numpy")
"""Their versions are part of what a step is made of, as its code is."""


@dataclass(frozen=True)
class Context:
    """What a step is given: its inputs as local files, places for its outputs, and the parameters that it declared."""

    inputs: Mapping[str, Path]
    outputs: Mapping[str, Path]
    """Paths that are not there yet: a step writes a file or makes a directory."""
    parameters: Mapping[str, Any]
    work: Path
    """A directory of its own. Of a step that continues, it is the one that a killed attempt has left."""
    run: str
    """Where the run is kept."""
    key: str
    say: Callable[[str], None]


@dataclass(frozen=True)
class Done:
    """The marker of a step: what it made, of what, and what that took."""

    step: str
    key: str
    attempt: str
    outputs: Mapping[str, Mapping[str, Any]]
    """Artifact -> its digest, its bytes and its files."""
    inputs: Mapping[str, str]
    parameters: Mapping[str, Any]
    code: str
    started: float
    wall_s: float
    cost_usd: float
    host: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Figures for people, which may differ from run to run."""

    def digests(self) -> dict[str, str]:
        return {name: found["digest"] for name, found in self.outputs.items()}


class Run:
    """A run that has begun."""

    def __init__(self, store: Store, pipeline: Pipeline, document: Mapping[str, Any]) -> None:
        self.store, self.pipeline = store, pipeline
        self.id: str = document["id"]
        self.begun: float = document["begun"]
        self.parameters = Parameters.from_json(document["parameters"], f"{store.url}/{FILE}")
        self.resolved: dict[str, Any] = document["resolved"]
        self._done: dict[str, Done] = {}

    @classmethod
    def open(cls, url: str, pipeline: Pipeline = RETRAIN) -> Run:
        """The run at a path or URL. NotReady where none has begun."""
        store = open_store(url)
        text = store.read(FILE)
        if text is None:
            raise NotReady(f"{store.url}: no run has begun here; `python -m workloads.pipelines begin` does that")
        return cls(store, pipeline, json.loads(text))

    # ---- keys

    def values(self, step: Step) -> dict[str, Any]:
        """The parameters that a step reads, as they came out when the run began."""
        known = {**self.parameters.to_json(), **self.resolved}
        return {name: known[name] for name in step.parameters}

    def key(self, step: Step) -> str | None:
        """None where an input is not there yet."""
        inputs = self._inputs(step)
        if inputs is None:
            return None
        counting = {name: value for name, value in self.values(step).items() if name not in PLACES}
        whole = [step.name, code(step), counting, inputs]
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:32]

    def done(self, step: Step) -> Done | None:
        """The marker of a step as it would be done now; None where it has yet to be."""
        if step.name not in self._done and (key := self.key(step)):
            text = self.store.read(f"steps/{step.name}/{key}.json")
            if text is not None:
                self._done[step.name] = Done(**json.loads(text))
        return self._done.get(step.name)

    def newest(self) -> dict[str, Done | None]:
        """The marker of each step as it was done last, by whatever code; None where not with these parameters, or not
        of what the steps before it have made last."""
        found: dict[str, Done | None] = {}
        made: dict[str, str] = {}
        for step in self.pipeline.steps:
            text = self.store.read(f"last/{step.name}.json")
            done = Done(**json.loads(text)) if text else None
            if done and (done.parameters != self.values(step) or done.inputs != {n: made.get(n) for n in step.inputs}):
                done = None
            found[step.name] = done
            made |= done.digests() if done else {}
        return found

    def _inputs(self, step: Step) -> dict[str, str] | None:
        found = {}
        for name in step.inputs:
            maker = self.done(self.pipeline.maker(name))
            if maker is None:
                return None
            found[name] = maker.outputs[name]["digest"]
        return found

    # ---- artifacts

    def place(self, artifact: str) -> str:
        """Path or URL of an artifact. NotReady where it is not there yet."""
        return f"{self.store.url}/{self._name(self._made(artifact)[0], artifact)}"

    def artifact(self, name: str, directory: Path) -> Path:
        """An artifact as local files; they are copied into `directory` where the run is in an object store."""
        done, _ = self._made(name)
        return self.store.have(self._name(done, name), as_files(done.outputs[name]), directory)

    def document(self, done: Done, name: str) -> Any:
        """An artifact that is one file of JSON, as a step has made it."""
        return json.loads(self.store.read(self._name(done, name)) or "null")

    def _name(self, done: Done, artifact: str) -> str:
        return f"steps/{done.step}/{done.key}/{done.attempt}/{artifact}"

    def _made(self, artifact: str) -> tuple[Done, Step]:
        step = self.pipeline.maker(artifact)
        done = self.done(step)
        if done is None:
            raise NotReady(f"{self.store.url}: {artifact!r} is not there: step {step.name} is not done")
        return done, step

    # ---- doing a step

    def do(
        self,
        step: Step,
        say: Callable[[str], None] = lambda _: None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> tuple[Done, bool]:
        """Do a step unless it is done; whether it was done now. Raises a PipelineError: then it is not done."""
        key = self.key(step)
        if key is None:
            missing = next(name for name in self.pipeline.before(step) if self.done(self.pipeline.step(name)) is None)
            raise NotReady(f"{self.store.url}: step {step.name} needs step {missing}, which is not done")
        with self._working(step, key) as work:
            # Another attempt may have ended while this one waited for the directory.
            if (found := self.done(step)) is not None:
                self.store.write(f"last/{step.name}.json", _json(vars(found)))
                return found, False
            started, since = now(), clock()
            try:
                made = self._perform(step, key, work, say)
            except PipelineError as error:
                failure = {"at": now(), "parameters": self.values(step), "reason": str(error)}
                self.store.write(f"failures/{step.name}.json", _json(failure))
                raise
            wall_s = clock() - since
            done = Done(
                **made,
                started=started,
                wall_s=wall_s,
                cost_usd=self.parameters.cost_usd(step.resources, wall_s),
                host=socket.gethostname(),
            )
            if not self.store.create(f"steps/{step.name}/{key}.json", _json(vars(done))):
                # Whoever was faster has said what counts.
                return self._made(step.outputs[0])[0], False
            self.store.write(f"last/{step.name}.json", _json(vars(done)))
            return done, True

    def _perform(self, step: Step, key: str, work: Path, say: Callable[[str], None]) -> dict[str, Any]:
        function: Callable[[Context], Mapping[str, Any] | None] = importlib.import_module(step.module).run
        _one_thread()
        attempt = uuid.uuid4().hex[:12]
        inputs, outputs = work / "inputs", work / "outputs"
        with on_disk(work):
            for directory in (inputs, outputs):
                # Of an attempt that was killed.
                shutil.rmtree(directory, ignore_errors=True)
                directory.mkdir()
            (work / "work").mkdir(exist_ok=True)
        context = Context(
            {name: self.artifact(name, inputs) for name in step.inputs},
            {name: outputs / name for name in step.outputs},
            self.values(step),
            work / "work",
            self.store.url,
            key,
            say,
        )
        facts = function(context) or {}
        found = {}
        for name, path in context.outputs.items():
            assert path.exists(), f"step {step.name} did not write {name}"
            files = tree(path)
            found[name] = {
                "digest": digest(files),
                "bytes": sum(file.bytes for file in files),
                "files": [vars(file) for file in files],
            }
            self.store.keep(path, f"steps/{step.name}/{key}/{attempt}/{name}")
        return {
            "step": step.name,
            "key": key,
            "attempt": attempt,
            "outputs": found,
            "inputs": self._inputs(step),
            "parameters": self.values(step),
            "code": code(step),
            "facts": dict(facts),
        }

    @contextlib.contextmanager
    def _working(self, step: Step, key: str) -> Iterator[Path]:
        """A directory to work in, which nobody else works in. It goes when the step is done or fails."""
        if not isinstance(self.store, Directory):
            with tempfile.TemporaryDirectory(prefix=f"{step.name}-") as directory:
                yield Path(directory)
            return
        place = self.store.path / "work" / f"{step.name}-{key}"
        with on_disk(place):
            place.mkdir(parents=True, exist_ok=True)
            lock = (place.parent / f"{step.name}.lock").open("w")
        with lock:
            try:
                # Freed by the kernel, however the process ends.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DiskFailed(f"{place}: another process is doing step {step.name}") from None
            if not step.continues:
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
            yield place
            # Not of a step that fails: what it has left can be looked at, and a training continues.
            shutil.rmtree(place, ignore_errors=True)


def _one_thread() -> None:
    """With more, a CPU takes sums in another order, and the last bits of figures depend on the machine."""
    import torch

    torch.set_num_threads(1)


@cache
def code(step: Step) -> str:
    """A digest of the sources that a step is made of, and of the packages that its figures depend on."""
    hasher = hashlib.sha256()
    hasher.update(inspect.getsource(importlib.import_module(step.module)).encode() + b"\0")
    places = [WORKLOADS / name for name in step.code]
    for path in sorted({found for place in places for found in (place.rglob("*.py") if place.is_dir() else [place])}):
        hasher.update(f"{path.relative_to(WORKLOADS)}\0".encode() + path.read_bytes() + b"\0")
    for name in PACKAGES:
        hasher.update(f"{name} {importlib.metadata.version(name)}\n".encode())
    return hasher.hexdigest()[:32]


def _json(found: Any) -> bytes:
    return json.dumps(found, indent=1, sort_keys=True).encode() + b"\n"
