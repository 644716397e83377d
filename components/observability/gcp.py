"""The GCP side of Observability: Google Cloud Managed Service for Prometheus, and Cloud Trace.

Of the ways to fill the managed service, this takes self-deployed collection: Google's build of Prometheus in place of
upstream's, under the same operator. Managed collection, which Google recommends, has custom resources of its own; the
pod monitors and rules of all components would have to be made twice, and autoscalers would have no Prometheus to ask.
https://docs.cloud.google.com/stackdriver/docs/managed-prometheus/setup-unmanaged
"""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_gcp as gcp

from components.observability.parts import GATEWAY, GRAFANA, Parts
from components.observability.prometheus import ACCOUNT

_PROMETHEUS_VERSION = "v2.53.5"
_BUILD = {"registry": "gke.gcr.io", "repository": "prometheus-engine/prometheus", "tag": "v2.53.5-gmp.9-gke.0"}
"""As setup-unmanaged names it in November 2026. Rules and queries are those of Prometheus 2.53."""
_PLUGINS = ("googlecloud-trace-datasource 1.4.0",)
"""https://grafana.com/grafana/plugins/googlecloud-trace-datasource, November 2026"""


def build(parent: pulumi.Resource, series: str) -> Parts:
    """What is needed under `parent`; `series` are the metrics to send, and empty sends none."""
    project = gcp.organizations.get_project(opts=pulumi.InvokeOptions(parent=parent)).project_id
    reads = ["roles/cloudtrace.user", *(["roles/monitoring.viewer"] if series else [])]
    permissions: dict[str, Any] = {
        GATEWAY: {"gcp_project_roles": ["roles/cloudtrace.agent"]},
        GRAFANA: {"gcp_project_roles": reads},
    }
    by_metadata = {"authenticationType": "gce", "defaultProject": project}
    sources: list[dict[str, Any]] = [
        {"name": "Traces", "uid": "traces", "type": "googlecloud-trace-datasource", "jsonData": by_metadata}
    ]
    prometheus: dict[str, Any] = {}
    if series:
        permissions[ACCOUNT] = {"gcp_project_roles": ["roles/monitoring.metricWriter"]}
        prometheus = {
            "image": _BUILD,
            "version": _PROMETHEUS_VERSION,
            # The operator puts this beside what it says of the container of that name.
            "containers": [
                {
                    "name": "prometheus",
                    # Its flags are written as for a shell (GoogleCloudPlatform/prometheus-engine, e2e tests).
                    "env": [{"name": "EXTRA_ARGS", "value": f"--export.match=\"{{__name__=~'{series}'}}\""}],
                }
            ],
        }
        # Grafana's own source for Cloud Monitoring speaks PromQL, and has the pod's identity for it; its source for
        # Prometheus has none, and would need a proxy that signs.
        sources.append({"name": "Long term", "uid": "long-term", "type": "stackdriver", "jsonData": by_metadata})
    endpoint = f"https://monitoring.googleapis.com/v1/projects/{project}/location/global/prometheus"
    return Parts(
        endpoint=pulumi.Output.from_input(endpoint if series else ""),
        store=pulumi.Output.from_input(f"projects/{project}" if series else ""),
        prometheus=prometheus,
        permissions=permissions,
        traces={
            "extensions": {"googleclientauth": {}},
            # https://docs.cloud.google.com/stackdriver/docs/reference/telemetry/overview
            "exporters": {
                "otlp_http": {
                    "encoding": "proto",
                    "endpoint": "https://telemetry.googleapis.com",
                    "auth": {"authenticator": "googleclientauth"},
                }
            },
            # By this the API knows whose the spans are.
            "processors": {
                "resource/project": {"attributes": [{"key": "gcp.project_id", "value": project, "action": "upsert"}]}
            },
        },
        plugins=_PLUGINS,
        data_sources=sources,
    )
