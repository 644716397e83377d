"""Checkpoints that cost a copy in memory: staged while the next step computes, written by a process of their own.

    checkpointer = Checkpointer(Path("run/checkpoints"), remote="s3://bucket/run")
    if saved := checkpointer.newest():
        extra = checkpointer.load(saved, state)
    ...
    checkpointer.save(step, state, extra)   # returns when what is small has been copied
    ...                                     # forward and backward of the next step
    checkpointer.staged()                   # the state has been copied
    optimizer.step()

The same code runs in one process without a process group, and in all ranks of one, where every method but `staged` is
called by all of them at the same step. `directory` may be shared by all ranks or each node's own disk; in the second
case, what a node lacks is taken from `remote`. `python -m workloads.training.checkpoint export DIR OUT` writes a model
as one safetensors file.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch.distributed as dist

from workloads import disk
from workloads.training.checkpoints import layout, planning, random_states
from workloads.training.checkpoints.committing import Job, Writer, as_json
from workloads.training.checkpoints.layout import Marker
from workloads.training.checkpoints.ranks import Ranks
from workloads.training.checkpoints.remote import Counts, Remote, Uploader
from workloads.training.checkpoints.saver import Saver
from workloads.training.checkpoints.search import Search
from workloads.training.errors import CheckpointError, ConfigError, on_disk

log = logging.getLogger(__name__)

LOCK = ".lock"
LOCK_WAIT_S = 30.0
"""How long a run waits for one that is just ending on the same directory."""
LEAVE_S = 600.0
"""How long `close` waits for uploads unless it is told otherwise."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint that has been verified. `path`: where it is on this rank's local disk."""

    step: int
    path: Path
    extra: Mapping[str, Any]
    world_size: int
    marker: Marker = field(repr=False)


@dataclass
class Stalls:
    """Seconds that training stood still for checkpoints, since the start; and how many there were."""

    saves: int = 0
    save_s: float = 0.0
    waiting_s: float = 0.0
    staged_s: float = 0.0

    @property
    def total_s(self) -> float:
        return self.save_s + self.staged_s


