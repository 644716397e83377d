"""Features tell texts apart, and are finite for any."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from tests.workloads.monitoring.traffic import SHIFTS, request
from workloads.monitoring.features import DIMENSIONS, MOST_BYTES, embedding, features


@given(st.text())
@example("漢漢öé漢")  # as shares of floats it adds up to a bit more than 1
def test_all_are_finite_and_shares_are_shares(text: str) -> None:
    found = features(text)
    assert all(math.isfinite(value) for value in found)
    for share in (found.non_ascii, found.digits, found.whitespace, found.capitals, found.punctuation):
        assert 0 <= share <= 1
    assert 0 <= found.byte_entropy <= 8
    assert math.isclose(math.expm1(found.text_bytes), len(text.encode(errors="replace")), abs_tol=1e-6)


@given(st.text())
def test_an_embedding_has_length_one_or_none(text: str) -> None:
    found = embedding(text)
    assert found.shape == (DIMENSIONS,)
    length = float(np.linalg.norm(found))
    assert math.isclose(length, 1, rel_tol=1e-5) or length == 0


def test_shares_of_a_text() -> None:
    found = features("AB 12\né!")
    assert [round(8 * share) for share in found[1:6]] == [2, 2, 2, 2, 1]


def test_lone_surrogates_and_long_texts_are_taken() -> None:
    assert features("\ud800").text_bytes > 0
    long = features("x" * (2 * MOST_BYTES))
    assert math.isclose(math.expm1(long.text_bytes), 2 * MOST_BYTES)


def test_alike_texts_point_the_same_way() -> None:
    texts = {
        shift: np.mean([embedding(request(i, 0.0, shift=shift).text) for i in range(50)], 0) for shift in ("", *SHIFTS)
    }
    other = np.mean([embedding(request(i, 0.0, seed=1).text) for i in range(50)], 0)

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert cosine(texts[""], other) > 0.95
    assert cosine(texts[""], texts["words"]) < 0.6
