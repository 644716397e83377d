"""Who is told of which alert: Alertmanager's configuration, with its secrets named and never in it.

Fields: https://prometheus.io/docs/alerting/latest/configuration/ (Alertmanager 0.34).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SECRETS = ("slack_url", "pagerduty_routing_key", "heartbeat_url", "smtp_password")
SECRET = "alertmanager-receivers"
"""The Secret that has them; Alertmanager reads each from a file."""
HEARTBEAT = "Watchdog"
"""An alert that always fires (a rule of kube-prometheus-stack): what hears it no more knows that alerting is broken."""
REGION_DOWN = "KubeAPIDown"
"""An alert of the same chart: the cluster of a region is not to be reached from within."""

_FILES = f"/etc/alertmanager/secrets/{SECRET}"
_SLOW, _FAST = "12h", "4h"
_WHERE = "{{ .CommonLabels.environment }}/{{ .CommonLabels.region }}"
_TITLE = f"[{{{{ .Status | toUpper }}}}] {{{{ .CommonLabels.alertname }}}} {_WHERE}"
_TEXT = (
    "{{ range .Alerts }}{{ .Annotations.summary }}\n{{ .Annotations.description }}"
    "{{ if .Annotations.runbook_url }}\n<{{ .Annotations.runbook_url }}|runbook>{{ end }}\n{{ end }}"
)


def config(alerting: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration for AlertingArgs.

    By severity: critical pages, and is told again every four hours; critical and warning go to mail and chat; info and
    whatever else is seen in Grafana alone. A team with the alert's label `team` is told in its own places instead of
    the common ones. One notification for all alerts of the same name in a cluster.
    """
    teams: Sequence[Mapping[str, Any]] = alerting.get("teams") or []
    told = _receivers(alerting, {})
    # Nobody to tell: all that is left is the heartbeat.
    routes = [*(_team_route(team) for team in teams), *_by_severity("")] if told or teams else []
    return {
        "global": {"resolve_timeout": "5m", **_relay(alerting.get("email"))},
        "route": {
            "receiver": "nobody",
            "group_by": ["alertname", "cluster", "namespace"],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": _SLOW,
            "routes": [_heartbeat_route(bool(alerting.get("heartbeat"))), *routes],
        },
        "inhibit_rules": inhibitions(),
        "receivers": [
            {"name": "nobody"},
            *_heartbeat(bool(alerting.get("heartbeat"))),
            *(
                {"name": f"{prefix}{severity}", **_receivers(alerting, team, page=severity == "critical")}
                for prefix, team in (("", {}), *((f"{team['name']}-", team) for team in teams))
                for severity in ("critical", "warning")
            ),
        ],
        "templates": [],
    }


def inhibitions() -> list[dict[str, Any]]:
    """What keeps quiet while something else explains it.

    Where nobody hears of a region's Kubernetes API any more, nothing that is said of its pods and machines is true, and
    one alert is enough. What is critical silences the warning of the same name.
    """
    return [
        {
            "source_matchers": [f'alertname = "{REGION_DOWN}"'],
            "target_matchers": [f'alertname !~ "{REGION_DOWN}|{HEARTBEAT}"'],
            "equal": ["environment", "region"],
        },
        {
            "source_matchers": ['severity = "critical"'],
            "target_matchers": ['severity =~ "warning|info"'],
            "equal": ["cluster", "namespace", "alertname"],
        },
        {
            "source_matchers": ['severity = "warning"'],
            "target_matchers": ['severity = "info"'],
            "equal": ["cluster", "namespace", "alertname"],
        },
        # kube-prometheus-stack's own: information matters only beside something worse in the same namespace.
        {
            "source_matchers": ['alertname = "InfoInhibitor"'],
            "target_matchers": ['severity = "info"'],
            "equal": ["cluster", "namespace"],
        },
    ]


def _by_severity(prefix: str) -> list[dict[str, Any]]:
    return [
        {"receiver": f"{prefix}critical", "matchers": ['severity = "critical"'], "repeat_interval": _FAST},
        {"receiver": f"{prefix}warning", "matchers": ['severity = "warning"']},
    ]


def _team_route(team: Mapping[str, Any]) -> dict[str, Any]:
    name = team["name"]
    matcher = f'team = "{name}"'
    return {"receiver": "nobody", "matchers": [matcher], "routes": _by_severity(f"{name}-")}


def _heartbeat_route(asked: bool) -> dict[str, Any]:
    route: dict[str, Any] = {"receiver": "heartbeat" if asked else "nobody", "matchers": [f'alertname = "{HEARTBEAT}"']}
    return {**route, "group_wait": "0s", "group_interval": "1m", "repeat_interval": "1m"} if asked else route


def _heartbeat(asked: bool) -> list[dict[str, Any]]:
    if not asked:
        return []
    webhook = {"url_file": f"{_FILES}/heartbeat_url", "send_resolved": False}
    return [{"name": "heartbeat", "webhook_configs": [webhook]}]


def _relay(email: Mapping[str, Any] | None) -> dict[str, Any]:
    if not email:
        return {}
    user = email.get("username")
    return {
        "smtp_smarthost": email["smarthost"],
        "smtp_from": email["sender"],
        "smtp_require_tls": True,
        **({"smtp_auth_username": user, "smtp_auth_password_file": f"{_FILES}/smtp_password"} if user else {}),
    }


def _receivers(alerting: Mapping[str, Any], team: Mapping[str, Any], *, page: bool = True) -> dict[str, Any]:
    email, channel = alerting.get("email"), team.get("slack_channel") or alerting.get("slack_channel")
    found: dict[str, Any] = {}
    if email:
        found["email_configs"] = [{"to": team.get("email") or email["to"], "send_resolved": True}]
    if channel:
        slack = {"api_url_file": f"{_FILES}/slack_url", "channel": channel, "send_resolved": True}
        found["slack_configs"] = [{**slack, "title": _TITLE, "text": _TEXT}]
    if page and alerting.get("pagerduty"):
        key = {"routing_key_file": f"{_FILES}/pagerduty_routing_key", "severity": "{{ .CommonLabels.severity }}"}
        details = {"runbook": "{{ .CommonAnnotations.runbook_url }}", "team": "{{ .CommonLabels.team }}"}
        found["pagerduty_configs"] = [{**key, "description": _TITLE, "details": details}]
    return found
