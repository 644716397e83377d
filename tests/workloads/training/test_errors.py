"""What goes wrong around a run: each is told clearly, with an exit code of its own, and loses nothing.

Wrong settings, wrong data, a missing GPU and a divergence are in test_config and test_train.
"""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch

from tests.workloads.training.checkpointing import forked
from tests.workloads.training.small import command, learnt, make_data, metrics
from workloads.training import checkpoint, cli, run
from workloads.training.checkpoints import layout
from workloads.training.train import Trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"), ("json", "logging"))


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(run, "Checkpointer", functools.partial(checkpoint.Checkpointer, new_saver=forked))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def train(data: Path, output: Path, **options) -> int:
    return cli.main(command(data, output, **options))


def steps(output: Path) -> list[int]:
    return sorted(layout.verify(path).step for path in layout.steps(output / "checkpoints"))


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "Checkpointer", functools.partial(checkpoint.Checkpointer, new_saver=forked))
        assert train(data, output, checkpoint={"every": 4}) == 0
    return learnt(output)


# ---- a disk that is full


class Disk:
    """A file system of its own, in memory, of a size that can be changed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.path)], check=True)

    def fill(self, left: int) -> None:
        """But for `left` bytes, in whole pages."""
        status = os.statvfs(self.path)
        self.resize((status.f_blocks - status.f_bavail) * status.f_frsize + left)


@pytest.fixture
def disk(tmp_path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(path)], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield Disk(path)
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def once(monkeypatch: pytest.MonkeyPatch, when: Callable[[int], bool], action: Callable[[], None]) -> Iterator[None]:
    """Does something at the begin of the first step that `when` says."""
    seed, done = Trainer._seed, []

    def seeded(trainer: Trainer, step: int) -> None:
        seed(trainer, step)
        if not done and when(step):
            done.append(step)
            trainer.checkpointer.wait()
            action()

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_seed", seeded)
        yield
    assert done


def test_a_disk_that_fills_up_with_checkpoints_ends_the_run_and_loses_none(data, disk, undisturbed, capsys):
    options = {"checkpoint": {"every": 4}}
    # Room for two, at the most.
    disk.resize(3 * 2**20)
    assert train(data, disk.path / "run", **options) == 5
    said = capsys.readouterr().err
    assert "training: step 12 was not saved: " in said
    assert "2 older checkpoints are intact in " in said
    assert steps(disk.path / "run") == [4, 8]
    disk.resize(64 * 2**20)
    assert train(data, disk.path / "run", **options) == 0
    assert "continues after step 8" in capsys.readouterr().out
    assert learnt(disk.path / "run") == undisturbed


def test_a_disk_without_room_for_a_line_ends_the_run_and_loses_at_most_an_interval(
    data, disk, undisturbed, monkeypatch, capsys
):
    options = {"checkpoint": {"every": 8}}
    lines = disk.path / "run" / "metrics.jsonl"
    # A file has whole pages: of this one there is little left.
    with once(monkeypatch, lambda step: step > 8 and -lines.stat().st_size % 4096 < 700, lambda: disk.fill(0)):
        assert train(data, disk.path / "run", **options) == 5
    assert capsys.readouterr().err == f"training: {lines}: no space left\n"
    assert steps(disk.path / "run")[0] == 8
    # Nor is there room to begin.
    assert train(data, disk.path / "run", **options) == 5
    assert "o space left" in capsys.readouterr().err
    disk.resize(64 * 2**20)
    assert train(data, disk.path / "run", **options) == 0
    assert "continues after step" in capsys.readouterr().out
    assert learnt(disk.path / "run") == undisturbed


# ---- an object store that cannot be written


class Gate:
    """A port in front of a server, which can be shut: connections that are open are cut, new ones refused."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server, self._open = server, set()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._listener: socket.socket | None = None

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                here, _ = listener.accept()
            except OSError:
                return
            there = socket.create_connection(self._server)
            self._open |= {here, there}
            for source, target in ((here, there), (there, here)):
                threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.fixture(scope="module")
def store():
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    gate = Gate((host, port))
    gate.open()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    client.create_bucket(Bucket="runs")
    yield client, gate
    gate.shut()
    server.stop()


@pytest.fixture
def at_store(store, monkeypatch):
    for key, value in {
        "AWS_ENDPOINT": f"http://127.0.0.1:{store[1].port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(key, value)
    return store


def committed(client, prefix: str) -> set[int]:
    found = client.list_objects_v2(Bucket="runs", Prefix=f"{prefix}/").get("Contents", [])
    keys = [item["Key"] for item in found if item["Key"].endswith(layout.MARKER)]
    return {layout.step_of(key.split("/")[1]) or 0 for key in keys}


@pytest.mark.usefixtures("at_store")
def test_a_bucket_that_cannot_be_written_is_told_before_the_first_step(data, tmp_path, capsys):
    assert train(data, tmp_path / "run", checkpoint={"remote": "s3://no-such/run"}) == 2
    said = capsys.readouterr().err
    assert "remote s3://no-such/run: checkpoints cannot be written there" in said
    assert "may this identity put and delete objects?" in said
    assert not metrics(tmp_path / "run")


def test_a_bucket_that_goes_away_is_trained_without_and_sent_to_later(
    at_store, data, tmp_path, undisturbed, monkeypatch, capsys
):
    client, gate = at_store
    options = {"checkpoint": {"every": 4, "remote": "s3://runs/away", "upload_wait_s": 2}}
    with once(monkeypatch, lambda step: step == 10, gate.shut):
        # It trains to the end, and does not say that all is well: whoever runs it may throw this disk away.
        assert train(data, tmp_path / "run", **options) == 7
    out, err = capsys.readouterr()
    assert "done: 24 steps" in out
    assert "the training is done, but s3://runs/away has not taken all of it within 2 s" in err
    assert f"it is whole in {tmp_path / 'run' / 'checkpoints'}, and the same command sends it" in err
    assert 24 in steps(tmp_path / "run")
    assert learnt(tmp_path / "run") == undisturbed
    assert 24 not in committed(client, "away")

    gate.open()
    assert train(data, tmp_path / "run", **options, training={"steps": 24}) == 0
    assert "already at step 24 of 24: nothing is left to do" in capsys.readouterr().out
    assert 24 in committed(client, "away")
