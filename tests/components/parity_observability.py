"""Metrics, dashboards, alerts, traces and cost, feature by feature and cloud by cloud."""

from __future__ import annotations

from typing import Any

from planner.plan import SECRET, Plan
from tests.components.parity import Feature, NotOffered, Offered, protected, values

POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
RELEASE, SECRETS = "kubernetes:helm.sh/v3:Release", "kubernetes:core/v1:Secret"
_SERVER = "values.prometheus.prometheusSpec"
_ROLES = "gcp:projects/iAMMember:"


def watched(title: str, arguments: str, aws: Any, gcp: Any = None, **more: Any) -> Feature:
    """The same on both clouds, but where there is something for GCP."""
    return Feature("Observability", title, tuple(arguments.split()), aws, gcp or aws, **more)


def release(plan: Plan, name: str) -> dict[str, Any]:
    """Helm values of a release; LookupError where there is none."""
    return plan.one(RELEASE, f"sample-{name}").inputs["values"]


def _receivers(plan: Plan) -> dict[str, Any]:
    return {one["name"]: one for one in release(plan, "prometheus")["alertmanager"]["config"]["receivers"]}


def _routes(plan: Plan) -> list[Any]:
    return release(plan, "prometheus")["alertmanager"]["config"]["route"]["routes"]


def _exporter(plan: Plan, endpoint: str) -> bool:
    config = release(plan, "otel-gateway")["alternateConfig"]
    sends = config["service"]["pipelines"]["traces"]["exporters"]
    return endpoint in str(config["exporters"]) and sends == ["otlp_http"]


def _policies(plan: Plan) -> list[Any]:
    return release(plan, "otel-gateway")["alternateConfig"]["processors"]["tail_sampling"]["policies"]


def _export(plan: Plan) -> str:
    spec = release(plan, "prometheus")["prometheus"]["prometheusSpec"]
    return str(spec["containers"][0]["env"][0]["value"]) + spec["image"]["repository"]


def _sources(plan: Plan) -> set[str]:
    return {one["type"] for one in release(plan, "grafana")["datasources"]["datasources.yaml"]["datasources"]}


def _rules(plan: Plan, text: str) -> bool:
    return text in str(values(plan, "kubernetes:monitoring.coreos.com/v1:PrometheusRule", "spec.groups.rules"))


def _traced(plan: Plan) -> bool:
    """Triton is told to, and let out to a collector."""
    told = values(plan, "kubernetes:apps/v1:Deployment", "spec.template.spec.containers.args")
    out = str(values(plan, POLICY, "spec.egress", name="traffic"))
    url = "--trace-config=opentelemetry,url=http://otel-agent.observability.svc:4318/v1/traces"
    return url in told and "'app.kubernetes.io/instance': 'otel-agent'" in out


