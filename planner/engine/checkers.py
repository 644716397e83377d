"""Turns the SDKs' annotations into checkers of wire values.

Each annotation is compiled once, into an object that knows which values fit; checking is then a walk over the value
alone, some microseconds a resource.
"""

from __future__ import annotations

import enum
import functools
import json
import re
import typing
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pulumi import _types
from pulumi.asset import Archive, Asset
from pulumi.runtime import rpc

from planner.engine import curated
from planner.engine.schema import Property, alternatives, closest, did_you_mean, object_properties
from planner.engine.values import OUTPUT_SIGNATURE, RESOURCE_SIGNATURE, SECRET_SIGNATURE, SIGNATURE
from planner.plan import SECRET, UNKNOWN

_ARCHIVE_SIGNATURE = rpc._special_archive_sig

_LISTS = 100
"""An enum of more values than this is a catalogue (EC2 instance types): a value that it lacks says nothing."""

_FEW = 8
"""An object of at most this many properties has them all named in the message about one that it doesn't have."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a value. `path` is a property path, `vpcConfig.subnetIds[0]`; `severity` error or warning."""

    path: str
    message: str
    severity: str = "error"
    of_type: bool = False
    """It is about the resource's type, not about this resource: to be said once, however many there are."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class Report:
    """Collects problems on the way through one resource. Inside a secret it shows no values."""

    __slots__ = ("native", "problems", "secrets")

    def __init__(self, native: bool = False) -> None:
        self.native = native
        self.problems: list[Problem] = []
        self.secrets = 0

    def error(self, path: Path, message: str) -> None:
        self.problems.append(Problem(_text(path), message, "error"))

    def warning(self, path: Path, message: str) -> None:
        self.problems.append(Problem(_text(path), message, "warning"))

    def mismatch(self, path: Path, value: Any, expected: str, *, converted: bool = False) -> None:
        """A wrong type: a warning where the provider converts it."""
        message = f"expected {expected}, got {self.show(value)}"
        if converted and not self.native:
            self.warning(path, f"{message}; it will be converted")
        else:
            self.error(path, message)

    def show(self, value: Any) -> str:
        kind = KINDS.get(type(value), type(value).__name__)
        if self.secrets:
            return f"{kind} {SECRET}"
        if isinstance(value, dict) and SIGNATURE in value:
            return "an archive" if value[SIGNATURE] == _ARCHIVE_SIGNATURE else "an asset"
        if isinstance(value, dict | list):
            return f"{kind} of {len(value)}"
        text = json.dumps(value)
        return f"{kind} {text}" if len(text) <= 60 else f"{kind} {text[:56]}…"


KINDS = {str: "string", bool: "boolean", int: "number", float: "number", list: "list", dict: "object"}

Path = tuple[Any, Any] | None
"""Where a value is: (path of what it is in, key or index). Written out only when there is something to say."""


def path_of(keys: Iterable[Any]) -> str:
    """Keys and indices as a property path: ["env", 0, "a.b"] is `env[0]["a.b"]`."""
    path: Path = None
    for key in keys:
        path = (path, key)
    return _text(path)


def _text(path: Path) -> str:
    if path is None:
        return ""
    parent, key = path
    if isinstance(key, int):
        return f"{_text(parent)}[{key}]"
    if not key or any(character in key for character in '.["'):
        return f"{_text(parent)}[{json.dumps(key)}]"
    return f"{_text(parent)}.{key}" if parent is not None else key


# ---- checkers, one class for each kind of annotation


class Checker:
    """Checks values against one annotation."""

    label = "anything"
    kinds: frozenset[type] = frozenset()
    """Python types that a fitting value may have; empty is all."""

    def visit(self, value: Any, path: Path, report: Report) -> None:
        """Check a value that may be absent, unknown or in an envelope."""
        kind = type(value)
        if value is None or (kind is str and value == UNKNOWN):
            return
        if kind is dict and SIGNATURE in value:
            self.special(value, path, report)
        else:
            self.check(value, path, report)

    def special(self, value: dict[str, Any], path: Path, report: Report) -> None:
        signature = value[SIGNATURE]
        if signature == RESOURCE_SIGNATURE:
            return  # the engine hands a provider the resource's id in its place
        if signature in (SECRET_SIGNATURE, OUTPUT_SIGNATURE):
            hidden = signature == SECRET_SIGNATURE or bool(value.get("secret"))
            report.secrets += hidden
            self.visit(value.get("value"), path, report)
            report.secrets -= hidden
        else:
            self.asset(value, path, report)

    def asset(self, value: dict[str, Any], path: Path, report: Report) -> None:
        report.mismatch(path, value, self.label)

    def check(self, value: Any, path: Path, report: Report) -> None:
        """Check a plain value."""


class _Anything(Checker):
    def asset(self, value: dict[str, Any], path: Path, report: Report) -> None:
        pass


class _String(Checker):
    label = "a string"
    kinds = frozenset({str})

    def check(self, value: Any, path: Path, report: Report) -> None:
        if type(value) is not str:
            report.mismatch(path, value, self.label, converted=type(value) in (bool, int, float))


class _Number(Checker):
    kinds = frozenset({int, float})

    def __init__(self, whole: bool) -> None:
        self.label = "a whole number" if whole else "a number"
        self.whole = whole

    def check(self, value: Any, path: Path, report: Report) -> None:
        kind = type(value)
        if kind is int or (kind is float and not (self.whole and value % 1)):
            return
        report.mismatch(path, value, self.label, converted=kind is str and _is_number(value, self.whole))


def _is_number(text: str, whole: bool) -> bool:
    try:
        int(text) if whole else float(text)
    except ValueError:
        return False
    return True


class _Boolean(Checker):
    label = "true or false"
    kinds = frozenset({bool})

    def check(self, value: Any, path: Path, report: Report) -> None:
        if type(value) is not bool:
            report.mismatch(path, value, self.label, converted=value in ("true", "false"))


class _Choice(Checker):
    """An enum, or a Literal. An open one takes any string, since SDKs lag; what looks like a slip gets a warning."""

    def __init__(self, values: Iterable[Any], open: bool) -> None:
        self.values = list(values)
        self.open = open
        self.kinds = frozenset({str}) if open else frozenset(map(type, self.values))
        listed = [json.dumps(value) for value in self.values]
        self.label = f"one of {', '.join(listed[:12])}{', …' if len(listed) > 12 else ''}"
        if len(listed) == 1:
            self.label = listed[0]

    def check(self, value: Any, path: Path, report: Report) -> None:
        if value in self.values:
            return
        if not self.open:
            hint = did_you_mean(value, map(str, self.values)) if isinstance(value, str) and not report.secrets else ""
            report.error(path, f"expected {self.label}, got {report.show(value)}{hint}")
        elif type(value) is not str:
            report.mismatch(path, value, "a string", converted=type(value) in (bool, int, float))
        elif len(self.values) <= _LISTS:
            meant = closest(value, self.values)
            # Another number is another version: python3.15 may well exist.
            if meant and _without_digits(meant) != _without_digits(value):
                report.warning(path, f"{report.show(value)} is not {self.label} (did you mean {meant!r}?)")


def _without_digits(text: str) -> str:
    return re.sub(r"\d+", "", text)


class _List(Checker):
    label = "a list"
    kinds = frozenset({list})

    def __init__(self, item: Any) -> None:
        self.item = compiled(item)

    def check(self, value: Any, path: Path, report: Report) -> None:
        if type(value) is list:
            visit = self.item.visit
            for index, item in enumerate(value):
                visit(item, (path, index), report)
        elif type(value) is dict and isinstance(self.item, _Object):
            report.mismatch(path, value, self.label, converted=True)
            self.item.check(value, path, report)
        else:
            report.mismatch(path, value, self.label)


class _Map(Checker):
    label = "a map"
    kinds = frozenset({dict})

    def __init__(self, item: Any) -> None:
        self.item = compiled(item)

    def check(self, value: Any, path: Path, report: Report) -> None:
        if type(value) is not dict:
            report.mismatch(path, value, self.label)
            return
        visit = self.item.visit
        for key, item in value.items():
            visit(item, (path, key), report)


class _Object(Checker):
    """An input class of the SDK. Its properties are compiled at the first value, since types may contain themselves."""

    label = "an object"
    kinds = frozenset({dict})

    def __init__(self, cls: type) -> None:
        self.cls = cls

    @functools.cached_property
    def properties(self) -> Mapping[str, Property]:
        return object_properties(self.cls)

    @functools.cached_property
    def checkers(self) -> dict[str, Checker]:
        return {name: compiled(known.type) for name, known in self.properties.items()}

    @functools.cached_property
    def required(self) -> tuple[str, ...]:
        return tuple(name for name, known in self.properties.items() if known.required)

    @functools.cached_property
    def deprecated(self) -> frozenset[str]:
        return frozenset(name for name, known in self.properties.items() if known.deprecated)

    def check(self, value: Any, path: Path, report: Report) -> None:
        if type(value) is list and len(value) == 1:
            # A list of at most one is an object in the SDK; the bridge takes both.
            report.mismatch(path, value, self.label, converted=True)
            self.visit(value[0], (path, 0), report)
            return
        if not isinstance(value, Mapping):
            report.mismatch(path, value, self.label)
            return
        checkers = self.checkers
        for name, item in value.items():
            checker = checkers.get(name)
            if checker is not None:
                checker.visit(item, (path, name), report)
            elif not name.startswith("__") and item is not None:
                report.error((path, name), f"unknown property{self._hint(name, value)}")
        for name in self.required:
            if value.get(name) is None:
                report.error((path, name), "is required")
        if self.deprecated and not self.deprecated.isdisjoint(value):
            for name in sorted(self.deprecated & value.keys()):
                if value[name] is not None:
                    report.warning((path, name), f"deprecated: {self.properties[name].deprecated}")

    def _hint(self, name: str, value: Mapping[str, Any]) -> str:
        """In the style it was written in: `subnet_id` is answered with subnet_ids, `subnetID` with subnetIds."""
        unused = [known for key, known in self.properties.items() if value.get(key) is None]
        meant = closest(name, [known.python_name if "_" in name else known.name for known in unused])
        if meant is None and len(self.properties) <= _FEW:
            return f"; there are {', '.join(sorted(self.properties))}"
        return f" (did you mean {meant!r}?)" if meant else ""


class _Asset(Checker):
    def __init__(self, archive_only: bool) -> None:
        self.archive_only = archive_only
        self.label = "an archive" if archive_only else "an asset or archive"

    def check(self, value: Any, path: Path, report: Report) -> None:
        report.mismatch(path, value, self.label, converted=isinstance(value, str))

    def asset(self, value: dict[str, Any], path: Path, report: Report) -> None:
        if self.archive_only and value[SIGNATURE] != _ARCHIVE_SIGNATURE:
            report.mismatch(path, value, self.label)


class _Union(Checker):
    """Several types. A value that fits none is measured against the one that it comes closest to."""

    def __init__(self, members: list[Checker]) -> None:
        self.members = members
        self.label = " or ".join(dict.fromkeys(member.label for member in members))
        self.kinds = frozenset().union(*(member.kinds for member in members))

    def check(self, value: Any, path: Path, report: Report) -> None:
        fitting = [member for member in self.members if type(value) in member.kinds]
        if not fitting:
            report.mismatch(path, value, self.label, converted=type(value) in (bool, int, float) and str in self.kinds)
            return
        self._closest(fitting, report, lambda member, attempt: member.check(value, path, attempt))

    def asset(self, value: dict[str, Any], path: Path, report: Report) -> None:
        self._closest(self.members, report, lambda member, attempt: member.asset(value, path, attempt))

    @staticmethod
    def _closest(members: list[Checker], report: Report, check: Callable[[Checker, Report], None]) -> None:
        attempts: list[list[Problem]] = []
        for member in members:
            attempt = Report(report.native)
            attempt.secrets = report.secrets
            check(member, attempt)
            if not attempt.problems:
                return
            attempts.append(attempt.problems)
        nearest: list[Problem] = min(attempts, key=_distance)
        report.problems += nearest


def _distance(problems: list[Problem]) -> tuple[int, int]:
    return sum(problem.severity == "error" for problem in problems), len(problems)


@functools.cache
def checker_of(cls: type) -> _Object:
    """The checker of an input class of an SDK (`…Args`)."""
    return _Object(cls)


_ANYTHING = _Anything()
_SCALARS: dict[Any, Checker] = {
    str: _String(),
    int: _Number(whole=True),
    float: _Number(whole=False),
    bool: _Boolean(),
}


@functools.cache
def compiled(annotation: Any) -> Checker:
    """The checker of an SDK annotation; made once for each."""
    types = alternatives(annotation)
    assets = [one for one in types if one in (Asset, Archive)]
    if assets and len(assets) == len(types):
        return _Asset(archive_only=Asset not in types)
    enums = [one for one in types if isinstance(one, type) and issubclass(one, enum.Enum)]
    if enums and len(enums) + (str in types) == len(types):
        open = str in types or any(one.__name__ in curated.OPEN_ENUMS for one in enums)
        return _Choice([member.value for one in enums for member in one], open)
    members = [_one(one) for one in types]
    if not members or _ANYTHING in members:
        return _ANYTHING
    return members[0] if len(members) == 1 else _Union(members)


def _one(annotation: Any) -> Checker:
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if is_list(annotation):
        return _List(arguments[0] if arguments else Any)
    if annotation is dict or origin in (dict, abc.Mapping):
        return _Map(arguments[1] if len(arguments) == 2 else Any)
    if origin is typing.Literal:
        return _Choice(arguments, open=False)
    if isinstance(annotation, type):
        if issubclass(annotation, enum.Enum):
            return _Choice([member.value for member in annotation], open=False)
        if _types.is_input_type(annotation):
            return checker_of(typing.cast(Any, annotation))
        if issubclass(annotation, Asset | Archive):
            return _Asset(archive_only=issubclass(annotation, Archive))
    return _ANYTHING


def is_list(annotation: Any) -> bool:
    """Whether an annotation is that of a list."""
    return annotation is list or typing.get_origin(annotation) in (list, abc.Sequence)
