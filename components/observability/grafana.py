"""Grafana: Helm values, data sources, and dashboards as ConfigMaps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from components.labels import PURPOSE

SERVICE, PORT, CONTAINER_PORT = "grafana", 80, 3000
PODS = {"app.kubernetes.io/name": "grafana", "app.kubernetes.io/instance": "grafana"}
LABEL = "grafana_dashboard"
"""Of ConfigMaps that hold a dashboard, as the chart's sidecar looks for them; its value is 1."""
OIDC_SECRET = "grafana-oidc"
MOST_BYTES = 1 << 20
"""Of a ConfigMap. https://kubernetes.io/docs/concepts/configuration/configmap/"""

_SECRETS = "/etc/secrets/oidc"


def values(
    prometheus: str,
    alertmanager: str,
    sources: Sequence[Mapping[str, Any]],
    plugins: Sequence[str],
    *,
    domain: str,
    oidc: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Nobody sees it without signing in, and no load balancer leads to it. One gets there by
    `kubectl -n observability port-forward svc/grafana 3000:80`, at http://localhost:3000 as `admin`, with the password
    that the chart made once:
    `kubectl -n observability get secret grafana -o jsonpath='{.data.admin-password}' | base64 -d`.

    It keeps nothing: dashboards and data sources are code. Its sidecar may read ConfigMaps of its own namespace and
    nothing else (the chart would let it read Secrets, too).
    """
    own: list[Mapping[str, Any]] = [
        {"name": "Prometheus", "uid": "prometheus", "type": "prometheus", "url": prometheus, "isDefault": True,
         "jsonData": {"httpMethod": "POST", "timeInterval": "30s", "manageAlerts": False}},
        {"name": "Alertmanager", "uid": "alertmanager", "type": "alertmanager", "url": alertmanager,
         "jsonData": {"implementation": "prometheus"}},
    ]  # fmt: skip
    return {
        "fullnameOverride": SERVICE,
        "rbac": {"create": False},
        "testFramework": {"enabled": False},
        "replicas": 1,
        "nodeSelector": {PURPOSE: "system"},
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
        "service": {"type": "ClusterIP"},
        "persistence": {"enabled": False},
        "plugins": list(plugins),
        "serviceMonitor": {"enabled": True},
        "sidecar": {
            "dashboards": {
                "enabled": True,
                "label": LABEL,
                "labelValue": "1",
                "resource": "configmap",
                "provider": {"folder": "AI cloud", "allowUiUpdates": False, "disableDelete": True},
            },
            "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
        },
        "datasources": {
            "datasources.yaml": {
                "apiVersion": 1,
                "datasources": [{"access": "proxy", "editable": False, **source} for source in (*own, *sources)],
            }
        },
        "grafana.ini": {
            "analytics": {"reporting_enabled": False, "check_for_updates": False, "check_for_plugin_updates": False},
            "auth.anonymous": {"enabled": False},
            "security": {"cookie_secure": bool(domain), "disable_gravatar": True},
            "users": {"allow_sign_up": False, "default_theme": "system"},
            "snapshots": {"external_enabled": False},
            **({"server": {"domain": domain, "root_url": f"https://{domain}"}} if domain else {}),
            **_sign_in(oidc),
        },
        "extraSecretMounts": [
            {"name": "oidc", "secretName": OIDC_SECRET, "mountPath": _SECRETS, "readOnly": True, "defaultMode": 0o440}
        ]
        if oidc
        else [],
    }


def _sign_in(oidc: Mapping[str, Any] | None) -> dict[str, Any]:
    """https://grafana.com/docs/grafana/latest/setup-grafana/configure-access/configure-authentication/generic-oauth/"""
    if not oidc:
        return {}
    issuer, group = oidc["issuer"].rstrip("/"), oidc.get("admin_group")
    role = f"contains(groups[*], '{group}') && 'Admin' || 'Viewer'" if group else "'Viewer'"
    return {
        "auth.generic_oauth": {
            "enabled": True,
            "name": "Single sign-on",
            "allow_sign_up": True,
            "client_id": oidc["client_id"],
            "client_secret": f"$__file{{{_SECRETS}/client_secret}}",
            "scopes": "openid email profile groups",
            "auth_url": f"{issuer}/authorize",
            "token_url": f"{issuer}/token",
            "api_url": f"{issuer}/userinfo",
            "role_attribute_path": role,
            "use_pkce": True,
        }
    }


def files(dashboards: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """uid -> data of the ConfigMap of a dashboard. ValueError for one that no ConfigMap can hold."""
    found = {}
    for uid, model in dashboards.items():
        text = json.dumps(model, separators=(",", ":"))
        if len(text.encode()) > MOST_BYTES - 1024:  # names and labels count as well
            raise ValueError(f"dashboard {uid!r} has {len(text.encode())} bytes; a ConfigMap holds {MOST_BYTES}")
        found[uid] = {f"{uid}.json": text}
    return found
