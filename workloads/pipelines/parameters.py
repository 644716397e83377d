"""What a run of the pipeline is told: typed, with help and ranges, on a command line and in the run's own file."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workloads.pipelines.definition import Resources
from workloads.pipelines.errors import ArgumentError


def _given(default: Any, help: str, **more: Any) -> Any:
    """A parameter. `at_least`, `at_most`: its range; `above`: what it must exceed; `choices`."""
    return field(default=default, metadata={"help": help, **more})


@dataclass(frozen=True)
class Parameters:
    """Raises ArgumentError for a value out of its range."""

    corpus: str = _given("stdlib", "text: stdlib, a directory, or s3://, gs://, az://", metavar="stdlib|DIR|URL")
    suffixes: str = _given(".py,.txt,.md,.rst", "of the corpus' files, with commas between")
    held_out: float = _given(0.1, "part of the files", above=0.0, at_most=0.5)
    slices: str = _given("length,source", "how held-out documents are told apart: length, source, suffix, or none")
    minimum_documents: int = _given(20, "held-out documents, at least", at_least=2)
    slice_documents: int = _given(5, "held-out documents of a slice, at least", at_least=2)
    duplicate_limit: float = _given(0.2, "part of the files that may repeat another", at_least=0.0, at_most=1.0)
    not_text_limit: float = _given(0.05, "part of the files that may be empty or no UTF-8", at_least=0.0, at_most=1.0)
    contamination_limit: float = _given(
        0.1, "part of the held-out documents most of which may be in training documents too", at_least=0.0, at_most=1.0
    )
    vocabulary: int = _given(0, "tokens of a byte-pair encoding; 0: bytes, or what the champion has", at_least=0)
    config: str = _given("tiny", "named configuration of workloads.training")
    training: dict[str, str] = field(
        default_factory=dict, metadata={"help": "a setting of workloads.training, such as training.steps=200"}
    )
    champion: str = _given(
        "", "the model to be better than, and to begin with: a directory or URL, or `registry`; empty: none"
    )
    margin: float = _given(0.01, "share by which a slice's bits per byte may be worse", at_least=0.0)
    alpha: float = _given(0.05, "chance to let a worse model pass, for each comparison", above=0.0, at_most=0.5)
    evaluation_documents: int = _given(400, "held-out documents that are scored; 0: all", at_least=0)
    evaluation_tokens: int = _given(1024, "of a document that are scored", at_least=2)
    precision: str = _given("int8", "of what answers", choices=("float32", "bfloat16", "int8", "int4"))
    quantization_limit: float = _given(0.01, "share of bits per byte that it may cost", at_least=0.0)
    model: str = _given("model", "the model's name; what scores texts is called NAME-scorer")
    version: int = _given(0, "its version; 0: one more than the newest in the repository", at_least=0)
    runtime: str = _given("eager", "what runs the scorer", choices=("eager", "torch-export", "onnx"))
    repository: str = _given("out/models", "model repository: a directory, or s3://, gs://, az://", metavar="DIR|URL")
    mlflow: str = _given("", "tracking and registry URI of MLflow; empty: a SQLite file beside the run")
    experiment: str = _given("retrain", "the experiment there")
    prices: dict[str, float] = field(
        default_factory=dict, metadata={"help": "USD per hour of `cpu`, of a GiB of `memory`, or such as l4=0.7"}
    )

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            _check(item, getattr(self, item.name))
        if 0 < self.vocabulary < 258:
            raise ArgumentError(
                f"vocabulary {self.vocabulary}: expected 0, or at least 258: all bytes, a merge, the end"
            )
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.model):
            raise ArgumentError(f"model {self.model!r}: expected letters, digits, '.', '_' and '-'")
        for name in self.training:
            if name.startswith(("data.source", "checkpoint.remote", "tracking.", "training.initial")):
                raise ArgumentError(f"training {name}: the pipeline sets it itself")

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any], place: str) -> Parameters:
        known = {item.name for item in dataclasses.fields(cls)}
        if unknown := set(found) - known:
            raise ArgumentError(f"{place}: parameter {min(unknown)!r} is not known to this version")
        return cls(**found)

    def with_overrides(self, text: str) -> Parameters:
        """With other values for some, from a JSON object by name: what whoever starts a run wants otherwise."""
        try:
            found = json.loads(text or "{}")
        except ValueError as error:
            raise ArgumentError(f"--overrides: not JSON: {error}") from None
        if not isinstance(found, dict):
            raise ArgumentError(f"--overrides: {text!r}: expected a JSON object of parameters")
        values = self.to_json()
        for name, value in found.items():
            known = name.replace("-", "_")
            values[known] = {**values.get(known, {}), **value} if isinstance(value, dict) else value
        return Parameters.from_json(values, "--overrides")

    def words(self) -> list[str]:
        """As arguments of a command line; what is as by default is left out."""
        words = []
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            option = f"--{item.name.replace('_', '-')}"
            if isinstance(value, dict):
                words += [word for key, one in sorted(value.items()) for word in (option, f"{key}={one}")]
            elif value != item.default:
                words += [option, str(value)]
        return words

    def cost_usd(self, resources: Resources, seconds: float) -> float:
        """Of a task. What has no price costs nothing: whoever wants to know all gives all three."""
        hourly = (
            resources.cpu * self.prices.get("cpu", 0.0)
            + resources.memory_gib * self.prices.get("memory", 0.0)
            + resources.accelerators * self.prices.get(resources.accelerator, 0.0)
        )
        return hourly * seconds / 3600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """An option for each parameter."""
    for item in dataclasses.fields(Parameters):
        about = item.metadata
        option, help = f"--{item.name.replace('_', '-')}", about["help"].replace("%", "%%")
        if item.default is dataclasses.MISSING:
            parser.add_argument(
                option, action="append", default=[], metavar="NAME=VALUE", help=f"{help}; may be given several times"
            )
            continue
        kind = type(item.default)
        extra = (
            {"choices": about["choices"]}
            if "choices" in about
            else {"metavar": about.get("metavar", kind.__name__.upper())}
        )
        parser.add_argument(option, type=kind, default=item.default, help=f"{help} (default %(default)s)", **extra)


def from_options(options: argparse.Namespace) -> Parameters:
    """The parameters that a command line gave. Raises ArgumentError."""
    values = {item.name: getattr(options, item.name) for item in dataclasses.fields(Parameters)}
    values["training"] = dict(_pair("training", text) for text in values["training"])
    prices = dict(_pair("prices", text) for text in values["prices"])
    try:
        values["prices"] = {name: float(price) for name, price in prices.items()}
    except ValueError as error:
        raise ArgumentError(f"--prices: {error}; expected NAME=USD, such as cpu=0.04") from None
    return Parameters(**values)


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ArgumentError(f"--{option} {text!r}: expected NAME=VALUE")
    return name, value


def _check(item: dataclasses.Field[Any], value: Any) -> None:
    about = item.metadata
    if isinstance(value, dict):
        if item.name == "prices" and not all(price >= 0 and math.isfinite(price) for price in value.values()):
            raise ArgumentError(f"prices {value}: expected USD per hour from 0")
        return
    kind = type(item.default)
    good = isinstance(value, kind) or (kind is float and type(value) is int)
    if good and kind in (int, float):
        good = (
            math.isfinite(value)
            and value >= about.get("at_least", -math.inf)
            and value <= about.get("at_most", math.inf)
            and value > about.get("above", -math.inf)
        )
    if not good or ("choices" in about and value not in about["choices"]):
        limits = [
            f"{word.replace('_', ' ')} {about[word]}" for word in ("at_least", "at_most", "above") if word in about
        ]
        accepted = (
            f"one of {', '.join(about['choices'])}" if "choices" in about else f"{kind.__name__} {' and '.join(limits)}"
        )
        raise ArgumentError(f"{item.name} {value!r}: expected {accepted.strip()}")
