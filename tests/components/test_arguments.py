"""Arguments that Python would take and a component must not."""

from typing import NotRequired, TypedDict

import pulumi
import pytest

from components import arguments


class Inner(TypedDict):
    size: int


class Outer(TypedDict):
    name: str
    flag: NotRequired[bool]
    share: NotRequired[float | None]
    parts: NotRequired[list[Inner]]
    labels: NotRequired[dict[str, str]]
    later: NotRequired[pulumi.Input[str]]


@pytest.mark.parametrize(
    "args",
    [
        {"name": "a"},
        {"name": "a", "flag": False, "share": 1, "parts": [{"size": 2.0}], "labels": {"a": "b"}},
        {"name": "a", "later": pulumi.Output.from_input("x"), "share": None},
    ],
)
def test_right_arguments_pass(args):
    arguments.check("Outer 'x'", args, Outer)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, "Outer 'x': name: is missing"),
        ({"name": "a", "flagg": True}, "Outer 'x': flagg: unknown argument; did you mean 'flag'?"),
        ({"name": "a", "zzz": 1}, "Outer 'x': zzz: unknown argument; accepted are name, flag, share"),
        ({"name": 3}, "Outer 'x': name: expected str, got 3"),
        ({"name": "a", "flag": "yes"}, "Outer 'x': flag: expected bool, got 'yes'"),
        ({"name": "a", "share": True}, "Outer 'x': share: expected float, got True"),
        ({"name": "a", "parts": {"size": 1}}, "Outer 'x': parts: expected a list, got {'size': 1}"),
        ({"name": "a", "parts": [{"size": 1}, {"size": 1.5}]}, "Outer 'x': parts[1].size: expected int, got 1.5"),
        ({"name": "a", "parts": [{"sise": 1}]}, "Outer 'x': parts[0].sise: unknown argument; did you mean 'size'?"),
        ({"name": "a", "parts": [7]}, "Outer 'x': parts[0]: expected a dict, got 7"),
        ({"name": "a", "labels": ["a"]}, "Outer 'x': labels: expected a dict, got ['a']"),
        (None, "Outer 'x': arguments: expected a dict, got None"),
    ],
)
def test_wrong_arguments_are_refused_with_their_path(args, message):
    with pytest.raises(ValueError, match=r"^Outer 'x': ") as refused:
        arguments.check("Outer 'x'", args, Outer)
    assert str(refused.value).startswith(message)
