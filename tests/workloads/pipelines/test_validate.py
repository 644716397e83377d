"""Validation: each check finds what was planted for it, and passes what is sound; all of it is told at once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from workloads.data import corpus as corpora
from workloads.pipelines import slices
from workloads.pipelines.corpora import fingerprint
from workloads.pipelines.errors import ArgumentError
from workloads.pipelines.steps import validate_data

WORDS = [
    "harbour",
    "kettle",
    "violet",
    "engine",
    "marble",
    "thistle",
    "lantern",
    "cobble",
    "orchard",
    "saddle",
    "pewter",
]
PARAMETERS = {
    "suffixes": ".txt",
    "held_out": 0.3,
    "slices": "length,source",
    "minimum_documents": 10,
    "slice_documents": 2,
    "duplicate_limit": 0.1,
    "not_text_limit": 0.05,
    "contamination_limit": 0.1,
}


@pytest.fixture
def text(tmp_path) -> Path:
    """Sixty documents of words that no two of them have in the same order, from two sources."""
    draw = random.Random(1)
    for number in range(60):
        path = tmp_path / "text" / ("letters" if number % 2 else "notes") / f"{number:02}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(" ".join(draw.choices(WORDS, k=400)))
    return tmp_path / "text"


def refused(text: Path, before: str | None = None, **more: object) -> dict[str, str]:
    """The checks that refuse, and what they found."""
    parameters = {**PARAMETERS, "corpus": str(text), **more}
    parameters["corpus_fingerprint"] = before or fingerprint(parameters)
    corpus = corpora.directory(text, 0.3, (".txt",))
    documents = validate_data.inventory(corpus, slices.kinds(str(parameters["slices"])))
    checks = validate_data.examine(corpus, documents, parameters)
    assert len(checks) == 8
    assert all(str(check).startswith("ok " if check.passed else "REFUSED ") for check in checks)
    return {check.name: check.found for check in checks if not check.passed}


def test_sound_data_passes(text):
    assert refused(text) == {}


def test_text_that_has_changed_since_the_run_began(text):
    before = fingerprint({**PARAMETERS, "corpus": str(text)})
    (text / "letters" / "01.txt").write_text("something else")
    assert set(refused(text, before)) == {"fingerprint"}


def test_what_is_no_text(text):
    for number in range(5):
        (text / f"{number}.txt").write_bytes(b"\xff\xfe" + bytes([number]))
    assert refused(text) == {"encoding": "5 of 65 files (7.7%) empty or not UTF-8"}


def test_documents_full_of_control_characters(text):
    (text / "notes" / "x.txt").write_text("\x01\x02\x03" * 100)
    assert set(refused(text)) == {"control characters"}


def test_documents_that_repeat_each_other(text):
    for number in range(10):
        (text / f"copy-{number}.txt").write_bytes((text / "letters" / "01.txt").read_bytes())
    assert refused(text) == {"duplicates": "10 of 70 files (14.3%) repeat another"}


def test_held_out_documents_that_were_learnt_from_but_for_a_word(text):
    corpus = corpora.directory(text, 0.3, (".txt",))
    planted = 0
    for number, name in enumerate(corpus.validation[:12]):
        # Another digest, so another side for some of them.
        for ending in range(20):
            path = text / "notes" / f"near-{number}-{ending}.txt"
            path.write_text(corpus.text(name) + f" {ending}")
            if path.relative_to(text).as_posix() in corpora.directory(text, 0.3, (".txt",)).train:
                planted += 1
                break
            path.unlink()
    assert planted == 12
    found = refused(text)
    assert set(found) == {"contamination"}
    assert found["contamination"].startswith("12 of ")


def test_too_little_is_held_out(text):
    assert set(refused(text, minimum_documents=50)) == {"size"}


def test_a_source_that_is_learnt_from_and_never_judged(text):
    corpus = corpora.directory(text, 0.3, (".txt",))
    for name in corpus.validation:
        if name.startswith("notes/"):
            (text / name).unlink()
    found = refused(text)
    assert set(found) == {"slices"}


def test_names_that_no_log_could_show(text):
    (text / "notes" / "bell\x07.txt").write_text("ding dong")
    assert set(refused(text)) == {"schema"}


def test_runs_of_words_do_not_depend_on_where_they_stand():
    whole = " ".join(WORDS * 20)
    assert validate_data.runs_of_words(whole) <= validate_data.runs_of_words("before it " + whole + " after it")
    assert validate_data.runs_of_words("too few words") == set()


def test_slices():
    assert slices.of("letters/a.txt", 5000, ("length", "source", "suffix")) == [
        "length=long", "source=letters", "suffix=txt",
    ]  # fmt: skip
    assert slices.of("a", 10, ("length", "source", "suffix")) == ["length=short", "source=.", "suffix=none"]
    assert slices.kinds("none") == ()
    with pytest.raises(ArgumentError, match="expected some of length, source, suffix, or none"):
        slices.kinds("length,topic")
