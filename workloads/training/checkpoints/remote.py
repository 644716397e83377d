"""The object store behind the local disk: committed checkpoints are copied there while training goes on.

    s3://bucket/run/step-00001234/committed.json     the marker, put last
    s3://bucket/run/step-00001234/4f1c…/__0_0.distcp the files, under the checkpoint's id

A step that is saved once more has another id, so its files never mix with those of the first. Nothing here raises into
training: an upload that fails is warned of, counted and tried again until a newer checkpoint is there to be uploaded.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.object_store import Missing, ObjectStore, Unreachable
from workloads.training.checkpoints import layout
from workloads.training.checkpoints.layout import Marker
from workloads.training.errors import CheckpointError, ConfigError

log = logging.getLogger(__name__)

FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 60.0
"""Seconds between tries of an upload, doubled each time."""
CONNECTIONS = 8
LARGEST_MARKER = 2**26


class Bucket(ObjectStore):
    """An object store with checkpoints in it. Raises Missing and Unreachable."""

    def delete(self, keys: Iterable[str]) -> None:
        import obstore

        for key in keys:
            with self._failures(key), contextlib.suppress(FileNotFoundError):
                obstore.delete(self._store, key)

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of each object below a prefix, by key."""
        return {str(found["path"]): found["size"] for found in self.objects(prefix)}

    def names(self) -> list[str]:
        """The first parts of the keys that have more than one."""
        return self.below()[0]

    def download(self, key: str, path: Path) -> None:
        """An object's bytes into a file, on the medium."""
        with self._failures(key), path.open("wb") as file:
            for chunk in self._get(self._store, key).stream(min_chunk_size=2**22):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())


class Remote:
    """One run's checkpoints in an object store."""

    def __init__(self, url: str) -> None:
        try:
            if url.startswith("file:///"):
                Path(url.removeprefix("file://")).mkdir(parents=True, exist_ok=True)
            self.bucket = Bucket(url)
        except OSError as error:
            raise ConfigError(f"remote {url}: checkpoints cannot be written there ({error.strerror})") from None
        except ValueError as error:
            raise ConfigError(f"remote {url!r}: {error}") from None
        self.url = self.bucket.url

    def probe(self) -> None:
        """Write and delete a small object. Raises ConfigError: better now than when the first node is gone."""
        key = f".probe-{uuid.uuid4().hex}"
        try:
            self.bucket.put(key, b"a checkpoint's place: is it writable?")
            self.bucket.delete([key])
        except (Missing, Unreachable) as error:
            raise ConfigError(
                f"remote {self.url}: checkpoints cannot be written there ({error}); "
                "does it exist, and may this identity put and delete objects?"
            ) from None

    def markers(self) -> list[Marker]:
        """What is committed there, the newest first; what cannot be read is warned of. Raises Unreachable."""
        found = []
        for name in self.bucket.names():
            if layout.step_of(name) is None:
                continue
            try:
                text, size = self.bucket.whole(_marker_key(name), LARGEST_MARKER)
                if size > LARGEST_MARKER:
                    raise layout.Invalid(f"{layout.MARKER} has {size} bytes")
                found.append(Marker.from_json(bytes(text)))
            except Missing:
                continue  # being uploaded
            except layout.Invalid as error:
                log.warning("%s/%s is skipped: %s", self.url, name, error)
        return sorted(found, key=lambda marker: marker.order, reverse=True)

    def upload(self, marker: Marker, directory: Path, names: Iterable[str]) -> None:
        """Some files of a checkpoint. Those that are there already, from a try before, are not sent again."""
        there = self.bucket.sizes(_prefix(marker))
        missing = [name for name in names if there.get(f"{_prefix(marker)}/{name}") != marker.files[name].bytes]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(lambda name: self.bucket.put(f"{_prefix(marker)}/{name}", directory / name), missing))

    def is_whole(self, marker: Marker) -> bool:
        """Whether all files are there, those of other nodes too."""
        there = self.bucket.sizes(_prefix(marker))
        return all(there.get(f"{_prefix(marker)}/{name}") == file.bytes for name, file in marker.files.items())

    def commit(self, marker: Marker) -> None:
        self.bucket.put(_marker_key(layout.name(marker.step)), marker.to_json())

    def download(self, marker: Marker, names: Iterable[str], directory: Path) -> None:
        """Files of a checkpoint into a directory, verified. Raises CheckpointError, Missing, Unreachable."""

        def one(name: str) -> None:
            self.bucket.download(f"{_prefix(marker)}/{name}", directory / name)
            if found := layout.fault(directory / name, marker.files[name]):
                raise CheckpointError(f"{self.url}/{_prefix(marker)}: {found}")

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(one, names))

    def retain(self, keep: int) -> None:
        """Delete what is older than the `keep` newest: markers first, then files."""
        markers = self.markers()
        kept, doomed = markers[:keep], markers[keep:]
        self.bucket.delete([_marker_key(layout.name(marker.step)) for marker in doomed])
        ids, steps = {marker.id for marker in kept}, {marker.step for marker in kept}
        for name in self.bucket.names():
            step = layout.step_of(name)
            # Also what uploads left that were given up, and what a step had that was saved once more.
            if step is not None and steps and (step in steps or step < min(steps) or step in {m.step for m in doomed}):
                self.bucket.delete(
                    [k for k in self.bucket.sizes(name) if k.count("/") > 1 and k.split("/")[1] not in ids]
                )


