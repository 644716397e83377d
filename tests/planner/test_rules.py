"""Levels, parameters and exceptions of an environment."""

import json
from datetime import date

import pytest

from planner.finding import Finding, Rule, worst_first
from planner.rules import Rules, RulesError

DIGEST = Rule("images-by-digest", "Images are named by digest", parameters={"registries": []})
SPREAD = Rule("spread", "Pods are spread", "warning")
TODAY = date(2026, 11, 22)


def urn(name):
    return f"urn:pulumi:dev::p::kubernetes:apps/v1:Deployment::{name}"


def finding(rule=DIGEST, name="triton"):
    return Finding(rule.name, rule.severity, "wrong", urn(name))


def rules(**keys):
    config = {f"rules:{key}": json.dumps(value) for key, value in keys.items()}
    return Rules.of(config, [DIGEST, SPREAD], TODAY)


def test_without_configuration_findings_are_told_as_they_are():
    assert Rules.of({}, [DIGEST], TODAY).judge([finding()]).findings == (finding(),)


def test_levels_are_the_environments():
    asked = rules(levels={"images-by-digest": "warning", "spread": "off"})
    judged = asked.judge([finding(), finding(SPREAD)])
    assert [(f.rule, f.severity) for f in judged.findings] == [("images-by-digest", "warning")]
    assert not judged.errors


def test_a_bare_off_is_off_although_yaml_reads_it_as_false():
    assert rules(levels={"spread": False}).judge([finding(SPREAD)]).findings == ()


def test_an_exception_excuses_what_it_names_and_nothing_else():
    exempt = {"rule": "images-by-digest", "resource": "tri*", "reason": "built by the pull request"}
    judged = rules(exceptions=[exempt]).judge([finding(), finding(name="other"), finding(SPREAD)])
    assert [(f.name, f.rule) for f in judged.findings] == [("other", "images-by-digest"), ("triton", "spread")]
    assert [(f.name, e.reason) for f, e in judged.excused] == [("triton", "built by the pull request")]


def test_an_exception_may_name_several_rules_each_of_which_is_needed():
    exempt = {"rule": ["images-by-digest", "spread"], "resource": "triton", "reason": "Google's own"}
    judged = rules(exceptions=[exempt]).judge([finding()])
    assert [(f.rule, f.severity) for f in judged.findings] == [("exception-is-needed", "warning")]
    assert "from spread for 'triton' excuses nothing" in judged.findings[0].message
    assert [f.rule for f, _ in judged.excused] == ["images-by-digest"]


def test_an_exception_ends_and_says_so():
    exempt = {"rule": "images-by-digest", "resource": "triton", "reason": "soon"}
    on_the_last_day = rules(exceptions=[exempt | {"until": "2026-11-22"}]).judge([finding()])
    assert (on_the_last_day.findings, len(on_the_last_day.excused)) == ((), 1)
    ended = rules(exceptions=[exempt | {"until": "2026-11-21"}]).judge([finding()])
    assert [f.rule for f in ended.findings] == ["images-by-digest", "exception-is-needed"]
    assert "ended on 2026-11-21" in ended.findings[1].message


def test_an_exception_that_excuses_nothing_is_told():
    exempt = {"rule": "spread", "resource": "gone", "reason": "long ago"}
    (stale,) = rules(exceptions=[exempt]).judge([]).findings
    assert (stale.rule, stale.severity) == ("exception-is-needed", "warning")
    assert "'gone' excuses nothing" in stale.message


def test_parameters_are_the_environments_or_the_rules_own():
    assert rules(parameters={"images-by-digest": {"registries": ["r"]}}).parameter(DIGEST, "registries") == ["r"]
    assert rules().parameter(DIGEST, "registries") == []


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"levles": {}}, "rules:levles: unknown; expected one of rules:levels"),
        ({"levels": ["spread"]}, "rules:levels: got '[\"spread\"]'; expected a map"),
        (
            {"levels": {"spread": "fatal"}},
            "rules:levels.spread: got 'fatal'; expected one of error, warning, info, off",
        ),
        (
            {"levels": {"spraed": "off"}},
            "rules:levels.spraed: no rule 'spraed' (did you mean 'spread'?); `aicloud check --rules` lists all 2",
        ),
        ({"parameters": {"spread": {"zones": 2}}}, "rules:parameters.spread.zones: unknown; spread has no parameters"),
        ({"parameters": {"spread": 2}}, "rules:parameters.spread: got 2; expected a map of parameters"),
        ({"exceptions": [{"rule": "spread", "resource": "x"}]}, "rules:exceptions[0].reason: missing"),
        (
            {"exceptions": [{"rule": ["spread", 1], "resource": "x", "reason": "y"}]},
            "rules:exceptions[0].rule: got ['spread', 1]; expected the name of a rule, or a list of them",
        ),
        ({"exceptions": ["spread"]}, "rules:exceptions[0]: got 'spread'; expected rule, resource, reason"),
        (
            {"exceptions": [{"rule": "spread", "resource": "x", "reason": "y", "until": "soon"}]},
            "rules:exceptions[0].until: got 'soon'; expected a date",
        ),
    ],
)
def test_wrong_configuration_is_told_with_its_key_and_what_is_accepted(keys, told):
    with pytest.raises(RulesError) as error:
        rules(**keys)
    assert told in str(error.value)


def test_everything_wrong_is_told_at_once():
    with pytest.raises(RulesError, match="2 wrong values"):
        rules(levels={"spread": "fatal"}, exceptions=[1])


def test_findings_come_worst_first():
    found = [Finding("b", "info", ""), Finding("c", "error", ""), Finding("a", "warning", "")]
    assert [f.severity for f in worst_first(found)] == ["error", "warning", "info"]


def test_a_finding_is_the_same_in_two_plans_whatever_its_figures():
    one = Finding("r", "error", "needs 4", urn("a"), subject="s")
    other = Finding("r", "error", "needs 8", urn("a").replace(":dev:", ":prod:"), subject="s")
    assert one.identity == other.identity
    assert one.identity != Finding("r", "error", "needs 4", urn("b"), subject="s").identity