def _told(plan: Plan) -> bool:
    env = values(plan, "kubernetes:trainer.kubeflow.org/v1alpha1:TrainJob", "spec.trainer.env")
    return {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://otel-agent.observability.svc:4318"} in env


FEATURES = [
    Feature(
        "TritonInference",
        "Traces of requests",
        ("otlp_endpoint",),
        *[Offered("Triton's OpenTelemetry mode, to Observability's collectors", _traced)] * 2,
    ),
    Feature(
        "TrainingJob",
        "Traces of training",
        ("otlp_endpoint",),
        *[Offered("environment of each rank, to Observability's collectors", _told)] * 2,
    ),
    watched(
        "Metrics of days, in the cluster",
        "retention_days disk_gib storage_class",
        Offered(
            "Prometheus by its operator, on an encrypted disk",
            lambda p: (
                values(p, RELEASE, f"{_SERVER}.retention") == ["40d"]
                and values(p, RELEASE, f"{_SERVER}.storageSpec.volumeClaimTemplate.spec.resources.requests.storage")
                == ["150Gi"]
            ),
        ),
    ),
    watched(
        "Metrics of months, outside of it",
        "long_term.series",
        Offered(
            "Amazon Managed Service for Prometheus, by remote write",
            lambda p: values(p, RELEASE, f"{_SERVER}.remoteWrite.writeRelabelConfigs.regex") == ["aicloud:.+"],
        ),
        Offered(
            "Google Cloud Managed Service for Prometheus, by Google's build of Prometheus",
            lambda p: "aicloud:.+" in _export(p) and "prometheus-engine" in _export(p),
        ),
    ),
    watched(
        "For so many days",
        "long_term.retention_days",
        Offered(
            "configuration of the workspace",
            lambda p: values(p, "aws:amp/workspaceConfiguration:", "retentionPeriodInDays") == [400],
        ),
        NotOffered(
            "Google keeps everything for 24 months",
            lambda args: {**args, "long_term": {"retention_days": 400}},
            "long_term.retention_days is 400",
        ),
    ),
    watched(
        "Long-term metrics under a key of their own, that refuse to be deleted",
        "protect",
        Offered("KMS key and workspace", lambda p: protected(p, "aws:kms/key:Key", "aws:amp/workspace:Workspace")),
        Offered(
            "nothing to delete, and Google's keys: a project has one store of metrics",
            lambda p: "roles/monitoring.metricWriter" in values(p, _ROLES, "role"),
        ),
    ),
    watched(
        "Rules and objectives, with runbooks",
        "runbook_url serving_namespaces training_namespaces",
        Offered(
            "PrometheusRules",
            lambda p: _rules(p, "https://git.example.com/docs/runbooks/") and _rules(p, 'namespace=~"training"'),
        ),
    ),
    watched(
        "Alerts by severity: mail, chat and pager",
        "alerting.email.to alerting.email.sender alerting.email.smarthost alerting.email.username"
        " alerting.slack_channel alerting.pagerduty",
        Offered(
            "Alertmanager",
            lambda p: (
                {"email_configs", "slack_configs", "pagerduty_configs"} <= set(_receivers(p)["critical"])
                and "pagerduty_configs" not in _receivers(p)["warning"]
            ),
        ),
    ),
    watched(
        "Alerts of a team in its own places",
        "alerting.teams.name alerting.teams.email alerting.teams.slack_channel",
        Offered(
            "Alertmanager's routes",
            lambda p: (
                'team = "serving"' in str(_routes(p))
                and _receivers(p)["serving-critical"]["email_configs"][0]["to"] == "serving@example.com"
            ),
        ),
    ),
    watched(
        "Somebody outside hears that alerting works",
        "alerting.heartbeat",
        Offered("the Watchdog alert, once a minute", lambda p: _routes(p)[0]["receiver"] == "heartbeat"),
    ),
    watched(
        "Secrets of those who are told",
        "alerting.secrets alerting.secret_names",
        Offered(
            "files of Alertmanager out of a Secret",
            lambda p: p.one(SECRETS, "sample-alertmanager-receivers").inputs["stringData"] == SECRET,
        ),
    ),
    watched(
        "Dashboards, for who signs in",
        "grafana_domain oidc.issuer oidc.client_id oidc.client_secret oidc.admin_group",
        Offered(
            "Grafana; long-term metrics and X-Ray are data sources",
            lambda p: (
                {"prometheus", "grafana-amazonprometheus-datasource", "grafana-x-ray-datasource"} <= _sources(p)
                and release(p, "grafana")["grafana.ini"]["auth.generic_oauth"]["client_id"] == "grafana"
            ),
        ),
        Offered(
            "Grafana; long-term metrics and Cloud Trace are data sources",
            lambda p: (
                {"prometheus", "stackdriver", "googlecloud-trace-datasource"} <= _sources(p)
                and release(p, "grafana")["grafana.ini"]["auth.generic_oauth"]["client_id"] == "grafana"
            ),
        ),
    ),
    watched(
        "Traces",
        "environment",
        Offered(
            "OpenTelemetry collectors, to X-Ray's OTLP endpoint",
            lambda p: _exporter(p, "https://xray.us-east-1.amazonaws.com/v1/traces"),
        ),
        Offered(
            "OpenTelemetry collectors, to Cloud Trace by the Telemetry API",
            lambda p: _exporter(p, "https://telemetry.googleapis.com"),
        ),
    ),
    watched(
        "All traces with errors, all slow ones, and a part of the others",
        "tracing.sample_ratio tracing.slow_ms",
        Offered(
            "sampling at the gateways, which see whole traces",
            lambda p: [one["type"] for one in _policies(p)] == ["status_code", "latency", "probabilistic"],
        ),
    ),
    watched(
        "Where spans are stored",
        "tracing.own_destination",
        Offered(
            "CloudWatch Logs, set for the account's region",
            lambda p: values(p, "aws:xray/traceSegmentDestination:", "destination") == ["CloudWatchLogs"],
        ),
        NotOffered(
            "a project has one destination from the beginning",
            lambda args: {**args, "tracing": {"own_destination": True}},
            "tracing.own_destination",
        ),
    ),
    watched(
        "Who may ask Prometheus",
        "query_namespaces monitoring_namespace",
        Offered(
            "network policies",
            lambda p: "rollouts" in str(p.one(POLICY, "sample-prometheus").inputs),
        ),
    ),
    watched(
        "Machines that cost more than they may are told",
        "machine_budget_usd",
        Offered(
            "a rule of Prometheus, on OpenCost's figures",
            lambda p: _rules(p, "CostAboveBudget") and _rules(p, "[6h]) > 10"),
        ),
    ),
    watched(
        "Cost by pod",
        "",
        Offered("OpenCost with the catalog's prices", lambda p: "p5.48xlarge" in _prices(p)),
        Offered("OpenCost with the catalog's prices", lambda p: "a3-highgpu-8g" in _prices(p)),
    ),
]


def _prices(plan: Plan) -> str:
    return str(plan.one("kubernetes:core/v1:ConfigMap", "sample-prices").inputs["data"]["prices.csv"])
