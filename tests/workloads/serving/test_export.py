"""From checkpoints to versions: what is written, what is signed off, where it goes, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from workloads.serving.cli import main
from workloads.serving.engine import Engine, Request, load
from workloads.serving.errors import ArgumentError, NotInStore, ServingError, VerificationFailed
from workloads.serving.export import evaluation, export, find, git
from workloads.serving.fetch import fetch
from workloads.serving.manifest import ModelVersion
from workloads.serving.models import text
from workloads.serving.quantization import QualityLost
from workloads.serving.repository import language_model_config, read_config, write_version
from workloads.serving.serve import newest
from workloads.serving.store import Repository

LM = ModelVersion("lm", 1)


def write(repository: Path | str, name: str = "small", version: int | None = None, fails: bool = False) -> ModelVersion:
    """A version that holds one file."""

    def fill(directory: Path) -> None:
        (directory / "model.py").write_text("pass")
        if fails:
            raise ServingError("it does not answer")

    return write_version(str(repository), name, language_model_config(name), fill, {"a": 1}, version)[0]


def test_a_manifest_says_what_a_version_is_of(exported: Path, trained: Path) -> None:
    manifest = Repository(f"file://{exported}").manifest(LM)
    said = manifest.provenance
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert len(said["git"]["revision"]) == len(head.stdout.strip())
    source = find(trained)
    assert said["data"] == {"fingerprint": source.fingerprint, "tokenizer": source.marker.extra["tokenizer"]}
    assert said["checkpoint"] == {"id": source.marker.id, "step": 6, "tokens": 6 * 8 * 64, "config": "tiny"}
    assert said["evaluation"]["step"] == 6
    assert 1 < said["evaluation"]["held_out_bits_per_byte"] < 9
    assert {file.path for file in manifest.files} == {
        "config.pbtxt", "1/model.py", "1/model.safetensors", "1/serving.json", "1/tokenizer.json",
    }  # fmt: skip


def test_an_export_predicts_what_the_checkpoint_does(exported: Path, trained: Path) -> None:
    """Token for token, against the model of training itself, without a cache."""
    import torch

    from workloads.training.checkpoints import planning
    from workloads.training.model import Transformer

    source = find(trained)
    model = Transformer(source.description.model, source.description.sequence_length)
    model.load_state_dict(planning.read_tensors(source.checkpoint, "model."))
    model.eval()
    settings, tokenizer = text.read(exported / "lm" / "1" / "1")
    assert (settings.slots, settings.context) == (4, 1024)
    tokens = tokenizer.encode("import json\n").tolist()
    engine = Engine(exported / "lm" / "1" / "1", slots=1, context=64)
    engine.submit(Request(tokens, max_new_tokens=20))
    found = []
    while engine.busy:
        found += [event.token for event in engine.step() if event.token is not None]
    with torch.no_grad():
        for _ in found:
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    assert found == tokens[-20:]


def test_a_smaller_precision_is_signed_off_or_refused(trained: Path, tmp_path: Path) -> None:
    repository = str(tmp_path)
    model, manifest = export(trained, repository, "lm", precision="int8", limit=0.05)
    report = manifest.provenance["quantization"]
    assert report["precision"] == "int8"
    assert report["size"] < 0.5
    assert load(tmp_path / "lm" / "1" / "1")[0].precision == "int8"
    assert {file.path for file in manifest.files} == {
        "config.pbtxt", "1/model.py", "1/model.safetensors", "1/serving.json", "1/tokenizer.json",
    }  # fmt: skip
    with pytest.raises(QualityLost, match="it may be worse by at most"):
        export(trained, repository, "lm", precision="int8", limit=-1.0)
    assert newest(repository, "lm") == model
    assert [path.name for path in tmp_path.iterdir()] == ["lm"]


def test_versions_count_up_and_are_never_written_again(tmp_path: Path) -> None:
    assert [write(tmp_path).version for _ in range(3)] == [1, 2, 3]
    assert write(tmp_path, version=12).version == 12
    assert write(tmp_path).version == 13
    before = (tmp_path / "small" / "2" / "manifest.json").stat()
    with pytest.raises(ArgumentError, match="small/2: it exists; versions are never written again"):
        write(tmp_path, version=2)
    assert (tmp_path / "small" / "2" / "manifest.json").stat() == before


def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="it does not answer"):
        write(tmp_path, fails=True)
    assert list(tmp_path.rglob("*")) == []


def test_of_two_exports_at_once_neither_harms_the_other(tmp_path: Path) -> None:
    made: list[Any] = []

    def one() -> None:
        try:
            made.append(write(tmp_path, version=5))
        except ArgumentError as error:
            made.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each for each in made if isinstance(each, ModelVersion)] == [ModelVersion("small", 5)]
    fetch(f"file://{tmp_path}", tmp_path / "models", [ModelVersion("small", 5)])
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".writing")] == []


@pytest.mark.parametrize("name", ["../up", "", "a b", ".hidden"])
def test_a_name_that_cannot_be_one_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArgumentError, match="expected NAME:VERSION"):
        write(tmp_path, name)


def test_an_export_to_a_bucket_is_what_an_export_to_a_disk_is(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {"AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x"}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_ENDPOINT", bucket)
    url = "s3://ai-models/exports"
    assert [write(url).version, write(url).version] == [1, 2]
    with pytest.raises(ArgumentError, match="s3://ai-models/exports/small/2: it exists"):
        write(url, version=2)
    assert newest(url, "small") == ModelVersion("small", 2)
    fetch(url, tmp_path / "models", [ModelVersion("small", 2)])
    assert (tmp_path / "models" / "small" / "2" / "model.py").read_text() == "pass"
    with pytest.raises(NotInStore, match="no version of 'other'"):
        newest(url, "other")


@pytest.fixture
def bucket():
    """The address of a local S3 with the bucket `ai-models`."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys).create_bucket(Bucket="ai-models")
    yield endpoint
    server.stop()


