"""The object store behind the local disk holds what is whole, gives it back, and never stands in training's way."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workloads.training.checkpointing import blank, opened, same, saved, state
from workloads.object_store import Unreachable
from workloads.training.checkpoints import layout, remote
from workloads.training.errors import ConfigError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def store(tmp_path: Path) -> str:
    (tmp_path / "store").mkdir()
    return f"file://{tmp_path}/store"


def _path(store: str) -> Path:
    return Path(store.removeprefix("file://"))


def _steps(store: str) -> set[int]:
    return {marker.step for marker in remote.Remote(store).markers()}


def test_what_is_committed_is_uploaded(directory: Path, store: str) -> None:
    with opened(directory, remote=store) as checkpointer:
        saved(checkpointer, 1)
        assert checkpointer.uploaded(30)
        assert checkpointer.uploads.done == 1
        assert not list(_path(store).glob(".probe*"))
    [marker] = remote.Remote(store).markers()
    assert marker == layout.read_marker(directory / "step-00000001")


def test_an_empty_disk_is_filled_from_the_store(directory: Path, store: str) -> None:
    with opened(directory, remote=store) as checkpointer:
        saved(checkpointer, 1)
        saved(checkpointer, 2)
    shutil.rmtree(directory)
    with opened(directory, remote=store) as checkpointer:
        newest = checkpointer.newest()
        assert newest is not None
        assert newest.step == 2
        assert checkpointer.load(newest, found := blank()) == {"step": 2}
        assert same(found, state(2))
        assert [path.name for path in layout.steps(directory)] == ["step-00000002"]
        saved(checkpointer, 3)
        assert layout.read_marker(directory / "step-00000003").sequence == 3


@pytest.mark.parametrize(("here", "there", "expected"), [((1, 2), (1,), 2), ((1,), (1, 2), 2), ((), (1,), 1)])
def test_the_newer_of_local_and_remote(
    directory: Path, store: str, here: tuple[int, ...], there: tuple[int, ...], expected: int
) -> None:
    with opened(directory, remote=store, keep=5) as checkpointer:
        for step in (1, 2):
            saved(checkpointer, step)
            assert checkpointer.uploaded(30)
    for step in (1, 2):
        if step not in here:
            layout.remove(directory / layout.name(step))
        if step not in there:
            shutil.rmtree(_path(store) / layout.name(step))
    with opened(directory, remote=store) as checkpointer:
        newest = checkpointer.newest()
        assert newest is not None
        assert newest.step == expected
        checkpointer.load(newest, found := blank())
        assert same(found, state(expected))


def test_a_damaged_local_one_is_fetched_anew(directory: Path, store: str, caplog: pytest.LogCaptureFixture) -> None:
    with opened(directory, remote=store) as checkpointer:
        saved(checkpointer, 1)
        saved(checkpointer, 2)
    path = directory / "step-00000002" / "__0_0.distcp"
    path.write_bytes(path.read_bytes()[:-1])
    with opened(directory, remote=store) as checkpointer:
        newest = checkpointer.newest()
        assert newest is not None
        assert newest.step == 2
        checkpointer.load(newest, found := blank())
        assert same(found, state(2))
    assert "step-00000002 is fetched anew: __0_0.distcp has" in caplog.text


@pytest.mark.parametrize("file", ["__0_0.distcp", layout.METADATA, "rank_0.json", layout.MARKER])
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_damaged_remote_one_is_passed_over(directory: Path, store: str, file: str, damage: str) -> None:
    with opened(directory, remote=store) as checkpointer:
        for step in (1, 2):
            saved(checkpointer, step)
            assert checkpointer.uploaded(30)
    shutil.rmtree(directory)
    [path] = (_path(store) / "step-00000002").rglob(file)
    data = path.read_bytes()
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if damage == "truncate" else bytes([data[0] ^ 1]) + data[1:])
    with opened(directory, remote=store) as checkpointer:
        newest = checkpointer.newest()
        assert newest is not None
        assert newest.step == 1
        checkpointer.load(newest, found := blank())
        assert same(found, state(1))
        assert not list(directory.glob("*.partial"))


def test_the_store_keeps_the_newest_and_no_leftovers(directory: Path, store: str) -> None:
    with opened(directory, remote=store, keep=2) as checkpointer:
        for step in (1, 2, 2, 3, 4):
            saved(checkpointer, step)
            assert checkpointer.uploaded(30)
            if step == 1:  # an upload that was given up
                (_path(store) / "step-00000000" / "abc").mkdir(parents=True)
                (_path(store) / "step-00000000" / "abc" / "__0_0.distcp").write_bytes(b"x")
    assert _steps(store) == {3, 4}
    assert {path.parts[-3] for path in _path(store).rglob("*.distcp")} == {"step-00000003", "step-00000004"}


# ---- what goes wrong


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://x/y", "expected file:///path, s3://bucket/prefix"),
        ("checkpoints", "expected file:///path"),
        ("file:///proc/checkpoints", "checkpoints cannot be written there"),
    ],
)
def test_a_store_that_cannot_be_written_is_told_at_the_start(directory: Path, url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        opened(directory, remote=url)
    assert url in str(caught.value)


class Failing:
    """Stands between and lets nothing through while `broken`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broken = False
        self.puts = 0
        put = remote.Bucket.put

        def either(bucket: remote.Bucket, key: str, data: Any) -> None:
            self.puts += 1
            if self.broken:
                raise Unreachable(f"{bucket.place(key)}: 503 Slow Down")
            put(bucket, key, data)

        monkeypatch.setattr(remote.Bucket, "put", either)
        monkeypatch.setattr(remote, "FIRST_DELAY_S", 0.01)
        monkeypatch.setattr(remote, "LONGEST_DELAY_S", 0.02)


