"""The model repository is fetched whole and verified or not at all: from real files and from an S3 over HTTP."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.serving import fetch as fetching
from workloads.serving.cli import main
from workloads.serving.errors import (
    ArgumentError,
    DiskFailed,
    NotInStore,
    ServingError,
    StoreFailed,
    VerificationFailed,
)
from workloads.serving.fetch import STAGING, fetch
from workloads.serving.manifest import File, Manifest, ModelVersion, write_manifest
from workloads.serving.progress import Progress

ROOT = Path(__file__).parents[2]
MODEL = ModelVersion("resnet50", 3)
PART = 64 * 1024


def export(repository: Path, model: ModelVersion = MODEL, seed: int = 0, config: str = "max_batch_size: 8\n") -> Path:
    """A model version as export code leaves it: several parts, less than a part, nothing, an odd name."""
    directory = repository / model.name / str(model.version)
    version = directory / str(model.version)
    (version / "assets").mkdir(parents=True)
    (directory / "config.pbtxt").write_text(config)
    (version / "model.onnx").write_bytes(_noise(5 * PART + 17, seed))
    (version / "assets" / "tokens é #1.txt").write_bytes(_noise(1000, seed + 1))
    (version / "empty").write_bytes(b"")
    write_manifest(directory, model)
    return directory


def _noise(size: int, seed: int) -> bytes:
    return hashlib.shake_128(str(seed).encode()).digest(size)


def tree(directory: Path) -> dict[str, bytes]:
    """Every file under a directory that a server could see."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and STAGING not in path.parts
    }


def exported(directory: Path) -> dict[str, bytes]:
    return {path: data for path, data in tree(directory).items() if path != "manifest.json"}


def _fetch(source: str, destination: Path) -> list[str]:
    return ["fetch", "--source", source, "--destination", str(destination), "--model", str(MODEL)]


def _run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    export(tmp_path / "repository")
    return tmp_path / "repository"


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "models"


def test_a_fetched_model_is_laid_out_as_triton_expects_it(repository: Path, destination: Path) -> None:
    read = fetch(f"file://{repository}", destination, [MODEL], part_bytes=PART)

    assert tree(destination / "resnet50") == exported(repository / "resnet50" / "3")
    assert {"config.pbtxt", "3/model.onnx", "3/empty", "3/assets/tokens é #1.txt"} == set(
        tree(destination / "resnet50")
    )
    assert read == sum(map(len, tree(destination).values()))
    assert [path.name for path in destination.iterdir()] == ["resnet50"]  # nothing of the staging is left


def test_what_is_there_and_whole_is_not_read_again(repository: Path, destination: Path) -> None:
    fetch(f"file://{repository}", destination, [MODEL])
    before = (destination / "resnet50/3/model.onnx").stat().st_ino
    # Only the manifest is left in the repository: any other read would fail.
    for path in (repository / "resnet50" / "3").rglob("*"):
        if path.is_file() and path.name != "manifest.json":
            path.unlink()

    assert fetch(f"file://{repository}", destination, [MODEL]) == 0
    assert (destination / "resnet50/3/model.onnx").stat().st_ino == before


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "add"])
def test_a_local_copy_that_was_damaged_is_replaced(repository: Path, destination: Path, damage: str) -> None:
    fetch(f"file://{repository}", destination, [MODEL])
    _damage(destination / "resnet50/3/model.onnx", damage)
    assert tree(destination / "resnet50") != exported(repository / "resnet50" / "3")

    assert fetch(f"file://{repository}", destination, [MODEL], part_bytes=PART) > 0
    assert tree(destination / "resnet50") == exported(repository / "resnet50" / "3")
    assert [path.name for path in destination.iterdir()] == ["resnet50"]