# ---- what cannot be exported


def test_the_command_exports_and_says_what_is_wrong(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--repository", str(tmp_path / "repository"), "--name", "lm"]
    assert main(["export", "--checkpoint", str(trained), *words]) == 0
    assert "lm:1 in" in capsys.readouterr().out
    assert main(["export", "--checkpoint", str(trained), *words, "--version", "1"]) == ArgumentError.exit_code
    assert main(["export", "--checkpoint", str(tmp_path / "none"), *words]) == NotInStore.exit_code
    assert "no such directory" in capsys.readouterr().err
    assert newest(str(tmp_path / "repository"), "lm") == LM


def test_a_damaged_checkpoint_is_not_exported(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (weights,) = (run / "checkpoints").glob("step-*/*.distcp")
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(NotInStore, match="no valid checkpoint"):
        find(run)


def test_tokens_that_are_gone_or_others_are_told(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"the tokens that it was trained on are needed.*--data says where"):
        find(trained, str(tmp_path))
    other = tmp_path / "other"
    shutil.copytree(trained.parent / "tokens", other)
    found = find(trained, str(other))
    assert found.fingerprint == find(trained).fingerprint
    path = other / "train" / "manifest.json"
    document = json.loads(path.read_text())
    document["shards"] = document["shards"] * 2
    from workloads.data.manifest import Manifest, Shard

    known = Manifest.from_json(path.read_text(), "here")
    changed = Manifest(known.dtype, known.tokenizer, (*known.shards, Shard("x.bin", 1, "0" * 64)))
    path.write_text(changed.to_json())
    with pytest.raises(ArgumentError, match="it was trained on the data"):
        find(trained, str(other))


def test_the_commit_is_git_s_or_the_image_s(tmp_path: Path) -> None:
    assert git(tmp_path, {}) == {"revision": "unknown", "modified": None}
    assert git(tmp_path, {"AICLOUD_GIT_REVISION": "abc"}) == {"revision": "abc", "modified": False}
    assert len(git(ROOT, {})["revision"]) == 40


def test_figures_are_of_the_last_evaluation_by_then(tmp_path: Path) -> None:
    lines = [
        {"step": 1, "loss": 5.0},
        {"step": 2, "held_out_loss": 4.0, "held_out_bits_per_byte": 3.0},
        {"step": 3, "loss": 4.0},
        {"step": 4, "held_out_loss": 2.0, "held_out_bits_per_byte": 1.0},
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines) + '\n{"step": 5, "held')
    assert evaluation(path, 3) == {"step": 2, "held_out_loss": 4.0, "held_out_bits_per_byte": 3.0}
    assert evaluation(path, 9)["step"] == 4
    assert evaluation(path, 1) == {}
    assert evaluation(tmp_path / "none", 9) == {}


def test_the_configuration_survives_its_text() -> None:
    from google.protobuf import text_format

    config = language_model_config("lm", 7)
    assert read_config(text_format.MessageToString(config), "here") == config
    with pytest.raises(VerificationFailed, match="here: 1:1"):
        read_config("nonsense: 1", "here")


def test_an_export_that_is_killed_leaves_no_version(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from workloads.serving.repository import language_model_config, write_version\n"
        "def fill(d):\n"
        "    (d / 'model.py').write_text('pass')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_version(sys.argv[1], 'small', language_model_config('small'), fill, {})\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, env=dict(os.environ), timeout=60)
    assert done.returncode == -9
    assert not (tmp_path / "small").exists()
    assert write(tmp_path) == ModelVersion("small", 1)
