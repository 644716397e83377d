"""What runs: the command that serves, its metrics against what scalers name, and memory over many requests."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from components.inference import forecast
from components.inference.forecast import METHODS, Forecast
from components.inference.scaling import Scaling, Target, scaled_object_spec
from planner.plan import Plan
from tests.support import ROOT
from tests.workloads.serving.test_language_model import GREEDY, ask, text_of, until
from tests.workloads.serving.test_rolling import Load, write_teller
from tests.workloads.serving.test_triton import children, double
from workloads.serving.cli import parser
from workloads.serving.errors import ArgumentError, NotInStore, VerificationFailed
from workloads.serving.manifest import ModelVersion
from workloads.serving.repository import language_model_config, write_version
from workloads.serving.serve import Server
from workloads.serving.triton import Ports, Triton


class Serving:
    """`python -m workloads.serving serve` on a repository, in a process of its own."""

    def __init__(self, directory: Path, repository: Path, *models: str, follow_s: float = 0.2) -> None:
        self.ports = Ports.free()
        command = [sys.executable, "-m", "workloads.serving", "serve", "--repository", str(repository)]
        command += [word for model in models for word in ("--model", model)]
        command += ["--follow-s", str(follow_s), "--directory", str(directory), "--exit-timeout-s", "2"]
        for name in ("http", "grpc", "metrics"):
            command += [f"--{name}-port", str(getattr(self.ports, name))]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.ports.grpc}"

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def said(self, words: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not any(words in line for line in self.lines):
            assert time.monotonic() < deadline, self.lines
            assert self.process.poll() is None, (self.lines, self.process.communicate())
            time.sleep(0.05)

    def end(self) -> tuple[int, str]:
        """SIGTERM; exit code and what it said on stderr."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._reader.join()
        assert self.process.stderr is not None
        return code, self.process.stderr.read()


