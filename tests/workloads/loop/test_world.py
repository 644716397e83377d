"""The traffic: the same for the same seed, shifting as it is told, about texts that no model has learnt."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.loop import texts
from workloads.loop.texts import CODE, PROSE
from workloads.loop.world import Shift, World

ABOUT = {CODE: ["import os", "x = 1"], PROSE: ["The statement", "A name"]}


@pytest.fixture(scope="module")
def library() -> texts.Library:
    return texts.library()


def test_nobody_is_asked_about_what_is_learnt(library: texts.Library) -> None:
    def topics(documents: tuple[texts.Document, ...]) -> set[tuple[str, str]]:
        return {(document.kind, document.name.rpartition("-")[0]) for document in documents}

    assert topics(library.learnt).isdisjoint(topics(library.asked))
    for kind in texts.KINDS:
        # As many as an evaluation and a stream of requests need.
        assert sum(document.kind == kind for document in library.learnt) >= 60
        assert len(library.passages(120)[kind]) >= 500


def test_the_library_is_the_same_each_time(library: texts.Library) -> None:
    assert texts.library() == library


def test_what_is_learnt_is_written_by_kind(library: texts.Library, tmp_path: Path) -> None:
    library.write([PROSE], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {PROSE}
    written = {path.stem: path.read_text() for path in (tmp_path / PROSE).iterdir()}
    assert written == {document.name: document.text for document in library.learnt if document.kind == PROSE}


@given(text=st.text(alphabet="aé\n ", max_size=400), size=st.integers(4, 60))
def test_passages_are_whole_lines_of_the_text_and_no_longer_than_asked(text: str, size: int) -> None:
    lines = Counter(text.splitlines(keepends=True))
    for passage in texts.passages([text], size):
        assert size // 2 <= len(passage.encode()) <= size
        assert Counter(passage.splitlines(keepends=True)) <= lines
        assert passage in text or any(len(line.encode()) > size for line in lines)


def test_the_same_seed_asks_the_same() -> None:
    def asked(seed: int) -> list[object]:
        world = World(ABOUT, seed)
        return [(world.question(0.5), world.pause_s(10)) for _ in range(50)]

    assert asked(1) == asked(1)
    assert asked(1) != asked(2)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_questions_are_of_the_kinds_and_users_that_they_are_said_to_be_of(share: float) -> None:
    world = World(ABOUT, 1)
    found = [world.question(share) for _ in range(2000)]
    assert all(question.text in ABOUT[question.kind] for question in found)
    assert sum(question.kind == PROSE for question in found) / 2000 == pytest.approx(share, abs=0.04)
    assert [question.number for question in found] == list(range(1, 2001))
    users = Counter(question.user for question in found).most_common()
    # A few ask a lot, and many a little.
    assert users[0][1] > 10 * users[len(users) // 2][1]


@given(before=st.floats(0, 1), after=st.floats(0, 1), seconds=st.floats(0, 100), at=st.floats(-50, 200))
def test_a_shift_goes_from_before_to_after_and_never_back(
    before: float, after: float, seconds: float, at: float
) -> None:
    shift = Shift(10.0, seconds, before, after)
    assert shift.share(9.9) == before
    assert shift.share(10.0 + seconds + 0.1) == pytest.approx(after)
    low, high = sorted((before, after))
    assert low - 1e-9 <= shift.share(at) <= high + 1e-9
    ahead = shift.share(at + 1) - shift.share(at)
    assert ahead * (after - before) >= -1e-9
