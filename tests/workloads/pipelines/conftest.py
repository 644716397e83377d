"""What the tests of the pipeline share: a corpus, a key, and runs that have been done once for all of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

# Before torch starts: on few cores, more threads than cores make everything slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.workloads.pipelines import small
from workloads.pipelines.registry import Registry
from workloads.pipelines.run import Run
from workloads.pipelines.runners import local
from workloads.pipelines.status import Status
from workloads.pipelines.steps.sign import KEY
from workloads.serving.export import REVISION
from workloads.serving.signing import make_key


@dataclass(frozen=True)
class Place:
    """Where the runs of a session are, with their corpus, repository, key and registry."""

    root: Path
    corpus: Path
    key: Path
    public: Path

    def run(self, name: str, on_event: Callable[[local.Event], None] = lambda _: None, **parameters: object) -> Status:
        corpus = Path(str(parameters.pop("corpus", self.corpus)))
        with self.variables():
            return local.run(
                str(self.root / "runs" / name),
                small.parameters(corpus, self.root, **parameters),
                on_event=on_event,
                execute=local.in_process,
            )

    @contextlib.contextmanager
    def variables(self) -> Iterator[None]:
        """What is compared is not to depend on what is committed meanwhile."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(KEY, str(self.key))
            patch.setenv(REVISION, "test")
            yield

    def open(self, name: str) -> Run:
        return Run.open(str(self.root / "runs" / name))

    @property
    def registry(self) -> Registry:
        return Registry(f"sqlite:///{self.root / 'mlflow.db'}")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("pipelines")
    key = root / "key.pem"
    public = make_key(key)
    return Place(root, small.make_corpus(root / "corpus"), key, public)


@pytest.fixture(autouse=True)
def _variables(request: pytest.FixtureRequest) -> Iterator[None]:
    """For a test of the runs, and for no other on this process: an export that is told a revision believes it."""
    with request.getfixturevalue("place").variables() if "place" in request.fixturenames else contextlib.nullcontext():
        yield


@pytest.fixture(scope="session")
def first(place: Place) -> Status:
    """The first model: nobody was champion before it. It is now."""
    found = place.run("first")
    place.registry.promote("model", place.registry.aliases("model")["candidate"])
    return found