def _damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif how == "truncate":
        path.write_bytes(data[:-1])
    elif how == "grow":
        path.write_bytes(data + b"\0")
    elif how == "delete":
        path.unlink()
    else:
        (path.parent / "stranger").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "error", "says"),
    [
        ("flip", VerificationFailed, "the manifest says"),
        ("truncate", VerificationFailed, f"{5 * PART + 16} bytes, the manifest says {5 * PART + 17}"),
        ("grow", VerificationFailed, f"{5 * PART + 18} bytes, the manifest says {5 * PART + 17}"),
        ("delete", NotInStore, "it is not there"),
    ],
)
def test_a_damaged_repository_is_refused_and_nothing_is_served(
    repository: Path, destination: Path, damage: str, error: type[ServingError], says: str
) -> None:
    _damage(repository / "resnet50/3/3/model.onnx", damage)

    with pytest.raises(error, match=r"resnet50/3/3/model\.onnx") as raised:
        fetch(f"file://{repository}", destination, [MODEL], part_bytes=PART)
    assert says in str(raised.value)
    assert tree(destination) == {}

    # Mended, the next fetch takes up what was verified.
    shutil.rmtree(repository)
    export(repository)
    fetch(f"file://{repository}", destination, [MODEL], part_bytes=PART)
    assert tree(destination / "resnet50") == exported(repository / "resnet50" / "3")


def test_a_repository_that_is_damaged_later_does_not_harm_what_is_served(repository: Path, destination: Path) -> None:
    fetch(f"file://{repository}", destination, [MODEL])
    other = ModelVersion("bert", 1)
    _damage(export(repository, other) / "1/model.onnx", "flip")

    with pytest.raises(VerificationFailed, match="bert"):
        fetch(f"file://{repository}", destination, [MODEL, other])
    assert tree(destination) == {
        f"resnet50/{path}": data for path, data in exported(repository / "resnet50" / "3").items()
    }


def test_versions_of_a_model_share_its_directory(repository: Path, destination: Path) -> None:
    newer = ModelVersion("resnet50", 4)
    export(repository, newer, seed=9)
    fetch(f"file://{repository}", destination, [newer, MODEL, MODEL])
    assert {"config.pbtxt", "3/model.onnx", "4/model.onnx"} < set(tree(destination / "resnet50"))

    # A version that is no longer wanted goes: Triton would load it, if its configuration says so.
    fetch(f"file://{repository}", destination, [newer])
    assert tree(destination / "resnet50") == exported(repository / "resnet50" / "4")


def test_versions_with_different_configurations_are_refused(repository: Path, destination: Path) -> None:
    newer = ModelVersion("resnet50", 4)
    export(repository, newer, config="max_batch_size: 16\n")
    with pytest.raises(VerificationFailed, match=r"resnet50:3 and resnet50:4 bring different 'config.pbtxt'"):
        fetch(f"file://{repository}", destination, [MODEL, newer])


def test_an_ensemble_has_an_empty_version_directory(tmp_path: Path, destination: Path) -> None:
    directory = tmp_path / "repository" / "ensemble" / "1"
    directory.mkdir(parents=True)
    (directory / "config.pbtxt").write_text('platform: "ensemble"\n')
    write_manifest(directory, ModelVersion("ensemble", 1))

    for expected in (len('platform: "ensemble"\n'), 0):
        assert fetch(f"file://{tmp_path / 'repository'}", destination, [ModelVersion("ensemble", 1)]) == expected
        assert (destination / "ensemble" / "1").is_dir()


def test_leftovers_of_another_fetch_are_cleared(repository: Path, destination: Path) -> None:
    (destination / STAGING / "resnet50" / "config.pbtxt" / "deeper").mkdir(parents=True)
    (destination / STAGING / "resnet50" / "config.pbtxt" / "deeper" / "file").write_text("x")
    (destination / STAGING / "gone").mkdir()
    (destination / STAGING / "gone" / "model.onnx").write_text("x")
    fetch(f"file://{repository}", destination, [MODEL])
    assert tree(destination / "resnet50") == exported(repository / "resnet50" / "3")
    assert [path.name for path in destination.iterdir()] == ["resnet50"]


# ---- what a manifest may not say


def _manifest(**changes: object) -> str:
    entry = {"path": "3/model.onnx", "bytes": 1, "sha256": "0" * 64}
    document: dict[str, object] = {"format": 1, "model": "resnet50", "version": 3, "files": [entry]}
    for key, value in changes.items():
        (entry if key in entry else document)[key] = value
    return json.dumps(document)


