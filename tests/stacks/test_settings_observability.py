"""Settings of observability: what needs a secret has it, and what a secret is nobody sees."""

from __future__ import annotations

from typing import Any

import pytest

from stacks.settings import parse
from tests.stacks.test_settings import BASE, changed, problems_of

WATCHED, SECRETS = "ai-cloud:observability", "ai-cloud:observabilitySecrets"
RELAY = {"to": "ml@example.com", "sender": "alerts@example.com", "smarthost": "smtp.example.com:587"}


def test_without_it_there_is_none() -> None:
    assert parse(BASE).observability is None


def test_what_is_absent_stands_for_a_small_one() -> None:
    watched = parse(changed((WATCHED, {}))).observability
    assert watched is not None
    assert (watched.retention_days, watched.disk_gib, watched.long_term) == (35, 100, None)
    assert watched.tracing.sample_ratio == 0.2
    assert watched.alerting.email is None


@pytest.mark.parametrize(
    ("asked", "secret", "by"),
    [
        ({"alerting": {"slackChannel": "#ml"}}, "slackUrl", "alerting.slackChannel"),
        ({"alerting": {"teams": [{"name": "serving", "slackChannel": "#ml"}]}}, "slackUrl", "alerting.teams"),
        ({"alerting": {"pagerduty": True}}, "pagerdutyRoutingKey", "alerting.pagerduty"),
        ({"alerting": {"heartbeat": True}}, "heartbeatUrl", "alerting.heartbeat"),
        ({"alerting": {"email": {**RELAY, "username": "alerts"}}}, "smtpPassword", "alerting.email.username"),
        ({"oidc": {"issuer": "https://login.example.com", "clientId": "grafana"}}, "oidcClientSecret", "oidc"),
    ],
)
def test_what_needs_a_secret_has_it(asked: dict[str, Any], secret: str, by: str) -> None:
    found = problems_of(changed((WATCHED, asked)))
    assert found.keys() == {f"{SECRETS}.{secret}"}
    said = found[f"{SECRETS}.{secret}"]
    assert f"what {WATCHED}.{by} needs" in said
    assert f"pulumi config set --secret --path {SECRETS}.{secret}" in said
    settings = parse(changed((WATCHED, asked), (SECRETS, {secret: "tell nobody"})))
    assert "tell nobody" not in repr(settings)
    assert list(settings.observability_secrets.given().values()) == ["tell nobody"]


@pytest.mark.parametrize(
    ("path", "value", "accepted"),
    [
        ("retentionDays", 0, "at least 1"),
        ("diskGib", "100", "a whole number"),
        ("longTerm", {"retentionDays": 5000}, "at most 1095"),
        ("tracing", {"sampleRatio": 2.0}, "at most 1"),
        ("alerting", {"email": {**RELAY, "smarthost": "smtp"}}, "a host and its port"),
        ("alerting", {"slackChannel": "ml"}, "a channel in quotes"),
        ("runbookUrl", "http://plain.example.com", "an https:// address"),
        ("queryNamespaces", ["Not a name"], "1 to 63"),
        ("grafana", "x", "one of"),
    ],
)
def test_wrong_values_are_told(path: str, value: Any, accepted: str) -> None:
    found = problems_of(changed((WATCHED, {path: value})))
    (said,) = found.values()
    assert accepted in said
    assert next(iter(found)).startswith(f"{WATCHED}.{path}")


def test_a_team_stands_once_and_has_a_relay() -> None:
    teams = [{"name": "serving"}, {"name": "serving", "email": "a@example.com"}]
    found = problems_of(changed((WATCHED, {"alerting": {"teams": teams}})))
    assert found.keys() == {f"{WATCHED}.alerting.teams[1].name", f"{WATCHED}.alerting.teams[1].email"}


def test_machines_have_a_budget_in_regions_that_there_are() -> None:
    settings = parse(changed((WATCHED, {"machineBudgets": {"aws:us-east-1": 1700}})))
    assert settings.observability is not None
    assert settings.observability.machine_budgets == {"aws:us-east-1": 1700}
    found = problems_of(changed((WATCHED, {"machineBudgets": {"aws:us-east-2": 1700}})))
    assert "expected a region: one of aws:us-east-1" in found[f'{WATCHED}.machineBudgets["aws:us-east-2"]']
    assert problems_of(changed((WATCHED, {"machineBudgets": {"aws:us-east-1": 0}})))


def test_every_cluster_of_the_environments_has_a_budget(simulated_plan: Any) -> None:
    for name in ("dev", "staging", "prod"):
        rules = [
            rule
            for one in simulated_plan(name).of_type("kubernetes:monitoring.coreos.com/v1:PrometheusRule")
            for group in one.inputs["spec"]["groups"]
            for rule in group["rules"]
            if rule.get("alert") == "CostAboveBudget"
        ]
        regions = {one.inputs["region"] for one in simulated_plan(name).of_type("aicloud:index:Observability")}
        assert len(rules) == len(regions), name
