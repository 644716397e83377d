"""What a rollout is to do: from which version to which, by which steps, and what must not get worse.

    name: shakespeare-2
    baseline: shakespeare:1
    candidate: shakespeare:2
    strategy: canary
    steps: [{percent: 5, looks: 5}, {percent: 25, looks: 5}, {percent: 50, looks: 10}]
    mirror_percent: 10
    guardrails:
      errors: {margin: 0.005, alpha: 0.02}
      p50_latency: {margin: 0.10, alpha: 0.01}
      p99_latency: {margin: 0.20, alpha: 0.01}
      quality: {margin: 0.02, alpha: 0.01}
    harm_budget_requests: 60
    look_interval_s: 60
    deadline_s: 14400
    on_inconclusive: hold

The same on a laptop, with shorter times. Strategies:

- `canary`: the steps, one after the other; then all traffic.
- `blue-green`: mirrored requests until the candidate is proven; then all traffic at once, watched for `steps[0]`.
- `ab`: one step until one of both has won: the candidate, if `objective` is proven better and nothing else worse.
- `shadow`: mirrored requests only. The candidate never answers anybody.
- `rolling`: one replica after the other, of `replicas`; the candidate's share is its share of ready replicas.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import yaml

from workloads.rollout.errors import SpecError
from workloads.serving.errors import ServingError
from workloads.serving.manifest import ModelVersion

Strategy = Literal["canary", "blue-green", "ab", "shadow", "rolling"]
GuardrailName = Literal["errors", "p50_latency", "p99_latency", "quality"]
OnInconclusive = Literal["hold", "rollback"]
GUARDRAILS: tuple[GuardrailName, ...] = get_args(GuardrailName)
MIRRORS: tuple[Strategy, ...] = ("blue-green", "shadow")
"""Strategies that first mirror requests, whether or not quality is a guardrail."""


@dataclass(frozen=True)
class Step:
    """How much traffic the candidate gets, and for how long at least."""

    percent: float
    """Of all requests, above 0; below 100, for there must be a baseline to compare with."""
    looks: int = 5
    """At least so many looks before the next step."""
    duration_s: float = 0.0
    """At least so long before the next step."""

    @property
    def weight(self) -> float:
        """The candidate's share, 0 to 1."""
        return self.percent / 100


@dataclass(frozen=True)
class Guardrail:
    """A measured quantity that the rollout may not make worse."""

    margin: float
    """The largest worsening that is tolerated. Errors: share of requests, 0.005 is half a percent of them more.
    Latencies: relative, 0.1 is a tenth longer. Quality: bits per byte more."""
    alpha: float
    """Chance that this guardrail rolls a healthy candidate back, however often it is looked at; and the chance that it
    lets one pass that is worse by the margin."""


@dataclass(frozen=True)
class Spec:
    """A rollout. Raises SpecError where the parts contradict each other or a value is out of range."""

    name: str
    baseline: ModelVersion
    candidate: ModelVersion
    strategy: Strategy
    guardrails: Mapping[GuardrailName, Guardrail]
    steps: tuple[Step, ...] = ()
    mirror_percent: float = 0.0
    """Share of requests that the candidate also gets, unheard, while it is compared: needed for quality."""
    objective: GuardrailName | None = None
    """`ab` only: what the candidate must be better at."""
    replicas: int = 0
    """`rolling` only: replicas of a version that has all traffic."""
    harm_budget_requests: float = 100.0
    """Failed requests, beyond those that the baseline would have failed, that a step may cause at most, expected under
    the worst error rate that evidence still allows: bounds a step's weight and its duration."""
    look_interval_s: float = 60.0
    deadline_s: float = 14_400.0
    """Since the start, until a rollout without enough evidence is inconclusive."""
    on_inconclusive: OnInconclusive = "rollback"
    """At the deadline, or with the harm budget spent. `hold`: stays guarded at the deadline's weight for a person."""
    sample_ratio_alpha: float = 0.001
    """Chance that a rollout is stopped for a sample ratio mismatch that is none."""

    def __post_init__(self) -> None:
        _check(self)

    @property
    def alpha(self) -> float:
        """Chance that a healthy candidate is rolled back by any guardrail: the sum of theirs (union bound)."""
        return math.fsum(guardrail.alpha for guardrail in self.guardrails.values())

    @property
    def all_steps(self) -> tuple[Step, ...]:
        """The steps that are taken: those given, or derived from the strategy."""
        first = self.steps[0] if self.steps else Step(50.0)
        if self.strategy == "rolling":
            shares = (100 * ready / self.replicas for ready in range(1, self.replicas))
            return tuple(dataclasses.replace(first, percent=share) for share in shares)
        if self.strategy == "blue-green":
            return (dataclasses.replace(first, percent=100.0),)
        return self.steps

    @property
    def mirror(self) -> float:
        """Share of requests mirrored to the candidate while it is compared, 0 to 1."""
        return self.mirror_percent / 100

    def to_json(self) -> dict[str, Any]:
        """Plain data that `parse` reads back as the same specification."""
        document = dataclasses.asdict(self)
        document |= {"baseline": str(self.baseline), "candidate": str(self.candidate)}
        document["guardrails"] = {name: dataclasses.asdict(each) for name, each in self.guardrails.items()}
        document["steps"] = [dataclasses.asdict(step) for step in self.steps]
        return {key: value for key, value in document.items() if value is not None}


