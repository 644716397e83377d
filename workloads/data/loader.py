"""Batches of sequences in an order that no rank, world size or failure changes, each with the state to resume from.

A thread makes them a few ahead. Every rank looks at the whole global batch, which costs next to nothing, and gathers
the sequences that are its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from workloads.data.batches import Batch, LoaderState, Made, Producer
from workloads.data.dataset import TokenDataset
from workloads.data.errors import ArgumentError, WrongDataset
from workloads.data.order import Order
from workloads.data.prefetch import Prefetcher

WINDOW_SHARDS = 16
"""Shards that are shuffled together, and that a node holds at once (and as many again of what comes next)."""
AHEAD_TOKENS, GROUP_TOKENS = 2**22, 2**18
"""Tokens of a rank that are made ahead, 32 MiB of them, in 2 to 16 batches; and those handed over at a time: handing
over costs as much as gathering 2^15."""


class TokenLoader:
    """Endless batches of `batch_size` sequences of all ranks together; this rank gets `batch_size // world_size`.

    A sequence has `sequence_length + 1` tokens and shares the last one with the next: each token is a target once an
    epoch. Sequences don't cross shards. `on_bad_shard="skip"` passes over the samples of shards that are missing,
    truncated or corrupt, and counts them (`bad_shards`, `skipped_samples`); all ranks find the same, as all ask the
    same store. Where they might not, `agree` gathers what each rank found (as `all_gather_object` does, one call a
    window on every rank, in the caller's thread), and what one found is skipped by all.

    `prefetch`: batches made in advance, 0 for a sensible number.
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
        prefetch: int = 0,
        agree: Callable[[frozenset[int]], Sequence[frozenset[int]]] | None = None,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ArgumentError(f"rank {rank} of {world_size}: expected 0 to {world_size - 1}")
        if batch_size < 1 or batch_size % world_size:
            raise ArgumentError(f"batch_size {batch_size}: expected a multiple of the {world_size} ranks")
        if sequence_length < 1 or window_shards < 1:
            raise ArgumentError(
                f"sequence_length {sequence_length}, window_shards {window_shards}: expected at least 1 of each"
            )
        if on_bad_shard not in ("error", "skip"):
            raise ArgumentError(f"on_bad_shard {on_bad_shard!r}: expected 'error' or 'skip'")
        start = LoaderState(dataset.fingerprint, seed, 0, sequence_length, window_shards)
        self.state = start if state is None else _checked(state, start, dataset.url)
        samples = [max(0, (shard.tokens - 1) // sequence_length) for shard in dataset.manifest.shards]
        if not any(samples):
            longest = max(shard.tokens for shard in dataset.manifest.shards)
            raise ArgumentError(
                f"sequence_length {sequence_length}: expected at most {longest - 1}: the longest shard of "
                f"{dataset.url} has {longest} tokens"
            )
        ahead = prefetch or min(16, max(2, AHEAD_TOKENS * world_size // (batch_size * sequence_length)))
        group = min(ahead // 2, max(1, GROUP_TOKENS * world_size // (batch_size * sequence_length))) or 1
        self._queued = -(-ahead // group)
        # Ranks may be that far from each other: what one hands over, what waits there, and what another has just made.
        _check_cache(dataset, window_shards, samples, (self._queued + 2) * group * batch_size)
        self._producer = Producer(
            dataset,
            Order(samples, seed, window_shards),
            self.state,
            batch_size=batch_size,
            rank=rank,
            world_size=world_size,
            skip=on_bad_shard == "skip",
            group=group,
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
        self._made: list[Made] = []
        self._groups = self._run(self.state.position)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        started = time.perf_counter()
        made = self._next()
        if self._agree is not None and made.entered:
            made = self._agreed(made)
        self.waited_s += time.perf_counter() - started
        if made.bad:
            bad = {self._producer.dataset.manifest.shards[index].path for index in made.bad}
            self.bad_shards = tuple(sorted({*self.bad_shards, *bad}))
        self.skipped_samples += made.batch.skipped
        self.state = made.batch.state
        return made.batch

    def _next(self) -> Made:
        if not self._made:
            self._made = next(self._groups)[::-1]
        return self._made.pop()

    def _agreed(self, made: Made) -> Made:
        """This batch as all ranks make it. Each rank leaves the loop in the same turn: when all have found the same."""
        assert self._agree is not None
        while len(found := {*self._agree(made.bad)}) > 1:
            self._known_bad = self._known_bad.union(*found)
            if made.bad != frozenset().union(*found):
                self._groups.close()
                self._made, self._groups = [], self._run(made.start)
                made = self._next()
        return made

    def _run(self, position: int) -> Prefetcher[list[Made]]:
        # Not a method of ours: the thread would keep the loader from being collected.
        producer, known_bad = self._producer, self._known_bad
        return Prefetcher(lambda stop: producer.groups(position, known_bad, stop), self._queued, "batches")

    def close(self) -> None:
        """Stop the thread and give the shards back. The dataset stays open."""
        self._groups.close()

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


def _check_cache(dataset: TokenDataset, window: int, samples: Sequence[int], spread: int) -> None:
    """All windows that `spread` samples touch must fit: ranks that share the cache could wait for each other's room."""
    limit = dataset.cache.limit_bytes if dataset.cache else None
    fewest = sum(sorted(samples)[:window]) or 1
    windows = 1 + -(-(spread - 1) // fewest)
    needed = sum(sorted((dataset.manifest.size(s) for s in dataset.manifest.shards), reverse=True)[: windows * window])
    if limit is not None and limit < needed:
        raise ArgumentError(
            f"cache limit of {limit:,} bytes: {windows} windows of {window} shards of {dataset.url} need {needed:,}: "
            "raise cache_limit_bytes, or lower window_shards (which changes the order)"
        )
