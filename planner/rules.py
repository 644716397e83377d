"""What an environment asks of its rules: levels, parameters and justified exceptions, out of its configuration.

    rules:levels:        # rule -> error, warning, info or off
    rules:parameters:    # rule -> parameter -> value
    rules:exceptions:    # where a rule may be broken, why, and until when
      - rule: images-by-digest  # or several: [images-by-digest, cpu-and-memory-requested]
        resource: "*-triton*"
        reason: the image is built by the pull request itself
        until: 2027-03-31

Any Pulumi project can have these keys; they belong to no program.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from planner.finding import SEVERITIES, Finding, Rule, with_severity, worst_first

LEVELS = (*SEVERITIES, "off")
KEYS = ("rules:levels", "rules:parameters", "rules:exceptions")

STALE = Rule(
    "exception-is-needed",
    "Every exception is still needed",
    "warning",
    remediation="Take the exception out of `rules:exceptions`, or give it a later `until` and a reason.",
)


class RulesError(ValueError):
    """Wrong values under `rules:`; the message lists all of them, each with its key and what is accepted."""


@dataclass(frozen=True)
class Exempt:
    """An exception: this rule may be broken by these resources."""

    rule: str
    resource: str
    """Name of the resource, or a pattern with `*`."""
    reason: str
    until: date | None = None
    """The last day on which it counts; None: always."""

    def covers(self, rule: str, name: str, today: date) -> bool:
        """Whether a finding by a rule at a resource of that name is excused."""
        return rule == self.rule and fnmatchcase(name, self.resource) and (self.until is None or today <= self.until)


@dataclass(frozen=True)
class Judgement:
    """Findings as an environment wants them told, worst first, and those that it has excused."""

    findings: tuple[Finding, ...]
    excused: tuple[tuple[Finding, Exempt], ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Those that fail the check."""
        return tuple(finding for finding in self.findings if finding.severity == "error")


@dataclass(frozen=True)
class Rules:
    """An environment's levels, parameters and exceptions."""

    levels: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    exceptions: tuple[Exempt, ...] = ()
    today: date = date.min
    """The day on which it is judged: exceptions and versions have an end."""

    def parameter(self, rule: Rule, name: str) -> Any:
        """A rule's parameter: the environment's, or the rule's default."""
        return self.parameters.get(rule.name, {}).get(name, rule.parameters[name])

    def judge(self, findings: Iterable[Finding]) -> Judgement:
        """Set levels, excuse what is excepted, and say which exceptions nothing needs any more."""
        kept: list[Finding] = []
        excused: list[tuple[Finding, Exempt]] = []
        used: set[Exempt] = set()
        for finding in findings:
            level = self.levels.get(finding.rule, finding.severity)
            if level == "off":
                continue
            exempt = next((e for e in self.exceptions if e.covers(finding.rule, finding.name, self.today)), None)
            if exempt is None:
                kept.append(with_severity(finding, level))
            else:
                used.add(exempt)
                excused.append((finding, exempt))
        for exempt in self.exceptions:
            if exempt not in used:
                over = exempt.until is not None and exempt.until < self.today
                why = f"ended on {exempt.until}" if over else "excuses nothing"
                kept.append(STALE.finding(f"the exception from {exempt.rule} for {exempt.resource!r} {why}",
                                          subject=f"{exempt.rule} {exempt.resource}"))  # fmt: skip
        return Judgement(tuple(worst_first(kept)), tuple(excused))

    @classmethod
    def of(cls, config: Mapping[str, str], known: Iterable[Rule] = (), today: date = date.min) -> Rules:
        """Read `rules:*` out of a stack's configuration, for a day. RulesError lists everything that is wrong.

        With `known`, rules and parameters that do not exist are wrong as well.
        """
        problems: list[str] = []
        by_name = {rule.name: rule for rule in known}
        for key in config:
            if key.startswith("rules:") and key not in KEYS:
                problems.append(f"{key}: unknown; expected one of {', '.join(KEYS)}")
        levels = _levels(_mapping(config, "rules:levels", problems), by_name, problems)
        parameters = _parameters(_mapping(config, "rules:parameters", problems), by_name, problems)
        exceptions = _exceptions(config, by_name, problems)
        if problems:
            count = "1 wrong value" if len(problems) == 1 else f"{len(problems)} wrong values"
            raise RulesError(f"{count} in the rules:\n" + "\n".join(f"  {p}" for p in problems))
        return cls(levels, parameters, exceptions, today)


