"""What must hold between observability and the rest: what needs a secret has it, and each team stands once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stacks.problems import Problem, did_you_mean

if TYPE_CHECKING:
    from stacks.observability_settings import Observability

KEY, SECRETS = "ai-cloud:observability", "ai-cloud:observabilitySecrets"


def problems(parts: Mapping[str, Any], regions: Collection[str], complete: bool) -> Iterator[Problem]:
    """Whatever is wrong between the parts that could be read; `complete`: whether every region could."""
    asked: Observability | None = parts.get("observability")
    if asked is None:
        return
    yield from _teams(asked)
    for name, budget in asked.machine_budgets.items():
        if complete and name not in regions:
            yield Problem(f'{KEY}.machineBudgets["{name}"]', budget, f"a region: {did_you_mean(name, regions)}")
    if "observabilitySecrets" in parts and parts["observabilitySecrets"] is None:
        return  # those could not be read, and that is told already
    there = parts["observabilitySecrets"].given() if "observabilitySecrets" in parts else {}
    for name, path in _needed(asked).items():
        if name not in there:
            first, *rest = name.split("_")
            camel = first + "".join(word.capitalize() for word in rest)
            command = f"`pulumi config set --secret --path {SECRETS}.{camel}`"
            yield Problem.missing(f"{SECRETS}.{camel}", f"what {KEY}.{path} needs: {command}")


def _needed(asked: Observability) -> dict[str, str]:
    """Secret -> the path of the setting that needs it."""
    alerting = asked.alerting
    found: dict[str, str] = {}
    if alerting.slack_channel or any(team.slack_channel for team in alerting.teams):
        found["slack_url"] = "alerting.slackChannel" if alerting.slack_channel else "alerting.teams"
    if alerting.pagerduty:
        found["pagerduty_routing_key"] = "alerting.pagerduty"
    if alerting.heartbeat:
        found["heartbeat_url"] = "alerting.heartbeat"
    if alerting.email is not None and alerting.email.username:
        found["smtp_password"] = "alerting.email.username"
    if asked.oidc is not None:
        found["oidc_client_secret"] = "oidc"
    return found


def _teams(asked: Observability) -> Iterator[Problem]:
    names = [team.name for team in asked.alerting.teams]
    for index, team in enumerate(asked.alerting.teams):
        path = f"{KEY}.alerting.teams[{index}]"
        if (first := names.index(team.name)) != index:
            yield Problem(f"{path}.name", team.name, f"each name once: teams[{first}] has it already")
        if team.email is not None and asked.alerting.email is None:
            yield Problem(f"{path}.email", team.email, "none without alerting.email, the relay")
