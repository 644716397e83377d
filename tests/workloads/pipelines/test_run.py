"""A run: what is done is not done again, what was killed is begun anew, and half of something never counts."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workloads.pipelines.toys import SOURCES, TOYS, begin, digests, install
from workloads.pipelines.errors import ArgumentError, DataRefused, DiskFailed, NotReady, StoreFailed
from workloads.pipelines.run import Run
from workloads.pipelines.status import FAILED, REGISTERED, UNFINISHED, status
from workloads.pipelines.store import Bucket, Directory, File, digest, open_store, tree


@pytest.fixture(scope="module")
def s3() -> Iterator[None]:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    values = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="runs")
        yield
    server.stop()


@pytest.fixture
def toys(tmp_path, monkeypatch) -> None:
    install(tmp_path / "toys", monkeypatch)


@pytest.fixture(params=["directory", "bucket"])
def url(request, tmp_path) -> str:
    if request.param == "directory":
        return str(tmp_path / "run")
    request.getfixturevalue("s3")
    return f"s3://runs/{tmp_path.name}"


def do_all(run: Run) -> list[bool]:
    """Of each step, whether it was done now."""
    return [run.do(step)[1] for step in TOYS.steps]


@pytest.mark.usefixtures("toys")
def test_steps_are_done_once_and_their_artifacts_are_found_again(url, tmp_path):
    run = begin(url)
    assert do_all(run) == [True, True, True]
    assert do_all(Run.open(url, TOYS)) == [False, False, False]
    again = Run.open(url, TOYS)
    assert again.artifact("word", tmp_path).read_text() == '{"TOTAL": 6, "ACCEPTED": TRUE}'
    assert sorted(path.name for path in again.artifact("numbers", tmp_path).iterdir()) == ["0.txt", "1.txt", "2.txt"]
    found = status(again)
    assert found.outcome == REGISTERED
    assert found.steps["toy-one"].facts == {"count": 3}
    assert found.cost_usd == pytest.approx(sum(done.wall_s for done in found.steps.values()))
    assert set(found.digests(again)) == {"numbers", "total", "word"}


@pytest.mark.usefixtures("toys")
def test_only_what_a_change_concerns_is_done_again(url):
    before = begin(url)
    do_all(before)
    margin = begin(url, margin=0.6)
    assert do_all(margin) == [False, False, True]
    version = begin(url, version=2, margin=0.6)
    assert status(version).outcome == UNFINISHED
    assert do_all(version) == [True, True, True]
    # Back again: it is all there still.
    assert do_all(begin(url)) == [False, False, False]
    assert digests(begin(url)) == digests(before)


def test_changed_code_is_another_step_and_the_same_output_changes_nothing_behind_it(tmp_path, monkeypatch):
    install(tmp_path / "toys", monkeypatch)
    url = str(tmp_path / "run")
    do_all(begin(url))
    install(tmp_path / "toys", monkeypatch, {"toy-two": SOURCES["toy-two"] + "\n# as before\n"})
    assert do_all(begin(url)) == [False, True, False]
    # Whoever reads with other code still sees what was done.
    install(tmp_path / "toys", monkeypatch, {"toy-one": SOURCES["toy-one"] + "\n"})
    assert status(begin(url)).outcome == REGISTERED


@pytest.mark.usefixtures("toys")
def test_a_step_waits_for_its_inputs_and_says_which(url):
    run = begin(url)
    with pytest.raises(NotReady, match="step toy-three needs step toy-two, which is not done"):
        run.do(TOYS.step("toy-three"))
    with pytest.raises(NotReady, match="'word' is not there"):
        run.place("word")
    with pytest.raises(NotReady, match="no run has begun here"):
        Run.open(f"{url}-other", TOYS)


@pytest.mark.usefixtures("toys")
def test_a_step_that_fails_is_told_of_until_it_is_done(url):
    run = begin(url, margin=2.0)
    for step in TOYS.steps[:2]:
        run.do(step)
    with pytest.raises(DataRefused):
        run.do(TOYS.step("toy-three"))
    assert (status(run).outcome, status(run).reasons) == (FAILED, ("toy-three: the margin is too large",))
    mended = begin(url)
    assert status(mended).outcome == UNFINISHED
    do_all(mended)
    assert status(mended).outcome == REGISTERED


@pytest.mark.usefixtures("toys")
def test_of_two_that_do_a_step_at_once_the_first_to_end_counts(url, monkeypatch):
    """On two machines: nothing but the store tells them of each other."""
    one, other = begin(url), Run.open(url, TOYS)
    step, create = TOYS.step("toy-one"), type(one.store).create
    seen = []

    def slow(store, name, data):
        if not seen:
            seen.append(name)
            monkeypatch.setattr(type(one.store), "create", create)
            if isinstance(store, Directory):
                store.write(name, other_marker(other, step))
            else:
                other.do(step)
        return create(store, name, data)

    monkeypatch.setattr(type(one.store), "create", slow)
    done, now = one.do(step)
    assert seen
    assert not now
    assert Run.open(url, TOYS).done(step) == done
    assert do_all(Run.open(url, TOYS)) == [False, True, True]


def other_marker(run: Run, step) -> bytes:
    """What another process would write: in one directory it cannot work at the same time, so it works elsewhere."""
    elsewhere = begin(f"{run.store.url}-elsewhere")
    done, _ = elsewhere.do(step)
    place = f"steps/{step.name}/{done.key}"
    os.rename(elsewhere.store.path / place / done.attempt, run.store.path / place / done.attempt)
    return (elsewhere.store.path / f"{place}.json").read_bytes()


@pytest.mark.usefixtures("toys")
def test_two_do_not_work_in_one_directory(tmp_path):
    run = begin(str(tmp_path / "run"))
    step = TOYS.step("toy-one")
    with run._working(step, "key"), pytest.raises(DiskFailed, match="another process is doing step toy-one"):
        run.do(step)


# ---- kills

WRITES = {"os.rename", "os.link", "os.mkdir", "os.remove", "shutil.move", "shutil.rmtree"}


def killed_at(number: int, url: str) -> bool:
    """Whether a process that does all steps dies at its `number`-th change to the run's directory."""
    child = os.fork()
    if not child:
        count = 0

        def hook(event: str, arguments: tuple) -> None:
            nonlocal count
            writes = event in WRITES or (
                event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
            )
            if writes and any(str(word).startswith(url) for word in arguments[:2]):
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(hook)
            do_all(Run.open(url, TOYS))
        finally:
            os._exit(0)
    _, code = os.waitpid(child, 0)
    assert code in (0, signal.SIGKILL)
    return code == signal.SIGKILL