def test_the_manifest_that_the_faults_below_are_planted_in_is_read() -> None:
    manifest = Manifest.from_json(_manifest(), MODEL, "here")
    assert manifest.files == (File("3/model.onnx", 1, "0" * 64),)
    assert Manifest.from_json(manifest.to_json(), MODEL, "here") == manifest


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (_manifest(path="../../etc/passwd"), "leads outside"),
        (_manifest(path="3/../../../x"), "leads outside"),
        (_manifest(path="/etc/passwd"), "leads outside"),
        (_manifest(path="3//model"), "leads outside"),
        (_manifest(path="./config.pbtxt"), "leads outside"),
        (_manifest(path="3\\model"), "forward slashes"),
        (_manifest(path="3/\n"), "relative path"),
        (_manifest(path=""), "relative path"),
        (_manifest(path=None), "relative path"),
        (_manifest(path="4/model.onnx"), "another version"),
        (_manifest(path="3"), "another version"),
        (_manifest(path="manifest.json"), "the manifest itself"),
        (_manifest(bytes=-1), "whole number"),
        (_manifest(bytes=True), "whole number"),
        (_manifest(bytes=1.0), "whole number"),
        (_manifest(sha256="0" * 63), "64 lower-case"),
        (_manifest(sha256="G" * 64), "64 lower-case"),
        (_manifest(files=[]), "at least one file"),
        (_manifest(files=["x"]), "expected an object"),
        (_manifest(files=[{"path": "a", "bytes": 1, "sha256": "0" * 64}] * 2), "listed twice"),
        (
            _manifest(files=[{"path": path, "bytes": 1, "sha256": "0" * 64} for path in ("a", "a/b")]),
            "is a file, and a directory",
        ),
        (_manifest(format=2), "format 2"),
        (_manifest(model="bert"), "bert:3, expected resnet50:3"),
        (_manifest(version=4), "resnet50:4, expected resnet50:3"),
        ("[]", "expected a JSON object"),
        (_manifest()[:-5], "not JSON"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_manifest_is_refused(repository: Path, destination: Path, text: str, says: str) -> None:
    (repository / "resnet50/3/manifest.json").write_text(text)
    with pytest.raises(VerificationFailed, match=r"resnet50/3/manifest.json") as raised:
        fetch(f"file://{repository}", destination, [MODEL])
    assert says in str(raised.value)
    assert not destination.exists()


@given(path=st.text(st.sampled_from("./a3\\ \n"), max_size=12))
def test_no_path_of_a_manifest_leaves_the_model(path: str) -> None:
    try:
        manifest = Manifest.from_json(_manifest(path=path), MODEL, "here")
    except VerificationFailed:
        return
    inside = os.path.normpath(os.path.join("/models/resnet50", manifest.files[0].path))
    assert inside.startswith("/models/resnet50/")
    assert inside == f"/models/resnet50/{path}"


def test_a_manifest_is_not_written_over_links_or_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotInStore, match="not a directory"):
        write_manifest(tmp_path / "none", MODEL)
    (tmp_path / "3").mkdir()
    with pytest.raises(NotInStore, match="no files"):
        write_manifest(tmp_path, MODEL)
    (tmp_path / "3" / "model").symlink_to("/etc/passwd")
    with pytest.raises(VerificationFailed, match="a link"):
        write_manifest(tmp_path, MODEL)
    (tmp_path / "3" / "model").unlink()
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "model").write_text("x")
    with pytest.raises(VerificationFailed, match="another version"):
        write_manifest(tmp_path, MODEL)
    assert not (tmp_path / "manifest.json").exists()


def test_a_manifest_does_not_list_itself(tmp_path: Path) -> None:
    directory = export(tmp_path)
    first = (directory / "manifest.json").read_text()
    write_manifest(directory, MODEL)
    assert (directory / "manifest.json").read_text() == first


# ---- the places it reads from and writes to


@pytest.mark.parametrize(
    "url", ["ftp://bucket/models", "models", "/models", "", "s3:bucket", "s3://", "http://h/models"]
)
def test_a_url_that_cannot_be_a_repository_is_refused(destination: Path, url: str) -> None:
    with pytest.raises(ArgumentError, match="expected file:///path, s3://bucket/prefix"):
        fetch(url, destination, [MODEL])


def test_a_version_without_a_manifest_does_not_exist(repository: Path, destination: Path) -> None:
    with pytest.raises(NotInStore, match=r"resnet50/7/manifest.json: resnet50:7 is not in the repository"):
        fetch(f"file://{repository}", destination, [ModelVersion("resnet50", 7)])


def test_a_full_disk_is_noticed_before_anything_is_read(
    repository: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 1000))
    with pytest.raises(DiskFailed, match=r"321 KiB are needed, 1 KiB are free"):
        fetch(f"file://{repository}", destination, [MODEL])
    assert tree(destination) == {}


