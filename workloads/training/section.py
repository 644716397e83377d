"""Sections of a configuration: frozen dataclasses that know the help, the type and the range of each field."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from workloads.training.errors import ConfigError


def setting(default: Any, help: str, *, at_least: float | None = None, at_most: float | None = None) -> Any:
    """A field with its help on the command line and the range that it accepts."""
    return field(default=default, metadata={"help": help, "at_least": at_least, "at_most": at_most})


@dataclass(frozen=True)
class Section:
    """Raises ConfigError when made with a value of the wrong type or out of range."""

    place: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            check(f"{self.place}.{item.name}", getattr(self, item.name), item, kinds(type(self))[item.name])


def kinds(section: type) -> dict[str, Any]:
    """The type of each field of a section."""
    hints = get_type_hints(section)
    return {item.name: hints[item.name] for item in dataclasses.fields(section)}


def expected(kind: Any, item: dataclasses.Field[Any]) -> str:
    """What a field accepts, for people."""
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]
    low, high = item.metadata["at_least"], item.metadata["at_most"]
    return words + (f" from {low:g}" if low is not None else "") + (f" to {high:g}" if high is not None else "")


def check(place: str, value: Any, item: dataclasses.Field[Any], kind: Any) -> None:
    """Raises ConfigError if a value is not what its field accepts."""
    if get_origin(kind) is Literal:
        good = value in get_args(kind)
    elif kind is float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    else:
        good = type(value) is kind
    low, high = item.metadata["at_least"], item.metadata["at_most"]
    if not good or (low is not None and value < low) or (high is not None and value > high):
        raise ConfigError(f"{place}: {value!r}: expected {expected(kind, item)}")


def parse(text: str, place: str, item: dataclasses.Field[Any], kind: Any) -> Any:
    """The value of a field as it stands on the command line. Raises ConfigError."""
    value: Any = text
    try:
        if kind is bool:
            value = {"true": True, "false": False}[text.lower()]
        elif kind in (int, float):
            value = kind(text)
    except (KeyError, ValueError):
        raise ConfigError(f"{place}: {text!r}: expected {expected(kind, item)}") from None
    check(place, value, item, kind)
    return value
