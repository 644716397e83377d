"""What happened is kept a line an event, survives a kill, and says where it was changed."""

from __future__ import annotations

import itertools
import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.loop import events, story
from workloads.loop.errors import ArgumentError
from workloads.loop.events import NAME, Log

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(told=st.lists(st.dictionaries(st.sampled_from(["says", "rows", "x"]), VALUES), max_size=8))
def test_what_is_told_is_read_again(told: list[dict[str, object]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("events") / NAME
    log = Log(path, itertools.count().__next__)
    added = [log.add("thing", **one) for one in told]
    log.close()
    assert events.read(path) == added
    assert [event["at"] for event in added] == list(range(1, len(told) + 1))


@pytest.mark.parametrize("cut", range(1, 30))
def test_an_event_that_was_cut_short_by_a_kill_is_left_out(cut: int, tmp_path: Path) -> None:
    log = Log(tmp_path / NAME, lambda: 5.0)
    for number in range(3):
        log.add("say", stage="train", text=f"é {number}")
    log.close()
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole[:-cut])
    found = events.read(tmp_path)
    assert [event["text"] for event in found] == (["é 0", "é 1", "é 2"] if cut == 1 else ["é 0", "é 1"])


def test_an_event_that_was_changed_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"at": 1, "kind": "run"}\n{"at": "soon", "kind": "run"}\n{"at": 2, "kind": "x"}\n')
    with pytest.raises(ArgumentError, match=r"events\.jsonl:2: .*soon"):
        events.read(tmp_path)
    with pytest.raises(ArgumentError, match="make loop"):
        events.read(tmp_path / "elsewhere")


def test_threads_do_not_mix_their_lines_and_listeners_hear_what_is_in_the_file(tmp_path: Path) -> None:
    log, heard = Log(tmp_path / NAME), []
    log.listen(heard.append)
    threads = [
        threading.Thread(target=lambda n=n: [log.add("say", stage=str(n), text="x" * 3000) for _ in range(50)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert len(heard) == 200
    assert [json.loads(line) for line in (tmp_path / NAME).read_text().splitlines()] == heard


def test_a_story_knows_each_stage_and_keeps_what_it_does_not_know() -> None:
    told = story.story(
        [
            {"at": 10.0, "kind": "run", "state": "running", "settings": {}, "machine": {},
             "stages": [["a", "A"], ["b", "B"]]},
            {"at": 11.0, "kind": "stage", "stage": "a", "state": "running"},
            {"at": 12.0, "kind": "say", "stage": "a", "text": "on its way"},
            {"at": 13.0, "kind": "of-the-future", "x": 1},
        ]
    )  # fmt: skip
    assert told.running is told.stages["a"]
    assert (told.stages["a"].says, told.stages["b"].state, told.seconds) == ("on its way", story.WAITING, 3.0)
    assert told.of("of-the-future") == [{"at": 13.0, "kind": "of-the-future", "x": 1}]
    told.take({"at": 14.0, "kind": "stage", "stage": "a", "state": "failed", "seconds": 3.0, "cpu_seconds": 1.0,
               "says": "no", "log": "logs/a"})  # fmt: skip
    assert told.running is None
    assert (told.stages["a"].says, told.stages["a"].log) == ("no", "logs/a")