def test_a_disk_that_fills_up_meanwhile_is_named(repository: Path, destination: Path) -> None:
    """A file size limit, which the kernel reports like a full disk, in a process of its own."""
    code = (
        "import resource, signal, sys; from workloads.serving.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({PART}, {PART}))\n"
        "sys.exit(main())"
    )
    arguments = ["fetch", "--source", f"file://{repository}", "--destination", str(destination), "--model", str(MODEL)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == DiskFailed.exit_code
    assert "File too large" in done.stderr
    assert tree(destination) == {}


def test_a_destination_that_cannot_be_written_is_named(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DiskFailed, match=f"{tmp_path}/file"):
        fetch(f"file://{repository}", tmp_path / "file" / "models", [MODEL])
    with pytest.raises(DiskFailed, match="/proc/models"):
        fetch(f"file://{repository}", Path("/proc/models"), [MODEL])


def test_two_fetches_do_not_share_a_destination(repository: Path, destination: Path) -> None:
    with fetching._alone(destination), pytest.raises(DiskFailed, match="another fetch"):
        fetch(f"file://{repository}", destination, [MODEL])
    fetch(f"file://{repository}", destination, [MODEL])


# ---- S3


@pytest.fixture(scope="module")
def s3():
    """The address of a local S3, with its bucket `ai-models`."""
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
    client.create_bucket(Bucket="ai-models")
    yield client, f"http://{host}:{port}"
    server.stop()


def _environment(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "NO_PROXY": "127.0.0.1",
    }


def _upload(client, repository: Path, prefix: str) -> None:
    for path in repository.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), "ai-models", f"{prefix}/{path.relative_to(repository).as_posix()}")


