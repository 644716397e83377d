"""A region's copy of the repository: a repository itself, whole or not there, and read once."""

from __future__ import annotations

from pathlib import Path

import pytest

from workloads.serving import mirror as mirroring
from workloads.serving.cli import main
from workloads.serving.errors import ArgumentError, DiskFailed, NotInStore, VerificationFailed
from workloads.serving.fetch import fetch
from workloads.serving.manifest import ModelVersion, write_manifest
from workloads.serving.mirror import mirror

MODELS = [ModelVersion("bert", 1), ModelVersion("bert", 2)]
ENSEMBLE = ModelVersion("both", 1)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for model in MODELS:
        directory = tmp_path / "repository" / model.name / str(model.version)
        inner = directory / str(model.version)
        (inner / "assets").mkdir(parents=True)
        (directory / "config.pbtxt").write_text("max_batch_size: 8\n")
        (inner / "model.onnx").write_bytes(bytes([model.version]) * 100_000)
        (inner / "assets" / "words.txt").write_text("a b c")
        write_manifest(directory, model)
    directory = tmp_path / "repository" / "both" / "1"
    (directory / "1").mkdir(parents=True)
    (directory / "config.pbtxt").write_text('platform: "ensemble"\n')
    write_manifest(directory, ENSEMBLE)
    return tmp_path / "repository"


def files(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_pods_read_the_copy_as_they_read_the_repository(repository: Path, tmp_path: Path) -> None:
    copy, wanted = tmp_path / "copy", [*MODELS, ENSEMBLE]
    read = mirror(f"file://{repository}", copy, wanted, part_bytes=4096)
    assert read > 200_000
    assert set(files(copy)) == set(files(repository))
    for name, source in (("one", repository), ("other", copy)):
        fetch(f"file://{source}", tmp_path / name, wanted)
    assert files(tmp_path / "one") == files(tmp_path / "other")
    assert (tmp_path / "other" / "both" / "1").is_dir()


def test_what_is_there_is_not_read_again(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["mirror", "--source", f"file://{repository}", "--destination", str(tmp_path / "copy")]
    assert main([*words, "--model", "bert:1"]) == 0
    assert "bert:1: verified in" in capsys.readouterr().out
    assert mirror(f"file://{repository}", tmp_path / "copy", MODELS) < 110_000
    assert mirror(f"file://{repository}", tmp_path / "copy", MODELS) == 0


def test_what_is_broken_is_read_again_and_nothing_else(repository: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    mirror(f"file://{repository}", copy, MODELS)
    (copy / "bert" / "1" / "1" / "model.onnx").write_bytes(b"x" * 100_000)
    assert 100_000 < mirror(f"file://{repository}", copy, MODELS) < 110_000
    assert (copy / "bert" / "1" / "1" / "model.onnx").read_bytes() == b"\x01" * 100_000
    assert [path.name for path in copy.iterdir()] == ["bert"]


def test_a_version_that_is_not_what_its_manifest_says_never_appears(repository: Path, tmp_path: Path) -> None:
    (repository / "bert" / "2" / "2" / "model.onnx").write_bytes(b"y" * 100_000)
    with pytest.raises(VerificationFailed, match="its sha256 is"):
        mirror(f"file://{repository}", tmp_path / "copy", MODELS)
    assert set(files(tmp_path / "copy")) == {
        *(f"bert/1/{path}" for path in ("manifest.json", "config.pbtxt", "1/model.onnx", "1/assets/words.txt"))
    }


def test_a_second_copy_at_the_same_time_leaves_what_is_there(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, ours = tmp_path / "copy", mirroring.copy_version

    def slow(*arguments: object) -> None:
        ours(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(mirroring, "copy_version", ours)
        mirror(f"file://{repository}", copy, MODELS[:1])

    monkeypatch.setattr(mirroring, "copy_version", slow)
    mirror(f"file://{repository}", copy, MODELS[:1])
    assert files(copy / "bert" / "1") == files(repository / "bert" / "1")


def test_what_cannot_be_is_said(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotInStore, match="bert:7 is not in the repository"):
        mirror(f"file://{repository}", tmp_path / "copy", [ModelVersion("bert", 7)])
    with pytest.raises(ArgumentError, match="connections 0"):
        mirror(f"file://{repository}", tmp_path / "copy", MODELS, connections=0)
    monkeypatch.setattr(mirroring.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(DiskFailed, match="are needed, 1 KiB are free"):
        mirror(f"file://{repository}", tmp_path / "copy", MODELS)
