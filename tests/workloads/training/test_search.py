"""The grammar of search spaces: what is accepted means what it says, and the rest is told apart with what is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.training import search
from workloads.training.config import tiny
from workloads.training.errors import ConfigError
from workloads.training.search import Dimension, parse, space, word

FLOATS = st.floats(1e-300, 1e300)


@given(low=FLOATS, high=FLOATS, kind=st.sampled_from(["log", "uniform"]))
def test_a_range_of_numbers_is_kept_to_the_last_bit(low, high, kind):
    text = f"optimizer.learning_rate={kind}:{low!r}:{high!r}"
    if low >= high:
        with pytest.raises(ConfigError, match="is not below"):
            parse(text, tiny())
    else:
        found = parse(text, tiny())
        assert (found.kind, found.low, found.high) == (kind, low, high)
        assert parse(str(found), tiny()) == found


@given(low=st.integers(1, 10**9), more=st.integers(1, 10**9))
def test_a_range_of_whole_numbers(low, more):
    found = parse(f"model.layers=int:{low}:{low + more}", tiny())
    assert found == Dimension("model.layers", "int", low, low + more)
    assert parse(str(found), tiny()) == found


@given(values=st.lists(st.integers(1, 10**6), min_size=2, max_size=6, unique=True))
def test_a_choice_keeps_its_order_and_type(values):
    found = parse(f"training.batch_size=choice:{','.join(map(str, values))}", tiny())
    assert found.values == tuple(values)
    assert all(type(value) is int for value in found.values)
    assert parse(str(found), tiny()) == found


@given(text=st.text(alphabet="abloguniformtch.=:,-+e0123456789 _/", max_size=40))
def test_whatever_is_written_it_is_a_dimension_or_an_error_that_names_it(text):
    said = ""
    try:
        found = parse(text, tiny())
    except ConfigError as error:
        said = str(error)
    if said:
        assert said.startswith(f"--search {text}: ")
        assert any(words in said for words in ("expected", "accepted are", "did you mean", "cannot be searched"))
    else:
        assert parse(str(found), tiny()) == found


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_words_of_numbers_are_read_back_as_they_were(number):
    assert math.copysign(1, float(word(number))) == math.copysign(1, number)
    assert float(word(number)) == number


@pytest.mark.parametrize("name", ["model.norm", "training.on_bad_loss", "parallel.precision"])
def test_words_are_chosen_among_those_that_the_setting_knows(name):
    item, kind = search.searchable(tiny())[name]
    known = ",".join(kind.__args__)
    assert parse(f"{name}=choice:{known}", tiny()).values == kind.__args__
    with pytest.raises(ConfigError, match="expected one of"):
        parse(f"{name}=choice:{known},else", tiny())
    assert item.name == name.partition(".")[2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning_rate=log:1:2", "did you mean optimizer.learning_rate?"),
        ("optimizer.learning_rte=log:1:2", "did you mean optimizer.learning_rate"),
        ("xyzzy=log:1:2", "accepted are model.layers, model.width"),
        ("optimizer.learning_rate", "expected SECTION.SETTING=log:LOW:HIGH, uniform:LOW:HIGH, int:LOW:HIGH or choice"),
        ("optimizer.learning_rate=normal:0:1", "expected SECTION.SETTING=log:LOW:HIGH"),
        ("optimizer.learning_rate=log:1e-4", "expected LOW:HIGH"),
        ("optimizer.learning_rate=log:1e-4:1e-3:1e-2", "expected LOW:HIGH"),
        ("optimizer.learning_rate=log:0:1e-2", "has no logarithm"),
        ("optimizer.learning_rate=log:1e-2:1e-4", "1e-2 is not below 1e-4"),
        ("optimizer.learning_rate=uniform:nan:1", "expected a number from 0"),
        ("optimizer.learning_rate=uniform:-1:1", "expected a number from 0"),
        ("optimizer.learning_rate=int:1:2", "optimizer.learning_rate is a number from 0: expected log or uniform"),
        ("model.layers=log:1:2", "model.layers is a whole number from 1: expected int"),
        ("model.layers=int:0:2", "expected a whole number from 1"),
        ("model.layers=int:1:2.5", "expected a whole number from 1"),
        ("model.bias=int:0:1", "model.bias is true or false: expected choice"),
        ("model.layers=choice:2", "one value is no choice"),
        ("model.layers=choice:2,2", "a value is there twice"),
        ("model.layers=choice:2,x", "expected a whole number from 1"),
        ("training.steps=int:1:9", "training.steps cannot be searched: trials are compared at the same steps"),
        ("checkpoint.keep=int:1:9", "checkpoint cannot be searched: changes no loss"),
        ("tracking.mlflow=choice:a,b", "tracking cannot be searched"),
    ],
)
def test_a_mistake_is_told_with_what_is_accepted(text, said):
    with pytest.raises(ConfigError) as error:
        parse(text, tiny())
    assert str(error.value).startswith(f"--search {text}: ")
    assert said in str(error.value)


def test_a_setting_is_searched_once_and_not_given_as_well():
    once = "model.layers=int:1:2"
    assert [one.name for one in space([once], tiny(), {})] == ["model.layers"]
    with pytest.raises(ConfigError, match="searched twice"):
        space([once, "model.layers=int:1:3"], tiny(), {})
    with pytest.raises(ConfigError, match=r"--model\.layers is given too"):
        space([once], tiny(), {"model.layers": 2})
    with pytest.raises(ConfigError, match="nothing to search"):
        space([], tiny(), {})
