"""Just as much of PromQL as the scalers of this project ask in, evaluated on samples: so that what a query answers is
tested wherever the tests run. Where Prometheus itself is installed, tests hold this against it.

Semantics: https://prometheus.io/docs/prometheus/latest/querying/ (functions.go of prometheus/prometheus, v2.42).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
LOOK_BACK_S = 300.0
STALE = float("-inf")

_TOKEN = re.compile(
    r'\s*(?:(?P<string>"[^"]*")|(?P<number>\d+(?:\.\d+)?(?:e\d+)?(?![\w]))|(?P<duration>\d+[smhd])'
    r"|(?P<name>[a-zA-Z_:][\w:]*)|(?P<mark>=~|>=|[-+*/<>=(){}\[\],]))"
)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LEVELS = (("or",), ("and",), ("<", ">", ">="), ("+", "-"), ("*", "/"))
"""From what binds least."""


@dataclass
class Series:
    """Samples of a database: labels, `__name__` among them, to (seconds, value) in the order of time."""

    samples: dict[Labels, list[tuple[float, float]]]
    """A value of STALE ends a series: Prometheus writes it where a rule answers no more."""

    @classmethod
    def of(cls, given: Mapping[str, list[tuple[float, float]]]) -> Series:
        """From `name{key="value"}` to samples."""
        return cls({_labels(text): list(points) for text, points in given.items()})

    def add(self, name: str, labels: Mapping[str, str], at: float, value: float) -> None:
        """One more sample, as a recording rule writes it."""
        self.samples.setdefault(frozenset({**labels, "__name__": name}.items()), []).append((at, value))


def _labels(text: str) -> Labels:
    name, _, rest = text.partition("{")
    return frozenset({("__name__", name), *re.findall(r'(\w+)="([^"]*)"', rest)})


def evaluate(query: str, series: Series, at: float) -> Vector:
    """The instant vector that a query answers at a time. ValueError for what this doesn't understand."""
    parser = _Parser(query)
    node = parser.binary(0)
    if parser.left:
        raise ValueError(f"not understood: {parser.left[:3]} in {query}")
    found = node(series, at)
    return found if isinstance(found, dict) else {frozenset(): found}


def scalar(query: str, series: Series, at: float) -> float | None:
    """The only value that a query answers, as KEDA takes it; None where there is none."""
    values = list(evaluate(query, series, at).values())
    assert len(values) < 2, values
    return values[0] if values else None


def record(rules: list[Mapping[str, Any]], series: Series, at: float) -> None:
    """Evaluate the rules of a group in their order, each on what those before it recorded."""
    for rule in rules:
        wanted = {("__name__", rule["record"]), *rule["labels"].items()}
        answered = evaluate(rule["expr"], series, at)
        for labels, value in answered.items():
            kept = {key: text for key, text in labels if key != "__name__"}
            series.add(rule["record"], {**kept, **rule["labels"]}, at, value)
        for labels, points in series.samples.items():
            if not answered and wanted <= labels:
                points.append((at, STALE))


Node = Callable[[Series, float], Any]


class _Parser:
    def __init__(self, query: str) -> None:
        self.left: list[tuple[str, str]] = []
        place = 0
        while place < len(query.rstrip()):
            match = _TOKEN.match(query, place)
            if not match or not match.lastgroup:
                raise ValueError(f"not understood: {query[place:]}")
            self.left.append((match.lastgroup, match[match.lastgroup]))
            place = match.end()

    def peek(self) -> str:
        return self.left[0][1] if self.left else ""

    def take(self, expected: str = "") -> str:
        kind, text = self.left.pop(0)
        if expected and text != expected:
            raise ValueError(f"expected {expected}, got {kind} {text}")
        return text

    def binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self.single()
        node = self.binary(level + 1)
        while self.peek() in _LEVELS[level]:
            node = _operation(self.take(), node, self.binary(level + 1))
        return node

    def single(self) -> Node:
        kind = self.left[0][0]
        if self.peek() == "(":
            self.take("(")
            node = self.binary(0)
            self.take(")")
            return node
        if kind == "number":
            value = float(self.take())
            return lambda _series, _at: value
        name = self.take()
        if self.peek() == "(":
            self.take("(")
            arguments = [self.binary(0)]
            while self.peek() == ",":
                self.take(",")
                arguments.append(self.binary(0))
            self.take(")")
            return _call(name, arguments)
        return self.selector(name)

    def selector(self, name: str) -> Node:
        matchers: list[tuple[str, str, str]] = []
        self.take("{")
        while self.peek() != "}":
            matchers.append((self.take(), self.take(), self.take().strip('"')))
            if self.peek() == ",":
                self.take(",")
        self.take("}")
        window, offset = None, 0.0
        if self.peek() == "[":
            self.take("[")
            window = _seconds(self.take())
            self.take("]")
        if self.peek() == "offset":
            self.take("offset")
            offset = _seconds(self.take())

        def select(series: Series, at: float) -> Any:
            end = at - offset
            length = LOOK_BACK_S if window is None else window
            found = {}
            for labels, points in series.samples.items():
                if _matches(dict(labels), name, matchers):
                    # v2.42: both ends of a range count.
                    there = [(moment, value) for moment, value in points if end - length <= moment <= end]
                    live = [point for point in there if point[1] != STALE]
                    if live and (window is not None or there[-1][1] != STALE):
                        found[labels] = live if window is not None else live[-1][1]
            return (found, end - length, end) if window is not None else found

        return select


