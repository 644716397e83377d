"""Which metrics and labels a query of Prometheus names, and which labels its answer has.

A parser of PromQL (https://prometheus.io/docs/prometheus/latest/querying/) that reckons with sets of labels instead of
samples. It finds what Prometheus would take without a word and answer with nothing: a metric that isn't there, a label
that a metric doesn't have, two sides of an operator that never match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Labels = frozenset[str]
Scalar = None
"""Instead of labels."""

_TOKEN = re.compile(
    r"\s*(?:(?P<string>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')"
    r"|(?P<duration>\d+(?:ms|[smhdwy]))|(?P<number>(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)"
    r"|(?P<name>[a-zA-Z_:][\w:]*)|(?P<mark>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){}\[\],:@]))"
)
_AGGREGATIONS = {"sum", "min", "max", "avg", "count", "stddev", "topk", "bottomk", "quantile"}
_KEEPING = {"topk", "bottomk"}
_LEVELS = (("or",), ("and", "unless"), ("==", "!=", "<", "<=", ">", ">="), ("+", "-"), ("*", "/", "%"))
_SCALARS = {"time", "pi"}
_FUNCTIONS = {
    *("abs", "avg_over_time", "changes", "clamp_max", "clamp_min", "count_over_time", "histogram_quantile", "increase"),
    *("label_replace", "max_over_time", "min_over_time", "predict_linear", "quantile_over_time", "rate", "sort"),
    *("sort_desc", "sum_over_time", "time", "vector"),
}


@dataclass(frozen=True)
class Exported:
    """Metric -> its labels. `everywhere`: labels that every metric has besides, where its own do not hide them."""

    metrics: Mapping[str, Labels]
    everywhere: Labels = frozenset()


@dataclass
class Found:
    """What a query names, and what is wrong with it."""

    labels: Labels | None = frozenset()
    metrics: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def analyze(query: str, exported: Exported) -> Found:
    """ValueError for what isn't PromQL, or is more of it than this understands."""
    parser = _Parser(query, exported)
    parser.found.labels = parser.binary(0)
    if parser.left:
        raise ValueError(f"not understood: {parser.left[0][1]!r} in {query}")
    return parser.found


