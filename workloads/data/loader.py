"""Batches of sequences in an order that no rank, world size or failure changes, each with the state to resume after it.

A thread makes them a few ahead. Every rank looks at the whole global batch, which costs next to nothing, and gathers the
sequences that are its own.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.data.dataset import TokenDataset
from workloads.data.errors import ArgumentError, BadShard, DataError, WrongDataset
from workloads.data.order import Order
from workloads.data.prefetch import Prefetcher

if TYPE_CHECKING:
    import torch

WINDOW_SHARDS = 16
"""Shards that are shuffled together, and that a node holds at once (and as many again of what comes next)."""
_BLOCK = 4096
"""Positions whose order is worked out at a time: one by one, numpy's overhead is most of it."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoaderState:
    """Where a run is in its data. Knows no world size: any number of ranks continues from it.

    `position`: samples passed by all ranks together, those of skipped shards included. `sequence_length` and
    `window_shards` decide the order too; 0 where nobody said.
    """

    fingerprint: str
    seed: int
    position: int
    sequence_length: int = 0
    window_shards: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> LoaderState:
        """Raises ArgumentError for anything but what `to_json` wrote."""
        try:
            return LoaderState(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise ArgumentError(f"not a loader's state: {error}: {text[:200]!r}") from None


@dataclass
class Batch:
    tokens: torch.Tensor
    """int64, (sequences of this rank, sequence_length + 1); pinned where there is CUDA."""
    state: LoaderState
    """Resumes after this batch."""
    skipped: int = 0
    """Samples of bad shards that all ranks together passed over to fill this batch."""


@dataclass(frozen=True)
class _Made:
    """What the thread hands over: a batch, where it began, and what its windows lack."""

    batch: Batch
    start: int
    entered: bool
    bad: frozenset[int]


class TokenLoader:
    """Endless batches of `batch_size` sequences of all ranks together; this rank gets `batch_size // world_size`.

    A sequence has `sequence_length + 1` tokens and shares the last one with the next: each token is a target once an
    epoch. Sequences don't cross shards. `on_bad_shard="skip"` passes over the samples of shards that are missing,
    truncated or corrupt, and counts them (`bad_shards`, `skipped_samples`); all ranks find the same, as all ask the
    same store. Where they might not, `agree` gathers what each rank found (as `all_gather_object` does, one call a
    window on every rank, in the caller's thread), and what one found is skipped by all.

    Raises ArgumentError for sizes that don't fit, WrongDataset for a state of another dataset, seed or order.
    """

    def __init__(
        self,
        dataset: TokenDataset,
        *,
        batch_size: int,
        sequence_length: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        state: LoaderState | None = None,
        on_bad_shard: str = "error",
        window_shards: int = WINDOW_SHARDS,
        prefetch: int = 4,
        agree: Callable[[frozenset[int]], Sequence[frozenset[int]]] | None = None,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ArgumentError(f"rank {rank} of {world_size}: expected 0 to {world_size - 1}")
        if batch_size < 1 or batch_size % world_size:
            raise ArgumentError(f"batch_size {batch_size}: expected a multiple of the {world_size} ranks")
        if sequence_length < 1 or window_shards < 1 or prefetch < 1:
            raise ArgumentError(
                f"sequence_length {sequence_length}, window_shards {window_shards}, prefetch {prefetch}: expected at "
                "least 1 of each"
            )
        if on_bad_shard not in ("error", "skip"):
            raise ArgumentError(f"on_bad_shard {on_bad_shard!r}: expected 'error' or 'skip'")
        start = LoaderState(dataset.fingerprint, seed, 0, sequence_length, window_shards)
        self.state = start if state is None else _checked(state, start, dataset.url)
        samples = [max(0, (shard.tokens - 1) // sequence_length) for shard in dataset.manifest.shards]
        if not any(samples):
            longest = max(shard.tokens for shard in dataset.manifest.shards)
            raise ArgumentError(
                f"sequence_length {sequence_length}: expected at most {longest - 1}: the longest shard of {dataset.url} "
                f"has {longest} tokens"
            )
        _check_cache(dataset, window_shards)
        per_rank = batch_size // world_size
        self._producer = _Producer(
            dataset,
            Order(samples, seed, window_shards),
            self.state,
            batch_size,
            slice(rank * per_rank, (rank + 1) * per_rank),
            skip=on_bad_shard == "skip",
            prefetch=prefetch,
        )
        self._agree = agree if on_bad_shard == "skip" else None
        self._known_bad: frozenset[int] = frozenset()
        self.skipped_samples = 0
        """Passed over so far, by all ranks together."""
        self.bad_shards: tuple[str, ...] = ()
        """Places of the shards that were skipped."""
        self.waited_s = 0.0
        """Seconds that the consumer has waited for batches."""
        self.samples_per_epoch = self._producer.order.epoch_size
        self._batches = self._run(self.state.position)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        started = time.perf_counter()
        made = next(self._batches)
        if self._agree is not None and made.entered:
            made = self._agreed(made)
        self.waited_s += time.perf_counter() - started
        if made.bad:
            bad = {self._producer.dataset.manifest.shards[index].path for index in made.bad}
            self.bad_shards = tuple(sorted({*self.bad_shards, *bad}))
        self.skipped_samples += made.batch.skipped
        self.state = made.batch.state
        return made.batch

    def _agreed(self, made: _Made) -> _Made:
        """This batch as all ranks make it. Each rank leaves the loop in the same turn: when all have found the same."""
        assert self._agree is not None
        while len(found := {*self._agree(made.bad)}) > 1:
            self._known_bad = self._known_bad.union(*found)
            if made.bad != frozenset().union(*found):
                self._batches.close()
                self._batches = self._run(made.start)
                made = next(self._batches)
        return made

    def _run(self, position: int) -> Prefetcher[_Made]:
        # Not a method of ours: the thread would keep the loader from being collected.
        producer, known_bad = self._producer, self._known_bad
        return Prefetcher(lambda stop: producer.batches(position, known_bad, stop), producer.prefetch, name="batches")

    def close(self) -> None:
        """Stop the thread and give the shards back. The dataset stays open."""
        self._batches.close()

    def __enter__(self) -> TokenLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _checked(state: LoaderState, ours: LoaderState, url: str) -> LoaderState:
    """The state, if it is of the same order as `ours`."""
    if state.fingerprint != ours.fingerprint:
        raise WrongDataset(
            f"the position is in the dataset {state.fingerprint}, but {url} is {ours.fingerprint}: continue with the "
            "dataset that the run began with, or begin anew"
        )
    for name in ("seed", "sequence_length", "window_shards"):
        said, wanted = getattr(state, name), getattr(ours, name)
        if said != wanted and (said or name == "seed"):
            raise WrongDataset(
                f"the position is in the order of {name} {said}, not {wanted}: it would mean other samples"
            )
    if state.position < 0:
        raise WrongDataset(f"position {state.position}: expected at least 0")
    return LoaderState(**{**asdict(ours), "position": state.position})


def _check_cache(dataset: TokenDataset, window: int) -> None:
    """A batch may need the end of one window and the start of the next."""
    limit = dataset.cache.limit_bytes if dataset.cache else None
    sizes = sorted((dataset.manifest.size(shard) for shard in dataset.manifest.shards), reverse=True)
    needed = sum(sizes[: 2 * window])
    if limit is not None and limit < needed:
        raise ArgumentError(
            f"cache limit of {limit:,} bytes: two windows of {window} shards of {dataset.url} need {needed:,}: raise "
            "cache_limit_bytes, or lower window_shards (which changes the order)"
        )


class _Producer:
    """Makes batches from any position. Used by one thread at a time."""

    def __init__(
        self,
        dataset: TokenDataset,
        order: Order,
        state: LoaderState,
        batch_size: int,
        mine: slice,
        *,
        skip: bool,
        prefetch: int,
    ) -> None:
        self.dataset, self.order, self.state = dataset, order, state
        self.batch_size, self.mine, self.skip, self.prefetch = batch_size, mine, skip, prefetch
        self._device = _device()

    def batches(self, position: int, known_bad: frozenset[int], stop: threading.Event) -> Iterator[_Made]:
        import torch

        if self._device is not None:
            # A thread begins on device 0, and pinning memory there would take some of it for each rank.
            torch.cuda.set_device(self._device)
        cursor = _Cursor(self.order, position)
        windows = _Windows(self, known_bad, stop)
        try:
            while not stop.is_set():
                start, newest = cursor.position, windows.newest
                shard, sample, skipped = self._next(cursor, windows)
                tokens = self._gather(windows.rows, shard[self.mine], sample[self.mine])
                state = LoaderState(**{**asdict(self.state), "position": cursor.position})
                batch = Batch(tokens, state, skipped)
                yield _Made(batch, start, windows.newest != newest, windows.bad_in_use())
        finally:
            windows.close()

    def _next(self, cursor: _Cursor, windows: _Windows) -> tuple[np.ndarray, np.ndarray, int]:
        """The global batch: shards and samples, the next good ones, and how many were passed over."""
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        missing, skipped, first = self.batch_size, 0, True
        while missing:
            shard, sample, window = cursor.take(missing)
            windows.enter(int(window[0]) if first else None, int(window[-1]))
            first = False
            if windows.bad:
                good = ~np.isin(shard, list(windows.bad))
                shard, sample = shard[good], sample[good]
                skipped += len(good) - len(shard)
                if skipped > 2 * self.order.epoch_size:
                    raise DataError(f"{self.dataset.url}: every shard is bad: {'; '.join(windows.bad.values())}")
            parts.append((shard, sample))
            missing -= len(shard)
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]), skipped

    def _gather(self, rows: dict[int, np.ndarray], shard: np.ndarray, sample: np.ndarray) -> torch.Tensor:
        import torch

        length = self.state.sequence_length + 1
        tokens = torch.empty((len(shard), length), dtype=torch.int64, pin_memory=self._device is not None)
        out = tokens.numpy()
        which = np.unique(shard)
        if len(which) == 1:
            out[:] = rows[int(which[0])][sample]
        else:
            for index in which:
                here = np.flatnonzero(shard == index)
                out[here] = rows[int(index)][sample[here]]
        return tokens


class _Cursor:
    """Walks through the order, which it works out in blocks: small at first, as a resume waits for the first one."""

    def __init__(self, order: Order, position: int) -> None:
        self.position = position
        self._order = order
        self._block: tuple[np.ndarray, ...] = tuple(np.empty(0, np.int64) for _ in range(3))
        self._size = 0

    def take(self, count: int) -> tuple[np.ndarray, ...]:
        """Shards, samples and windows of the next `count` positions."""
        if len(self._block[0]) < count:
            self._size = min(max(4 * self._size, count), max(_BLOCK, count))
            ahead = self.position + len(self._block[0])
            fresh = self._order.at(ahead, self._size)
            self._block = tuple(np.concatenate(pair) for pair in zip(self._block, fresh, strict=True))
        taken = tuple(array[:count] for array in self._block)
        self._block = tuple(array[count:] for array in self._block)
        self.position += count
        return taken


class _Windows:
    """Holds the shards of the windows that batches need, and of the next one."""

    def __init__(self, producer: _Producer, known_bad: frozenset[int], stop: threading.Event) -> None:
        self._producer, self._stop, self._known_bad = producer, stop, known_bad
        self._held: dict[int, list[int]] = {}
        self._oldest = -1
        self.newest = -1
        self.bad: dict[int, str] = {}
        """Shards of the windows in use that are to be skipped, and why."""
        self.rows: dict[int, np.ndarray] = {}
        """Of each good shard of the windows in use: its sequences, (samples, sequence_length + 1)."""

    def enter(self, oldest: int | None, newest: int) -> None:
        """Have all shards of the windows up to `newest`; let go of what is older than `oldest`."""
        oldest = self._oldest if oldest is None else oldest
        if (oldest, newest) == (self._oldest, self.newest):
            return
        for window in [w for w in self._held if w < oldest]:
            for index in self._held.pop(window):
                self._producer.dataset.release(index)
        self._oldest, self.newest = oldest, newest
        for window in range(oldest, newest + 2):
            # The one after the newest only begins here, and is waited for when it is entered.
            if window not in self._held:
                self._held[window] = [int(index) for index in self._producer.order.shards_of(window)]
                for index in self._held[window]:
                    self._producer.dataset.start(index)
        needed = {index for window in range(oldest, newest + 1) for index in self._held[window]}
        self.bad = {index: why for index, why in self.bad.items() if index in needed}
        self.rows = {index: rows for index, rows in self.rows.items() if index in needed}
        for index in sorted(needed - self.bad.keys() - self.rows.keys()):
            self._look_at(index)

    def _look_at(self, index: int) -> None:
        producer = self._producer
        if index in self._known_bad:
            self.bad[index] = f"{producer.dataset.manifest.shards[index].path}: bad on another rank"
            return
        try:
            tokens = producer.dataset.tokens(index, self._stop)
        except BadShard as error:
            if not producer.skip:
                raise
            _log.warning("skipped: %s", error)
            self.bad[index] = str(error)
            return
        length = producer.state.sequence_length
        rows = (len(tokens) - 1) // length
        step = tokens.itemsize
        self.rows[index] = np.lib.stride_tricks.as_strided(
            tokens, (rows, length + 1), (length * step, step), writeable=False
        )

    def bad_in_use(self) -> frozenset[int]:
        return frozenset(self.bad)

    def close(self) -> None:
        self.rows = {}
        for indices in self._held.values():
            for index in indices:
                self._producer.dataset.release(index)
        self._held = {}


def _device() -> Any:
    """The CUDA device of the thread that makes the loader, or None."""
    import torch

    return torch.cuda.current_device() if torch.cuda.is_available() else None
