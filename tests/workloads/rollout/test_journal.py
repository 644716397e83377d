"""The journal: what is in it after a kill is what was written down before it, and every decision can be made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.rollout.plain import control, spec
from workloads.rollout.errors import JournalError, RolloutError
from workloads.rollout.journal import DECISION, Journal, Memory, entries, read, remember, replay
from workloads.rollout.state import Phase


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a rollout from its beginning to its end."""
    directory = tmp_path_factory.mktemp("journal")
    control(directory)
    return read(directory / "journal.jsonl")


def told(memory: Memory) -> tuple[Any, ...]:
    return memory.state, memory.token, memory.number, memory.decided, memory.done, memory.cursor


@given(st.data())
def test_cut_off_anywhere_it_is_what_it_was_after_its_last_whole_line(text: str, data: st.DataObject) -> None:
    first = text.index("\n") + 1
    cut = data.draw(st.integers(first, len(text)))
    whole = text[: text.rfind("\n", 0, cut) + 1]
    assert told(remember(text[:cut], "journal")) == told(remember(whole, "journal"))
    assert remember(text[:cut], "journal").number == whole.count("\n") - 1


@given(st.data())
def test_opened_again_it_goes_on_after_its_last_whole_line(
    tmp_path_factory: pytest.TempPathFactory, text: str, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(text.index("\n") + 1, len(text)))
    path = tmp_path_factory.mktemp("cut") / "journal.jsonl"
    path.write_text(text[:cut])
    with Journal(path, spec(), lambda: 1.0) as journal:
        before = told(journal.memory)
        number = journal.append("controller", token=journal.memory.token + 1)
    assert number == before[2] + 1
    assert remember(read(path), "journal").token == before[1] + 1
    assert len(entries(read(path), "journal")) == number + 1


def test_cut_off_in_its_first_line_it_begins_anew(text: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(text[:40])
    with pytest.raises(JournalError, match="expected a journal that begins with a rollout's specification"):
        remember(read(path), "journal")
    with Journal(path, spec(), lambda: 1.0) as journal:
        assert journal.memory.state.phase is Phase.PENDING
    assert remember(read(path), "journal").spec == spec()


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def written(found: list[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(line)}\n" for line in found)


@pytest.mark.parametrize(
    ("planted", "reason"),
    [
        (lambda found: found.pop(4), "entry 5 after 3"),
        (lambda found: found.insert(4, found[3]), "entry 3 after 3"),
        (lambda found: found[1].update(token=0), "token 0 after 0"),
        (lambda found: found[2].update(kind="guess"), "kind 'guess'"),
        (lambda found: _state(found, 6).update(weight=0.9), "expected Allowed"),
        (lambda found: _state(found, 0).update(phase="promoted", weight=1.0, mirror=0.0), "promoted cannot follow"),
        (lambda found: found[3].pop("decision"), "'decision'"),
        (lambda found: found[0]["spec"].update(strategy="yolo"), "strategy: 'yolo'"),
    ],
)
def test_what_cannot_have_been_written_is_refused(text: str, planted: Any, reason: str) -> None:
    found = lines(text)
    planted(found)
    with pytest.raises(RolloutError, match=reason):
        remember(written(found), "journal")


def _state(found: list[dict[str, Any]], count: int) -> dict[str, Any]:
    return [line for line in found if line["kind"] == DECISION][count]["decision"]["state"]


def test_a_broken_line_in_the_middle_is_named(text: str) -> None:
    found = text.splitlines()
    found[3] = found[3][:50]
    with pytest.raises(JournalError, match="journal: line 4"):
        remember("\n".join(found) + "\n", "journal")


def test_every_decision_can_be_made_again(tmp_path: Path) -> None:
    control(tmp_path, decides=None, failing_from=4)
    text = read(tmp_path / "journal.jsonl")
    memory = remember(text, "journal")
    assert memory.state.phase is Phase.ROLLED_BACK
    assert memory.state.reason == "errors-worse"
    assert replay(text, "journal") == (memory.decisions, [])
    # One that is not what its evidence leads to is found.
    found = lines(text)
    number = [index for index, line in enumerate(found) if line["kind"] == DECISION][2]
    found[number]["observation"]["candidate"]["errors"] += 30
    _, different = replay(written(found), "journal")
    assert number in [each.number for each in different]
