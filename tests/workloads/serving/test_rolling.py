"""From one version to the next under load, and what never gets as far as the server."""

from __future__ import annotations

import io
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from tests.workloads.serving.conftest import DOUBLER_CONFIG
from workloads.serving.errors import NotInStore, VerificationFailed
from workloads.serving.manifest import ModelVersion, write_manifest
from workloads.serving.repository import check_version, read_config, write_version
from workloads.serving.serve import Server, newest
from workloads.serving.triton import ModelFailed, Triton

TELLER = """
import time

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    # Answers with its version, after as long as a model computes.
    def initialize(self, arguments):
        self.version = np.array([[float(arguments["model_version"])]], np.float32)

    def execute(self, requests):
        time.sleep(0.02)
        return [pb.InferenceResponse([pb.Tensor("y", self.version)]) for _ in requests]
"""
BROKEN = "raise RuntimeError('no such weights')\n"


def write_teller(repository: Path, name: str, code: str = "") -> ModelVersion:
    """One more version of a model that answers with its version."""
    config = read_config(DOUBLER_CONFIG.replace("doubler", name), "the test")

    def fill(directory: Path) -> None:
        (directory / "model.py").write_text(code or TELLER)

    return write_version(str(repository), name, config, fill, {})[0]


class Load:
    """Requests without a pause, from several threads, each with its answer and when it was asked."""

    def __init__(self, triton: Triton, name: str, threads: int = 4) -> None:
        self.answers: list[tuple[float, float]] = []
        self.failures: list[str] = []
        self._triton, self._name, self._stop = triton, name, threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        tensor = grpcclient.InferInput("x", [1, 1], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 1), np.float32))
        with grpcclient.InferenceServerClient(self._triton.grpc) as client:
            while not self._stop.is_set():
                asked = time.monotonic()
                try:
                    answer = client.infer(self._name, [tensor], client_timeout=20.0)
                except InferenceServerException as error:
                    self.failures.append(str(error))
                else:
                    self.answers.append((asked, float(answer.as_numpy("y")[0, 0])))

    def until(self, answers: int) -> None:
        """Wait for so many more."""
        wanted, deadline = len(self.answers) + answers, time.monotonic() + 30
        while len(self.answers) < wanted:
            assert time.monotonic() < deadline, self.failures
            time.sleep(0.005)


@pytest.fixture
def server(triton: Triton, tmp_path: Path) -> Iterator[Server]:
    made = Server(triton, str(tmp_path / "repository"), io.StringIO())
    yield made
    for name in made.served:
        triton.unload(name)
        shutil.rmtree(triton.repository / name)


