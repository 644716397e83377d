"""What a SageMaker endpoint runs: a model that is verified first, then answered as SageMaker asks."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.workloads.serving.conftest import DOUBLER, DOUBLER_CONFIG
from workloads.serving.cli import parser
from workloads.serving.repository import read_config, write_version

REQUEST = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One version of a model that doubles."""
    config = read_config(DOUBLER_CONFIG, "the test")
    write_version(
        str(tmp_path / "repository"), "doubler", config, lambda where: _write(where / "model.py"), {"git": "abc"}
    )
    return tmp_path / "repository"


def _write(path: Path) -> None:
    path.write_text(DOUBLER, encoding="utf-8")


@contextmanager
def serving(tmp_path: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command as a process of its own, and the port that SageMaker would ask."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "workloads.serving", "sagemaker", "--model", "doubler:1", "--port", str(port)]
    command += ["--directory", str(tmp_path / "serve"), "--exit-timeout-s", "2", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, port
        finally:
            process.kill()


def ask(port: int, path: str, body: object = None) -> tuple[int, str]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (urllib.error.URLError, ConnectionError):
        return 0, ""


def healthy(process: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + 60
    while ask(port, "/ping")[0] != 200:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("copied", [True, False], ids=["SageMaker copied it", "fetched from the repository"])
def test_it_answers_as_soon_as_it_is_healthy_and_drains(tmp_path: Path, repository: Path, copied: bool) -> None:
    shutil.copytree(repository / "doubler" / "1", tmp_path / "model")
    where = ("--version-directory", str(tmp_path / "model")) if copied else ("--repository", str(repository))
    with serving(tmp_path, *where) as (process, port):
        healthy(process, port)
        # The very first request after the first healthy answer.
        status, body = ask(port, "/invocations", REQUEST)
        assert status == 200, body
        assert json.loads(body)["outputs"][0]["data"] == [2.0, 4.0]
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "doubler:1: verified" in out
        assert out.rstrip().endswith("drained")


def test_what_is_not_what_its_manifest_says_is_never_served(tmp_path: Path, repository: Path) -> None:
    shutil.copytree(repository / "doubler" / "1", tmp_path / "model")
    (tmp_path / "model" / "1" / "model.py").write_text(DOUBLER.replace("x * 2", "x * 3"), encoding="utf-8")
    with serving(tmp_path, "--version-directory", str(tmp_path / "model")) as (process, port):
        _, err = process.communicate(timeout=30)
        assert process.returncode == 4
        assert "its sha256 is" in err
        assert ask(port, "/ping")[0] == 0


def test_a_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    with serving(tmp_path, "--version-directory", str(tmp_path / "nowhere")) as (process, _):
        _, err = process.communicate(timeout=30)
        assert process.returncode == 3
        assert "nowhere: no such directory" in err


def test_somebody_has_to_say_where_the_model_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AICLOUD_REPOSITORY", raising=False)
    with serving(tmp_path) as (process, _):
        _, err = process.communicate(timeout=30)
        assert process.returncode == 2
        assert "expected --version-directory, --repository or $AICLOUD_REPOSITORY" in err


def test_the_port_is_sagemaker_s(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["sagemaker", "--model", "doubler:1", "--repository", "s3://bucket/models"]
    assert parser().parse_args(words).port == 8080
    monkeypatch.setenv("SAGEMAKER_BIND_TO_PORT", "9999")
    assert parser().parse_args(words).port == 9999
