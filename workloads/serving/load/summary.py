"""What a load test found: percentiles of all requests, those that failed included, as numbers and as a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from workloads.serving.load.run import Outcome

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
BEHIND_S = 0.01
"""A generator that sends one request in a hundred later than this measures itself."""


def quantile(ascending: Sequence[float], q: float) -> float:
    """The least value that at least a share `q` of all do not exceed (nearest rank).

    Nan if there are fewer than 1 / (1 - q), of which no such share can be told; infinite where so many were never
    answered."""
    if not len(ascending) or len(ascending) * (1 - q) < 1 - 1e-9:
        return math.nan
    return float(ascending[math.ceil(q * len(ascending) - 1e-9) - 1])


@dataclass(frozen=True)
class Summary:
    """Seconds throughout. Percentiles are by quantile."""

    requests: int
    answered: int
    failures: Mapping[str, int]
    """By kind."""
    examples: Mapping[str, str]
    """The words of one failure of each kind."""
    seconds: float
    """From when the first request was due to when the last was due, or was answered if that took longer."""
    asked_per_second: float
    answered_per_second: float
    latency_s: Mapping[float, float]
    """From when a request was due to its last response."""
    first_token_s: Mapping[float, float]
    """From when a request was due to its first response; empty unless some had several."""
    between_tokens_s: Mapping[float, float]
    """Mean time between the responses of one request, over requests."""
    tokens_per_second: float
    """Responses of all requests, per second; 0 unless some had several."""
    tokens_per_second_of_one: float
    """Of the median request, once it had begun to answer."""
    behind_s: float
    """How late the generator itself was, for one request in a hundred."""

    @property
    def failed(self) -> int:
        return self.requests - self.answered

    @property
    def kept_up(self) -> bool:
        """Whether requests were sent when they were due. If not, what was measured is the generator too."""
        return not self.behind_s > BEHIND_S

    def as_json(self) -> dict[str, Any]:
        """With infinite and unknown values as null, since JSON has none."""

        def plain(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {str(key): plain(each) for key, each in value.items()}
            return None if isinstance(value, float) and not math.isfinite(value) else value

        return {name: plain(value) for name, value in asdict(self).items()} | {"kept_up": self.kept_up}


def summarize(outcomes: Sequence[Outcome], warmup_s: float = 0.0) -> Summary:
    """Of all requests that were due after the first `warmup_s`."""
    counted = [outcome for outcome in outcomes if outcome.due_s >= warmup_s]
    answered = [outcome for outcome in counted if outcome.answered]
    streamed = any(outcome.responses > 1 for outcome in counted)
    first = min((outcome.due_s for outcome in counted), default=0.0)
    last = max((max(outcome.due_s, outcome.end_s) for outcome in counted), default=0.0)
    # One request takes no time by this: it still took until its answer.
    seconds = max(last - first, 1e-9)
    several = [outcome for outcome in answered if outcome.responses > 1 and outcome.end_s > outcome.first_s]
    gaps = [(outcome.end_s - outcome.first_s) / (outcome.responses - 1) for outcome in several]
    examples = {outcome.failure: outcome.words for outcome in counted if outcome.failure}
    return Summary(
        requests=len(counted),
        answered=len(answered),
        failures=dict(Counter(outcome.failure for outcome in counted if outcome.failure)),
        examples=examples,
        seconds=seconds,
        asked_per_second=len(counted) / seconds,
        answered_per_second=len(answered) / seconds,
        latency_s=_quantiles([outcome.latency_s for outcome in counted]),
        first_token_s=_quantiles([outcome.first_token_s for outcome in counted]) if streamed else {},
        between_tokens_s=_quantiles(gaps) if streamed else {},
        tokens_per_second=sum(outcome.responses for outcome in counted) / seconds if streamed else 0.0,
        tokens_per_second_of_one=1 / float(np.median(gaps)) if gaps else 0.0,
        behind_s=quantile(sorted(o.sent_s - o.due_s for o in counted), min(0.99, 1 - 1 / max(len(counted), 2))),
    )


def _quantiles(values: list[float]) -> dict[float, float]:
    ascending = sorted(values)
    return {q: quantile(ascending, q) for q in QUANTILES}


def table(summary: Summary) -> str:
    """For people, as lines."""
    lines = [
        f"requests   {summary.requests:,} in {summary.seconds:.1f} s: {summary.asked_per_second:,.1f} a second",
        f"answered   {summary.answered:,}: {summary.answered_per_second:,.1f} a second",
    ]
    if summary.tokens_per_second:
        one = f"{summary.tokens_per_second_of_one:,.1f} of one stream"
        lines.append(f"tokens     {summary.tokens_per_second:,.1f} a second, {one}")
    rows = [
        ("latency", summary.latency_s),
        ("first token", summary.first_token_s),
        ("next token", summary.between_tokens_s),
    ]
    names = [f"p{100 * q:g}" for q in QUANTILES]
    lines += ["", f"{'':11}" + "".join(f"{name:>10}" for name in names)]
    for name, values in rows:
        if values:
            lines.append(f"{name:11}" + "".join(f"{duration(values[q]):>10}" for q in QUANTILES))
    if summary.failures:
        lines.append("")
        for name, count in sorted(summary.failures.items(), key=lambda item: -item[1]):
            lines.append(
                f"failed     {count:,} ({count / summary.requests:.1%}) {name}; such as {summary.examples[name]}"
            )
    if not summary.kept_up:
        late = duration(summary.behind_s)
        lines += [
            "",
            f"The generator was late itself, by {late} for one request in a hundred or more: what was measured",
        ]
        lines.append("is this machine too. Ask less often, or from more machines.")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """`1.25 s`, `12.5 ms`, `850 µs`; `never` if infinite, `-` if there were too few to tell."""
    if math.isnan(seconds):
        return "-"
    if math.isinf(seconds):
        return "never"
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e6:.0f} µs"
