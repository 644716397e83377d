"""Signs the manifest of a model version with Ed25519 (RFC 8032), and tells whether one was signed by who is trusted.

    REPOSITORY/<model>/<version>/manifest.sig    beside the manifest, written before it

    {"format": 1, "key": "9f86…", "signature": "…"}

What is signed is a line that says what it is, and the sha256 of the manifest's bytes, which in turn has the sha256 of
every file. So whoever trusts the key trusts every byte of the version, wherever it was copied to. The private key is a
PEM file: a mounted secret, or what an external store such as a cloud's key management writes into one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.serving.errors import ArgumentError, VerificationFailed, on_disk

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

NAME = "manifest.sig"
FORMAT = 1
LARGEST = 4096
"""Bytes of the largest signature that is read."""
_PREFIX = b"aicloud model manifest 1\n"
"""So that a signature of something else with the same key is none of a manifest."""


def sign(manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    """The signature of a manifest, as its file has it; the same each time."""
    document = {
        "format": FORMAT,
        "key": fingerprint(key.public_key()),
        "signature": base64.b64encode(key.sign(_signed(manifest))).decode(),
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def verify(manifest: bytes, signature: bytes | None, trusted: Ed25519PublicKey, place: str) -> None:
    """Raises VerificationFailed, which names `place`, unless `signature` is one of this manifest by that key."""
    from cryptography.exceptions import InvalidSignature

    expected = fingerprint(trusted)
    if signature is None:
        raise VerificationFailed(f"{place}: it is not signed; expected {NAME} beside it, by key {expected}")
    try:
        found: dict[str, Any] = json.loads(signature)
        if found["format"] != FORMAT or found["key"] != expected:
            raise VerificationFailed(
                f"{place}: signed by key {str(found['key'])[:16]!r}, format {found['format']!r}; expected key "
                f"{expected}, format {FORMAT}"
            )
        trusted.verify(base64.b64decode(found["signature"], validate=True), _signed(manifest))
    except InvalidSignature:
        raise VerificationFailed(
            f"{place}: its signature is of something else: it was changed after it was signed"
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, VerificationFailed):
            raise
        raise VerificationFailed(f"{place}: its signature cannot be read: {error!r}") from None


def fingerprint(key: Ed25519PublicKey) -> str:
    """16 hexadecimal digits by which people tell keys apart."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


# ---- keys in files


def make_key(path: Path) -> Path:
    """Write a new private key, readable by its owner alone, and beside it the public one, which is returned."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = path.with_suffix(".pub.pem")
    with on_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Never over one that is there: what it has signed could not be verified any more.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(text)
        public.write_bytes(
            key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
    return public


def private_key(path: Path) -> Ed25519PrivateKey:
    """Raises ArgumentError, DiskFailed."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    with on_disk(path):
        text = path.read_bytes()
    try:
        key = serialization.load_pem_private_key(text, password=None)
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"{path}: not a private key in PEM: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ArgumentError(f"{path}: {type(key).__name__}; expected an Ed25519 private key")
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    """Raises ArgumentError, DiskFailed."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ModuleNotFoundError:
        raise ArgumentError("a trusted key needs the package cryptography") from None

    with on_disk(path):
        text = path.read_bytes()
    try:
        key = serialization.load_pem_public_key(text)
    except ValueError as error:
        raise ArgumentError(f"{path}: not a public key in PEM: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ArgumentError(f"{path}: {type(key).__name__}; expected an Ed25519 public key")
    return key


def _signed(manifest: bytes) -> bytes:
    return _PREFIX + hashlib.sha256(manifest).digest()
