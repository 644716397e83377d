"""Signatures: of this manifest by this key and of nothing else; keys stay where they are and private."""

from __future__ import annotations

import json
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.serving import signing
from workloads.serving.errors import ArgumentError, DiskFailed, VerificationFailed
from workloads.serving.manifest import ModelVersion, write_manifest
from workloads.serving.mirror import mirror
from workloads.serving.repository import publish
from workloads.serving.store import Repository


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "key.pem"
    public = signing.make_key(path)
    return signing.private_key(path), signing.public_key(public), path


@given(st.binary(max_size=200), st.data())
def test_any_other_byte_of_the_manifest_or_the_signature_is_found(keys, manifest, data):
    private, public, _ = keys
    signature = signing.sign(manifest, private)
    assert signing.sign(manifest, private) == signature
    signing.verify(manifest, signature, public, "place")
    with pytest.raises(VerificationFailed, match="changed after it was signed"):
        signing.verify(manifest + b"x", signature, public, "place")
    document = json.loads(signature)
    at = data.draw(st.integers(0, 80))
    text = document["signature"]
    document["signature"] = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
    with pytest.raises(VerificationFailed):
        signing.verify(manifest, json.dumps(document).encode(), public, "place")


@pytest.mark.parametrize("signature", [None, b"", b"[]", b"{}", b'{"format": 1}', b"\xff", b'{"format": 1, "key": 3}'])
def test_what_is_no_signature_is_none(keys, signature):
    with pytest.raises(VerificationFailed, match="place: "):
        signing.verify(b"manifest", signature, keys[1], "place")


def test_keys_are_private_never_written_over_and_told_apart(keys, tmp_path):
    _, public, path = keys
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(DiskFailed, match="File exists"):
        signing.make_key(path)
    assert signing.fingerprint(public) != signing.fingerprint(signing.public_key(signing.make_key(tmp_path / "b.pem")))
    with pytest.raises(ArgumentError, match="not a private key in PEM"):
        signing.private_key(path.with_suffix(".pub.pem"))
    with pytest.raises(ArgumentError, match="not a public key in PEM"):
        signing.public_key(path)
    with pytest.raises(DiskFailed):
        signing.public_key(tmp_path / "nothing.pem")


def test_a_signature_goes_wherever_its_version_goes(keys, tmp_path):
    private, public, _ = keys
    model, place = ModelVersion("m", 3), tmp_path / "made" / "m" / "3"
    (place / "3").mkdir(parents=True)
    (place / "config.pbtxt").write_text('name: "m"')
    (place / "3" / "model.onnx").write_bytes(b"weights")
    write_manifest(place, model)
    signature = signing.sign((place / "manifest.json").read_bytes(), private)
    for _ in range(2):
        # The second time nothing is left to do.
        publish(tmp_path / "made", str(tmp_path / "published"), model, signature)
    assert mirror(f"file://{tmp_path}/published", tmp_path / "mirrored", [model]) > 0
    for name in ("published", "mirrored"):
        Repository(f"file://{tmp_path}/{name}").manifest(model, public)
    with pytest.raises(VerificationFailed, match="not signed"):
        Repository(f"file://{tmp_path}/made").manifest(model, public)

    (place / "3" / "model.onnx").write_bytes(b"other")
    with pytest.raises(VerificationFailed, match="not what the manifest says"):
        publish(tmp_path / "made", str(tmp_path / "other"), model)
    write_manifest(place, model)
    with pytest.raises(ArgumentError, match="another version is there"):
        publish(tmp_path / "made", str(tmp_path / "published"), model)
