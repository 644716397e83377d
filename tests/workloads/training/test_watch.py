"""A rank that hangs, dies, stops or lags is named, with where it is and its stack, by those that wait for it."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import socket
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from io import StringIO
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workloads.training.gang import gang
from workloads.training.watch import HUNG, Beat, Board, FileBoard, StoreBoard, Watch, blame, stragglers


def beat(rank: int, reached: int = 10, **changed: object) -> Beat:
    return dataclasses.replace(Beat(rank, f"node-{rank}", 100 + rank, 5, reached, 812, "backward", 40.2), **changed)  # type: ignore[arg-type]


# ---- whom to blame


def test_the_rank_that_is_behind_is_blamed() -> None:
    beats = {0: beat(0), 1: beat(1), 2: beat(2, 9, phase="data"), 3: beat(3)}
    (suspect,) = blame(beats)
    assert suspect.rank == 2
    assert suspect.reason == "rank 2 (node-2, pid 102) is behind all others: in data of step 812 since 40 s"


def test_who_is_silent_is_blamed_before_who_is_behind() -> None:
    beats = {0: beat(0), 1: beat(1, 3), 2: beat(2)}
    assert [one.rank for one in blame(beats, [2])] == [2]
    assert "not heard of any more" in blame(beats, [2])[0].reason


def test_who_never_came_is_blamed() -> None:
    assert blame({0: beat(0), 1: None})[0].reason == "rank 1 has never been heard of"


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.data())
def test_blame_never_falls_on_the_one_that_is_furthest(reached: list[int], data: st.DataObject) -> None:
    beats: dict[int, Beat | None] = {rank: beat(rank, at) for rank, at in enumerate(reached)}
    blamed = {one.rank for one in blame(beats)}
    assert bool(blamed) == (len(set(reached)) > 1)
    assert blamed == ({rank for rank, at in enumerate(reached) if at == min(reached)} if blamed else set())
    silent = data.draw(st.sets(st.integers(0, len(reached) - 1)))
    if silent:
        assert {one.rank for one in blame(beats, sorted(silent))} == silent


# ---- stragglers


@settings(deadline=None)
@given(st.integers(2, 64), st.floats(0.001, 100), st.integers(0, 10**6))
def test_one_slow_rank_is_found_among_any_number(world: int, usual: float, seed: int) -> None:
    chance = random.Random(seed)
    seconds = {rank: usual * chance.uniform(0.98, 1.02) for rank in range(world)}
    assert stragglers(seconds) == []
    slow = chance.randrange(world)
    seconds[slow] = usual * 1.3
    (found,) = stragglers(seconds)
    assert found.rank == slow
    assert found.usual == pytest.approx(statistics.median(v for r, v in seconds.items() if r != slow))


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 20), st.floats(0, 1e6), max_size=12))
def test_stragglers_are_always_slower_than_usual(seconds: dict[int, float]) -> None:
    for one in stragglers(seconds):
        assert one.seconds > 1.1 * one.usual > 0
        assert one.z > 3.5
    assert len(stragglers(seconds)) < max(1, len(seconds))


def test_a_straggler_says_how_slow_it_is() -> None:
    (found,) = stragglers({0: 0.1, 1: 0.1, 2: 0.25})
    assert str(found) == "rank 2 takes 0.25 s a step, 2.50 times the others' 0.1 s"


def test_unknown_times_say_nothing() -> None:
    assert stragglers({}) == []
    assert stragglers({0: 1.0}) == []
    assert stragglers({0: 0.0, 1: 0.0, 2: 5.0}) == []


# ---- real processes


def test_a_board_of_files_is_read_whole_while_it_is_written(tmp_path: Path) -> None:
    board = FileBoard(tmp_path)
    assert board.read(0) is None
    for number in range(50):
        board.post(0, str(number) * 1000)
        assert board.read(0) == str(number) * 1000
    assert [path.name for path in tmp_path.iterdir()] == ["rank-0.json"]


def _board(kind: str, directory: Path) -> Board:
    return StoreBoard() if kind == "store" else FileBoard(directory)


def _hang(rank: int, told: Callable[..., None], kind: str, directory: Path, culprit: int) -> None:
    class Out(StringIO):
        def write(self, text: str) -> int:
            told(text)
            return len(text)

    with Watch(_board(kind, directory), rank=rank, world_size=3, hang_s=1.5, every_s=0.2, out=Out()) as watch:
        for step in range(5):
            watch.at(step, "data")
            if rank == culprit and step == 3:
                time.sleep(120)
            watch.at(step, "backward")
            dist.all_reduce(torch.ones(1))


@pytest.mark.parametrize("kind", ["file", "store"])
def test_a_hang_names_the_rank_its_step_its_phase_and_its_stack(kind: str, tmp_path: Path) -> None:
    said = {0: "", 1: "", 2: ""}
    with gang(3, _hang, kind, tmp_path, 1, timeout_s=120) as ranks:
        while not all("in _hang" in text for text in said.values()):
            rank, text = ranks.told.get()
            said[rank] += text
    for rank, text in said.items():
        assert f"[rank {rank}] hang: rank 1 (" in text
        assert "is behind all others: in data of step 3 since" in text
        assert f"[rank {rank}] hang: stack of rank 1" in text
    assert "in backward of step 3" in said[0]
    assert "no progress for" in said[0]


def _stopped(rank: int, told: Callable[..., None], directory: Path) -> None:
    out = StringIO()

    def end(code: int) -> None:
        told("said", out.getvalue())
        os._exit(code)

    board = FileBoard(directory)
    with Watch(board, rank=rank, world_size=2, hang_s=1.5, every_s=0.2, leave=True, end=end, out=out) as watch:
        watch.at(0, "forward")
        time.sleep(0.3)
        told("ready")
        if rank == 1:
            time.sleep(60)
        watch.at(0, "backward")
        dist.all_reduce(torch.ones(1))


def test_a_stopped_process_is_not_heard_of_any_more(tmp_path: Path) -> None:
    with gang(2, _stopped, tmp_path) as ranks:
        assert {ranks.told.get() for _ in range(2)} == {(0, "ready"), (1, "ready")}
        time.sleep(0.3)  # the queue's lock may still be held
        ranks.signal(1, signal.SIGSTOP)
        ranks.processes[0].join(60)
        assert ranks.processes[0].exitcode == HUNG
        ((_, _, said),) = ranks.messages()
    assert "rank 1 (" in said
    assert "is not heard of any more" in said
    assert "it was last in forward of step 0" in said


def _keeper_stopped(rank: int, told: Callable[..., None], port: int) -> None:
    out = StringIO()

    def end(code: int) -> None:
        told("said", out.getvalue())
        os._exit(code)

    store = dist.TCPStore("127.0.0.1", port, 2, is_master=rank == 0)
    with Watch(
        StoreBoard(store), rank=rank, world_size=2, hang_s=1.5, every_s=0.2, leave=True, end=end, out=out
    ) as watch:
        watch.at(0, "forward")
        time.sleep(0.3)
        told("ready")
        watch.at(0, "backward")
        time.sleep(60)


def test_a_board_that_never_answers_keeps_nobody_from_leaving() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    with gang(2, _keeper_stopped, port) as ranks:
        assert {ranks.told.get() for _ in range(2)} == {(0, "ready"), (1, "ready")}
        time.sleep(0.3)  # the queue's lock may still be held
        ranks.signal(0, signal.SIGSTOP)
        ranks.processes[1].join(60)
        assert ranks.processes[1].exitcode == HUNG
        ((_, _, said),) = ranks.messages()
    assert "in backward of step 0, and the board does not answer; its keeper, rank 0 or its node, is dead" in said
    assert "own stack" in said


def test_what_goes_on_after_all_is_told_and_nobody_leaves(tmp_path: Path) -> None:
    out = StringIO()
    left: list[int] = []
    with Watch(FileBoard(tmp_path), hang_s=0.2, every_s=0.05, leave=True, end=left.append, out=out) as watch:
        watch.at(7, "evaluation")
        time.sleep(0.35)
        watch.at(8, "data", allow_s=30)
        time.sleep(0.6)
    assert not left
    assert "hang: no progress for 0 s in evaluation of step 7" in out.getvalue()
    assert "hang: it goes on, in data of step 8" in out.getvalue()


def test_a_long_phase_that_was_announced_is_no_hang(tmp_path: Path) -> None:
    out = StringIO()
    with Watch(FileBoard(tmp_path), hang_s=0.1, every_s=0.02, out=out) as watch:
        watch.at(0, "compilation", allow_s=30)
        time.sleep(0.4)
        assert watch.where() == "compilation of step 0"
    assert not out.getvalue()


def _lag(rank: int, told: Callable[..., None]) -> None:
    out = StringIO()
    with Watch(StoreBoard(), rank=rank, world_size=3, every_s=0.02, out=out) as watch:
        for step in range(40):
            watch.at(step, "forward")
            watch.busy(0.03 if rank == 2 else 0.01)
            time.sleep(0.01)
        time.sleep(1.0)
        told([one.rank for one in watch.slow], out.getvalue())
    dist.barrier()


def test_a_straggler_is_told_once() -> None:
    with gang(3, _lag) as ranks:
        assert ranks.exit_codes(20) == [0, 0, 0]
        found = {rank: words for rank, *words in ranks.messages()}
    assert found[0][0] == [2]
    assert found[0][1].count("straggler: rank 2 takes 0.03 s a step, 3.00 times the others' 0.01 s") == 1
    assert found[1] == found[2] == [[], ""]


def test_a_board_that_cannot_be_reached_ends_nothing() -> None:
    class Broken:
        def post(self, rank: int, text: str) -> None:  # noqa: ARG002
            raise OSError("the network is down")

        def read(self, rank: int) -> str | None:  # noqa: ARG002
            return None

    out = StringIO()
    with Watch(Broken(), hang_s=10, every_s=0.01, out=out):
        time.sleep(0.1)
    assert out.getvalue() == "[rank 0] watch: the other ranks cannot be seen for now: the network is down\n"


def test_noting_a_phase_costs_microseconds(tmp_path: Path) -> None:
    with Watch(FileBoard(tmp_path)) as watch:
        began = time.process_time()
        for step in range(10_000):
            watch.at(step, "forward")
        assert time.process_time() - began < 0.2  # 20 µs each; about 1 where nothing else runs


def test_wrong_times_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected 0 < every_s < hang_s"):
        Watch(FileBoard(tmp_path), hang_s=1, every_s=2)
