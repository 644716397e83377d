"""Tags on AWS and labels on GCP: the same owner on both."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.tags import aws_tags, gcp_labels


def test_names_come_first_but_an_explicit_one_wins() -> None:
    assert aws_tags({"owner": "ml"}, "vpc") == {"Name": "vpc", "owner": "ml"}
    assert aws_tags({"Name": "mine"}, "vpc") == {"Name": "mine"}


def test_labels_are_lower_case_and_within_the_alphabet() -> None:
    assert gcp_labels({"Cost-Center": "R&D 7", "owner": "a@b.c"}) == {"cost-center": "r-d-7", "owner": "a-b-c"}


@given(st.dictionaries(st.from_regex(r"[a-z][A-Za-z0-9:/ ]{0,80}", fullmatch=True), st.text(max_size=100), max_size=1))
def test_any_value_becomes_a_label_that_gcp_takes(tags: dict[str, str]) -> None:
    for key, value in gcp_labels(tags).items():
        assert re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key)
        assert re.fullmatch(r"[a-z0-9_-]{0,63}", value)


@pytest.mark.parametrize(
    ("tags", "complaint"),
    [
        ({"a b": "1", "a-b": "2"}, "'a b' and 'a-b' both become the GCP label 'a-b'"),
        ({"7days": "1"}, "'7days' cannot be a GCP label"),
        ({"": "1"}, "'' cannot be a GCP label"),
    ],
)
def test_labels_that_would_be_lost_are_refused(tags: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        gcp_labels(tags)
