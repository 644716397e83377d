"""What a sweep tries: the grammar of search spaces, held against the configuration that they are for.

optimizer.learning_rate=log:1e-4:1e-2    a number between the two, even on a logarithmic scale
model.dropout=uniform:0:0.3              a number between the two
model.layers=int:2:8                     a whole number between the two, both included
training.batch_size=choice:64,128        one of the values
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_origin

from workloads.training import section
from workloads.training.config import Config
from workloads.training.errors import ConfigError

GRAMMAR = "log:LOW:HIGH, uniform:LOW:HIGH, int:LOW:HIGH or choice:A,B,..."

UNSEARCHED = {
    "checkpoint": "changes no loss",
    "tracking": "changes no loss",
    "training.steps": "trials are compared at the same steps",
    "training.evaluate_every": "trials are compared at the same steps",
    "training.evaluation_batches": "trials are compared on the same held-out text",
    "data.source": "trials are compared on the same held-out text",
}
"""Settings, and whole sections, that no search may change, each with the reason."""


@dataclass(frozen=True)
class Dimension:
    """One setting of the configuration, and the values that are tried for it."""

    name: str
    """Such as `optimizer.learning_rate`."""
    kind: str
    """`log`, `uniform`, `int` or `choice`."""
    low: float = 0.0
    high: float = 0.0
    """Both included; of whole numbers for `int`."""
    values: tuple[Any, ...] = ()
    """Of a choice."""

    def __str__(self) -> str:
        """As it is written: what `parse` makes of it is this dimension again."""
        if self.kind == "choice":
            return f"{self.name}=choice:{','.join(map(word, self.values))}"
        return f"{self.name}={self.kind}:{word(self.low)}:{word(self.high)}"


def word(value: Any) -> str:
    """A value as the command line takes it: floats to the last bit."""
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, float) else str(value)


def searchable(config: Config) -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    """Each setting that may be searched, by its dotted name, with its field and its type."""
    found = {}
    for place, part in config.sections().items():
        types = section.kinds(type(part))
        for item in dataclasses.fields(part):
            name = f"{place}.{item.name}"
            if place not in UNSEARCHED and name not in UNSEARCHED:
                found[name] = (item, types[item.name])
    return found


def space(specifications: Sequence[str], config: Config, given: Mapping[str, Any]) -> list[Dimension]:
    """The dimensions of a sweep. `given`: settings of the command line. Raises ConfigError."""
    if not specifications:
        raise ConfigError(f"--search: nothing to search: expected at least one SECTION.SETTING={GRAMMAR}")
    found: dict[str, Dimension] = {}
    for text in specifications:
        dimension = parse(text, config)
        if dimension.name in found:
            raise ConfigError(f"--search {text}: {dimension.name} is searched twice: expected each setting once")
        if dimension.name in given:
            raise ConfigError(f"--search {text}: --{dimension.name} is given too: expected one or the other")
        found[dimension.name] = dimension
    return list(found.values())


def parse(text: str, config: Config) -> Dimension:
    """One dimension, from `SECTION.SETTING=KIND:...`. Raises ConfigError, which says what is accepted."""
    name, equals, specification = text.partition("=")
    kind, colon, rest = specification.partition(":")
    if not equals or not colon or kind not in _READERS:
        raise ConfigError(f"--search {text}: expected SECTION.SETTING={GRAMMAR}")
    item, type_ = _setting(text, name, config)
    return _READERS[kind](text, name, rest, item, type_)


def _setting(text: str, name: str, config: Config) -> tuple[dataclasses.Field[Any], Any]:
    section_, _, key = name.partition(".")
    part = config.sections().get(section_)
    if part is not None and not {section_, name} & set(UNSEARCHED):
        types = section.kinds(type(part))
        for item in dataclasses.fields(part):
            if item.name == key:
                return item, types[key]
    known = searchable(config)
    for place in (name, name.partition(".")[0]):
        if place in UNSEARCHED:
            raise ConfigError(f"--search {text}: {place} cannot be searched: {UNSEARCHED[place]}")
    # The last part alone as well: `learning_rate` is meant as `optimizer.learning_rate`.
    near = [one for one in known if one.rpartition(".")[2] == name] or difflib.get_close_matches(name, known, 3, 0.6)
    raise ConfigError(
        f"--search {text}: {name!r} is no setting: "
        + (f"did you mean {' or '.join(near)}?" if near else f"accepted are {', '.join(known)}")
    )


def _range(text: str, name: str, rest: str, item: dataclasses.Field[Any], type_: Any, number: Any) -> tuple[Any, Any]:
    if type_ is not number:
        accepted = "log or uniform" if type_ is float else "int" if type_ is int else "choice"
        raise ConfigError(f"--search {text}: {name} is {section.expected(type_, item)}: expected {accepted}")
    low, colon, high = rest.partition(":")
    if not colon or ":" in high:
        raise ConfigError(f"--search {text}: expected LOW:HIGH after the first colon, got {rest!r}")
    try:
        ends = section.parse(low, name, item, type_), section.parse(high, name, item, type_)
    except ConfigError as error:
        raise ConfigError(f"--search {text}: {error}") from None
    if ends[0] >= ends[1]:
        raise ConfigError(f"--search {text}: {low} is not below {high}: expected LOW:HIGH with LOW below HIGH")
    return ends


def _uniform(text: str, name: str, rest: str, item: dataclasses.Field[Any], type_: Any) -> Dimension:
    return Dimension(name, "uniform", *_range(text, name, rest, item, type_, float))


def _log(text: str, name: str, rest: str, item: dataclasses.Field[Any], type_: Any) -> Dimension:
    low, high = _range(text, name, rest, item, type_, float)
    if low <= 0.0 or not math.isfinite(math.log(low)):
        raise ConfigError(f"--search {text}: {low:g} has no logarithm: expected LOW above 0")
    return Dimension(name, "log", low, high)


def _int(text: str, name: str, rest: str, item: dataclasses.Field[Any], type_: Any) -> Dimension:
    return Dimension(name, "int", *_range(text, name, rest, item, type_, int))


def _choice(text: str, name: str, rest: str, item: dataclasses.Field[Any], type_: Any) -> Dimension:
    try:
        values = tuple(section.parse(one, name, item, type_) for one in rest.split(","))
    except ConfigError as error:
        raise ConfigError(f"--search {text}: {error}") from None
    if len(set(values)) < len(values):
        raise ConfigError(f"--search {text}: a value is there twice: expected each once")
    if len(values) < 2:
        raise ConfigError(f"--search {text}: one value is no choice: expected two or more, or --{name} {rest}")
    if get_origin(type_) is None and type_ is str and "" in values:
        raise ConfigError(f"--search {text}: a value is empty: expected A,B,...")
    return Dimension(name, "choice", values=values)


_READERS: dict[str, Callable[[str, str, str, dataclasses.Field[Any], Any], Dimension]] = {
    "log": _log,
    "uniform": _uniform,
    "int": _int,
    "choice": _choice,
}