def test_a_kill_at_any_change_loses_nothing_and_leaves_nothing_half(tmp_path, monkeypatch):
    """Before every single file that is opened to be written, linked, renamed or removed in all of a run."""
    install(tmp_path / "toys", monkeypatch)
    whole = begin(str(tmp_path / "whole"))
    do_all(whole)
    number, kills = 1, 0
    while True:
        url = str(tmp_path / f"killed-{number}")
        begin(url)
        if not killed_at(number, url):
            break
        kills += 1
        for step in TOYS.steps:
            if (done := Run.open(url, TOYS).done(step)) is not None:
                for artifact, found in done.outputs.items():
                    path = Run.open(url, TOYS).artifact(artifact, tmp_path)
                    assert digest(tree(path)) == found["digest"]
        run = Run.open(url, TOYS)
        do_all(run)
        assert digests(run) == digests(whole)
        assert status(run).outcome == REGISTERED
        number += 1
    assert kills > 40
    do_all(Run.open(url, TOYS))


# ---- stores


@pytest.mark.usefixtures("s3")
def test_stores_say_what_went_wrong(tmp_path):
    with pytest.raises(ArgumentError, match="expected file:///path, s3://"):
        open_store("ftp://host/run")
    bucket = Bucket("s3://runs/told")
    assert bucket.read("nothing") is None
    assert bucket.create("marker", b"1")
    assert not bucket.create("marker", b"2")
    assert bucket.read("marker") == b"1"
    assert bucket.children("") == ["marker"]
    with pytest.raises(StoreFailed, match="its sha256 is 6b86b273"):
        bucket.copy(File("marker", 1, "0" * 64), tmp_path / "copy")
    with pytest.raises(StoreFailed):
        Bucket("s3://no-such-bucket/run").write("a", b"")
    closed = tmp_path / "file"
    closed.write_text("")
    with pytest.raises(DiskFailed):
        Directory(closed).write("a", b"")


def test_a_digest_is_of_names_and_contents_and_of_nothing_else(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "file").write_text("text")
    os.utime(tmp_path / "b" / "inner" / "file", (1, 1))
    assert digest(tree(tmp_path / "a")) == digest(tree(tmp_path / "b"))
    (tmp_path / "b" / "inner" / "file").rename(tmp_path / "b" / "inner" / "other")
    assert digest(tree(tmp_path / "a")) != digest(tree(tmp_path / "b"))
    assert [file.path for file in tree(Path(__file__))] == [""]