def test_the_command_serves_follows_and_drains(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    write_teller(repository, "teller")
    serving = Serving(tmp_path / "serve", repository, "teller")
    try:
        serving.said("teller:1 is served")
        with Load(serving, "teller", 2) as load:  # type: ignore[arg-type]
            load.until(10)
            write_teller(repository, "teller")
            serving.said("teller:2 is served, teller:1 is not any more")
            switched = time.monotonic()
            load.until(10)
        assert load.failures == []
        assert {said for asked, said in load.answers if asked > switched} == {2.0}
        code, error = serving.end()
        assert (code, error) == (0, "")
        assert serving.lines[-1] == "drained"
    finally:
        serving.process.kill()


def test_a_server_that_dies_takes_the_command_with_it(tmp_path: Path) -> None:
    """So that a pod's restart policy sees it."""
    repository = tmp_path / "repository"
    write_teller(repository, "teller")
    serving = Serving(tmp_path / "serve", repository, "teller:1")
    try:
        serving.said("teller:1 is served")
        (server,) = (
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdecimal() and f"--http-port={serving.ports.http}" in _command(entry)
        )
        os.kill(server, signal.SIGKILL)
        assert serving.process.wait(20) == 8
    finally:
        serving.process.kill()


def _command(entry: Path) -> list[str]:
    try:
        return (entry / "cmdline").read_text().split("\0")
    except OSError:
        return []


@pytest.mark.parametrize(
    ("model", "code", "says"),
    [
        ("nobody", NotInStore.exit_code, "no version of 'nobody'"),
        ("teller:7", NotInStore.exit_code, "teller:7 is not in the repository"),
        ("cut", VerificationFailed.exit_code, "cut/1/1/model.py"),
    ],
)
def test_what_cannot_be_served_is_told(tmp_path: Path, model: str, code: int, says: str) -> None:
    repository = tmp_path / "repository"
    write_teller(repository, "teller")
    write_teller(repository, "cut")
    (repository / "cut" / "1" / "1" / "model.py").write_text("cut")
    serving = Serving(tmp_path / "serve", repository, model)
    assert serving.process.wait(60) == code
    assert serving.process.stderr is not None
    error = serving.process.stderr.read()
    assert says in error
    assert "Traceback" not in error


@pytest.mark.parametrize("words", [["--model", "a b"], ["--model", "x:0"], [], ["--model", "x", "--http-port", "http"]])
def test_wrong_arguments_are_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        parser().parse_args(["serve", "--repository", "somewhere", *words])
    assert raised.value.code == ArgumentError.exit_code
    assert "serve: error" in capsys.readouterr().err


# ---- metrics


def named_metrics() -> dict[str, set[str]]:
    """Metric -> labels by which it is found: what the scaler's triggers and the rules of its forecasts ask Prometheus
    for, of Triton. Prometheus itself adds the labels of where it was scraped."""
    target = Target("server", "serving", ("doubler", "lm"), 900)
    forecasts = tuple(Forecast(model, 100, method) for model in target.models for method in METHODS)
    spec = scaled_object_spec(target, Scaling(0, 4, 50, forecasts=forecasts, to_zero=True))
    rules = forecast.rule_groups(forecasts, target.pods, target.namespace, target.deployment, target.start_s)
    found: dict[str, set[str]] = {}
    for query in (str(spec), str(rules)):
        for name, matchers in re.findall(r"\b(nv_\w+)\{(.*?)\}", query):
            labels = set(re.findall(r"(\w+)=", matchers)) - {"namespace", "pod"}
            found.setdefault(name, set()).update(labels)
    assert set(re.findall(r"\bnv_\w+", f"{spec}{rules}")) == set(found), "each is asked for with matchers"
    return found


def test_every_metric_that_the_scaler_goes_by_is_exported(triton: Triton, language_model: str, doubler: str) -> None:
    assert set(named_metrics()) == {
        *("nv_inference_queue_duration_us", "nv_inference_request_success"),
        "nv_inference_pending_request_count",
    }
    double(triton, [1.0])
    ask(triton, language_model, "x", max_tokens=1)
    exported = triton.scrape()
    for name, labels in named_metrics().items():
        for model in (language_model, doubler):
            series = re.search(rf'^{name}{{([^}}]*model="{model}"[^}}]*)}} \d', exported, re.MULTILINE)
            assert series, name
            assert labels <= set(re.findall(r"(\w+)=", series[1])), name


@pytest.mark.usefixtures("doubler")
def test_waiting_requests_are_a_gauge_and_waited_time_a_counter(triton: Triton) -> None:
    """The scaler takes the mean of one and the rate of the other."""
    double(triton, [1.0])
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", triton.scrape(), re.MULTILINE))
    assert kinds["nv_inference_pending_request_count"] == "gauge"
    assert {kinds[name] for name in named_metrics() if "pending" not in name} == {"counter"}


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_no_environment_asks_for_another(environment: str, environment_plan: Callable[[str], Plan]) -> None:
    """Every scaler and every rule of a plan, whoever made it."""
    kinds = ("ScaledObject", "PrometheusRule", "HorizontalPodAutoscaler")
    asking = [r for r in environment_plan(environment) if r.type.rpartition(":")[2] in kinds]
    assert asking
    # What alerts ask for beyond that is in a list, which test_exported.py holds against a server that runs.
    listed = (ROOT / "tests/fixtures/exported_metrics/triton.txt").read_text(encoding="utf-8")
    known = set(named_metrics()) | set(re.findall(r"^(nv_\w+):", listed, re.MULTILINE))
    assert set(re.findall(r"\bnv_\w+", str([r.inputs for r in asking]))) <= known


def test_every_metric_has_a_type_and_a_help_text(triton: Triton, language_model: str) -> None:
    assert ask(triton, language_model, "x", max_tokens=1)[0] == 200
    until(lambda: "aicloud_language_model_answers_total{" in triton.scrape())
    lines = triton.scrape().splitlines()
    names = {line.partition("{")[0].partition(" ")[0] for line in lines if not line.startswith("#")}
    for kind in ("TYPE", "HELP"):
        assert names == {line.split()[2] for line in lines if line.startswith(f"# {kind} ")}
    ours = {name for name in names if name.startswith("aicloud_")}
    assert len(ours) >= 8


# ---- versions of a language model


def test_answers_under_way_end_with_the_version_that_began_them(triton: Triton, exported: Path, tmp_path: Path) -> None:
    """And no request fails, while new ones come without a pause."""
    repository = tmp_path / "repository"
    first = exported / "lm" / "1" / "1"

    def fill(directory: Path) -> None:
        shutil.copytree(first, directory, dirs_exist_ok=True)

    for _ in range(2):
        write_version(str(repository), "rolled", language_model_config("rolled"), fill, {})
    server = Server(triton, str(repository))
    server.take(ModelVersion("rolled", 1))
    expected = text_of(ask(triton, "rolled", "x", **{**GREEDY, "max_tokens": 100})[1])
    answers: list[tuple[float, int, str, str]] = []
    stop = threading.Event()

    def load(_: int) -> None:
        while not stop.is_set():
            begun = time.monotonic()
            more = {**GREEDY, "max_tokens": 100, "stream": True}
            status, parts = ask(triton, "rolled", "x", "generate_stream", **more)
            versions = {part.get("model_version") for part in parts}
            assert len(versions) == 1
            answers.append((begun, status, versions.pop(), text_of(parts)))

    with ThreadPoolExecutor(3) as pool:
        loads = [pool.submit(load, number) for number in range(3)]
        try:
            server.take(ModelVersion("rolled", 2))
            switched = time.monotonic()
            time.sleep(1.0)
        finally:
            stop.set()
        for each in loads:
            each.result()
    triton.unload("rolled")
    assert {status for _, status, _, _ in answers} == {200}
    assert {words for _, _, _, words in answers} == {expected}
    assert {version for begun, _, version, _ in answers if begun > switched} == {"2"}
    assert "1" in {version for begun, _, version, _ in answers if begun < switched}


# ---- memory


def resident(triton: Triton) -> dict[int, int]:
    """Bytes in memory of the server and its models' processes, by process."""
    page = os.sysconf("SC_PAGESIZE")
    return {pid: int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in children(triton.pid)}


def many(triton: Triton, requests: int, threads: int = 4) -> None:
    """That many requests to the small model, and one in a hundred to the language model."""

    def some(count: int) -> None:
        tensor = grpcclient.InferInput("x", [1, 16], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 16), np.float32))
        with grpcclient.InferenceServerClient(triton.grpc) as client:
            for number in range(count):
                client.infer("doubler", [tensor])
                if number % 100 == 0:
                    assert ask(triton, "lm", "x", max_tokens=4)[0] == 200

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(some, [requests // threads] * threads))


@pytest.fixture
def used(triton: Triton, doubler: str, language_model: str) -> Triton:
    """A server that has had its first requests: what they make it allocate stays."""
    assert (doubler, language_model) == ("doubler", "lm")
    many(triton, 1_000)
    return triton


@pytest.mark.parametrize("requests", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_requests(used: Triton, requests: int) -> None:
    before = resident(used)
    many(used, requests)
    after = resident(used)
    assert set(after) == set(before)
    # An allocator's own ups and downs; a leak of a kilobyte a request would be three times this in the long test.
    for pid, size in after.items():
        assert size - before[pid] < 32 * 2**20, (pid, size - before[pid])
