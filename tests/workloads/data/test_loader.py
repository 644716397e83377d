"""Ranks of any world size together see one order, from any position, whatever happens to shards and processes."""

from __future__ import annotations

import gc
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workloads.data.datasets import LENGTH, damage, sequences, write
from workloads.data import LoaderState, TokenDataset, TokenLoader, open_dataset
from workloads.data.errors import ArgumentError, BadShard, DataError, WrongDataset
from workloads.data.manifest import Manifest

ROOT = Path(__file__).parents[3]
SAMPLES = [7, 0, 13, 1, 20, 9]
EPOCH = sum(SAMPLES)
WORLDS = st.sampled_from([1, 2, 4, 8])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[TokenDataset, Manifest]:
    directory = tmp_path_factory.mktemp("tokens")
    manifest = write(directory, SAMPLES)
    return open_dataset(directory), manifest


def loader(dataset: TokenDataset, **options: Any) -> TokenLoader:
    return TokenLoader(
        dataset, **{"batch_size": 8, "sequence_length": LENGTH, "seed": 3, "window_shards": 2, **options}
    )


def take(dataset: TokenDataset, batches: int, world: int = 1, **options: Any) -> tuple[list[list[int]], LoaderState]:
    """The first tokens of global batches, put together from all ranks; and the state, which all ranks agree on."""
    parts: list[list[list[int]]] = []
    states = set()
    for rank in range(world):
        with loader(dataset, rank=rank, world_size=world, **options) as one:
            parts.append([])
            state = one.state
            for _ in range(batches):
                batch = next(one)
                tokens, state = batch.tokens, batch.state
                assert tokens.dtype == torch.int64
                assert tokens.shape == (8 // world, LENGTH + 1)
                # Every sequence is a run of the dataset's tokens.
                assert (tokens - tokens[:, :1] == torch.arange(LENGTH + 1)).all()
                parts[-1].append(tokens[:, 0].tolist())
            states.add(state)
    assert len(states) == 1
    return [[first for part in parts for first in part[batch]] for batch in range(batches)], states.pop()


def take_many(one: TokenLoader) -> None:
    for _ in range(100):
        next(one)


def flat(batches: list[list[int]]) -> list[int]:
    return [first for batch in batches for first in batch]


@settings(deadline=None, max_examples=25)
@given(world=WORLDS, seed=st.integers(0, 2**63), window=st.integers(1, 7))
def test_ranks_of_any_world_size_together_see_the_same_order(
    made: tuple[TokenDataset, Manifest], world: int, seed: int, window: int
) -> None:
    dataset, _ = made
    options = {"seed": seed, "window_shards": window}
    assert take(dataset, 9, world, **options) == take(dataset, 9, 1, **options)


@settings(deadline=None, max_examples=25)
@given(worlds=st.lists(st.tuples(WORLDS, st.integers(1, 6)), min_size=2, max_size=4), seed=st.integers(0, 2**63))
def test_no_sample_is_repeated_or_missing_when_the_world_changes(
    made: tuple[TokenDataset, Manifest], worlds: list[tuple[int, int]], seed: int
) -> None:
    dataset, manifest = made
    seen: list[list[int]] = []
    state = None
    for world, batches in worlds:
        part, state = take(dataset, batches, world, seed=seed, state=state)
        seen += part
    undisturbed, end = take(dataset, len(seen), seed=seed)
    assert (seen, state) == (undisturbed, end)
    for start in range(0, len(seen) * 8 - EPOCH + 1, EPOCH):
        assert set(flat(seen)[start : start + EPOCH]) == sequences(manifest)


def test_a_batch_carries_the_state_that_resumes_after_it(made: tuple[TokenDataset, Manifest]) -> None:
    dataset, _ = made
    with loader(dataset) as one:
        batches = [next(one) for _ in range(30)]
        assert one.state == batches[-1].state
    for index in (0, 1, 6, 17, 28):
        state = LoaderState.from_json(batches[index].state.to_json())
        assert state.position == 8 * (index + 1)
        with loader(dataset, state=state) as resumed:
            for expected in batches[index + 1 :]:
                found = next(resumed)
                assert torch.equal(found.tokens, expected.tokens)
                assert found.state == expected.state


def test_a_resume_far_into_a_run_is_there_at_once(made: tuple[TokenDataset, Manifest]) -> None:
    dataset, _ = made
    with loader(dataset) as one:
        next(one)
        best = float("inf")
        for attempt in range(10):
            state = LoaderState(dataset.fingerprint, 3, 10**9 + attempt * 8)
            started = time.perf_counter()
            with loader(dataset, state=state) as far:
                assert next(far).state.position == state.position + 8
                best = min(best, time.perf_counter() - started)
    assert best < 0.010


def test_batches_larger_than_an_epoch_go_through_several(made: tuple[TokenDataset, Manifest]) -> None:
    dataset, manifest = made
    with loader(dataset, batch_size=3 * EPOCH) as one:
        first = next(one).tokens[:, 0].tolist()
    for epoch in range(3):
        assert set(first[epoch * EPOCH : (epoch + 1) * EPOCH]) == sequences(manifest)


# ---- another dataset, another order, sizes that don't fit


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fingerprint": "0" * 64}, "the position is in the dataset 000"),
        ({"seed": 4}, "order of seed 4, not 3"),
        ({"sequence_length": 8}, "order of sequence_length 8, not 4"),
        ({"window_shards": 5}, "order of window_shards 5, not 2"),
        ({"position": -1}, "position -1"),
    ],
)
def test_a_state_of_other_data_is_refused(
    made: tuple[TokenDataset, Manifest], change: dict[str, Any], says: str
) -> None:
    dataset, _ = made
    with loader(dataset) as one:
        state = next(one).state
    with pytest.raises(WrongDataset, match=says):
        loader(dataset, state=LoaderState(**{**vars(state), **change}))


