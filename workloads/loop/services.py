"""What the loop needs around it, all of it on this machine: a bucket, Prometheus, two Tritons."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from workloads.loop.errors import LoopError
from workloads.loop.processes import Program, free_port

BUCKET = "ai-cloud-loop"
SCRAPE_S = 2


class Bucket:
    """An S3 (moto) with one bucket. While it is open, the environment says to whoever reads objects where it is."""

    def __init__(self, log: Path) -> None:
        self._log, self._before = log, dict(os.environ)
        self.port = free_port()

    def __enter__(self) -> Bucket:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.program = Program("the bucket (moto)", command, self._log)
        self.program.wait_for(self.port, "/moto-api/")
        os.environ.update(self.environment)
        request = urllib.request.Request(f"{self.endpoint}/{BUCKET}", method="PUT", data=b"")
        with urllib.request.urlopen(request, timeout=10.0):
            return self

    def __exit__(self, *_: object) -> None:
        for name in self.environment:
            os.environ.pop(name, None)
            if name in self._before:
                os.environ[name] = self._before[name]
        self.program.stop()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """For obstore, boto3 and pyiceberg alike; a stand-in for an account, which this S3 does not look at."""
        return {
            "AWS_ENDPOINT": self.endpoint,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def url(self, prefix: str) -> str:
        return f"s3://{BUCKET}/{prefix}"


class Prometheus:
    """A Prometheus that scrapes what it is given; nothing at all where it is not installed."""

    def __init__(self, directory: Path, targets: Mapping[str, str]) -> None:
        """`targets`: job -> host:port."""
        self._directory, self._targets, self.port = directory, targets, free_port()
        self._binary = shutil.which("prometheus")
        self.program: Program | None = None

    @property
    def installed(self) -> bool:
        return self._binary is not None

    def __enter__(self) -> Prometheus:
        if self._binary:
            self._directory.mkdir(parents=True, exist_ok=True)
            jobs = [{"job_name": job, "static_configs": [{"targets": [at]}]} for job, at in self._targets.items()]
            config = {"global": {"scrape_interval": f"{SCRAPE_S}s"}, "scrape_configs": jobs}
            # JSON is YAML.
            (self._directory / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
            command = [
                self._binary,
                f"--config.file={self._directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=warn",
            ]
            self.program = Program("Prometheus", command, self._directory.parent / "logs/prometheus.log")
            self.program.wait_for(self.port, "/-/ready")
        return self

    def __exit__(self, *_: object) -> None:
        if self.program:
            self.program.stop()

    def query(self, expression: str, start: float, end: float, step_s: float) -> dict[str, list[tuple[float, float]]]:
        """Points by series, named by the labels that tell them apart. Raises LoopError."""
        words = urllib.parse.urlencode({"query": expression, "start": start, "end": end, "step": step_s})
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/api/v1/query_range?{words}", timeout=10.0
            ) as found:
                answer = json.load(found)
        except (OSError, ValueError) as error:
            raise LoopError(f"Prometheus: {expression}: {error}") from error
        series = answer["data"]["result"]
        return {
            _name(each["metric"], [other["metric"] for other in series]): [
                (float(at), float(value)) for at, value in each["values"] if value not in ("NaN", "+Inf", "-Inf")
            ]
            for each in series
        }


def _name(labels: Mapping[str, str], others: Sequence[Mapping[str, str]]) -> str:
    telling = [name for name in labels if len({other.get(name) for other in others}) > 1]
    return " ".join(labels[name] for name in sorted(telling)) or labels.get("__name__", "all")


def until(seconds: float, what: str, done: Callable[[], bool], pause_s: float = 0.1) -> None:
    """Wait until `done()`. Raises LoopError."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise LoopError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause_s)