class Checkpointer:
    """Saves and finds the checkpoints of one run.

    A save that fails raises at the next `save` or `wait`, on all ranks: DiskError for want of room, CheckpointError
    otherwise, with the older checkpoints untouched. If the last save is still being written, `save` waits for it
    (`stalls.waiting_s`), so a second staging copy is never needed. `keep`: how many are kept, here and in `remote`.
    Raises ConfigError for places that cannot be written. Random states are saved and restored without being asked for.
    """

    def __init__(
        self,
        directory: Path,
        *,
        remote: str = "",
        keep: int = 3,
        process_group: dist.ProcessGroup | None = None,
        clock: Callable[[], float] = time.monotonic,
        lock_wait_s: float = LOCK_WAIT_S,
        new_saver: Callable[[], Saver] = Saver,
    ) -> None:
        if keep < 1:
            raise ConfigError(f"keep {keep}: expected at least 1 checkpoint")
        self.directory, self.keep = Path(directory).absolute(), keep
        self.stalls = Stalls()
        self._clock = clock
        self._lock: Any = None
        self._ranks = Ranks(process_group)
        self._ranks.together(self._open_directory)
        token = self._ranks.of_first(uuid.uuid4().hex)
        self._peers = self._ranks.peers(self.directory, token)
        self._leads = self._peers[0] == self._ranks.rank
        self._shared = len(self._ranks.all(self._peers)[0]) == self._ranks.size
        self._ranks.together(lambda: self._check_shared(remote))
        self._ranks.together(lambda: self._take_lock(lock_wait_s))
        self._remote = self._ranks.together(lambda: self._reach(remote))
        self._uploader = Uploader(self._remote, keep, self._ranks.rank == 0) if self._remote and self._leads else None
        self._search = Search(self.directory, self._ranks, self._peers, self._remote)
        self._writer = Writer(self.directory, self._ranks, self._leads, self._shared, new_saver)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._staged: Future[None] | None = None
        self._pending: Future[Marker] | None = None
        self._last: Marker | None = None
        self._skipped: Marker | None = None
        self._sequence: int | None = None
        self._whole_at = clock()
        self._closed = False

    # ---- saving

    def save(self, step: int, state: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
        """Begin to save. `state` must not change until `staged`, but for tensors of at most 64 KiB.

        Raises what went wrong with the save before; this one has then not begun and may be asked for again. ValueError
        if `extra` is not JSON or part of `state` cannot be pickled. Rank 0's `extra` is saved.
        """
        begun = self._clock()
        if self._closed:
            raise CheckpointError(f"step {step}: the checkpointer has been closed")
        if step < 0:
            raise ValueError(f"step {step}: expected 0 or more")
        self.wait()
        self.stalls.waiting_s += self._clock() - begun
        job = Job(step, as_json(extra), random_states.capture())
        self._writer.begin(job, planning.flatten(state))
        self._staged = job.staged
        self._pending = self._thread.submit(self._commit, job)
        self.stalls.saves += 1
        self.stalls.save_s += self._clock() - begun

    def staged(self) -> None:
        """Return when the state of the last `save` has been copied: to be called before the optimizer changes it.

        Raises nothing: what goes wrong with a save, its successor or `wait` raises.
        """
        if self._staged is None:
            return
        begun = self._clock()
        self._staged.exception()
        self._staged = None
        self.stalls.staged_s += self._clock() - begun

    def wait(self) -> None:
        """Return when the last save is committed on the local disk. Raises what went wrong with it, once."""
        if self._pending is None:
            return
        error = self._pending.exception()
        self._pending = None
        self.staged()
        if error is not None:
            raise error

    def uploaded(self, seconds: float = LEAVE_S) -> bool:
        """Whether all that was committed is in the object store within that time. False, with a warning, if not."""
        self.wait()
        if self._uploader is None:
            return True
        if self._skipped is not None:
            self._upload(self._skipped)
        done = self._uploader.wait(seconds)
        if not done or self._uploader.counts.given_up:
            log.warning("%s: not all checkpoints have been uploaded; the local ones are whole", self.directory)
        return done

    @property
    def age_s(self) -> float:
        """Seconds since the last commit; before the first of this process, since it began: work that it could lose."""
        return self._clock() - self._whole_at

    def _commit(self, job: Job) -> Marker:
        try:
            if self._sequence is None:
                self._sequence = self._search.last_sequence()
            marker = self._writer.commit(job, self._sequence + 1)
        finally:
            # However it ended, nobody reads the state any more.
            if not job.staged.done():
                job.staged.set_result(None)
        self._sequence, self._last, self._whole_at = marker.sequence, marker, self._clock()
        self._behind(marker)
        return marker

    def _behind(self, marker: Marker) -> None:
        """What follows a commit and cannot undo it: the upload, and the end of older ones."""
        # Rank 0 decides, so that all nodes send the same ones.
        room = self._ranks.of_first(self._uploader.free() if self._uploader else True)
        if self._leads:
            if room:
                self._upload(marker)
            elif self._uploader is not None:
                self._skipped = marker
                self._uploader.counts.skipped += 1
                log.warning("checkpoint of step %d is not uploaded: two are waiting to be", marker.step)
            self._retain(marker)

    def _retain(self, valid: Marker) -> None:
        busy = self._uploader.busy() if self._uploader else frozenset[str]()
        try:
            layout.retain(self.directory, self.keep, busy | {valid.id}, part=not self._shared)
        except OSError as error:
            log.warning("%s: older checkpoints could not be deleted: %s", self.directory, error)

    def _upload(self, marker: Marker) -> None:
        self._skipped = None
        if self._uploader is not None:
            directory = self.directory / layout.name(marker.step)
            names = tuple(name for name in marker.files if (directory / name).exists())
            self._uploader.add(marker, directory, names)

    @property
    def uploads(self) -> Counts:
        """What became of this node's uploads since the start."""
        return self._uploader.counts if self._uploader else Counts()

    @property
    def saver_pid(self) -> int | None:
        """The process that writes, None before it is first needed and after it has died."""
        return self._writer.saver_pid

    # ---- loading

    def newest(self) -> Saved | None:
        """The checkpoint committed last, here or in the object store, verified to the byte; None if there is none.

        The same answer on all ranks. Those that are damaged are passed over with a warning that says why; what this
        node lacks has been fetched. If the object store does not answer, only the local ones count, with a warning.
        """
        self.wait()
        marker = self._search.newest()
        if marker is None:
            return None
        self._sequence = max(self._sequence or 0, self._search.highest)
        if self._leads:
            # Runs that were killed between a commit and the end of its predecessors would fill the disk one by one.
            self._retain(marker)
            if not self._search.sent and self._uploader is not None and marker.id not in self._uploader.busy():
                # Of a run that ended while the store was away.
                self._upload(marker)
        path = self.directory / layout.name(marker.step)
        return Saved(marker.step, path, marker.extra, marker.world_size, marker)

    def load(self, saved: Saved, state: dict[str, Any]) -> dict[str, Any]:
        """Read a checkpoint into `state`, in place, at any world size. Returns `extra`.

        Restores the random states of the ranks that there were then; ranks that are new keep theirs.
        Raises CheckpointError, before anything is changed, if it is a checkpoint of another model.
        """
        self.wait()

        def check() -> None:
            if found := planning.differences(planning.read_metadata(saved.path), state):
                raise CheckpointError(f"{saved.path} is a checkpoint of another model: {found}")

        with layout.in_use(saved.path):
            self._ranks.together(check)
            planning.load(saved.path, state, self._ranks.group)
            states = saved.path / f"rank_{self._ranks.rank}.json"
            if self._ranks.rank < saved.world_size:
                random_states.restore(states.read_bytes())
        return dict(saved.extra)

    def close(self, seconds: float = LEAVE_S) -> None:
        """Finish what is under way, uploads for at most `seconds`, and let everything go. Raises like `wait`."""
        if self._closed:
            return
        self._closed = True
        try:
            self.uploaded(seconds)
        finally:
            self._thread.shutdown()
            self._writer.close()
            if self._uploader is not None:
                self._uploader.close()
            if self._lock is not None:
                self._lock.close()
            self._ranks.close()

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- opening

    def _open_directory(self) -> None:
        with on_disk(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            probe = self.directory / f".probe-{uuid.uuid4().hex}"
            layout.write(probe, b"")
            probe.unlink()
            # Or the directory itself could be lost to a power cut, with all that is in it.
            disk.sync(self.directory.parent)

    def _check_shared(self, remote: str) -> None:
        if not self._shared and not remote:
            raise ConfigError(
                f"{self.directory} is not the same directory for all ranks (rank {self._ranks.rank} sees the files of "
                f"ranks {', '.join(map(str, self._peers))} only), and no remote is set: a checkpoint could not be put "
                "together again; use a shared file system or set remote"
            )

    def _take_lock(self, wait_s: float) -> None:
        """One run at a time writes to a directory. The kernel lets go when the process ends, however it does."""
        if not self._leads:
            return
        with on_disk(self.directory):
            # A record lock: children that a data loader forked, and that outlive this process, don't hold it.
            self._lock = (self.directory / LOCK).open("a+")
        until = self._clock() + wait_s
        while True:
            try:
                fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if self._clock() > until:
                    self._lock.seek(0)
                    holder = self._lock.read().strip() or "unknown"
                    raise CheckpointError(
                        f"{self.directory}: another run (process {holder}) saves its checkpoints there; "
                        "end it or choose another directory"
                    ) from None
                time.sleep(0.1)
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        with on_disk(self.directory):
            for path in layout.tidy(self.directory):
                log.info("%s: was not finished, removed", path)

    def _reach(self, url: str) -> Remote | None:
        if not url:
            return None
        remote = Remote(url)
        if self._ranks.rank == 0:
            remote.probe()
        return remote


def export(saved: Saved | Path, path: Path, prefix: str = "model.", *, adapters: bool = False, base: str = "") -> int:
    """Write a checkpoint's model as one plain safetensors file. Returns its number of tensors.

    `saved` may be a checkpoint's directory, or that of a run, whose newest valid one is taken. `prefix`: of the names
    in the state that was saved. Adapters are merged with their base, looked for at `base` (empty: where the run had
    it), unless `adapters`: then they are written alone. Raises CheckpointError and DiskError.
    """
    from workloads.training.checkpoints.exporting import export as write

    return write(saved.path if isinstance(saved, Saved) else Path(saved), Path(path), prefix, adapters, base)


if __name__ == "__main__":
    import sys

    from workloads.training.checkpoints.exporting import main

    sys.exit(main())
