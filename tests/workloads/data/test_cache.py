"""Shards are fetched once a node, whole and verified or not at all, into no more room than there is."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import numpy as np
import pytest

from tests.workloads.data.conftest import environment
from tests.workloads.data.datasets import damage, write
from tests.workloads.data.test_loader import loader, take
from workloads.data import open_dataset
from workloads.data.cache import ShardCache
from workloads.data.errors import ArgumentError, BadShard, Closed, DiskFailed, NotADataset, StoreFailed

ROOT = Path(__file__).parents[3]
SAMPLES = [7, 3, 13, 1, 20, 9]
Upload = Callable[[Path, str], str]


def shards(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.suffix == ".shard")


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if path.suffix == ".part"]


def test_a_bucket_gives_the_same_batches_as_the_directory(tmp_path: Path, upload: Upload) -> None:
    manifest = write(tmp_path / "data", SAMPLES)
    with open_dataset(tmp_path / "data") as local:
        expected = take(local, 20)
    with open_dataset(upload(tmp_path / "data", "same"), cache=tmp_path / "cache") as remote:
        assert remote.fingerprint == manifest.fingerprint
        assert len(remote) == manifest.tokens
        assert take(remote, 20) == expected
    assert shards(tmp_path / "cache") == sorted(f"{shard.sha256}.shard" for shard in manifest.shards)
    assert not leftovers(tmp_path / "cache")
    with open_dataset((tmp_path / "data").as_uri(), cache=tmp_path / "copies") as copied:
        assert take(copied, 20) == expected
    assert len(shards(tmp_path / "copies")) == len(SAMPLES)


def test_large_shards_arrive_in_parts(tmp_path: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workloads.data.sources.PART", 1000)
    manifest = write(tmp_path / "data", [2000, 250])
    with open_dataset(upload(tmp_path / "data", "parts"), cache=tmp_path / "cache") as dataset:
        first = dataset.acquire(0)
        assert (first == np.arange(manifest.shards[0].tokens)).all()
        assert not first.flags.writeable
        assert dataset.acquire(1)[0] == manifest.shards[0].tokens


PROGRAM = """
import sys
from workloads.data import TokenLoader, open_dataset
dataset = open_dataset(sys.argv[1], cache=sys.argv[2])
loader = TokenLoader(dataset, batch_size=8, sequence_length=4, seed=3, rank=int(sys.argv[3]), world_size=2)
total = sum(int(next(loader).tokens.sum()) for _ in range(20))
print(total)
loader.close()
"""


def _processes(arguments: list[list[str]], endpoint: str) -> list[subprocess.Popen[str]]:
    return [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *each],
            cwd=ROOT,
            env={**os.environ, **environment(endpoint)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for each in arguments
    ]


def test_two_ranks_fetch_each_shard_once(
    tmp_path: Path, upload: Upload, s3: tuple[Any, str], caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "data", SAMPLES)
    url = upload(tmp_path / "data", "once")
    with caplog.at_level(logging.INFO, logger="werkzeug"):
        running = _processes([[url, str(tmp_path / "cache"), str(rank)] for rank in range(2)], s3[1])
        found = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0], found
    asked = [line for line in caplog.messages if "GET /tokens/once/shard-" in line]
    assert len(asked) == len(SAMPLES), asked
    assert len(shards(tmp_path / "cache")) == len(SAMPLES)


def test_the_cache_keeps_to_its_size_and_removes_what_was_not_used_for_longest(tmp_path: Path) -> None:
    manifest = write(tmp_path / "data", [50] * 10)
    size = max(manifest.size(shard) for shard in manifest.shards)
    cache, limit = tmp_path / "cache", 4 * size
    with open_dataset(tmp_path / "data", cache=cache, cache_limit_bytes=limit) as dataset:
        for index in (0, 1, 2, 3, 0, 4):
            dataset.acquire(index)
            dataset.release(index)
            time.sleep(0.01)  # a file's time has the kernel's ticks
            assert sum((cache / name).stat().st_size for name in shards(cache)) <= limit
        there = {name.removesuffix(".shard") for name in shards(cache)}
        assert there == {manifest.shards[index].sha256 for index in (0, 2, 3, 4)}
        # A whole epoch, several times the cache.
        assert len(take(dataset, 120, prefetch=2)[0]) == 120
        assert sum((cache / name).stat().st_size for name in shards(cache)) <= limit


def test_what_is_in_use_is_not_removed(tmp_path: Path) -> None:
    manifest = write(tmp_path / "data", [50] * 4)
    size = max(manifest.size(shard) for shard in manifest.shards)
    cache = ShardCache(tmp_path / "cache", 2 * size, patience_s=0.2)
    with open_dataset(tmp_path / "data", cache=tmp_path / "cache", cache_limit_bytes=2 * size) as dataset:
        assert dataset.cache is not None
        dataset.cache.patience_s = 0.2
        held = [dataset.acquire(0), dataset.acquire(1)]
        with pytest.raises(DiskFailed, match=r"does not fit, .* are in use: raise cache_limit_bytes"):
            dataset.acquire(2)
        # Somebody else's use counts too, and so does an array that outlives its release.
        with pytest.raises(DiskFailed, match="does not fit"):
            cache.open("0" * 64, size, lambda _: None, Event())
        dataset.release(0)
        with pytest.raises(DiskFailed, match="does not fit"):
            dataset.acquire(2)
        assert held[0][0] == 0
        held.clear()
        assert dataset.acquire(2)[0] == sum(shard.tokens for shard in manifest.shards[:2])


def test_a_cache_that_cannot_hold_what_a_batch_needs_is_refused_at_once(tmp_path: Path) -> None:
    manifest = write(tmp_path / "data", [50] * 10)
    needed = sum(sorted(manifest.size(shard) for shard in manifest.shards)[-4:])
    for limit in (needed, needed - 1):
        with open_dataset(tmp_path / "data", cache=tmp_path / "cache", cache_limit_bytes=limit) as dataset:
            if limit == needed:
                loader(dataset, prefetch=2).close()
            else:
                with pytest.raises(ArgumentError, match=rf"2 windows of 2 shards of .* need {needed:,}"):
                    loader(dataset, prefetch=2)


@pytest.mark.parametrize("how", ["truncate", "empty"])
def test_a_cached_shard_that_lost_bytes_is_fetched_again(tmp_path: Path, how: str) -> None:
    write(tmp_path / "data", SAMPLES)
    with open_dataset(tmp_path / "data", cache=tmp_path / "cache") as dataset:
        expected = take(dataset, 10)
    damage(tmp_path / "cache" / shards(tmp_path / "cache")[0], how)
    with open_dataset(tmp_path / "data", cache=tmp_path / "cache") as dataset:
        assert take(dataset, 10) == expected


def test_a_cache_from_before_the_last_boot_is_emptied(tmp_path: Path) -> None:
    write(tmp_path / "data", SAMPLES)
    cache = tmp_path / "cache"
    with open_dataset(tmp_path / "data", cache=cache) as dataset:
        dataset.acquire(0)
        with open_dataset(tmp_path / "data", cache=cache):
            assert len(shards(cache)) == 1
    # As a machine leaves it that went down before the bytes were on the disk.
    kept = cache / shards(cache)[0]
    kept.write_bytes(bytes(kept.stat().st_size))
    (cache / ".boot").write_text("another")
    with open_dataset(tmp_path / "data", cache=cache) as dataset:
        assert not shards(cache)
        assert dataset.acquire(0)[5] == 5


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("flip", r"expected sha256 [0-9a-f]{64}, found [0-9a-f]{64}"),
        ("truncate", "expected 220 bytes, found 219"),
        ("empty", "expected 220 bytes, found 0"),
        ("delete", "expected 220 bytes, found no such object"),
    ],
)
def test_a_bad_shard_in_a_bucket_is_named_and_not_kept(tmp_path: Path, upload: Upload, how: str, says: str) -> None:
    write(tmp_path / "data", SAMPLES)
    damage(tmp_path / "data" / "shard-2.bin", how)
    url = upload(tmp_path / "data", f"bad-{how}")
    with open_dataset(url, cache=tmp_path / "cache") as dataset, pytest.raises(BadShard, match=says) as caught:
        dataset.acquire(2)
    assert caught.value.place == f"{url}/shard-2.bin"
    assert not shards(tmp_path / "cache")
    assert not leftovers(tmp_path / "cache")


def test_a_shard_that_arrives_damaged_once_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from workloads.data.sources import Directory

    write(tmp_path / "data", SAMPLES)
    original, calls = Directory.stream, []

    def stream(self: Directory, name: str, size: int) -> Any:
        calls.append(name)
        for chunk, found in original(self, name, size):
            yield (chunk if len(calls) > 1 else bytes(len(chunk))), found

    monkeypatch.setattr(Directory, "stream", stream)
    with open_dataset(tmp_path / "data", cache=tmp_path / "cache") as dataset:
        assert dataset.acquire(0)[5] == 5
    assert len(calls) == 2


KILLED = """
import sys, time
from workloads.data import open_dataset
from workloads.data.sources import Directory
def stream(self, name, size):
    print("reading", flush=True)
    yield b"x" * (size // 2), size
    time.sleep(60)
Directory.stream = stream
open_dataset(sys.argv[1], cache=sys.argv[2]).acquire(0)
"""


def test_a_fetch_that_was_killed_leaves_no_lock_and_nothing_half(tmp_path: Path) -> None:
    manifest = write(tmp_path / "data", SAMPLES)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "data"), str(tmp_path / "cache")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "reading\n"
    assert leftovers(tmp_path / "cache")
    with open_dataset(tmp_path / "data", cache=tmp_path / "cache") as dataset:
        waiting = Thread(target=dataset.acquire, args=(0,))
        waiting.start()
        time.sleep(0.2)
        assert waiting.is_alive()  # the other process is at it
        process.send_signal(signal.SIGKILL)
        process.wait()
        waiting.join(20)
        assert not waiting.is_alive()
        assert shards(tmp_path / "cache") == [f"{manifest.shards[0].sha256}.shard"]
        # What a killed fetch left of another shard goes when room is made.
        (tmp_path / "cache" / f"{'0' * 64}.part").write_bytes(b"half")
        dataset.acquire(1)
    assert not leftovers(tmp_path / "cache")


def test_closing_does_not_wait_for_what_another_process_holds(tmp_path: Path) -> None:
    write(tmp_path / "data", SAMPLES)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "data"), str(tmp_path / "cache")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        dataset = open_dataset(tmp_path / "data", cache=tmp_path / "cache")
        dataset.start(0)
        one = loader(dataset, window_shards=6)
        started = time.monotonic()
        one.close()
        dataset.close()
        assert time.monotonic() - started < 3
        with pytest.raises(Closed):
            dataset.acquire(1)
        process.kill()


# ---- what cannot be opened


def test_what_is_no_dataset_is_refused(tmp_path: Path, upload: Upload) -> None:
    with pytest.raises(NotADataset, match=r"manifest\.json: not there; a dataset is a directory"):
        open_dataset(tmp_path / "nothing")
    write(tmp_path / "data" / "train", SAMPLES)
    with pytest.raises(NotADataset, match=r"there is one in train$"):
        open_dataset(tmp_path / "data")
    with pytest.raises(NotADataset, match="not there"):
        open_dataset(upload(tmp_path / "data" / "train", "x") + "y", cache=tmp_path / "cache")
    with pytest.raises(ArgumentError, match="needs cache="):
        open_dataset("s3://tokens/x")
    for url in ("ftp://host/x", "s3://", "http://host/x"):
        with pytest.raises(ArgumentError, match="expected file:///path"):
            open_dataset(url, cache=tmp_path / "cache")
    with pytest.raises(ArgumentError, match="cache limit of 0"):
        open_dataset(tmp_path / "data" / "train", cache=tmp_path / "cache", cache_limit_bytes=0)


def test_a_bucket_that_refuses_says_so(tmp_path: Path, upload: Upload) -> None:
    upload(tmp_path, "none")
    with pytest.raises((NotADataset, StoreFailed), match=r"s3://no-such-bucket/x/manifest\.json"):
        open_dataset("s3://no-such-bucket/x", cache=tmp_path / "cache")


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    write(tmp_path / "data", SAMPLES)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskFailed, match="file"):
        open_dataset(tmp_path / "data", cache=tmp_path / "file" / "cache")


def test_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write(tmp_path / "data", SAMPLES)
    monkeypatch.setattr("os.posix_fallocate", full)
    with (
        open_dataset(tmp_path / "data", cache=tmp_path / "cache") as dataset,
        pytest.raises(DiskFailed, match="cache: no space left"),
    ):
        dataset.acquire(0)
    assert not leftovers(tmp_path / "cache")


def test_ranks_in_step_share_a_cache_with_no_room_to_spare(tmp_path: Path) -> None:
    """Room for two windows is enough, though each rank looks one window further, and epochs begin anew."""
    manifest = write(tmp_path / "data", [40] * 7)
    needed = sum(sorted(manifest.size(shard) for shard in manifest.shards)[-4:])
    step = Barrier(2, timeout=30)

    def run(rank: int) -> list[list[int]]:
        with open_dataset(tmp_path / "data", cache=tmp_path / "cache", cache_limit_bytes=needed) as dataset:
            assert dataset.cache is not None
            dataset.cache.patience_s = 10
            with loader(dataset, rank=rank, world_size=2, prefetch=2) as one:
                found = []
                for _ in range(120):
                    found.append(next(one).tokens[:, 0].tolist())
                    step.wait()
                return found

    with ThreadPoolExecutor(2) as pool:
        left, right = pool.map(run, range(2))
    with open_dataset(tmp_path / "data") as dataset:
        assert [a + b for a, b in zip(left, right, strict=True)] == take(dataset, 120)[0]
    assert sum((tmp_path / "cache" / name).stat().st_size for name in shards(tmp_path / "cache")) <= needed