def read(text: str, place: str) -> Spec:
    """A specification in YAML or JSON. SpecError names `place`, the field, its value and what is accepted."""
    try:
        document = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise SpecError(f"{place}: neither YAML nor JSON: {' '.join(str(error).split())}") from None
    try:
        return parse(document)
    except SpecError as error:
        raise SpecError(f"{place}: {error}") from None


def parse(document: Any) -> Spec:
    """A specification of plain data. SpecError names the field, its value and what is accepted."""
    fields = _fields(document, "specification", Spec)
    guardrails = fields.get("guardrails")
    if not isinstance(guardrails, Mapping) or not set(guardrails) <= set(GUARDRAILS):
        raise SpecError(f"guardrails: {guardrails!r:.80}: expected some of {', '.join(GUARDRAILS)}")
    steps = fields.get("steps", ())
    if not isinstance(steps, (list, tuple)):
        raise SpecError(f"steps: {steps!r:.80}: expected a list such as [{{percent: 5, looks: 5}}]")
    made: dict[str, Any] = dict(fields)
    made["guardrails"] = {
        name: Guardrail(**_fields(guardrails[name], f"guardrails.{name}", Guardrail))
        for name in GUARDRAILS
        if name in guardrails
    }
    made["steps"] = tuple(Step(**_fields(step, f"steps[{index}]", Step)) for index, step in enumerate(steps))
    for arm in ("baseline", "candidate"):
        try:
            made[arm] = ModelVersion.parse(fields[arm] if isinstance(fields[arm], str) else repr(fields[arm]))
        except ServingError as error:
            raise SpecError(f"{arm}: {error}") from None
    return Spec(**made)


def _fields(value: Any, place: str, kind: Any) -> dict[str, Any]:
    """The fields of an object that is to become a dataclass: none unknown, none missing."""
    known = dataclasses.fields(kind)
    names = [item.name for item in known]
    if not isinstance(value, Mapping):
        raise SpecError(f"{place}: {value!r:.80}: expected an object with {', '.join(names)}")
    if unknown := [key for key in value if key not in names]:
        raise SpecError(f"{place}: no such field {unknown[0]!r:.80}; expected {', '.join(names)}")
    without = dataclasses.MISSING
    for item in known:
        if item.name not in value and item.default is without and item.default_factory is without:
            raise SpecError(f"{place}: without {item.name!r}; expected {', '.join(names)}")
    return dict(value)


# ---- what is accepted


