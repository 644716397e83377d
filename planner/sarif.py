"""Findings as SARIF 2.1.0, which code hosts show beside the lines that they are about.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/sarif-v2.1.0-os.html
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from planner.finding import Finding, Rule, worst_first
from planner.rules import Exempt, Judgement

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {"error": "error", "warning": "warning", "info": "note"}

NOWHERE = "Pulumi.yaml"
"""Where a finding is shown that is about the environment as a whole: every code host wants a file."""


def sarif(judgement: Judgement, rules: Sequence[Rule], *, environment: str = "") -> str:
    """A judgement as one SARIF log. Findings that are excused are in it as suppressed, with the reason."""
    return of_environments({environment: judgement}, rules)


def of_environments(judgements: Mapping[str, Judgement], rules: Sequence[Rule]) -> str:
    """Judgements of several environments as one run: a code host takes only one run of a tool for a commit."""
    known = {rule.name: rule for rule in rules}
    found: list[tuple[str, Finding, Exempt | None]] = []
    for environment, judgement in judgements.items():
        found += [(environment, finding, None) for finding in judgement.findings]
        found += [(environment, finding, exempt) for finding, exempt in judgement.excused]
    for _, finding, _ in found:
        if finding.rule not in known:
            known[finding.rule] = Rule(finding.rule, finding.rule, finding.severity, finding.url, finding.remediation)
    names = sorted(known)
    index = {name: number for number, name in enumerate(names)}
    log = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "aicloud",
                        "rules": [_rule(known[name]) for name in names],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "originalUriBaseIds": {"SRCROOT": {"description": {"text": "The Pulumi project."}}},
                "results": [_result(environment, f, index[f.rule], exempt) for environment, f, exempt in found],
            }
        ],
    }
    return json.dumps(log, indent=1, ensure_ascii=False) + "\n"


def findings(found: Iterable[Finding]) -> Judgement:
    """Findings that nobody has excused, as a judgement."""
    return Judgement(tuple(worst_first(list(found))))


def _rule(rule: Rule) -> dict[str, Any]:
    help_text = rule.remediation or rule.title
    described: dict[str, Any] = {
        "id": rule.name,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.title},
        "help": {"text": help_text + (f" {rule.url}" if rule.url else "")},
        "defaultConfiguration": {"level": _LEVELS.get(rule.severity, "warning")},
    }
    if re.match(r"https?://", rule.url):
        described["helpUri"] = rule.url
    return described


def _result(environment: str, finding: Finding, index: int, exempt: Exempt | None) -> dict[str, Any]:
    about = ": ".join(part for part in (environment, finding.name) if part)
    message = f"{about}: {finding.message}" if about else finding.message
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": _LEVELS.get(finding.severity, "warning"),
        "message": {"text": message + (f" → {finding.remediation}" if finding.remediation else "")},
        "locations": [_location(finding)],
        "partialFingerprints": {"findingIdentity/v1": _fingerprint(environment, finding)},
    }
    if exempt is not None:
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": exempt.reason}]
    return result


def _location(finding: Finding) -> dict[str, Any]:
    file, _, line = finding.place.rpartition(":")
    if not line.isdigit() or int(line) < 1:
        file, line = finding.place, ""
    if not file or file.startswith(("/", "..")) or "://" in file:
        file, line = NOWHERE, ""
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(file), "uriBaseId": "SRCROOT"}}
    place["region"] = {"startLine": int(line) if line else 1}
    location: dict[str, Any] = {"physicalLocation": place}
    if finding.urn:
        location["logicalLocations"] = [{"name": finding.name, "fullyQualifiedName": finding.urn, "kind": "resource"}]
    return location


def _uri(path: str) -> str:
    return re.sub(r"[^\w./~-]", lambda found: "".join(f"%{byte:02X}" for byte in found.group().encode()), path)


def _fingerprint(environment: str, finding: Finding) -> str:
    return hashlib.sha256("\0".join((environment, *finding.identity)).encode()).hexdigest()[:32]
