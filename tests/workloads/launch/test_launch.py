"""Starting runs: against an API server in small, and a kill at the moment at which it matters."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.launch import jobs, kubernetes
from workloads.launch.cli import main, parser
from workloads.launch.errors import LaunchError
from workloads.launch.jobs import LONGEST, name_of, start, tell


class Cluster:
    """CronJobs and Jobs of one namespace, by their paths, as the API server keeps them."""

    def __init__(self) -> None:
        template = {"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "training"}}, "spec": {"backoffLimit": 1}}
        self.cronjob: dict[str, Any] = {"metadata": {"uid": "u-1"}, "spec": {"jobTemplate": template}, "status": {}}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.fails: set[str] = set()
        """Methods that are refused."""

    def end(self, name: str, how: str = "Complete") -> None:
        self.jobs[name]["status"] = {"conditions": [{"type": how, "status": "True"}]}

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if method in self.fails:
            return 403, {"message": "forbidden"}
        if path.endswith("/cronjobs/retrain"):
            return 200, self.cronjob
        if path.endswith("/jobs") and method == "GET":
            return 200, {"items": list(self.jobs.values())}
        if path.endswith("/jobs"):
            name = body["metadata"]["name"]
            if name in self.jobs:
                return 409, {"reason": "AlreadyExists"}
            self.jobs[name] = body
            return 201, body
        found = self.jobs[path.rsplit("/", 1)[-1]]
        found["metadata"]["annotations"] |= body["metadata"]["annotations"]
        return 200, found


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def api(cluster: Cluster, tmp_path: Path) -> Iterator[kubernetes.Cluster]:
    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            cluster.asked.append((self.command, self.headers["Content-Type"], self.headers["Authorization"]))
            status, found = cluster.answer(self.command, self.path, body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        do_GET = do_POST = do_PATCH = respond

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "token").write_text("secret")
    try:
        yield kubernetes.Cluster(f"http://127.0.0.1:{server.server_port}", account=tmp_path)
    finally:
        server.shutdown()
        server.server_close()


def test_a_job_is_the_cronjobs_template_and_its_own(api: kubernetes.Cluster, cluster: Cluster) -> None:
    name, now = start(api, "training", "retrain", "report-1.json")
    assert now
    job = cluster.jobs[name]
    assert job["spec"] == {"backoffLimit": 1}
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "training"
    assert job["metadata"]["ownerReferences"][0]["uid"] == "u-1"
    assert {authorization for _, _, authorization in cluster.asked} == {"Bearer secret"}


def test_the_same_reason_starts_one_run_and_another_waits_for_its_end(
    api: kubernetes.Cluster, cluster: Cluster
) -> None:
    name, _ = start(api, "training", "retrain", "one")
    assert start(api, "training", "retrain", "one") == (name, False)
    assert start(api, "training", "retrain", "two") == (name, False), "one is under way"
    cluster.end(name)
    assert start(api, "training", "retrain", "one") == (name, False)
    other, now = start(api, "training", "retrain", "two")
    assert now
    assert other != name


def test_a_scheduled_run_counts_as_under_way(api: kubernetes.Cluster, cluster: Cluster) -> None:
    cluster.cronjob["status"] = {"active": [{"name": "retrain-28512"}]}
    assert start(api, "training", "retrain", "one") == ("retrain-28512", False)
    assert not cluster.jobs


def test_an_end_is_told_once_and_only_of_runs_that_a_trigger_started(api: kubernetes.Cluster, cluster: Cluster) -> None:
    name, _ = start(api, "training", "retrain", "one")
    owner = [{"kind": "CronJob", "name": "retrain"}]
    cluster.jobs["retrain-28512"] = {"metadata": {"name": "retrain-28512", "ownerReferences": owner}}
    cluster.end("retrain-28512")
    said: list[tuple[str, str]] = []
    assert tell(api, "training", "retrain", lambda *what: said.append(what)) == []
    cluster.end(name, "Failed")
    assert tell(api, "training", "retrain", lambda *what: said.append(what)) == [name]
    assert tell(api, "training", "retrain", lambda *what: said.append(what)) == []
    assert said == [(name, "Failed")]


def test_killed_before_it_is_noted_it_is_told_again(api: kubernetes.Cluster, cluster: Cluster) -> None:
    name, _ = start(api, "training", "retrain", "one")
    cluster.end(name)
    said: list[str] = []
    cluster.fails = {"PATCH"}
    with pytest.raises(LaunchError, match="403"):
        tell(api, "training", "retrain", lambda job, _: said.append(job))
    cluster.fails = set()
    tell(api, "training", "retrain", lambda job, _: said.append(job))
    assert said == [name, name]


def test_a_refusal_is_told_with_the_servers_words(api: kubernetes.Cluster, cluster: Cluster) -> None:
    cluster.fails = {"POST"}
    with pytest.raises(LaunchError, match=r"POST .*/jobs: 403: .*forbidden"):
        start(api, "training", "retrain", "one")


@given(st.from_regex(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?", fullmatch=True), st.text())
def test_names_of_jobs_leave_room_for_those_of_pods(cronjob: str, reason: str) -> None:
    name = name_of(cronjob, reason)
    assert len(f"{name}-abcde") <= LONGEST
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
    assert name == name_of(cronjob, reason)


def test_outside_of_a_cluster_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert main(["job", "--cronjob", "retrain", "--namespace", "training"]) == 1
    assert "expected to run in a pod" in capsys.readouterr().err


def test_follow_tells_by_a_command(
    api: kubernetes.Cluster, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _ = start(api, "training", "retrain", "one")
    cluster.end(name)
    heard = tmp_path / "heard"
    stop = threading.Event()
    monkeypatch.setattr("workloads.launch.cli.Cluster.of_this_pod", lambda: api)
    monkeypatch.setattr("workloads.launch.cli.threading.Event", lambda: stop)
    monkeypatch.setattr("workloads.launch.cli.signal.signal", lambda *_: None)
    monkeypatch.setattr(stop, "wait", lambda _: stop.set())
    then = f"sh -c 'echo $LAUNCH_JOB $LAUNCH_END > {heard}'"
    assert main(["follow", "--cronjob", "retrain", "--namespace", "training", "--then", then]) == 0
    assert heard.read_text().split() == [name, "Complete"]
    assert cluster.jobs[name]["metadata"]["annotations"][jobs.TOLD] == "Complete"


def test_the_parser_wants_a_place() -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["job", "--cronjob", "retrain"])
