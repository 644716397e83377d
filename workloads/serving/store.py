"""Reads a model repository from where a URL says it is, and turns every way to fail into one of ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from workloads.object_store import Missing, ObjectStore, Unreachable
from workloads.serving.errors import ArgumentError, NotInStore, StoreFailed, VerificationFailed
from workloads.serving.manifest import LARGEST, NAME, Manifest, ModelVersion


class Repository:
    """A model repository at a URL that `ObjectStore` reads."""

    def __init__(self, url: str) -> None:
        try:
            self._store = ObjectStore(url)
        except ValueError as error:
            raise ArgumentError(f"--source {url!r}: {error}") from None
        self.url = self._store.url

    def manifest(self, model: ModelVersion) -> Manifest:
        """The manifest of a model version, checked. NotInStore, VerificationFailed or StoreFailed otherwise."""
        key = f"{model.name}/{model.version}/{NAME}"
        place = self._store.place(key)
        with _failures(f"{model} is not in the repository: its manifest is uploaded last"):
            text, size = self._store.whole(key, LARGEST)
        if size > LARGEST:
            raise VerificationFailed(f"{place}: {size} bytes; a manifest has at most {LARGEST}")
        return Manifest.from_json(bytes(text), model, place)

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


@contextlib.contextmanager
def _failures(when_missing: str) -> Iterator[None]:
    try:
        yield
    except Missing as error:
        raise NotInStore(f"{error}: {when_missing}") from None
    except Unreachable as error:
        raise StoreFailed(str(error)) from None