def _seconds(duration: str) -> float:
    return float(duration[:-1]) * _UNITS[duration[-1]]


def _matches(labels: Mapping[str, str], name: str, matchers: list[tuple[str, str, str]]) -> bool:
    if labels["__name__"] != name:
        return False
    for key, how, value in matchers:
        there = labels.get(key, "")
        if not (re.fullmatch(value, there) if how == "=~" else there == value):
            return False
    return True


def _unnamed(labels: Labels) -> Labels:
    return frozenset(pair for pair in labels if pair[0] != "__name__")


def _operation(sign: str, left: Node, right: Node) -> Node:
    def apply(series: Series, at: float) -> Any:
        one, other = left(series, at), right(series, at)
        if sign in ("or", "and"):
            mine = {_unnamed(labels): value for labels, value in one.items()}
            theirs = {_unnamed(labels): value for labels, value in other.items()}
            if sign == "or":
                return {**theirs, **mine}
            return {labels: value for labels, value in mine.items() if labels in theirs}
        if not isinstance(one, dict) and not isinstance(other, dict):
            return _calculate(sign, one, other)
        if not isinstance(one, dict):
            pairs = {labels: (one, value) for labels, value in other.items()}
        elif not isinstance(other, dict):
            pairs = {labels: (value, other) for labels, value in one.items()}
        else:
            theirs = {_unnamed(labels): value for labels, value in other.items()}
            pairs = {k: (value, theirs[_unnamed(k)]) for k, value in one.items() if _unnamed(k) in theirs}
        if sign in ("<", ">", ">="):  # which filter
            held = {"<": lambda a, b: a < b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b}[sign]
            return {labels: pair[0] for labels, pair in pairs.items() if held(*pair)}
        return {_unnamed(labels): _calculate(sign, *pair) for labels, pair in pairs.items()}

    return apply


def _calculate(sign: str, one: float, other: float) -> float:
    if sign == "/":
        return one / other if other else float("nan")
    return {"+": one + other, "-": one - other, "*": one * other}[sign]


def _call(name: str, arguments: list[Node]) -> Node:
    def apply(series: Series, at: float) -> Any:
        first, *rest = (argument(series, at) for argument in arguments)
        if name == "vector":
            return {frozenset(): first}
        if name in ("sum", "max"):
            combined = sum(first.values()) if name == "sum" else max(first.values(), default=0.0)
            return {frozenset(): combined} if first else {}
        if name == "clamp_min":
            return {_unnamed(labels): max(value, rest[0]) for labels, value in first.items()}
        ranges, begin, end = first
        found = {}
        for labels, points in ranges.items():
            value = _over_time(name, points, begin, end, rest, at)
            if value is not None:
                found[_unnamed(labels)] = value
        return found

    return apply


def _over_time(
    name: str, points: list[tuple[float, float]], begin: float, end: float, rest: list[float], at: float
) -> float | None:
    values = [value for _, value in points]
    match name:
        case "count_over_time":
            return float(len(values))
        case "max_over_time":
            return max(values)
        case "avg_over_time":
            return sum(values) / len(values)
        case "rate":
            return _rate(points, begin, end)
        case "predict_linear":
            return _predict(points, at, rest[0])
    raise ValueError(f"not understood: {name}")


def _rate(points: list[tuple[float, float]], begin: float, end: float) -> float | None:
    """extrapolatedRate in functions.go."""
    if len(points) < 2:
        return None
    grown = points[-1][1] - points[0][1]
    for (_, before), (_, after) in itertools.pairwise(points):
        grown += before if after < before else 0
    sampled = points[-1][0] - points[0][0]
    between = sampled / (len(points) - 1)
    before, after = points[0][0] - begin, end - points[-1][0]
    if grown > 0 and points[0][1] >= 0:
        before = min(before, sampled * points[0][1] / grown)
    length = sampled
    for gap in (before, after):
        length += gap if gap < between * 1.1 else between / 2
    return grown * length / sampled / (end - begin)


def _predict(points: list[tuple[float, float]], at: float, ahead: float) -> float | None:
    """linearRegression in functions.go, from the time of evaluation."""
    if len(points) < 2:
        return None
    if len({value for _, value in points}) == 1:
        return points[0][1]
    moments = [moment - at for moment, _ in points]
    values = [value for _, value in points]
    mean_x, mean_y = sum(moments) / len(points), sum(values) / len(points)
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in zip(moments, values, strict=True))
    slope = covariance / sum((x - mean_x) ** 2 for x in moments)
    return mean_y - slope * mean_x + slope * ahead