def _prefix(marker: Marker) -> str:
    return f"{layout.name(marker.step)}/{marker.id}"


def _marker_key(name: str) -> str:
    return f"{name}/{layout.MARKER}"


@dataclass
class Counts:
    """What became of uploads since the start."""

    done: int = 0
    failed: int = 0
    given_up: int = 0
    skipped: int = 0


class Uploader:
    """Uploads one checkpoint after another in a thread. `names` of a job are the files that this node has to send."""

    def __init__(
        self,
        remote: Remote,
        keep: int,
        first: bool,
        sleep: Callable[[float, threading.Event], Any] = lambda seconds, stop: stop.wait(seconds),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.remote, self.keep, self.first = remote, keep, first
        self.counts = Counts()
        self._sleep, self._clock = sleep, clock
        self._jobs: list[tuple[Marker, Path, tuple[str, ...]]] = []
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoint-upload", daemon=True)
        self._thread.start()

    def free(self) -> bool:
        """Whether a checkpoint would be sent soon: at most one is under way. If not, this one had better be skipped."""
        with self._changed:
            return len(self._jobs) <= 1

    def add(self, marker: Marker, directory: Path, names: tuple[str, ...]) -> None:
        with self._changed:
            self._jobs.append((marker, directory, names))
            self._changed.notify_all()

    def busy(self) -> frozenset[str]:
        """Ids of the checkpoints whose local files are needed still."""
        with self._changed:
            return frozenset(marker.id for marker, _, _ in self._jobs)

    def wait(self, seconds: float) -> bool:
        """Whether everything has been uploaded within that time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs, seconds)

    def close(self) -> None:
        """Stop after the request that is under way."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._stop.is_set())
                if self._stop.is_set():
                    return
                job = self._jobs[0]
            done = self._upload(*job)
            with self._changed:
                self.counts.done += done
                self.counts.given_up += not done
                self._jobs.pop(0)
                self._changed.notify_all()

    def _retain(self) -> None:
        try:
            self.remote.retain(self.keep)
        except (Missing, Unreachable) as error:
            log.warning("%s: older checkpoints could not be deleted: %s", self.remote.url, error)

    def _upload(self, marker: Marker, directory: Path, names: tuple[str, ...]) -> bool:
        """Until it is there, or a newer one waits, or the end."""
        delay, sent = FIRST_DELAY_S, False
        while True:
            try:
                if not sent:
                    self.remote.upload(marker, directory, names)
                    sent = True
                if not self.first:
                    return True
                if self.remote.is_whole(marker):
                    self.remote.commit(marker)
                    self._retain()
                    return True
                # Other nodes are still sending theirs.
            except (Missing, Unreachable, OSError) as error:
                self.counts.failed += 1
                log.warning(
                    "checkpoint of step %d was not uploaded to %s (failure %d since the start; the local one is whole "
                    "and it is tried again): %s",
                    marker.step,
                    self.remote.url,
                    self.counts.failed,
                    error,
                )
            self._sleep(delay, self._stop)
            delay = min(2 * delay, LONGEST_DELAY_S)
            with self._changed:
                newer = len(self._jobs) > 1
            if self._stop.is_set() or (newer and self.counts.failed and not sent):
                return False
            if newer and delay >= LONGEST_DELAY_S:
                return False