def _value(config: Mapping[str, str], key: str, empty: Any, problems: list[str]) -> Any:
    text = config.get(key)
    if not text:
        return empty
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    if type(value) is not type(empty):
        problems.append(f"{key}: got {text!r}; expected a {'map' if empty == {} else 'list'}")
        return empty
    return value


def _mapping(config: Mapping[str, str], key: str, problems: list[str]) -> dict[str, Any]:
    return _value(config, key, {}, problems)


def _known(place: str, rule: Any, by_name: Mapping[str, Rule], problems: list[str]) -> bool:
    if by_name and rule not in by_name:
        close = get_close_matches(str(rule), by_name, 1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        problems.append(f"{place}: no rule {rule!r}{hint}; `aicloud check --rules` lists all {len(by_name)}")
        return False
    return True


def _levels(raw: dict[str, Any], by_name: Mapping[str, Rule], problems: list[str]) -> dict[str, str]:
    # YAML 1.1 reads a bare `off` as false.
    levels = {rule: "off" if level is False else level for rule, level in raw.items()}
    for rule, level in levels.items():
        _known(f"rules:levels.{rule}", rule, by_name, problems)
        if level not in LEVELS:
            problems.append(f"rules:levels.{rule}: got {level!r}; expected one of {', '.join(LEVELS)}")
    return levels


def _parameters(raw: dict[str, Any], by_name: Mapping[str, Rule], problems: list[str]) -> dict[str, dict[str, Any]]:
    for rule, given in raw.items():
        place = f"rules:parameters.{rule}"
        if not isinstance(given, dict):
            problems.append(f"{place}: got {given!r}; expected a map of parameters")
        elif _known(place, rule, by_name, problems) and by_name:
            accepted = by_name[rule].parameters
            problems += [
                f"{place}.{name}: unknown; {rule} has {', '.join(accepted) or 'no parameters'}"
                for name in given
                if name not in accepted
            ]
    return raw


def _exceptions(config: Mapping[str, str], by_name: Mapping[str, Rule], problems: list[str]) -> tuple[Exempt, ...]:
    found = []
    for index, raw in enumerate(_value(config, "rules:exceptions", [], problems)):
        place = f"rules:exceptions[{index}]"
        if not isinstance(raw, dict) or not raw.keys() <= {"rule", "resource", "reason", "until"}:
            problems.append(f"{place}: got {raw!r}; expected rule, resource, reason and, if it ends, until")
            continue
        missing = [key for key in ("resource", "reason") if not isinstance(raw.get(key), str) or not raw[key]]
        problems += [f"{place}.{key}: missing; expected text" for key in missing]
        names = raw.get("rule")
        names = names if isinstance(names, list) else [names]
        if not names or not all(isinstance(name, str) and name for name in names):
            problems.append(f"{place}.rule: got {raw.get('rule')!r}; expected the name of a rule, or a list of them")
            continue
        try:
            until = date.fromisoformat(raw["until"]) if "until" in raw else None
        except (TypeError, ValueError):
            problems.append(f"{place}.until: got {raw['until']!r}; expected a date such as 2027-03-31")
            continue
        known = [name for name in names if _known(f"{place}.rule", name, by_name, problems)]
        if not missing:
            found += [Exempt(name, raw["resource"], raw["reason"], until) for name in known]
    return tuple(found)