class _Parser:
    def __init__(self, query: str, exported: Exported) -> None:
        self.exported, self.found, self.left = exported, Found(), list(_tokens(query))

    def peek(self) -> str:
        return self.left[0][1] if self.left else ""

    def take(self, expected: str = "") -> str:
        if not self.left:
            raise ValueError(f"ends where {expected or 'something'} is expected")
        _, text = self.left.pop(0)
        if expected and text != expected:
            raise ValueError(f"expected {expected}, got {text}")
        return text

    def wrong(self, problem: str) -> None:
        self.found.problems.append(problem)

    def must_have(self, labels: Iterable[str], there: Labels | None, what: str) -> None:
        for label in labels:
            if label not in (there or ()):
                self.wrong(f"{what} has no label {label!r}, only {', '.join(sorted(there or ())) or 'none'}")

    # ---- operators

    def binary(self, level: int) -> Labels | None:
        if level == len(_LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while self.peek() in _LEVELS[level]:
            sign = self.take()
            if self.peek() == "bool":
                self.take()
            on, many = None, None
            if self.peek() in ("on", "ignoring"):
                how, names = self.take(), self.names()
                if how == "ignoring":
                    raise ValueError("not understood: ignoring")
                on = names
            if self.peek() in ("group_left", "group_right"):
                side = self.take()
                many = (side, self.names() if self.peek() == "(" else [])
            left = self.combined(sign, left, self.binary(level + 1), on, many)
        return left

    def combined(
        self,
        sign: str,
        left: Labels | None,
        right: Labels | None,
        on: list[str] | None,
        many: tuple[str, list[str]] | None,
    ) -> Labels | None:
        if left is Scalar or right is Scalar:
            return right if left is Scalar else left
        if on is not None:
            for side, name in ((left, "the left"), (right, "the right")):
                self.must_have(on, side, f"{name} side of {sign}")
        elif sign != "or" and left != right:
            self.wrong(f"sides of {sign} never match: {sorted(left)} and {sorted(right)}")
        if sign in ("and", "unless"):
            return left
        if sign == "or":
            return left & right if right else left
        if many:
            kept, other = (left, right) if many[0] == "group_left" else (right, left)
            self.must_have(many[1], other, f"the single side of {sign}")
            return kept | frozenset(many[1])
        return left if on is None else frozenset(on)

    def unary(self) -> Labels | None:
        if self.peek() in ("-", "+"):
            self.take()
        return self.postfix(self.single())

    def postfix(self, labels: Labels | None) -> Labels | None:
        while self.peek() in ("[", "offset"):
            if self.take() == "offset":
                self.duration()
            else:
                self.duration()
                if self.peek() == ":":
                    self.take(":")
                    if self.peek() != "]":
                        self.duration()
                self.take("]")
        return labels

    def duration(self) -> None:
        kind, text = self.left.pop(0)
        if kind != "duration":
            raise ValueError(f"expected a duration, got {text}")

    def names(self) -> list[str]:
        self.take("(")
        found = []
        while self.peek() != ")":
            found.append(self.take())
            if self.peek() == ",":
                self.take(",")
        self.take(")")
        return found

    # ---- operands

    def single(self) -> Labels | None:
        kind, text = self.left[0] if self.left else ("", "")
        if text == "(":
            self.take("(")
            labels = self.binary(0)
            self.take(")")
            return labels
        if kind == "number" or text in ("Inf", "NaN"):
            self.take()
            return Scalar
        if kind == "name" and text in _AGGREGATIONS:
            return self.aggregation(self.take())
        if kind == "name" and len(self.left) > 1 and self.left[1][1] == "(":
            return self.call(self.take())
        if kind == "name":
            return self.selector(self.take())
        raise ValueError(f"not understood: {text!r}")

    def aggregation(self, name: str) -> Labels:
        by = self.grouping()
        arguments = self.arguments()
        by = self.grouping() if by is None else by
        inner = arguments[-1][1] or frozenset()
        if name in _KEEPING:
            return inner
        self.must_have(by or (), inner, f"what {name} is taken of")
        return frozenset(by or ())

    def grouping(self) -> list[str] | None:
        if self.peek() == "without":
            raise ValueError("not understood: without")
        if self.peek() != "by":
            return None
        self.take("by")
        return self.names()

    def arguments(self) -> list[tuple[str, Labels | None]]:
        """Of each its first word, and its labels."""
        self.take("(")
        found: list[tuple[str, Labels | None]] = []
        while self.peek() != ")":
            kind, text = self.left[0]
            if kind == "string":
                self.take()
                found.append((text[1:-1], Scalar))
            else:
                found.append((text, self.binary(0)))
            if self.peek() == ",":
                self.take(",")
        self.take(")")
        return found

    def call(self, name: str) -> Labels | None:
        if name not in _FUNCTIONS:
            raise ValueError(f"not understood: {name}")
        arguments = self.arguments()
        if name in _SCALARS:
            return Scalar
        labels = next((given for _, given in arguments if given is not Scalar), frozenset())
        if name == "histogram_quantile":
            self.must_have(["le"], labels, "what histogram_quantile is taken of")
            return labels - {"le"}
        if name == "label_replace":
            return labels | {arguments[1][0]}
        return labels

    def selector(self, name: str) -> Labels:
        self.found.metrics.add(name)
        own = self.exported.metrics.get(name)
        if own is None:
            self.wrong(f"nothing exports {name}")
            own = frozenset()
        if self.peek() == "{":
            self.take("{")
            while self.peek() != "}":
                label, _, _ = self.take(), self.take(), self.take()
                if label in own & self.exported.everywhere:
                    self.wrong(f"{name} has a label {label!r} of its own, which is not what is asked for")
                if own:
                    self.must_have([label], own | self.exported.everywhere, name)
                if self.peek() == ",":
                    self.take(",")
            self.take("}")
        return own | self.exported.everywhere


def _tokens(query: str) -> Iterable[tuple[str, str]]:
    place, end = 0, len(query.rstrip())
    while place < end:
        match = _TOKEN.match(query, place)
        if not match or not match.lastgroup:
            raise ValueError(f"not understood: {query[place:]}")
        yield match.lastgroup, match[match.lastgroup]
        place = match.end()
