"""Makes batches from any position: which samples come next, which shards they need, and the rows of this rank."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.data.dataset import TokenDataset
from workloads.data.errors import ArgumentError, BadShard, DataError
from workloads.data.order import Order

if TYPE_CHECKING:
    import torch

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
class Made:
    """What the thread hands over for each batch, some batches at a time."""

    batch: Batch
    start: int
    """The position that it was made from."""
    entered: bool
    """Whether it is the first one to need its newest window."""
    bad: frozenset[int]
    """Shards of its windows that were passed over."""


class Producer:
    """Makes batches from any position. Used by one thread at a time."""

    def __init__(
        self,
        dataset: TokenDataset,
        order: Order,
        state: LoaderState,
        *,
        batch_size: int,
        rank: int,
        world_size: int,
        skip: bool,
        group: int,
    ) -> None:
        self.dataset, self.order, self.state, self.skip = dataset, order, state, skip
        self.batch_size, self.rank, self.world_size, self.group = batch_size, rank, world_size, group
        self._device = _device()

    def groups(self, position: int, known_bad: frozenset[int], stop: threading.Event) -> Iterator[list[Made]]:
        """Batches without end, up to `group` at a time: what a batch costs besides its bytes is shared by them.

        The first group has one batch, as a resume waits for it; each further one twice as many as the one before.
        """
        import torch

        if self._device is not None:
            # A thread begins on device 0, and pinning memory there would take some of it for each rank.
            torch.cuda.set_device(self._device)
        cursor = _Cursor(self.order, position)
        windows = _Windows(self, known_bad, stop)
        size = 1
        try:
            while not stop.is_set():
                start, newest = cursor.position, windows.newest
                shard, sample, ends = self._next(cursor, windows, size)
                yield self._made(windows, shard, sample, start, ends, windows.newest != newest)
                size = min(2 * size, self.group)
        finally:
            windows.close()

    def _next(self, cursor: _Cursor, windows: _Windows, most: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Up to `most` global batches: the shards and samples of the next good positions, and where each batch ends.

        Several only where all are in one window; otherwise one, which goes on into the windows that follow.
        """
        shard, sample, window = cursor.peek(most * self.batch_size)
        windows.enter(int(window[0]), int(window[0]))
        inside = int(np.searchsorted(window, window[0], side="right"))
        good = windows.good(shard[:inside])
        full = len(good) // self.batch_size
        if full:
            good = good[: full * self.batch_size]
            ends = [cursor.position + int(last) + 1 for last in good[self.batch_size - 1 :: self.batch_size]]
            cursor.advance(ends[-1] - cursor.position)
            return shard[good], sample[good], ends
        start, missing = cursor.position, self.batch_size
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        while missing:
            shard, sample, window = cursor.peek(missing)
            cursor.advance(missing)
            windows.enter(windows.oldest, int(window[-1]))
            good = windows.good(shard)
            parts.append((shard[good], sample[good]))
            missing -= len(good)
            if cursor.position - start > 2 * self.order.epoch_size + self.batch_size:
                raise DataError(f"{self.dataset.url}: every shard is bad: {'; '.join(windows.bad.values())}")
        shard, sample = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return shard, sample, [cursor.position]

    def _made(
        self, windows: _Windows, shard: np.ndarray, sample: np.ndarray, start: int, ends: list[int], entered: bool
    ) -> list[Made]:
        per_rank = self.batch_size // self.world_size
        mine = [array.reshape(-1, self.world_size, per_rank)[:, self.rank].ravel() for array in (shard, sample)]
        tokens = self._gather(windows.rows, *mine).split(per_rank)
        bad = frozenset(windows.bad)
        made: list[Made] = []
        for own, end in zip(tokens, ends, strict=True):
            batch = Batch(own, replace(self.state, position=end), end - start - self.batch_size)
            made.append(Made(batch, start, entered and not made, bad))
            start = end
        return made

    def _gather(self, rows: dict[int, np.ndarray], shard: np.ndarray, sample: np.ndarray) -> torch.Tensor:
        """One operation a shard, on the samples sorted by shard; one more puts them in order and widens them."""
        import torch

        length = self.state.sequence_length + 1
        tokens = torch.empty((len(shard), length), dtype=torch.int64, pin_memory=self._device is not None)
        by_shard = np.argsort(shard, kind="stable")
        which, starts = np.unique(shard[by_shard], return_index=True)
        ends = [*starts[1:], len(shard)]
        found = np.empty(tokens.shape, self.dataset.manifest.dtype)
        for index, start, end in zip(which.tolist(), starts, ends, strict=True):
            found[start:end] = rows[index][sample[by_shard[start:end]]]
        tokens.numpy()[by_shard] = found
        return tokens


class _Cursor:
    """Walks through the order, which it works out in blocks: small at first, as a resume waits for the first one."""

    def __init__(self, order: Order, position: int) -> None:
        self.position = position
        self._order = order
        self._block: tuple[np.ndarray, ...] = tuple(np.empty(0, np.int64) for _ in range(3))
        self._size = 0

    def peek(self, count: int) -> tuple[np.ndarray, ...]:
        """Shards, samples and windows of the next `count` positions."""
        there = len(self._block[0])
        if there < count:
            self._size = min(max(4 * self._size, count), max(_BLOCK, count))
            fresh = self._order.at(self.position + there, self._size)
            self._block = tuple(np.concatenate(pair) for pair in zip(self._block, fresh, strict=True))
        return tuple(array[:count] for array in self._block)

    def advance(self, count: int) -> None:
        self._block = tuple(array[count:] for array in self._block)
        self.position += count


class _Windows:
    """Holds the shards of the windows that batches need, and of the next one."""

    def __init__(self, producer: Producer, known_bad: frozenset[int], stop: threading.Event) -> None:
        self._producer, self._stop, self._known_bad = producer, stop, known_bad
        self._held: dict[int, list[int]] = {}
        self.oldest = self.newest = -1
        self.bad: dict[int, str] = {}
        """Shards of the windows in use that are to be skipped, and why."""
        self.rows: dict[int, np.ndarray] = {}
        """Of each good shard of the windows in use: its sequences, (samples, sequence_length + 1)."""

    def good(self, shard: np.ndarray) -> np.ndarray:
        """Indices of those that are not to be skipped."""
        return np.flatnonzero(~np.isin(shard, list(self.bad))) if self.bad else np.arange(len(shard))

    def enter(self, oldest: int, newest: int) -> None:
        """Have all shards of these windows, and begin to fetch those of the next one; let go of older ones."""
        if (oldest, newest) == (self.oldest, self.newest):
            return
        for window in [w for w in self._held if w < oldest]:
            for index in self._held.pop(window):
                self._producer.dataset.release(index)
        self.oldest, self.newest = oldest, newest
        for window in range(oldest, newest + 1):
            self._start(window)
        needed = {index for window in range(oldest, newest + 1) for index in self._held[window]}
        self.bad = {index: why for index, why in self.bad.items() if index in needed}
        self.rows = {index: rows for index, rows in self.rows.items() if index in needed}
        for index in sorted(needed - self.bad.keys() - self.rows.keys()):
            self._look_at(index)
        # Only now: in a cache with no room for more, these would take that of shards that are needed first.
        self._start(newest + 1)

    def _start(self, window: int) -> None:
        if window not in self._held:
            self._held[window] = [int(index) for index in self._producer.order.shards_of(window)]
            for index in self._held[window]:
                self._producer.dataset.start(index)

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