def _until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_an_upload_that_fails_is_warned_of_and_tried_again(
    directory: Path, store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing(monkeypatch)
    with opened(directory, remote=store, keep=1) as checkpointer:
        failing.broken = True
        saved(checkpointer, 1)
        _until(lambda: checkpointer.uploads.failed >= 3)
        assert layout.verify(directory / "step-00000001").step == 1
        failing.broken = False
        assert checkpointer.uploaded(30)
    assert _steps(store) == {1}
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING and r.name == remote.__name__]
    assert "checkpoint of step 1 was not uploaded" in warned[0]
    assert "failure 3 since the start" in warned[2]
    assert "503 Slow Down" in warned[0]


def test_while_the_store_is_away_training_goes_on_and_the_newest_is_sent_later(
    directory: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(monkeypatch)
    with opened(directory, remote=store, keep=2) as checkpointer:
        failing.broken = True
        for step in range(8):
            saved(checkpointer, step)
        assert not checkpointer.uploaded(0.2)
        newest = checkpointer.newest()
        assert newest is not None
        assert newest.step == 7
        # The disk does not fill up: what is kept, and what one or two uploads still need.
        assert len(layout.steps(directory)) <= 4
        failing.broken = False
        saved(checkpointer, 8)
        assert checkpointer.uploaded(30)
    assert max(_steps(store)) == 8


def test_leaving_does_not_wait_for_ever(directory: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Failing(monkeypatch)
    checkpointer = opened(directory, remote=store)
    failing.broken = True
    saved(checkpointer, 1)
    begun = time.monotonic()
    checkpointer.close(0.3)
    assert time.monotonic() - begun < 10
    assert layout.verify(directory / "step-00000001").step == 1


def test_a_store_that_does_not_answer_leaves_the_local_ones(
    directory: Path, store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(directory, remote=store) as checkpointer:
        saved(checkpointer, 1)

    def away(_: remote.Bucket) -> list[str]:
        raise Unreachable("503")

    with opened(directory, remote=store) as checkpointer:
        monkeypatch.setattr(remote.Bucket, "names", away)
        newest = checkpointer.newest()
        assert newest is not None
        assert newest.step == 1
    assert "does not answer, only local checkpoints count: 503" in caplog.text


def test_what_is_being_uploaded_stays_on_the_disk(directory: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    go, put = threading.Event(), remote.Bucket.put

    def slow(bucket: remote.Bucket, key: str, data: Any) -> None:
        if ".probe" not in key:
            assert go.wait(30)
        put(bucket, key, data)

    monkeypatch.setattr(remote.Bucket, "put", slow)
    with opened(directory, remote=store, keep=1) as checkpointer:
        for step in range(4):
            saved(checkpointer, step)
        here = {path.name for path in layout.steps(directory)}
        assert {"step-00000000", "step-00000003"} <= here
        assert checkpointer.uploads.skipped >= 1
        go.set()
        assert checkpointer.uploaded(30)
    assert _steps(store) == {3}  # the last was skipped, and sent when there was time


# ---- S3


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[Any, str]]:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    client.create_bucket(Bucket="runs")
    yield client, f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def at_s3(s3: tuple[Any, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    environment = {
        "AWS_ENDPOINT": s3[1],
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "NO_PROXY": "127.0.0.1",
    }
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    return s3[0]


def test_s3_holds_and_gives_back(at_s3: Any, directory: Path) -> None:
    with opened(directory, remote="s3://runs/one", keep=2) as checkpointer:
        for step in (1, 2, 3):
            saved(checkpointer, step)
            assert checkpointer.uploaded(60)
    keys = {found["Key"] for found in at_s3.list_objects_v2(Bucket="runs", Prefix="one/")["Contents"]}
    assert {key.split("/")[1] for key in keys} == {"step-00000002", "step-00000003"}
    shutil.rmtree(directory)
    with opened(directory, remote="s3://runs/one") as checkpointer:
        newest = checkpointer.newest()
        assert newest is not None
        assert checkpointer.load(newest, found := blank()) == {"step": 3}
        assert same(found, state(3))


def test_a_bucket_that_is_not_there_is_told_at_the_start(at_s3: Any, directory: Path) -> None:  # noqa: ARG001
    with pytest.raises(ConfigError, match="remote s3://no-such/run: checkpoints cannot be written there"):
        opened(directory, remote="s3://no-such/run")
