"""One save from the staged state to the committed directory, in all ranks together; runs in a thread of the trainer.

Each phase ends with every rank knowing whether all of them got through, so that a checkpoint is committed by all or by
none, and what fails on one rank is raised on all.
"""

from __future__ import annotations

import json
import logging
import pickle
import shutil
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workloads.training.checkpoints import layout
from workloads.training.checkpoints.layout import File, Marker
from workloads.training.checkpoints.planning import Flat, names_in
from workloads.training.checkpoints.ranks import Ranks
from workloads.training.checkpoints.saver import Saver, SaverFailed
from workloads.training.checkpoints.staging import Stager
from workloads.training.errors import CheckpointError, DiskError

log = logging.getLogger(__name__)


def as_json(extra: Mapping[str, Any]) -> str:
    """ValueError if it would not be read back as it was written."""
    try:
        return json.dumps(extra, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"extra: {error}; expected what JSON has: numbers, text, lists, objects") from None


@dataclass
class Job:
    """A save under way. `staged`: done once the state has been copied."""

    step: int
    extra: str
    random_states: bytes
    values: bytes = b""
    staged: Future[None] = field(default_factory=Future)


@dataclass
class _Plan:
    """What this rank writes, kept until the structure of some rank's state changes. `metadata`: on rank 0 only."""

    signature: tuple[Any, ...]
    final: bytes
    names: frozenset[str]
    metadata: bytes


