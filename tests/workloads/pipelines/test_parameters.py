"""Parameters: the same on a command line, in a run's file and as overrides; wrong ones are told at once."""

from __future__ import annotations

import argparse
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.pipelines import parameters as parameters_of
from workloads.pipelines.definition import Resources
from workloads.pipelines.errors import ArgumentError
from workloads.pipelines.parameters import Parameters


def read(words: list[str]) -> Parameters:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parameters_of.add_arguments(parser)
    return parameters_of.from_options(parser.parse_args(words))


NAMES = st.from_regex(r"[a-z][a-z0-9_.]{0,10}", fullmatch=True)
PARAMETERS = st.builds(
    Parameters,
    corpus=st.sampled_from(["stdlib", "/some where/text", "s3://bucket/text"]),
    held_out=st.floats(0.01, 0.5),
    vocabulary=st.sampled_from([0, 258, 4096]),
    margin=st.floats(0, 1),
    alpha=st.floats(0.001, 0.5),
    version=st.integers(0, 10**6),
    runtime=st.sampled_from(["eager", "onnx"]),
    training=st.dictionaries(NAMES.map(lambda name: f"training.x{name}"), st.text("ab=1.-", min_size=1, max_size=5)),
    prices=st.dictionaries(NAMES, st.floats(0, 100)),
)


@given(PARAMETERS)
def test_a_command_line_and_a_file_give_back_what_they_were_made_of(made):
    assert read(made.words()) == made
    assert Parameters.from_json(json.loads(json.dumps(made.to_json())), "file") == made
    assert made.with_overrides("") == made
    assert Parameters().with_overrides(json.dumps(made.to_json())) == made


def test_overrides_add_to_what_has_names_and_replace_the_rest():
    made = Parameters(training={"training.steps": "5"}, margin=0.02)
    found = made.with_overrides('{"held-out": 0.2, "training": {"training.seed": "7"}}')
    assert (found.held_out, found.margin) == (0.2, 0.02)
    assert found.training == {"training.steps": "5", "training.seed": "7"}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Parameters(held_out=0.0), "held_out 0.0: expected float at most 0.5 and above 0.0"),
        (lambda: Parameters(alpha=float("nan")), "alpha nan"),
        (lambda: Parameters(slice_documents=1), "slice_documents 1: expected int at least 2"),
        (lambda: Parameters(precision="int3"), "expected one of float32, bfloat16, int8, int4"),
        (lambda: Parameters(vocabulary=100), "at least 258"),
        (lambda: Parameters(model="a/b"), "expected letters, digits"),
        (lambda: Parameters(prices={"cpu": -1.0}), "expected USD per hour from 0"),
        (lambda: Parameters(training={"training.initial": "x"}), "the pipeline sets it itself"),
        (lambda: Parameters.from_json({"corpsu": "x"}, "run"), "run: parameter 'corpsu' is not known"),
        (lambda: Parameters().with_overrides("[]"), "expected a JSON object"),
        (lambda: Parameters().with_overrides("{"), "not JSON"),
        (lambda: Parameters().with_overrides('{"margin": "much"}'), "margin 'much'"),
        (lambda: read(["--prices", "cpu"]), "expected NAME=VALUE"),
        (lambda: read(["--prices", "cpu=cheap"]), "expected NAME=USD"),
    ],
)
def test_what_cannot_be_used_is_named(make, said):
    with pytest.raises(ArgumentError, match=said):
        make()


def test_what_a_task_costs():
    made = Parameters(prices={"cpu": 0.04, "memory": 0.005, "l4": 0.7})
    assert made.cost_usd(Resources(4, 16), 1800) == pytest.approx((4 * 0.04 + 16 * 0.005) / 2)
    assert made.cost_usd(Resources(8, 64, "l4", 2), 3600) == pytest.approx(8 * 0.04 + 64 * 0.005 + 1.4)
    assert Parameters().cost_usd(Resources(8, 64, "l4", 2), 3600) == 0
