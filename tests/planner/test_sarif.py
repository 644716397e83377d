"""SARIF as code hosts want it; checked against the published schema by hand, by its requirements here."""

import json
from datetime import date

import pytest

from planner import sarif
from planner.checks import all_rules
from planner.finding import Finding, Rule
from planner.rules import Exempt, Judgement

RULE = Rule("pods-fit", "Every pod fits", "error", "https://example.com/why", "Make it fit.")
URN = "urn:pulumi:prod::ai-cloud::kubernetes:apps/v1:Deployment::triton"


def log(*findings, excused=(), environment="prod"):
    return json.loads(sarif.sarif(Judgement(findings, excused), [RULE], environment=environment))


def test_a_finding_has_its_rule_level_place_and_resource():
    found = log(Finding("pods-fit", "error", "does not fit", URN, "components/a b.py:41", "triton", "Make it fit."))
    assert found["version"] == "2.1.0"
    [run] = found["runs"]
    [rule] = run["tool"]["driver"]["rules"]
    assert rule["help"]["text"] == "Make it fit. https://example.com/why"
    assert (rule["helpUri"], rule["defaultConfiguration"]) == ("https://example.com/why", {"level": "error"})
    [result] = run["results"]
    assert (result["ruleId"], result["ruleIndex"], result["level"]) == ("pods-fit", 0, "error")
    assert result["message"]["text"] == "prod: triton: does not fit → Make it fit."
    [location] = result["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "components/a%20b.py", "uriBaseId": "SRCROOT"},
        "region": {"startLine": 41},
    }
    assert location["logicalLocations"][0]["fullyQualifiedName"] == URN


@pytest.mark.parametrize("place", ["", "/etc/passwd:3", "../x.py:1", "https://x:1"])
def test_a_finding_without_a_place_of_its_own_is_shown_at_the_project(place):
    [result] = log(Finding("pods-fit", "info", "m", place=place))["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "Pulumi.yaml"
    assert result["level"] == "note"


def test_what_is_excused_is_suppressed_with_its_reason():
    excused = (
        Finding("pods-fit", "error", "m", URN),
        Exempt("pods-fit", "*", "until the next release", date(2027, 1, 1)),
    )
    [result] = log(excused=(excused,))["runs"][0]["results"]
    assert result["suppressions"] == [
        {"kind": "external", "status": "accepted", "justification": "until the next release"}
    ]


def test_the_same_finding_has_the_same_fingerprint_whatever_its_figures():
    def fingerprint(message, environment="prod"):
        [result] = log(Finding("pods-fit", "error", message, URN), environment=environment)["runs"][0]["results"]
        return result["partialFingerprints"]

    assert fingerprint("3 of 4") == fingerprint("2 of 4")
    assert fingerprint("3 of 4") != fingerprint("3 of 4", "staging")


def test_a_rule_that_nobody_has_listed_is_described_by_its_finding():
    [run] = log(Finding("unheard-of", "warning", "m", remediation="Do it."))["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["pods-fit", "unheard-of"]
    assert run["results"][0]["ruleIndex"] == 1


def test_every_rule_of_the_checks_can_be_described():
    found = json.loads(sarif.sarif(Judgement(()), all_rules()))
    rules = found["runs"][0]["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules) == len(all_rules())
    assert all(rule["help"]["text"] and rule["shortDescription"]["text"] for rule in rules)