def _check(spec: Spec) -> None:
    if not isinstance(spec.name, str) or not spec.name or not spec.name.isprintable():
        raise SpecError(f"name: {spec.name!r:.80}: expected text")
    _one_of("strategy", spec.strategy, get_args(Strategy))
    _one_of("on_inconclusive", spec.on_inconclusive, get_args(OnInconclusive))
    if spec.baseline.name != spec.candidate.name or spec.baseline == spec.candidate:
        raise SpecError(f"candidate: {spec.candidate}: expected another version of {spec.baseline}")
    if not spec.guardrails:
        raise SpecError(f"guardrails: none: expected at least one of {', '.join(GUARDRAILS)}")
    for name, guardrail in spec.guardrails.items():
        _one_of("guardrails", name, GUARDRAILS)
        place = f"guardrails.{name}.margin"
        if name in ("p50_latency", "p99_latency"):
            # Latencies are counted in buckets of 4.4 %: a smaller margin would be none.
            _number(place, guardrail.margin, above=None, at_least=0.05, at_most=10)
        else:
            _number(place, guardrail.margin, above=0, at_most=0.9 if name == "errors" else 10)
        _number(f"guardrails.{name}.alpha", guardrail.alpha, above=0, at_most=0.5)
    if spec.alpha > 0.5:
        raise SpecError(f"guardrails: their alphas sum to {spec.alpha:g}: expected at most 0.5")
    _number("mirror_percent", spec.mirror_percent, above=None, at_least=0, at_most=100)
    _number("harm_budget_requests", spec.harm_budget_requests, above=0)
    _number("look_interval_s", spec.look_interval_s, above=0)
    _number("deadline_s", spec.deadline_s, above=0)
    _number("sample_ratio_alpha", spec.sample_ratio_alpha, above=0, at_most=0.5)
    _whole("replicas", spec.replicas, at_least=2 if spec.strategy == "rolling" else 0)
    _check_steps(spec)
    _check_strategy(spec)


def _check_steps(spec: Spec) -> None:
    last = 0.0
    for index, step in enumerate(spec.steps):
        place = f"steps[{index}]"
        _number(f"{place}.percent", step.percent, above=0, at_most=100)
        _whole(f"{place}.looks", step.looks, at_least=1)
        _number(f"{place}.duration_s", step.duration_s, above=None, at_least=0)
        if spec.strategy in ("canary", "ab") and not last < step.percent < 100:
            raise SpecError(f"{place}.percent: {step.percent:g}: expected more than {last:g} and less than 100")
        last = step.percent


def _check_strategy(spec: Spec) -> None:
    count = len(spec.steps)
    if spec.strategy == "canary" and not count:
        raise SpecError("steps: none: expected at least one for a canary")
    if spec.strategy == "ab" and count != 1:
        raise SpecError(f"steps: {count} of them: expected one for an A/B test")
    if spec.strategy == "shadow" and count:
        raise SpecError(f"steps: {count} of them: expected none for a shadow")
    if spec.strategy in ("blue-green", "rolling") and count > 1:
        raise SpecError(f"steps: {count} of them: expected at most one for {spec.strategy}: how long each step takes")
    if (spec.strategy == "ab") != (spec.objective is not None):
        raise SpecError(f"objective: {spec.objective!r}: expected one of the guardrails for an A/B test, else none")
    if spec.objective is not None and spec.objective not in spec.guardrails:
        raise SpecError(f"objective: {spec.objective!r:.80}: expected one of {', '.join(spec.guardrails)}")
    if spec.strategy != "rolling" and spec.replicas:
        raise SpecError(f"replicas: {spec.replicas}: expected none for {spec.strategy}")
    if not spec.mirror_percent and ("quality" in spec.guardrails or spec.strategy in MIRRORS):
        why = "quality is compared on mirrored requests" if "quality" in spec.guardrails else spec.strategy
        raise SpecError(f"mirror_percent: 0: expected more: {why}")


def _one_of(place: str, value: Any, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise SpecError(f"{place}: {value!r:.80}: expected one of {', '.join(accepted)}")


def _whole(place: str, value: Any, *, at_least: int) -> None:
    if type(value) is not int or value < at_least:
        raise SpecError(f"{place}: {value!r:.80}: expected a whole number from {at_least}")


def _number(
    place: str, value: Any, *, above: float | None, at_least: float | None = None, at_most: float = math.inf
) -> None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not good or (above is not None and value <= above) or (at_least is not None and value < at_least):
        good = False
    if not good or value > at_most:
        words = f"above {above:g}" if above is not None else f"from {at_least:g}"
        most = f" to {at_most:g}" if math.isfinite(at_most) else ""
        raise SpecError(f"{place}: {value!r:.80}: expected a number {words}{most}")
