"""Reads a model repository from where a URL says it is, and turns every way to fail into one of ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from workloads.serving.errors import ArgumentError, NotInStore, StoreFailed, VerificationFailed
from workloads.serving.manifest import LARGEST, NAME, Manifest, ModelVersion

SCHEMES = ("file", "s3", "gs", "az")


class Repository:
    """A model repository at `file:///path`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.

    Credentials, endpoint and region come from the environment that each cloud's own tools read (obstore).
    """

    def __init__(self, url: str) -> None:
        if url.partition("://")[0] not in SCHEMES or not url.partition("://")[2].strip("/"):
            raise ArgumentError(
                f"--source {url!r}: expected file:///path, s3://bucket/prefix, gs://bucket/prefix or "
                "az://container/prefix"
            )
        # Imported here: the probes of a running pod start this program often, and have no use for it.
        import obstore
        from obstore.exceptions import BaseError
        from obstore.store import from_url

        self.url = url.rstrip("/")
        self._get = obstore.get
        self._base_error = BaseError
        # Each part has the client's 30 s; one that fails is tried again for two minutes. Client options are left alone:
        # giving any would override AWS_ALLOW_HTTP and its like.
        retries = {"max_retries": 8, "retry_timeout": timedelta(seconds=120)}
        options: dict[str, Any] = {} if url.startswith("file:") else {"retry_config": retries}
        try:
            self._store = from_url(self.url, **options)
        except (BaseError, ValueError, OSError) as error:
            raise ArgumentError(f"--source {url!r}: {_first_line(error)}") from None

    def manifest(self, model: ModelVersion) -> Manifest:
        """The manifest of a model version, checked. NotInStore, VerificationFailed or StoreFailed otherwise."""
        key = f"{model.name}/{model.version}/{NAME}"
        place = f"{self.url}/{key}"
        with self._failures(place, f"{model} is not in the repository: its manifest is uploaded last"):
            found = self._get(self._store, key)
            if found.meta["size"] > LARGEST:
                raise VerificationFailed(f"{place}: {found.meta['size']} bytes; a manifest has at most {LARGEST}")
            text = bytes(found.bytes())
        return Manifest.from_json(text, model, place)

    def read(self, key: str, start: int, end: int, size: int) -> bytes:
        """Bytes `start` up to `end` of a file that must have `size` bytes in all."""
        place = f"{self.url}/{key}"
        with self._failures(place, "the manifest names it, but it is not there"):
            # A range may not be empty.
            found = self._get(self._store, key, options={"range": (start, end)} if end > start else {"head": True})
            if found.meta["size"] != size:
                raise VerificationFailed(f"{place}: {found.meta['size']} bytes, the manifest says {size}")
            data = found.bytes() if end > start else b""
        if len(data) != end - start:
            raise VerificationFailed(f"{place}: ends after {start + len(data)} of {size} bytes")
        return data

    @contextlib.contextmanager
    def _failures(self, place: str, when_missing: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise NotInStore(f"{place}: {when_missing}") from None
        except (self._base_error, OSError) as error:
            raise StoreFailed(f"{place}: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    """Without the store's debug dump, which follows the message."""
    return (str(error) or type(error).__name__).splitlines()[0]
