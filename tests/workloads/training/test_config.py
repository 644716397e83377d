"""Configurations: every setting from the command line, and nothing else."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args, get_origin

import pytest

from workloads.training import cli, config, section
from workloads.training.config import NAMED, Config, tiny
from workloads.training.errors import ConfigError

SETTINGS = [
    (name, item, section.kinds(type(part))[item.name])
    for name, part in tiny().sections().items()
    for item in dataclasses.fields(part)
]
BASE = ["--config", "tiny", "--output", "out"]


def parsed(*words: str) -> Config:
    return cli.configuration(cli.parser().parse_args([*BASE, *words]))


@pytest.mark.parametrize(("name", "item", "kind"), SETTINGS, ids=lambda value: getattr(value, "name", ""))
def test_each_setting_is_reached_by_its_dotted_name(name, item, kind):
    default = getattr(tiny().sections()[name], item.name)
    if get_origin(kind) is Literal:
        other = next(value for value in get_args(kind) if value != default)
    else:
        other = {
            bool: lambda: not default,
            str: lambda: "query" if item.name == "targets" else "elsewhere",
            int: lambda: 2 * (default or 1),
            float: lambda: (default or 1.0) / 2,
        }[kind]()
    # What another setting must fit to.
    more = {"model.heads": ["--model.width", "256"], "model.key_value_heads": ["--model.heads", "8"]}
    more["parallel.tensor"] = ["--model.tied", "false"]
    more |= {"lora.rank": ["--lora.base", "elsewhere"], "lora.base": ["--lora.rank", "2"]}
    found = parsed(f"--{name}.{item.name}={other}", *more.get(f"{name}.{item.name}", []))
    assert getattr(found.sections()[name], item.name) == other
    assert item.metadata["help"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model.layers", "0"], "--model.layers: 0: expected a whole number from 1"),
        (["--model.layers", "four"], "--model.layers: 'four': expected a whole number from 1"),
        (["--model.layers", "4.5"], "--model.layers: '4.5': expected a whole number from 1"),
        (["--optimizer.learning_rate", "nan"], "expected a number from 0"),
        (["--model.dropout", "1"], "expected a number from 0 to 0.9"),
        (["--model.norm", "rsm"], "--model.norm: 'rsm': expected one of rms, layer"),
        (["--parallel.compile", "yes"], "expected true or false"),
        (["--model.layer", "4"], "did you mean --model.layers?"),
        (["--steps", "4"], "did you mean --training.steps?"),
        (["--model.layers"], "expected one argument"),
    ],
)
def test_a_mistake_is_told_with_what_is_accepted(words, said, capsys):
    with pytest.raises(SystemExit) as left:
        parsed(*words)
    assert left.value.code == 2
    assert said in capsys.readouterr().err


def test_the_name_of_a_config_is_guessed(capsys):
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["--config", "llama1b", "--output", "out"])
    assert "did you mean llama_1b?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model.heads": 3}, "model.width: 128: expected a multiple of model.heads, 3"),
        ({"model.width": 12}, "rotary positions need heads of an even width"),
        ({"model.key_value_heads": 3}, "model.key_value_heads: 3: expected a divisor of 4"),
        ({"parallel.tensor": 2}, "model.tied false"),
        ({"parallel.tensor": 2, "parallel.strategy": "ddp"}, "expected parallel.strategy fsdp"),
        ({"model.depth": 3}, "model.depth: no such setting"),
        ({"training.steps": True}, "training.steps: True: expected a whole number from 1"),
    ],
)
def test_what_does_not_fit_together_is_refused(values, said):
    with pytest.raises(ConfigError, match=said):
        tiny().override(values)


def test_named_configs_are_named_after_their_functions():
    assert {name: make().name for name, make in NAMED.items()} == {name: name for name in NAMED}


def test_a_mistake_exits_with_2_and_one_line(tmp_path, capsys):
    assert cli.main(["--config", "tiny", "--output", str(tmp_path), "--model.heads", "3"]) == 2
    assert capsys.readouterr().err == "training: model.width: 128: expected a multiple of model.heads, 3\n"


def test_data_is_short_for_data_source():
    assert parsed("--data", "s3://bucket/tokens").data.source == "s3://bucket/tokens"
    assert config.tiny().data.source == ""