def test_a_new_version_takes_over_under_load_without_a_failed_request(server: Server, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    server.take(write_teller(repository, "teller"))
    with Load(server.triton, "teller") as load:
        load.until(20)
        switched = []
        for version in (2, 3):
            write_teller(repository, "teller")
            server.follow(["teller"])
            switched.append(time.monotonic())
            assert server.served["teller"] == ModelVersion("teller", version)
            load.until(20)
    assert load.failures == []
    # After a switch, nothing older; before it the old one, or the new one as soon as it is ready.
    assert {said for asked, said in load.answers if asked > switched[1]} == {3.0}
    assert {2.0} <= {said for asked, said in load.answers if switched[0] < asked < switched[1]} <= {2.0, 3.0}
    assert {1.0} <= {said for asked, said in load.answers if asked < switched[0]} <= {1.0, 2.0}


@pytest.mark.parametrize("code", [BROKEN, "syntax error"])
def test_a_version_that_does_not_load_leaves_the_old_one_where_it_was(
    server: Server, tmp_path: Path, code: str
) -> None:
    repository = tmp_path / "repository"
    server.take(write_teller(repository, "keeper"))
    write_teller(repository, "keeper", code)
    with Load(server.triton, "keeper", 2) as load:
        load.until(5)
        with pytest.raises(ModelFailed, match="keeper"):
            server.take(ModelVersion("keeper", 2))
        load.until(5)
    assert load.failures == []
    assert {said for _, said in load.answers} == {1.0}
    # What is on disk is what is served, so that it also comes back.
    server.triton.load("keeper")
    assert server.triton.ready("keeper", 1)


def test_following_warns_of_a_bad_version_once_and_takes_the_next(server: Server, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    server.take(write_teller(repository, "follower"))
    write_teller(repository, "follower", BROKEN)
    server.follow(["follower"])
    server.follow(["follower"])
    said = server._out.getvalue()
    assert said.count("follower:2 is refused, follower:1 goes on") == 1
    write_teller(repository, "follower")
    server.follow(["follower"])
    assert server.served["follower"] == ModelVersion("follower", 3)


# ---- what is refused before the server hears of it


def _damage(directory: Path, how: str) -> None:
    model = directory / directory.name / "model.py"
    manifest = directory / "manifest.json"
    match how:
        case "truncated":
            model.write_bytes(model.read_bytes()[:-1])
        case "tampered":
            model.write_bytes(model.read_bytes().replace(b"0.02", b"9.02"))
        case "missing":
            model.unlink()
        case "config changed":
            path = directory / "config.pbtxt"
            path.write_text(path.read_text().replace("count: 1", "count: 2"))
        case "provenance changed":
            manifest.write_text(manifest.read_text().replace('"a": 1', '"a": 2'))
        case "manifest cut short":
            manifest.write_text(manifest.read_text()[:-9])


@pytest.mark.parametrize(
    "how", ["truncated", "tampered", "missing", "config changed", "provenance changed", "manifest cut short"]
)
def test_what_is_not_whole_is_refused_before_it_is_loaded(server: Server, tmp_path: Path, how: str) -> None:
    repository = tmp_path / "repository"
    name = "whole"
    server.take(write_teller(repository, name))
    directory = repository / name / "2"
    shutil.copytree(repository / name / "1", directory)
    (directory / "1").rename(directory / "2")
    write_manifest(directory, ModelVersion(name, 2), {"a": 1})
    _damage(directory, how)
    loaded = []
    server.triton.load = lambda *arguments, **_: loaded.append(arguments)
    try:
        with pytest.raises((VerificationFailed, NotInStore), match=r"whole/2/"):
            server.take(ModelVersion(name, 2))
    finally:
        del server.triton.load
    assert loaded == []
    assert server.triton.ready(name, 1)
    assert (server.triton.repository / name / "1" / "model.py").exists()


def test_a_half_written_version_does_not_exist_yet(tmp_path: Path) -> None:
    first = write_teller(tmp_path, "early")
    shutil.copytree(tmp_path / "early" / "1", tmp_path / "early" / "2")
    (tmp_path / "early" / "2" / "manifest.json").unlink()
    assert newest(str(tmp_path), "early") == first
    with pytest.raises(NotInStore, match="no version of 'late'"):
        newest(str(tmp_path), "late")


def test_what_triton_would_hang_on_is_refused(server: Server, tmp_path: Path) -> None:
    """A Python model without its program, whole by its manifest: the backend waits for it for ever."""
    repository = tmp_path / "repository"
    server.take(write_teller(repository, "hollow"))
    directory = repository / "hollow" / "2"
    shutil.copytree(repository / "hollow" / "1", directory)
    (directory / "1" / "model.py").unlink()
    (directory / "1" / "weights").write_text("x")
    (directory / "1").rename(directory / "2")
    write_manifest(directory, ModelVersion("hollow", 2))
    with pytest.raises(VerificationFailed, match=r"hollow/2/model.py: it is missing"):
        server.take(ModelVersion("hollow", 2))
    assert server.triton.ready("hollow", 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('name: "x" max_batch: 8', r"1:11 .*no field named \"max_batch\""),
        ("max_batch_size: eight", "1:17"),
        ('name: "other" backend: "python"', "it is of 'other', expected 'checked'"),
    ],
)
def test_a_configuration_is_typed(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "config.pbtxt").write_text(text)
    with pytest.raises(VerificationFailed, match=says):
        check_version(tmp_path, ModelVersion("checked", 1))