def test_s3_gives_the_same_bytes(
    s3, repository: Path, destination: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client, endpoint = s3
    for key, value in _environment(endpoint).items():
        monkeypatch.setenv(key, value)
    _upload(client, repository, "whole")

    assert main(_fetch("s3://ai-models/whole/", destination)) == 0
    assert "resnet50:3: verified" in capsys.readouterr().out
    assert tree(destination / "resnet50") == exported(repository / "resnet50" / "3")
    assert fetch("s3://ai-models/whole", destination, [MODEL], part_bytes=PART) == 0

    for damage in ("flip", "truncate", "grow", "delete"):
        damaged = destination.parent / damage
        shutil.copytree(repository, damaged)
        _damage(damaged / "resnet50/3/3/model.onnx", damage)
        _upload(client, damaged, damage)
        error = NotInStore if damage == "delete" else VerificationFailed
        with pytest.raises(error, match=f"s3://ai-models/{damage}/resnet50/3/3/model.onnx"):
            fetch(f"s3://ai-models/{damage}", destination.parent / f"{damage}-models", [MODEL], part_bytes=PART)


def test_a_bucket_that_is_not_there_is_an_error_of_the_store(
    s3, destination: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in _environment(s3[1]).items():
        monkeypatch.setenv(key, value)
    code = main(_fetch("s3://no-such/x", destination))
    assert code in (NotInStore.exit_code, StoreFailed.exit_code)
    error = capsys.readouterr().err
    assert "s3://no-such/x/resnet50/3/manifest.json" in error
    assert len(error.splitlines()) == 1  # no debug dump


def test_a_fetch_that_is_killed_leaves_nothing_half_done_and_the_next_takes_it_up(
    s3, repository: Path, destination: Path
) -> None:
    client, endpoint = s3
    version = repository / "resnet50" / "3" / "3"
    for index in range(200):
        (version / f"part-{index:03}").write_bytes(_noise(20_000, index))
    (version / "weights").write_bytes(_noise(40 * 2**20, 1))
    write_manifest(repository / "resnet50" / "3", MODEL)
    _upload(client, repository, "killed")
    command = ["-m", "workloads.serving", *_fetch("s3://ai-models/killed", destination)]
    command += ["--connections", "2", "--part-mib", "1"]
    environment = {**os.environ, **_environment(endpoint)}

    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    staged = destination / STAGING / "resnet50" / "3"
    deadline = time.monotonic() + 60
    while not (staged / "part-050").exists():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline, "it never got to the part it was to be killed at"
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert tree(destination) == {}  # a server sees no model, rather than half of one

    done = _run(*command, env=environment)
    assert done.returncode == 0, done.stderr
    assert tree(destination / "resnet50") == exported(repository / "resnet50" / "3")
    assert [path.name for path in destination.iterdir()] == ["resnet50"]


def test_what_a_failed_fetch_left_is_not_taken_for_a_version(repository: Path, destination: Path) -> None:
    """An ensemble's version is an empty directory, and a Python model's that is one hangs the server that loads it."""
    export(repository, ModelVersion("resnet50", 4))
    (repository / "resnet50/4/4/model.onnx").write_bytes(b"cut short")
    with pytest.raises(VerificationFailed):
        fetch(f"file://{repository}", destination, [ModelVersion("resnet50", 4)])
    assert (destination / STAGING / "resnet50/4").is_dir()
    fetch(f"file://{repository}", destination, [MODEL])
    assert sorted(path.name for path in (destination / "resnet50").iterdir()) == ["3", "config.pbtxt"]


def test_what_a_killed_fetch_had_verified_is_not_read_again(repository: Path, destination: Path) -> None:
    whole = exported(repository / "resnet50" / "3")
    staged = destination / STAGING / "resnet50" / "3"
    staged.mkdir(parents=True)
    (staged / "model.onnx").write_bytes(whole["3/model.onnx"])
    (staged / "empty").write_bytes(b"half done")
    read = fetch(f"file://{repository}", destination, [MODEL])
    assert read == sum(map(len, whole.values())) - len(whole["3/model.onnx"])
    assert tree(destination / "resnet50") == whole


# ---- the rest of the command line


@pytest.mark.parametrize(
    "model", ["resnet50", "resnet50:", ":3", "resnet50:0", "resnet50:-1", "../x:1", "a b:1", "a:1.0"]
)
def test_a_model_that_cannot_be_one_is_refused(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["ready", "--model", model])
    assert raised.value.code == ArgumentError.exit_code
    assert "NAME:VERSION" in capsys.readouterr().err


def test_the_manifest_command_writes_what_fetch_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = export(tmp_path / "repository")
    (directory / "manifest.json").unlink()
    assert main(["manifest", str(directory), "--model", "resnet50:3"]) == 0
    assert "4 files" in capsys.readouterr().out
    assert fetch(f"file://{tmp_path / 'repository'}", tmp_path / "models", [MODEL]) > 0


@pytest.fixture
def triton():
    """A server that answers as Triton 2.51 does: 200 when a model version is ready, 400 when not or not known."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers = {
                "/v2/models/resnet50/versions/3/ready": 200,
                "/v2/models/bert/versions/1/ready": 200,
            }
            if "slow" in self.path:
                time.sleep(1)
            self.send_response(answers.get(self.path, 400))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("models", "code", "says"),
    [
        (["resnet50:3"], 0, ""),
        (["resnet50:3", "bert:1"], 0, ""),
        (["resnet50:3", "loading:1", "bert:1"], 1, "loading:1: not ready: HTTP 400"),
        (["resnet50:4"], 1, "resnet50:4: not ready: HTTP 400"),
        (["slow:1", "resnet50:3"], 1, "slow:1: not ready: no answer"),
    ],
)
def test_ready_needs_every_model(
    triton: str, models: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["ready", "--url", triton, "--timeout-s", "0.5", *(a for model in models for a in ("--model", model))]
    assert main(arguments) == code
    assert says in capsys.readouterr().err


def test_ready_says_no_while_the_server_starts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ready", "--url", "http://127.0.0.1:9", "--model", "resnet50:3"]) == 1
    assert "no answer from 127.0.0.1:9" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["https://h:8000", "127.0.0.1:8000", "http://h:port", "http://h:8000/v2"])
def test_ready_refuses_a_url_that_it_cannot_ask(url: str) -> None:
    assert main(["ready", "--url", url, "--model", "resnet50:3"]) == ArgumentError.exit_code


def test_the_probe_imports_no_object_store() -> None:
    code = "import sys, workloads.serving.cli; print([m for m in sys.modules if m in ('obstore', 'torch', 'pulumi')])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_progress_is_silent_for_two_seconds_and_then_says_how_much_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    progress = Progress("models", 8 * 2**30, clock=lambda: now[0])
    for _ in range(8):
        progress.add(2**29)
        now[0] += 1.0
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "models: 1.50 GiB of 8.00 GiB, 0.75 GiB/s, 9 s left".replace("0.75 GiB/s", "768 MiB/s"),
        "models: 4.00 GiB of 8.00 GiB, 585 MiB/s, 7 s left",
    ]