class Writer:
    """A rank's staging memory, its saver, and the plan that the ranks agreed on."""

    def __init__(
        self, directory: Path, ranks: Ranks, leads: bool, shared: bool, new_saver: Callable[[], Saver] = Saver
    ) -> None:
        self._directory, self._ranks, self._leads, self._shared = directory, ranks, leads, shared
        self._new_saver = new_saver
        self._stager = Stager()
        # Started at once: its imports take seconds, and are done when the first save comes.
        self._saver: Saver | None = new_saver()
        self._attached = self._laid_out = False
        self._plan: _Plan | None = None
        self._flat: Flat | None = None

    @property
    def saver_pid(self) -> int | None:
        return self._saver.pid if self._saver else None

    def begin(self, job: Job, flat: Flat) -> None:
        """What has to happen within the call of `save`: the small tensors, and what is no tensor."""
        try:
            job.values = pickle.dumps(flat.values)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            names = [name for name, value in flat.values.items() if not _can_pickle(value)]
            raise ValueError(f"state: {', '.join(names)} cannot be pickled: {error}") from None
        if self._stager.begin(flat.tensors):
            self._attached = self._laid_out = False
        self._flat = flat

    def commit(self, job: Job, sequence: int) -> Marker:
        """Returns when the checkpoint is committed. Raises CheckpointError or DiskError, the same on all ranks."""
        assert self._flat is not None
        flat, self._flat = self._flat, None
        known = self._plan is not None and self._plan.signature == flat.signature
        try:
            # Before anything is agreed on: training waits for the copy, and for nothing else.
            self._stager.finish(self._plan.names if known and self._plan else None)
            job.staged.set_result(None)
            offers = self._ranks.all((job.step, known, uuid.uuid4().hex))
            if len({step for step, _, _ in offers}) > 1:
                raise CheckpointError(f"ranks save different steps: {sorted({step for step, _, _ in offers})}")
            if not all(known for _, known, _ in offers):
                self._agree(flat)
                if known:
                    # What was copied is what the plan before this one asked for.
                    self._plan = None
                    raise CheckpointError("the state has changed its structure on some ranks only")
        except CheckpointError as error:
            raise self._failure(job.step, error) from error
        except RuntimeError as error:  # from a collective
            raise self._failure(job.step, error) from error
        partial = self._directory / f"{layout.name(job.step)}.{offers[0][2]}{layout.PARTIAL}"
        try:
            marker = self._write(job, partial, offers[0][2], sequence)
            if not known and self._plan is not None and len(self._plan.names) < len(flat.tensors):
                # The first save staged all of it. Of what ranks hold in common each writes a part: from now on, memory
                # for the rest is not touched.
                self._stager.close()
            return marker
        except (CheckpointError, DiskError, RuntimeError) as error:
            if self._leads:
                shutil.rmtree(partial, ignore_errors=True)
            raise self._failure(job.step, error) from error

    def _write(self, job: Job, partial: Path, token: str, sequence: int) -> Marker:
        results, files = self._ranks.together(lambda: self._files(job, partial))
        gathered = self._ranks.to_first((results, files))

        def conclude() -> bytes:
            if self._ranks.rank:
                return b""
            assert self._plan is not None
            metadata = self._ask(
                "finish", directory=partial, metadata=self._plan.metadata, results=[found for found, _ in gathered]
            )
            named: dict[str, File] = {layout.METADATA: metadata}
            for _, found in gathered:
                named.update(found)
            marker = Marker(job.step, sequence, token, self._ranks.size, named, json.loads(job.extra))
            return marker.to_json()

        text = self._ranks.of_first(self._ranks.together(conclude))
        marker = Marker.from_json(text)
        # Where nodes have disks of their own, each has its own part, the metadata and the marker.
        metadata = b""
        if not self._shared:
            metadata = self._ranks.of_first((partial / layout.METADATA).read_bytes() if self._ranks.rank == 0 else b"")

        def name_it() -> None:
            if self._leads:
                if not (partial / layout.METADATA).exists():
                    layout.write(partial / layout.METADATA, metadata)
                try:
                    layout.commit(partial, marker)
                except OSError as error:
                    raise DiskError(f"{partial}: {error.strerror}") from error

        self._ranks.together(name_it)
        return marker

    def _files(self, job: Job, partial: Path) -> tuple[bytes, dict[str, File]]:
        self._ready()
        return self._ask(
            "write", directory=partial, rank=self._ranks.rank, values=job.values, random_states=job.random_states
        )

    def _agree(self, flat: Flat) -> None:
        """Decide who writes what: the plan of a state whose structure has not been seen before."""
        self._plan, self._laid_out = None, False
        plans = self._ranks.to_first(flat.local_plan())
        decided = self._ranks.together(lambda: self._ask("plan", plans=plans) if self._ranks.rank == 0 else ([], b""))
        final = self._ranks.dealt(decided[0])
        self._plan = _Plan(flat.signature, final, names_in(final), decided[1])

    def _ready(self) -> None:
        """A saver that has this rank's memory and its plan."""
        self._start()
        assert self._plan is not None
        if not self._attached:
            with self._watched():
                self._saver_now().attach(self._stager.descriptor, self._stager.size)
            self._attached = True
        if not self._laid_out:
            self._ask("lay_out", plan=self._plan.final, entries=self._stager.entries)
            self._laid_out = True

    def _start(self) -> None:
        if self._saver is None:
            self._saver = self._new_saver()
            self._attached = self._laid_out = False

    def _saver_now(self) -> Saver:
        assert self._saver is not None
        return self._saver

    def _ask(self, request: str, **arguments: Any) -> Any:
        self._start()
        with self._watched():
            return self._saver_now().call(request, **arguments)

    def _watched(self) -> _Watched:
        return _Watched(self)

    def lost(self) -> None:
        """The saver has died: the next save has a new one."""
        self._saver, self._attached, self._laid_out = None, False, False

    def _failure(self, step: int, error: Exception) -> CheckpointError | DiskError:
        kind = DiskError if isinstance(error, DiskError) else CheckpointError
        older = sum(1 for path in layout.steps(self._directory) if (path / layout.MARKER).exists())
        return kind(f"step {step} was not saved: {error}; {older} older checkpoints are intact in {self._directory}")

    def close(self) -> None:
        if self._saver is not None:
            self._saver.close()
            self._saver = None
        self._stager.close()


class _Watched:
    """Turns what a saver says into our errors, and notes its death."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SaverFailed):
            if error.died:
                self._writer.lost()
            raise (DiskError if error.full else CheckpointError)(str(error)) from error


def _can_pickle(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except (pickle.PicklingError, TypeError, AttributeError):
        return False
    return True
