"""A dataset in an object store is read, written to the cache and verified at no less than half of the store's speed.

Claim: bytes a second from a local S3 (moto's server, over HTTP) into an empty cache, sha256 included, are at least 0.5
times those of bare `obstore.get` of the same shards, as many at once, kept nowhere.

Rounds of both alternate and the best of each counts, as others use the machine too. The server is a process of its own.
Two cores that others want do the hashing at the cost of the reading, and wall time says little: the second claim is the
same of CPU time, the server's included.

Run: `make bench`, or `.venv/bin/python benchmarks/bench_cold_read.py [MIB]` (half a minute; MIB of data, 256).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import obstore
from measure import ROOT, table, verdict
from obstore.store import from_url

sys.path.insert(0, str(ROOT))
from workloads.data import open_dataset
from workloads.data.manifest import Manifest, Shard, TokenizerFile

SHARD_MIB, CONNECTIONS = 16, 8
URL = "s3://bench-tokens/train"


def main(mib: int = 256, rounds: int = 12) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        os.environ |= {
            "AWS_ENDPOINT": f"http://127.0.0.1:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
        }
        names = upload(port, mib // SHARD_MIB)
        with tempfile.TemporaryDirectory() as cache:
            bare, ours = [], []
            for _ in range(rounds):
                bare.append(measured(server.pid, lambda: read_bare(names)))
                ours.append(measured(server.pid, lambda: read_into(Path(cache) / "shards", len(names))))
                shutil.rmtree(Path(cache) / "shards")
    finally:
        server.terminate()
        server.wait()
    best = [[min(one[kind] for one in found) for kind in (0, 1)] for found in (bare, ours)]
    table(
        ["MiB a second", "of wall time", "of CPU time"],
        [[name, *(mib / s for s in found)] for name, found in zip(("bare", "into the cache"), best, strict=True)],
    )
    verdict("cold read / bare obstore.get, bytes a second", best[0][0] / best[1][0], 0.5, at_least=True)
    verdict("the same, bytes a second of CPU time", best[0][1] / best[1][1], 0.5, at_least=True)


def upload(port: int, shards: int) -> list[str]:
    import boto3

    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1")
    for _ in range(300):
        try:
            client.create_bucket(Bucket="bench-tokens")
            break
        except Exception:  # noqa: BLE001
            time.sleep(0.1)
    generator = np.random.default_rng(0)
    made = []
    for index in range(shards):
        data = generator.integers(0, 257, SHARD_MIB * 2**19, np.uint16).tobytes()
        name = f"shard-{index:06d}.bin"
        client.put_object(Bucket="bench-tokens", Key=f"train/{name}", Body=data)
        made.append(Shard(name, len(data) // 2, hashlib.sha256(data).hexdigest()))
    manifest = Manifest("uint16", TokenizerFile("bytes", 257, 256), tuple(made))
    client.put_object(Bucket="bench-tokens", Key="train/manifest.json", Body=manifest.to_json().encode())
    return [shard.path for shard in made]


def read_bare(names: list[str]) -> None:
    store = from_url(URL)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        assert sum(pool.map(lambda name: len(obstore.get(store, name).bytes()), names))


def read_into(cache: Path, shards: int) -> None:
    with open_dataset(URL, cache=cache, connections=CONNECTIONS) as dataset:
        for index in range(shards):
            dataset.start(index)
        for index in range(shards):
            dataset.tokens(index)


def measured(server: int, work: Callable[[], None]) -> tuple[float, float]:
    """Seconds of wall time, and of CPU time of this process and the server."""
    started, used = time.perf_counter(), time.process_time() + cpu_of(server)
    work()
    return time.perf_counter() - started, time.process_time() + cpu_of(server) - used


def cpu_of(process: int) -> float:
    """User and system seconds so far (proc(5): fields 14 and 15, after a name that may hold spaces)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