def test_a_dataset_with_other_shards_or_another_order_of_them_is_refused(tmp_path: Path) -> None:
    first = open_dataset(_written(tmp_path / "a", [5, 5]))
    with loader(first) as one:
        state = next(one).state
    other = Manifest.from_json((tmp_path / "a/manifest.json").read_text(), "a")
    swapped = Manifest(other.dtype, other.tokenizer, other.shards[::-1])
    (tmp_path / "a/manifest.json").write_text(swapped.to_json())
    with pytest.raises(WrongDataset, match=f"in the dataset {first.fingerprint}, but .* is {swapped.fingerprint}"):
        loader(open_dataset(tmp_path / "a"), state=state)


def _written(directory: Path, samples: list[int]) -> Path:
    write(directory, samples)
    return directory


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 6, "world_size": 4}, "batch_size 6: expected a multiple of the 4 ranks"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"rank": 2, "world_size": 2}, "rank 2 of 2: expected 0 to 1"),
        ({"sequence_length": 0}, "sequence_length 0"),
        ({"window_shards": 0}, "window_shards 0"),
        ({"on_bad_shard": "ignore"}, "'ignore': expected 'error' or 'skip'"),
        ({"sequence_length": 500}, "sequence_length 500: expected at most 80"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    made: tuple[TokenDataset, Manifest], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ArgumentError, match=says):
        loader(made[0], **options)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"position": 1}', '{"fingerprint": "", "seed": 1, "position": 1, "x": 1}']
)
def test_what_is_no_state_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="not a loader's state"):
        LoaderState.from_json(text)


# ---- bad shards


@pytest.mark.parametrize("how", ["flip", "truncate", "empty", "delete"])
def test_a_bad_shard_is_an_error_that_names_it(tmp_path: Path, how: str) -> None:
    write(tmp_path, SAMPLES)
    damage(tmp_path / "shard-2.bin", how)
    with open_dataset(tmp_path) as dataset, loader(dataset, window_shards=6) as one:
        with pytest.raises(BadShard, match=r"shard-2\.bin: expected .*, found ") as caught:
            next(one)
        with pytest.raises(BadShard):
            next(one)
    assert caught.value.place == str(tmp_path / "shard-2.bin")


@pytest.mark.parametrize("world", [1, 2, 8])
def test_bad_shards_are_skipped_and_counted_by_all_ranks_alike(tmp_path: Path, world: int) -> None:
    manifest = write(tmp_path, SAMPLES)
    damage(tmp_path / "shard-2.bin", "flip")
    damage(tmp_path / "shard-5.bin", "delete")
    with open_dataset(tmp_path) as dataset:
        seen, state = take(dataset, 20, world, on_bad_shard="skip")
        good = sequences(manifest, without=[2, 5])
        for start in range(0, len(flat(seen)) - len(good), len(good)):
            assert set(flat(seen)[start : start + len(good)]) == good

        # Another world size goes on in the middle: nothing is told but the position.
        head, middle = take(dataset, 7, 4, on_bad_shard="skip")
        tail, end = take(dataset, 13, 2, on_bad_shard="skip", state=middle)
        assert (head + tail, end) == (seen, state)

        with loader(dataset, on_bad_shard="skip") as one:
            batches = [next(one) for _ in range(20)]
            assert one.bad_shards == ("shard-2.bin", "shard-5.bin")
            assert one.skipped_samples == sum(batch.skipped for batch in batches) > 0
            assert state.position == 20 * 8 + one.skipped_samples


