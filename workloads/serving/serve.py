"""Serves models of a repository: verified first, newer versions taken over without a failed request, then drained.

Triton never looks at the repository itself. What it loads was copied to a local directory and compared with its
manifest byte for byte; what is half written, cut short or changed never gets there, and what is served goes on.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from workloads.serving.errors import NotInStore, ServingError, StoreFailed
from workloads.serving.fetch import fetch
from workloads.serving.manifest import ModelVersion
from workloads.serving.repository import check_version
from workloads.serving.store import Bucket, Repository
from workloads.serving.triton import ModelFailed, Triton

LOOK_S = 0.5
"""Seconds between looks at whether the server still runs."""


def url(repository: str) -> str:
    """A repository's URL; a path is one, too."""
    return repository if "://" in repository else f"file://{Path(repository).absolute()}"


def newest(repository: str, name: str) -> ModelVersion:
    """The highest version of a model that has a manifest. Raises NotInStore, StoreFailed or ArgumentError.

    A version without one is being written, or never was: the one before it counts.
    """
    place = url(repository)
    if place.startswith("file://") and not Path(place.removeprefix("file://")).is_dir():
        raise NotInStore(f"{repository}: no such directory")
    where = Repository(place)
    names = Bucket(place).names(name)
    for version in sorted((int(each) for each in names if each.isdecimal() and each[0] != "0"), reverse=True):
        model = ModelVersion(name, version)
        try:
            where.manifest(model)
        except NotInStore:
            continue
        return model
    raise NotInStore(f"{repository}: no version of {name!r}")


class Server:
    """A Triton and the models that it has of a repository."""

    def __init__(self, triton: Triton, repository: str, out: TextIO | None = None) -> None:
        """`triton.repository` is the local directory that verified copies are put into."""
        self.triton, self.repository, self._out = triton, url(repository), out or sys.stdout
        self.served: dict[str, ModelVersion] = {}
        self._refused: dict[str, ModelVersion] = {}

    def take(self, model: ModelVersion) -> None:
        """Serve this version, in place of another one if there is one, which answers until this one is ready.

        Returns when all requests that name no version get this one. Raises a ServingError, and then serves what it did.
        """
        started = time.monotonic()
        before = self.served.get(model.name)
        fetch(self.repository, self.triton.repository, [model])
        try:
            check_version(self.triton.repository / model.name, model)
            self.triton.load(model.name)
            if not self.triton.ready(model.name, model.version):
                raise ModelFailed(f"{model}: loaded, but Triton does not say that it is ready")
        except ServingError:
            if before is not None:
                # Or the next start, or the next load, would find what cannot be loaded.
                fetch(self.repository, self.triton.repository, [before])
            raise
        self.served[model.name] = model
        self._say(
            f"{model} is served{f', {before} is not any more' if before else ''} ({time.monotonic() - started:.1f} s)"
        )

    def follow(self, names: Sequence[str]) -> None:
        """Take what is newest now of these models. What cannot be taken is warned of once, and left where it is."""
        for name in names:
            try:
                model = newest(self.repository, name)
            except StoreFailed as error:
                self._say(f"{error}; looking again later")
                continue
            if model.version <= self.served[name].version or self._refused.get(name) == model:
                continue
            try:
                self.take(model)
            except ServingError as error:
                self._refused[name] = model
                self._say(f"{model} is refused, {self.served[name]} goes on: {error}")

    def run(
        self, names: Sequence[str], follow_s: float, stop: threading.Event, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Until told to stop. `follow_s`: seconds between looks at the repository for versions; 0: never.

        Raises ServerFailed if the server ends by itself.
        """
        look = clock() + follow_s
        while not stop.wait(LOOK_S):
            self.triton.check_alive()
            if follow_s and clock() >= look:
                self.follow(names)
                look = clock() + follow_s

    def _say(self, line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", file=self._out, flush=True)
