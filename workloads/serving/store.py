"""Reads a model repository from where a URL says it is, and turns every way to fail into one of ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from workloads.object_store import Missing, ObjectStore, Unreachable
from workloads.serving import signing
from workloads.serving.errors import ArgumentError, NotInStore, StoreFailed, VerificationFailed
from workloads.serving.manifest import LARGEST, NAME, Manifest, ModelVersion

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Repository:
    """A model repository at a URL that `ObjectStore` reads."""

    def __init__(self, url: str) -> None:
        try:
            self._store = ObjectStore(url)
        except ValueError as error:
            raise ArgumentError(f"--source {url!r}: {error}") from None
        self.url = self._store.url

    def manifest(self, model: ModelVersion, trusted: Ed25519PublicKey | None = None) -> Manifest:
        """The manifest of a model version, checked. NotInStore, VerificationFailed or StoreFailed otherwise.

        `trusted`: whose signature it must have; None: anybody's, or none.
        """
        key = f"{model.name}/{model.version}/{NAME}"
        place = self._store.place(key)
        with _failures(f"{model} is not in the repository: its manifest is uploaded last"):
            text, size = self._store.whole(key, LARGEST)
        if size > LARGEST:
            raise VerificationFailed(f"{place}: {size} bytes; a manifest has at most {LARGEST}")
        if trusted is not None:
            signing.verify(bytes(text), self.signature(model), trusted, place)
        return Manifest.from_json(bytes(text), model, place)

    def signature(self, model: ModelVersion) -> bytes | None:
        """The signature beside a manifest, unchecked; None if there is none. VerificationFailed or StoreFailed."""
        key = f"{model.name}/{model.version}/{signing.NAME}"
        try:
            with _failures("it is not signed"):
                found, size = self._store.whole(key, signing.LARGEST)
        except NotInStore:
            return None
        if size > signing.LARGEST:
            raise VerificationFailed(f"{self._store.place(key)}: {size} bytes; at most {signing.LARGEST} are read")
        return bytes(found)

    def read(self, key: str, start: int, end: int, size: int) -> bytes:
        """Bytes `start` up to `end` of a file that must have `size` bytes in all."""
        place = self._store.place(key)
        with _failures("the manifest names it, but it is not there"):
            data, found = self._store.part(key, start, end)
        if found != size:
            raise VerificationFailed(f"{place}: {found} bytes, the manifest says {size}")
        if len(data) != end - start:
            raise VerificationFailed(f"{place}: ends after {start + len(data)} of {size} bytes")
        return data


class Bucket(ObjectStore):
    """A repository in an object store, that versions are written to. Raises ArgumentError and StoreFailed."""

    def __init__(self, url: str) -> None:
        try:
            super().__init__(url)
        except ValueError as error:
            raise ArgumentError(f"--repository {url!r}: {error}") from None

    def put(self, key: str, data: bytes | Path) -> None:
        with _failures("it cannot be written"):
            super().put(key, data)

    def create(self, key: str, data: bytes) -> bool:
        with _failures("it cannot be written"):
            return super().create(key, data)

    def find(self, key: str, largest: int) -> bytes | None:
        """An object, None if there is none; of one with more than `largest` bytes, nothing."""
        try:
            with _failures("it is not there"):
                return bytes(self.whole(key, largest)[0])
        except NotInStore:
            return None

    def names(self, prefix: str) -> list[str]:
        """The next parts of the keys below a prefix that have more than one."""
        with _failures("it cannot be listed"):
            return self.below(prefix)[0]


@contextlib.contextmanager
def _failures(when_missing: str) -> Iterator[None]:
    try:
        yield
    except Missing as error:
        raise NotInStore(f"{error}: {when_missing}") from None
    except Unreachable as error:
        raise StoreFailed(str(error)) from None