def test_nothing_but_bad_shards_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, [3, 4])
    damage(tmp_path / "shard-0.bin", "delete")
    damage(tmp_path / "shard-1.bin", "flip")
    with (
        open_dataset(tmp_path) as dataset,
        loader(dataset, on_bad_shard="skip") as one,
        pytest.raises(DataError, match="every shard is bad"),
    ):
        next(one)


def test_what_one_rank_finds_bad_is_skipped_by_all(tmp_path: Path) -> None:
    """Two nodes with a copy each, one of them damaged: the ranks agree in the step in which they get there."""
    manifest = write(tmp_path / "0", SAMPLES)
    write(tmp_path / "1", SAMPLES)
    damage(tmp_path / "1" / "shard-4.bin", "flip")
    gathered: list[frozenset[int]] = [frozenset(), frozenset()]
    meet = threading.Barrier(2, timeout=30)

    def run(rank: int) -> tuple[list[list[int]], list[LoaderState]]:
        def agree(mine: frozenset[int]) -> list[frozenset[int]]:
            gathered[rank] = mine
            meet.wait()
            found = list(gathered)
            meet.wait()
            return found

        with open_dataset(tmp_path / str(rank)) as dataset:
            options = {"on_bad_shard": "skip", "agree": agree, "rank": rank, "world_size": 2}
            with loader(dataset, **options) as one:
                batches = [next(one) for _ in range(25)]
                assert one.bad_shards == ("shard-4.bin",)
        return [batch.tokens[:, 0].tolist() for batch in batches], [batch.state for batch in batches]

    with ThreadPoolExecutor(2) as pool:
        (left, left_states), (right, right_states) = pool.map(run, range(2))
    assert left_states == right_states
    seen = [first for pair in zip(left, right, strict=True) for half in pair for first in half]
    good = sequences(manifest, without=[4])
    for start in range(0, len(seen) - len(good), len(good)):
        assert set(seen[start : start + len(good)]) == good


# ---- the thread


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "batches"]


def test_closing_ends_the_thread_and_gives_shards_back(tmp_path: Path) -> None:
    write(tmp_path, SAMPLES)
    with open_dataset(tmp_path) as dataset:
        one = loader(dataset)
        next(one)
        one.close()
        one.close()
        assert not _threads()
        assert not dataset._opened
        with pytest.raises(ValueError, match="closed"):
            take_many(one)


def test_a_loader_that_is_forgotten_ends_its_thread(made: tuple[TokenDataset, Manifest]) -> None:
    one = loader(made[0])
    next(one)
    assert _threads()
    del one
    gc.collect()
    assert not _threads()


PROGRAM = """
import json, signal, sys, time
from workloads.data import LoaderState, TokenLoader, open_dataset
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(time.monotonic()))
dataset = open_dataset(sys.argv[1])
state = LoaderState.from_json(sys.argv[2]) if len(sys.argv) > 2 else None
loader = TokenLoader(dataset, batch_size=8, sequence_length=4, seed=3, state=state)
after = 0
for batch in loader:
    print(json.dumps(batch.tokens[:, 0].tolist()), flush=True)
    time.sleep(0.005)
    after += bool(stopped)
    if after > 50:
        break
print(batch.state.to_json(), flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["loader.close()", "pass", "raise RuntimeError('no')"])
def test_a_termination_notice_does_not_take_the_data_away(tmp_path: Path, end: str) -> None:
    """More batches than are ever made in advance come after SIGTERM to the whole group, and then the process ends."""
    write(tmp_path, SAMPLES)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("{end}", end), str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(5)]
    process.send_signal(signal.SIGTERM)
    rest, error = process.communicate(timeout=60)
    assert process.returncode == (1 if "raise" in end else 0), error
    seen = [*lines, *rest.splitlines()]
    assert len(seen) > 50
    state = LoaderState.from_json(seen.pop())
    with open_dataset(tmp_path) as dataset:
        expected, after = take(dataset, len(seen), window_shards=16)
        assert [json.loads(line) for line in seen] == expected
        assert state == after


def test_what_goes_wrong_in_the_thread_reaches_the_consumer(
    made: tuple[TokenDataset, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    from workloads.data.batches import Producer

    original: Callable[..., Any] = Producer._gather
    calls: Iterator[int] = iter(range(100))

    def failing(self: Producer, *arguments: Any) -> torch.Tensor:
        if next(calls) == 2:
            raise MemoryError("no memory to pin")
        return original(self, *arguments)

    monkeypatch.setattr(Producer, "_gather", failing)
    with loader(made[0]) as one:
        with pytest.raises(MemoryError, match="no memory to pin"):
            take_many(one)
        # What was made before it was handed out before it: one batch, then two.
        assert one.state.position == 3 * 8
    assert not _threads()


def test_waiting_is_measured(made: tuple[TokenDataset, Manifest]) -> None:
    with loader(made[0]) as one:
        next(one)
        assert 0 < one.waited_s < 30
