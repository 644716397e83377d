"""Objects where a URL says they are: the one place where workloads meet obstore and its ways to fail."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

SCHEMES = ("file", "s3", "gs", "az")
EXPECTED = "expected file:///path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"


class Missing(ValueError):
    """There is no such object."""


class Unreachable(ValueError):
    """The store refused or did not answer, retries included."""


class ObjectStore:
    """What is under `file:///path`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.

    Credentials, endpoint and region come from the environment that each cloud's own tools read (obstore).
    Raises ValueError for a URL that cannot be used. Safe to use from several threads.
    """

    def __init__(self, url: str) -> None:
        if url.partition("://")[0] not in SCHEMES or not url.partition("://")[2].strip("/"):
            raise ValueError(EXPECTED)
        # Imported here: programs that read nothing start sooner without it.
        import obstore
        from obstore.exceptions import BaseError
        from obstore.store import from_url

        self.url = url.rstrip("/")
        self._get = obstore.get
        self._base_error = BaseError
        # Each request has the client's 30 s; one that fails is tried again for two minutes. Client options are left
        # alone: giving any would override AWS_ALLOW_HTTP and its like.
        retries = {"max_retries": 8, "retry_timeout": timedelta(seconds=120)}
        options: dict[str, Any] = {} if url.startswith("file:") else {"retry_config": retries}
        try:
            self._store = from_url(self.url, **options)
        except (BaseError, ValueError, OSError) as error:
            raise ValueError(_first_line(error)) from None

    def place(self, key: str) -> str:
        return f"{self.url}/{key}"

    def whole(self, key: str, largest: int) -> tuple[Any, int]:
        """An object's bytes as a buffer, none if it has more than `largest`; and its size."""
        with self._failures(key):
            found = self._get(self._store, key)
            size = found.meta["size"]
            return (found.bytes() if size <= largest else b""), size

    def part(self, key: str, start: int, end: int) -> tuple[Any, int]:
        """Bytes `start` up to `end` of an object, as a buffer (fewer where it ends sooner); and the object's size."""
        with self._failures(key):
            # A range may not be empty.
            found = self._get(self._store, key, options={"range": (start, end)} if end > start else {"head": True})
            return (found.bytes() if end > start else b""), found.meta["size"]

    def put(self, key: str, data: bytes | Path) -> None:
        """Write an object, of bytes or a local file, in place of one that is there."""
        import obstore

        with self._failures(key):
            obstore.put(self._store, key, data)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object that must not be there yet; False, and nothing is changed, if it is."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._failures(key):
            try:
                obstore.put(self._store, key, data, mode="create")
            except AlreadyExistsError:
                return False
        return True

    def below(self, prefix: str = "") -> tuple[list[str], list[str]]:
        """The next parts of the keys below a prefix: of those that have more than one, and of objects themselves."""
        import obstore

        with self._failures(prefix):
            found = obstore.list_with_delimiter(self._store, f"{prefix}/" if prefix else None)
            paths = [str(path) for path in found["common_prefixes"]], [str(one["path"]) for one in found["objects"]]
        deeper, objects = ([path.strip("/").rpartition("/")[2] for path in each] for each in paths)
        return deeper, objects

    def objects(self, prefix: str = "") -> list[dict[str, Any]]:
        """All objects below a prefix, however deep, with `path`, `size` and `e_tag`."""
        import obstore

        with self._failures(prefix):
            pages = obstore.list(self._store, f"{prefix}/" if prefix else None)
            return [dict(found) for page in pages for found in page]

    @contextlib.contextmanager
    def _failures(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise Missing(self.place(key)) from None
        except (self._base_error, OSError) as error:
            raise Unreachable(f"{self.place(key)}: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    """Without the store's debug dump, which follows the message."""
    return (str(error) or type(error).__name__).splitlines()[0]
