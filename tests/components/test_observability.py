"""Observability: who may do what, who talks to whom, who is told of what, and what is said wrongly."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import pytest
import yaml

import components
from components.cluster.addon_values import PROMETHEUS_URL
from components.machine_types import CPU_MACHINES, MACHINES
from components.observability import alertmanager, collectors, cost, grafana, prometheus
from components.observability.arguments import check
from components.observability.dashboards import dashboards
from components.observability.rules import rule_groups
from planner.engine import PreviewFailed
from planner.plan import SECRET, Plan, Resource
from tests.samples import CLOUDS, samples
from tests.support import plan_of

RELEASE = "kubernetes:helm.sh/v3:Release"
POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
each_cloud = pytest.mark.parametrize("cloud", CLOUDS)


def plan_with(cloud: str, **changes: Any) -> Plan:
    args = {**samples(cloud)["Observability"], **changes}

    def program() -> None:
        options = pulumi.ResourceOptions(providers=[kubernetes.Provider("cluster", kubeconfig="{}")])
        components.Observability("main", {key: value for key, value in args.items() if value is not None}, options)

    return plan_of(program, simulate_up=True)


@cache
def full(cloud: str) -> Plan:
    return plan_with(cloud)


@cache
def bare(cloud: str) -> Plan:
    """Without anything that it can do without."""
    return plan_with(cloud, long_term=None, alerting=None, oidc=None, grafana_domain=None, tracing=None)


def values(plan: Plan, name: str) -> dict[str, Any]:
    return plan.one(RELEASE, f"main-{name}").inputs["values"]


def policies(plan: Plan) -> dict[str, Resource]:
    return {r.name.removeprefix("main-"): r for r in plan.of_type(POLICY)}


# ---- what is made


@each_cloud
def test_prometheus_is_where_autoscalers_ask(cloud: str) -> None:
    release = full(cloud).one(RELEASE, "main-prometheus").inputs
    host = PROMETHEUS_URL.removeprefix("http://")
    assert host == f"{release['values']['fullnameOverride']}-prometheus.{release['namespace']}.svc:9090"
    assert full(cloud).one("aicloud:index:Observability", "main").outputs["prometheusUrl"] == PROMETHEUS_URL


@each_cloud
def test_two_releases_of_one_chart_make_nothing_twice(cloud: str) -> None:
    release = full(cloud).one(RELEASE, "main-prometheus").inputs
    assert release["name"] == "prometheus", "the add-ons' is called kube-prometheus-stack"
    for part in ("crds", "prometheusOperator", "kubernetesServiceMonitors", "kubeStateMetrics", "nodeExporter"):
        assert release["values"][part] == {"enabled": False}


@each_cloud
def test_every_release_is_pinned_and_waits_for_its_identity_and_its_policies(cloud: str) -> None:
    found = {r.name: r for r in full(cloud).of_type(RELEASE)}
    assert set(found) == {f"main-{one}" for one in ("prometheus", "grafana", "otel-gateway", "otel-agent", "opencost")}
    closed = {r.urn for r in full(cloud).of_type(POLICY)}
    bound = {r.urn for r in full(cloud).of_type("aicloud:index:WorkloadIdentity")}
    assert len(bound) == 3
    for name, release in found.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", release.inputs["version"]), name
        assert release.inputs["atomic"] is True
        assert closed <= set(release.dependencies), name
    # What is bound before the first pod starts is what the component is made of, on either cloud.
    dependencies = set(found["main-grafana"].dependencies)
    identity = [r for r in full(cloud) if r.parent in bound and r.custom]
    assert identity
    assert bound <= dependencies or {r.urn for r in identity} & dependencies


@each_cloud
def test_everything_runs_on_system_machines_but_for_the_agents(cloud: str) -> None:
    system = {"aicloud.dev/purpose": "system"}
    plan = full(cloud)
    assert values(plan, "prometheus")["prometheus"]["prometheusSpec"]["nodeSelector"] == system
    assert values(plan, "prometheus")["alertmanager"]["alertmanagerSpec"]["nodeSelector"] == system
    assert values(plan, "grafana")["nodeSelector"] == system
    assert values(plan, "otel-gateway")["nodeSelector"] == system
    assert values(plan, "opencost")["opencost"]["nodeSelector"] == system
    assert "nodeSelector" not in values(plan, "otel-agent")
    assert values(plan, "otel-agent")["tolerations"] == [{"operator": "Exists"}]


@each_cloud
def test_the_namespace_is_restricted_and_no_machine_is_touched(cloud: str) -> None:
    (namespace,) = full(cloud).of_type("kubernetes:core/v1:Namespace")
    assert namespace.inputs["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    agent = values(full(cloud), "otel-agent")
    assert agent["ports"]["otlp"]["hostPort"] == agent["ports"]["otlp-http"]["hostPort"] == 0
    for name in ("otel-agent", "otel-gateway"):
        context = values(full(cloud), name)["securityContext"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert values(full(cloud), name)["podSecurityContext"]["runAsNonRoot"] is True


# ---- what is kept


def test_metrics_of_months_are_in_a_workspace_with_its_own_key() -> None:
    plan = full("aws")
    workspace = plan.one("aws:amp/workspace:Workspace", "main-metrics")
    key = plan.one("aws:kms/key:Key", "main-metrics")
    assert workspace.inputs["kmsKeyArn"] == key.outputs["arn"]
    assert key.inputs["enableKeyRotation"] is True
    assert workspace.protect
    assert key.protect
    (write,) = values(plan, "prometheus")["prometheus"]["prometheusSpec"]["remoteWrite"]
    assert write["url"] == workspace.outputs["prometheusEndpoint"] + "api/v1/remote_write"
    assert write["sigv4"] == {"region": "us-east-1"}
    assert write["writeRelabelConfigs"] == [{"sourceLabels": ["__name__"], "regex": "aicloud:.+", "action": "keep"}]
    assert not bare("aws").of_type("aws:amp/workspace:Workspace", "aws:kms/key:Key")


def test_each_pod_may_do_just_what_it_does_on_aws() -> None:
    plan = full("aws")
    allowed = {}
    for policy in plan.of_type("aws:iam/rolePolicy:RolePolicy"):
        statements = json.loads(policy.inputs["policy"])["Statement"]
        allowed[policy.name] = {action: s["Resource"] for s in statements for action in s["Action"]}
    arn = plan.one("aws:amp/workspace:Workspace", "main-metrics").outputs["arn"]
    assert allowed["main-prometheus-policy"] == {"aps:RemoteWrite": arn}
    assert allowed["main-grafana-policy"]["aps:QueryMetrics"] == arn
    assert "aps:RemoteWrite" not in allowed["main-grafana-policy"]
    assert set(allowed["main-gateway-policy"]) == {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
    bound = {
        r.inputs["serviceAccount"]: r.inputs["namespace"]
        for r in plan.of_type("aws:eks/podIdentityAssociation:PodIdentityAssociation")
    }
    assert bound == {
        prometheus.ACCOUNT: "monitoring",
        "grafana": "observability",
        "otel-gateway": "observability",
    }


def test_each_pod_may_do_just_what_it_does_on_gcp() -> None:
    roles = {}
    for grant in full("gcp").of_type("gcp:projects/iAMMember:IAMMember"):
        who = "/".join(re.findall(r"/(?:ns|sa)/([\w-]+)", grant.inputs["member"]))
        roles.setdefault(who, set()).add(grant.inputs["role"])
    assert roles == {
        f"monitoring/{prometheus.ACCOUNT}": {"roles/monitoring.metricWriter"},
        "observability/grafana": {"roles/monitoring.viewer", "roles/cloudtrace.user"},
        "observability/otel-gateway": {"roles/cloudtrace.agent"},
    }


def test_google_s_build_exports_what_is_asked_for_and_stays_under_the_operator() -> None:
    spec = values(full("gcp"), "prometheus")["prometheus"]["prometheusSpec"]
    assert spec["image"]["registry"] == "gke.gcr.io"
    assert spec["image"]["tag"].startswith(spec["version"])
    (container,) = spec["containers"]
    assert container["name"] == "prometheus"
    assert shlex.split(container["env"][0]["value"]) == ["--export.match={__name__=~'aicloud:.+'}"]
    assert spec["ruleSelectorNilUsesHelmValues"] is False
    assert "image" not in values(bare("gcp"), "prometheus")["prometheus"]["prometheusSpec"]


def test_what_is_recorded_is_kept_for_the_long_term() -> None:
    names = {rule.get("record") or "ALERTS" for group in rule_groups() for rule in group["rules"]}
    assert len(names) > 5
    assert {name for name in names if not re.fullmatch(prometheus.SERIES, name)} == set()
    assert not re.fullmatch(prometheus.SERIES, "container_cpu_usage_seconds_total"), "each sample costs"


@each_cloud
def test_metrics_say_where_they_are_from(cloud: str) -> None:
    labels = values(full(cloud), "prometheus")["prometheus"]["prometheusSpec"]["externalLabels"]
    region = samples(cloud)["Observability"]["region"]
    assert labels == {"environment": "test", "region": f"{cloud}:{region}", "cluster": "main"}


# ---- rules and dashboards


@each_cloud
def test_every_group_of_rules_is_given_to_the_operator(cloud: str) -> None:
    rules = full(cloud).of_type("kubernetes:monitoring.coreos.com/v1:PrometheusRule")
    names = [group["name"] for group in rule_groups()]
    assert sorted(r.inputs["metadata"]["name"] for r in rules) == sorted(names)
    assert len(set(names)) == len(names) > 5
    server = full(cloud).one(RELEASE, "main-prometheus")
    for rule in rules:
        assert server.urn in rule.dependencies
        for one in rule.inputs["spec"]["groups"][0]["rules"]:
            if "alert" in one:
                assert one["annotations"]["runbook_url"].startswith("https://git.example.com/docs/runbooks/")
                assert one["annotations"]["dashboard_url"].startswith("https://grafana.example.com/d/")


@each_cloud
def test_every_dashboard_is_a_config_map_that_the_sidecar_finds(cloud: str) -> None:
    plan = full(cloud)
    found = {
        r.inputs["metadata"]["name"]: r.inputs
        for r in plan.of_type("kubernetes:core/v1:ConfigMap")
        if r.inputs["metadata"].get("labels", {}).get(grafana.LABEL) == "1"
    }
    assert set(found) == {f"dashboard-{uid}" for uid in dashboards()}
    for name, inputs in found.items():
        ((file, text),) = inputs["data"].items()
        assert json.loads(text)["uid"] == file.removesuffix(".json") == name.removeprefix("dashboard-")
        assert len(text.encode()) < grafana.MOST_BYTES
    sidecar = values(plan, "grafana")["sidecar"]["dashboards"]
    assert (sidecar["label"], sidecar["labelValue"], sidecar["resource"]) == (grafana.LABEL, "1", "configmap")


def test_a_dashboard_that_no_config_map_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="dashboard 'big' has 1048587 bytes; a ConfigMap holds 1048576"):
        grafana.files({"big": {"text": "x" * (1 << 20)}})


@each_cloud
def test_grafana_is_seen_by_who_signs_in_and_reads_no_secret(cloud: str) -> None:
    chart = values(full(cloud), "grafana")
    assert chart["grafana.ini"]["auth.anonymous"] == {"enabled": False}
    assert chart["service"] == {"type": "ClusterIP"}
    assert chart["rbac"] == {"create": False}
    (role,) = full(cloud).of_type("kubernetes:rbac.authorization.k8s.io/v1:Role")
    assert [rule["resources"] for rule in role.inputs["rules"]] == [["configmaps"]]
    sign_in = chart["grafana.ini"]["auth.generic_oauth"]
    assert sign_in["client_secret"] == "$__file{/etc/secrets/oidc/client_secret}"
    assert full(cloud).one("kubernetes:core/v1:Secret", "main-grafana-oidc").inputs["stringData"] == SECRET
    assert "not-a-secret" not in json.dumps(chart)
    assert "auth.generic_oauth" not in values(bare(cloud), "grafana")["grafana.ini"]
    assert all(re.fullmatch(r"[a-z-]+ \d+\.\d+\.\d+", plugin) for plugin in chart["plugins"])


# ---- who is told


def test_secrets_are_files_and_in_no_value_of_a_chart() -> None:
    plan = full("aws")
    assert plan.one("kubernetes:core/v1:Secret", "main-alertmanager-receivers").inputs["stringData"] == SECRET
    chart = values(plan, "prometheus")["alertmanager"]
    assert chart["alertmanagerSpec"]["secrets"] == [alertmanager.SECRET]
    text = json.dumps(chart)
    assert "not-a-secret" not in text
    for name in alertmanager.SECRETS:
        assert f"/etc/alertmanager/secrets/alertmanager-receivers/{name}" in text
    assert not bare("aws").of_type("kubernetes:core/v1:Secret")


ALERTING: dict[str, Any] = samples("aws")["Observability"]["alerting"]


def route(alerting: dict[str, Any], **labels: str) -> str:
    """The receiver of an alert, as Alertmanager finds it: the first route that matches, and its first child."""

    def matches(matcher: str) -> bool:
        name, operator, value = re.fullmatch(r'(\w+) (=~|!=|=) "(.*)"', matcher).groups()  # type: ignore[union-attr]
        actual = labels.get(name, "")
        return {"=": actual == value, "!=": actual != value, "=~": bool(re.fullmatch(value, actual))}[operator]

    node = alertmanager.config(alerting)["route"]
    while True:
        for child in node.get("routes", []):
            if all(map(matches, child["matchers"])):
                node = child
                break
        else:
            return str(node["receiver"])


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"alertname": "Watchdog", "severity": "none"}, "heartbeat"),
        ({"alertname": "A", "severity": "critical"}, "critical"),
        ({"alertname": "A", "severity": "warning"}, "warning"),
        ({"alertname": "A", "severity": "info"}, "nobody"),
        ({"alertname": "A", "severity": "critical", "team": "serving"}, "serving-critical"),
        ({"alertname": "A", "severity": "warning", "team": "serving"}, "serving-warning"),
        ({"alertname": "A", "severity": "info", "team": "serving"}, "nobody"),
        ({"alertname": "A", "severity": "critical", "team": "platform"}, "critical"),
    ],
)
def test_alerts_go_by_severity_and_by_team(labels: dict[str, str], receiver: str) -> None:
    assert route(ALERTING, **labels) == receiver


def test_a_region_that_is_down_says_so_once() -> None:
    down, *_ = alertmanager.config(ALERTING)["inhibit_rules"]
    (target,) = down["target_matchers"]
    assert down["equal"] == ["environment", "region"], "as the external labels of each cluster's Prometheus"
    silent = re.fullmatch(r'alertname !~ "(.*)"', target)
    assert silent is not None
    assert re.fullmatch(silent[1], "Watchdog"), "the heartbeat goes on"
    assert re.fullmatch(silent[1], re.fullmatch(r'alertname = "(.*)"', down["source_matchers"][0])[1])  # type: ignore[index]
    assert not re.fullmatch(silent[1], "InferenceDown")


def test_only_what_is_critical_pages() -> None:
    receivers = {one["name"]: one for one in alertmanager.config(ALERTING)["receivers"]}
    assert {name for name, one in receivers.items() if "pagerduty_configs" in one} == {"critical", "serving-critical"}
    assert receivers["serving-warning"]["email_configs"][0]["to"] == "serving@example.com"
    assert receivers["serving-warning"]["slack_configs"][0]["channel"] == "#ml-serving"
    assert receivers["warning"]["slack_configs"][0]["channel"] == "#ml-alerts"
    assert receivers["nobody"] == {"name": "nobody"}


def test_every_route_leads_to_a_receiver() -> None:
    for alerting in ({}, {"teams": [{"name": "a"}]}, {"heartbeat": True}, ALERTING):
        config = alertmanager.config(alerting)
        names = {one["name"] for one in config["receivers"]}

        def receivers(node: dict[str, Any]) -> set[str]:
            return {node["receiver"]}.union(*map(receivers, node.get("routes", [])))

        assert receivers(config["route"]) <= names
    assert route({}, alertname="A", severity="critical") == "nobody"


def test_alertmanager_accepts_the_configuration(tmp_path: Path) -> None:
    amtool = shutil.which("amtool")
    if amtool is None:
        pytest.skip("no amtool here")
    for index, alerting in enumerate(({}, ALERTING)):
        file = tmp_path / f"{index}.yaml"
        config = alertmanager.config(alerting)
        for webhook in (one for receiver in config["receivers"] for one in receiver.get("webhook_configs", [])):
            assert webhook.pop("url_file")  # Debian's Alertmanager 0.25 doesn't know it, 0.26 does
            webhook["url"] = "https://heartbeat.example.com"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        subprocess.run([amtool, "check-config", str(file)], check=True, capture_output=True)


# ---- who talks to whom


@each_cloud
def test_everything_is_closed_but_for_what_is_named(cloud: str) -> None:
    found = policies(full(cloud))
    assert set(found) == {"deny-all", "grafana", "otel-agent", "otel-gateway", "opencost", "prometheus", "alertmanager"}
    assert found["deny-all"].inputs["spec"]["podSelector"] == {}
    for name, policy in found.items():
        assert policy.inputs["spec"]["policyTypes"] == ["Ingress", "Egress"], name
    # Whoever is not among these asks Prometheus nothing.
    (rule,) = found["prometheus"].inputs["spec"]["ingress"]
    asking = {one["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for one in rule["from"]}
    assert asking == {"keda", "monitoring", "observability", "rollouts"}
    # The gateways hear agents alone, and only they and Grafana speak with the cloud.
    spans, _ = found["otel-gateway"].inputs["spec"]["ingress"]
    assert spans["from"][0]["podSelector"]["matchLabels"] == collectors.AGENT_PODS
    outside = {
        name for name, policy in found.items() if "0.0.0.0/0" in json.dumps(policy.inputs["spec"].get("egress", []))
    }
    assert outside == {"grafana", "otel-gateway", "alertmanager"}
    ports = [port["port"] for rule in found["alertmanager"].inputs["spec"]["egress"] for port in rule["ports"]]
    assert 587 in ports, "the mail relay's"


def test_policies_mean_the_pods_that_charts_make() -> None:
    """By the labels that the charts give their pods: name of the chart, and of the release."""
    plan = full("aws")
    for name, labels in (
        ("grafana", grafana.PODS),
        ("otel-agent", collectors.AGENT_PODS),
        ("otel-gateway", collectors.GATEWAY_PODS),
        ("opencost", cost.PODS),
    ):
        release = plan.one(RELEASE, f"main-{name}").inputs
        assert labels == {"app.kubernetes.io/name": release["chart"], "app.kubernetes.io/instance": release["name"]}
    headless = plan.one("kubernetes:core/v1:Service", "main-gateways").inputs["spec"]
    assert headless["clusterIP"] == "None"
    assert headless["selector"] == collectors.GATEWAY_PODS


# ---- traces


@each_cloud
def test_pipelines_name_what_there_is(cloud: str) -> None:
    for name in ("otel-agent", "otel-gateway"):
        config = values(full(cloud), name)["alternateConfig"]
        for pipeline in config["service"]["pipelines"].values():
            assert pipeline["processors"][0] == "memory_limiter"
            for kind in ("receivers", "processors", "exporters"):
                assert set(pipeline[kind]) <= set(config[kind])
        used = {kind: {one for p in config["service"]["pipelines"].values() for one in p[kind]}
                for kind in ("receivers", "processors", "exporters")}  # fmt: skip
        assert used == {kind: set(config[kind]) for kind in used}, "nothing is configured for nothing"
        assert set(config["service"]["extensions"]) == set(config["extensions"])
        for exporter in config["exporters"].values():
            if "auth" in exporter:
                assert exporter["auth"]["authenticator"] in config["extensions"]


@each_cloud
def test_a_trace_is_decided_on_by_one_gateway(cloud: str) -> None:
    balancer = values(full(cloud), "otel-agent")["alternateConfig"]["exporters"]["loadbalancing"]
    assert balancer["routing_key"] == "traceID"
    name = balancer["resolver"]["dns"]["hostname"].split(".")[0]
    assert full(cloud).one("kubernetes:core/v1:Service", "main-gateways").inputs["metadata"]["name"] == name
    sampling = values(full(cloud), "otel-gateway")["alternateConfig"]["processors"]["tail_sampling"]
    assert sampling["policies"][1]["latency"] == {"threshold_ms": 500}
    assert sampling["policies"][2]["probabilistic"] == {"sampling_percentage": 10.0}
    assert full(cloud).one("aicloud:index:Observability", "main").outputs["otlpEndpoint"] == (
        "http://otel-agent.observability.svc:4318"
    )


def test_spans_are_stored_where_the_account_is_told_to_but_by_one() -> None:
    (leave,) = full("aws").of_type("aws:cloudwatch/logResourcePolicy:LogResourcePolicy")
    (statement,) = json.loads(leave.inputs["policyDocument"])["Statement"]
    assert statement["Principal"] == {"Service": "xray.amazonaws.com"}
    assert statement["Condition"]["StringEquals"]["aws:SourceAccount"]
    others = plan_with("aws", tracing={"own_destination": False})
    assert not others.of_type("aws:xray/traceSegmentDestination:TraceSegmentDestination")


# ---- cost


@each_cloud
def test_every_machine_with_a_list_price_has_it_in_opencost(cloud: str) -> None:
    header, *rows = cost.prices(cloud)["prices.csv"].splitlines()
    assert header.split(",")[1] == "InstanceID"
    found = {row.split(",")[1]: float(row.split(",")[6]) for row in rows}
    assert all(len(row.split(",")) == len(header.split(",")) for row in rows)
    known = {m.name: m.on_demand_usd_per_hour for m in (*MACHINES, *CPU_MACHINES) if m.cloud == cloud}
    assert found.keys() == {name for name, usd in known.items() if usd is not None}
    assert values(full(cloud), "opencost")["opencost"]["exporter"]["extraEnv"]["CSV_PATH"] == "/var/prices/prices.csv"


# ---- what is said wrongly


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"cloud": "azure"}, "cloud is 'azure'; accepted are 'aws' and 'gcp'"),
        ({"environment": "Prod!"}, "environment is 'Prod!'; accepted is up to 63"),
        ({"namespace": "monitoring"}, "namespace is 'monitoring'; expected another than monitoring_namespace"),
        ({"query_namespaces": ["ok", "Not OK"]}, r"query_namespaces\[1\] is 'Not OK'"),
        ({"retention_days": 0}, "retention_days is 0; accepted are 1 to 365"),
        ({"disk_gib": 5}, "disk_gib is 5; accepted are 10 to 4096"),
        ({"runbook_url": "http://plain"}, "runbook_url is 'http://plain'; accepted is an https:// address"),
        ({"long_term": {"retention_days": 2000}}, "long_term.retention_days is 2000; accepted are 1 to 1095"),
        ({"long_term": {"series": "a b"}}, "long_term.series is 'a b'"),
        ({"tracing": {"sample_ratio": 1.5}}, "tracing.sample_ratio is 1.5; accepted are 0 to 1"),
        ({"oidc": {"issuer": "login", "client_id": "a", "client_secret": "b"}}, "oidc.issuer is 'login'"),
        ({"alerting": {"slack_channel": "ml-alerts"}}, "alerting.slack_channel is 'ml-alerts'"),
        ({"alerting": {"slack_channel": "#ml"}}, "alerting.secrets: has no 'slack_url', which slack_channel needs"),
        ({"alerting": {"pagerduty": True}}, "has no 'pagerduty_routing_key', which pagerduty needs"),
        ({"alerting": {"heartbeat": True}}, "has no 'heartbeat_url', which heartbeat needs"),
        ({"alerting": {"secrets": {"slack": "x"}}}, "alerting.secrets has 'slack'; accepted are 'slack_url'"),
        ({"alerting": {"teams": [{"name": "a"}, {"name": "a"}]}}, r"teams\[1\].name is 'a'; expected each name once"),
        (
            {"alerting": {"teams": [{"name": "a", "email": "a@b.example"}]}},
            r"teams\[0\].email is 'a@b.example'; expected none without alerting.email",
        ),
        (
            {"alerting": {"email": {"to": "a@b.example", "sender": "a@b.example", "smarthost": "smtp"}}},
            "alerting.email.smarthost is 'smtp'; accepted is a host and its port",
        ),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], error: str) -> None:
    args = {**samples("aws")["Observability"], **changes}
    with pytest.raises(ValueError, match=rf"Observability 'main': (alerting\.(secrets: )?)?{error}"):
        check("main", args)  # type: ignore[arg-type]


def test_an_argument_that_nothing_reads_is_refused() -> None:
    with pytest.raises(PreviewFailed, match=r"tracing\.sample: unknown argument"):
        plan_with("aws", tracing={"sample": 1})
