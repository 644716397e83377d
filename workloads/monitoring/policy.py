"""All that a watch is told beforehand, and how it is read from JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from workloads.monitoring.baseline import HOUR_S, BaselinePolicy
from workloads.monitoring.drift import DriftPolicy
from workloads.monitoring.errors import ArgumentError
from workloads.monitoring.tables import FEATURES
from workloads.monitoring.trigger import RetrainPolicy

COLUMNS = (*FEATURES, "answer_bytes", "tokens", "bits_per_byte")


@dataclass(frozen=True)
class WatchPolicy:
    window_s: float = HOUR_S
    settle_s: float = 180.0
    """How long after a window's end it is looked at: requests are logged when they are answered, in batches."""
    label_wait_s: float = 24 * HOUR_S
    """How long after a request its label may come and still count."""
    label_kind: str = "bits_per_byte"
    columns: tuple[str, ...] = COLUMNS
    """That are looked at for drift, beside the embedding."""
    drift: DriftPolicy = field(default_factory=DriftPolicy)
    baseline: BaselinePolicy = field(default_factory=BaselinePolicy)
    retrain: RetrainPolicy = field(default_factory=RetrainPolicy)

    def __post_init__(self) -> None:
        if self.window_s <= 0 or min(self.label_wait_s, self.settle_s) < 0:
            raise ArgumentError("window_s: expected above 0, label_wait_s and settle_s from 0")
        unknown = set(self.columns) - set(COLUMNS)
        if unknown or not self.columns:
            raise ArgumentError(f"columns {', '.join(sorted(unknown))!r}: expected some of {', '.join(COLUMNS)}")

    @classmethod
    def from_json(cls, found: Any) -> WatchPolicy:
        """Of an object with any of the fields, nested as here. Raises ArgumentError with the field's name."""
        return _read(cls, found, "policy")


_T = TypeVar("_T")


def _read(kind: type[_T], found: Any, place: str) -> _T:
    if not isinstance(found, Mapping):
        raise ArgumentError(f"{place}: expected an object, found {found!r:.80}")
    default = kind()
    known = {f.name: getattr(default, f.name) for f in dataclasses.fields(default)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in found.items():
        if name not in known:
            raise ArgumentError(f"{place}.{name}: unknown; expected one of {', '.join(known)}")
        values[name] = _value(known[name], value, f"{place}.{name}")
    try:
        return kind(**values)
    except ArgumentError as error:
        raise ArgumentError(f"{place}.{error}") from None


def _value(default: Any, value: Any, place: str) -> Any:
    if dataclasses.is_dataclass(default):
        return _read(type(default), value, place)
    if isinstance(default, tuple):
        if not isinstance(value, list):
            raise ArgumentError(f"{place}: expected a list, found {value!r:.80}")
        return tuple(_value(default[0], each, f"{place}[{i}]") for i, each in enumerate(value))
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(default):
        raise ArgumentError(f"{place}: expected {_NAMES[type(default)]}, found {value!r:.80}")
    return value


_NAMES = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
