"""Observability: metrics, dashboards, alerts, traces and cost of a cluster, on either cloud."""

from collections.abc import Mapping
from typing import Any, Optional

import pulumi
import pulumi_kubernetes as k8s

from components import arguments
from components.cluster import charts
from components.cluster.addons import STORAGE_CLASS
from components.observability import alertmanager, aws, collectors, cost, gcp, grafana, prometheus, traffic
from components.observability.arguments import (
    DEFAULT_MONITORING,
    DEFAULT_NAMESPACE,
    ObservabilityArgs,
    check,
    secret_names,
)
from components.observability.dashboards import dashboards
from components.observability.parts import GATEWAY, Parts
from components.observability.rule import RUNBOOKS
from components.observability.rules import Scope, rule_groups
from components.ordering import prerequisites
from components.security import WorkloadIdentity

DEFAULT_RATIO, DEFAULT_SLOW_MS = 0.2, 1000


class Observability(pulumi.ComponentResource):
    """What is known of a cluster while it runs, and who is told.

    In the namespace of Prometheus' operator, which the cluster's add-ons bring:

    - Prometheus, on which autoscalers rely as well, with recorded series, alerts and objectives (PrometheusRules)
    - with `long_term`, what of it is kept for months: in a workspace of Amazon Managed Service for Prometheus with a
      key of its own, or in Google Cloud Managed Service for Prometheus
    - two Alertmanagers, that tell by severity and by team; secrets are files of theirs and in no configuration

    In a namespace of its own, closed by network policies and with restricted pods:

    - Grafana with the dashboards, behind no load balancer: `kubectl -n observability port-forward svc/grafana 3000:80`
    - OpenTelemetry collectors: an agent on each machine, which all pods send spans to, and gateways that keep those
      traces that tell something; they go to X-Ray or Cloud Trace. Between them spans are not encrypted: both clouds'
      networks are, and policies let nobody else in.
    - OpenCost, which says what each pod costs, by the catalog's prices

    GPUs are told of by the add-ons' DCGM exporter, on both clouds with the same counters.

    ValueError for arguments that don't fit, naming the argument, what it got and what it accepts.
    """

    namespace: pulumi.Output[str]
    """Namespace of Grafana, collectors and OpenCost."""
    grafana_service: pulumi.Output[str]
    """Grafana's Service, as `<name>.<namespace>.svc:<port>`."""
    prometheus_url: pulumi.Output[str]
    """Where the cluster's own Prometheus answers."""
    otlp_endpoint: pulumi.Output[str]
    """OTEL_EXPORTER_OTLP_ENDPOINT of the cluster's pods: HTTP; gRPC is on port 4317 of the same name."""
    long_term_endpoint: pulumi.Output[str]
    """Prometheus' API of the cloud's own Prometheus; empty without `long_term`."""
    long_term_store: pulumi.Output[str]
    """Id of the workspace, or the project's name; empty likewise."""

    def __init__(self, name: str, args: ObservabilityArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        arguments.check(f"Observability {name!r}", args, ObservabilityArgs)
        check(name, args)
        super().__init__("aicloud:index:Observability", name, {**args}, opts)
        self._name, self._args = name, args
        self._here = args.get("namespace", DEFAULT_NAMESPACE)
        self._monitoring = args.get("monitoring_namespace", DEFAULT_MONITORING)
        self._after = prerequisites(opts)
        self._alerting: Mapping[str, Any] = args.get("alerting") or {}

        long_term = args.get("long_term")
        series = "" if long_term is None else long_term.get("series") or prometheus.SERIES
        parts = aws.build(self, name, args, series) if args["cloud"] == "aws" else gcp.build(self, series)
        namespace = self._namespace()
        identities = self._identities(parts)
        closed = self._policies(namespace)
        ready = [*parts.ready, *identities.values(), *closed]
        servers = self._prometheus(parts, ready)
        self._rules(servers)
        self._grafana(parts, namespace, ready)
        self._collectors(parts, namespace, ready)
        self._cost(namespace, [*ready, servers])

        self.namespace = namespace.metadata.apply(lambda metadata: str(metadata.name))
        self.grafana_service = pulumi.Output.from_input(f"{grafana.SERVICE}.{self._here}.svc:{grafana.PORT}")
        self.prometheus_url = pulumi.Output.from_input(self._prometheus_url)
        self.otlp_endpoint = pulumi.Output.from_input(collectors.endpoint(self._here))
        self.long_term_endpoint = parts.endpoint
        self.long_term_store = parts.store
        self.register_outputs(
            {
                "namespace": self.namespace,
                "grafanaService": self.grafana_service,
                "prometheusUrl": self.prometheus_url,
                "otlpEndpoint": self.otlp_endpoint,
                "longTermEndpoint": self.long_term_endpoint,
                "longTermStore": self.long_term_store,
            }
        )

    @property
    def _runbooks(self) -> str:
        return self._args.get("runbook_url", RUNBOOKS)

    @property
    def _prometheus_url(self) -> str:
        return f"http://{prometheus.SERVICE}.{self._monitoring}.svc:{prometheus.PORT}"

    def _within(self, *after: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=[*self._after, *after])

    def _namespace(self) -> k8s.core.v1.Namespace:
        levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
        return k8s.core.v1.Namespace(
            f"{self._name}-namespace", metadata={"name": self._here, "labels": levels}, opts=self._within()
        )

    def _identities(self, parts: Parts) -> dict[str, WorkloadIdentity]:
        """Who acts in the cloud, bound before the first pod starts: one that has started without stays without."""
        in_monitoring = (prometheus.ACCOUNT,)
        return {
            account: WorkloadIdentity(
                f"{self._name}-{account.rpartition('-')[2]}",  # roles have names of 64 letters
                {
                    "cloud": self._args["cloud"],
                    "region": self._args["region"],
                    "cluster_name": self._args["cluster_name"],
                    "workload_identity_pool": self._args["workload_identity_pool"],
                    "namespace": self._monitoring if account in in_monitoring else self._here,
                    "service_account": account,
                    "tags": self._args.get("tags") or {},
                    **given,  # type: ignore[typeddict-item]
                },
                self._within(),
            )
            for account, given in parts.permissions.items()
        }

    def _policies(self, namespace: k8s.core.v1.Namespace) -> list[pulumi.Resource]:
        own = traffic.own(self._args["cloud"], self._here, self._monitoring)
        servers = traffic.servers(
            self._here, self._monitoring, self._args.get("query_namespaces") or [], self._alerting.get("email")
        )
        made: list[pulumi.Resource] = []
        for where, specs in ((namespace.metadata.name, own), (self._monitoring, servers)):
            made += [
                k8s.networking.v1.NetworkPolicy(
                    f"{self._name}-{purpose}",
                    metadata={"namespace": where, "name": f"observability-{purpose}"},
                    spec=spec,
                    opts=self._within(),
                )
                for purpose, spec in specs.items()
            ]
        return made

    def _prometheus(self, parts: Parts, after: list[pulumi.Resource]) -> k8s.helm.v3.Release:
        given = secret_names(self._alerting)
        if given:
            secrets = pulumi.Output.secret(self._alerting.get("secrets") or {})
            after = [*after, self._secret(alertmanager.SECRET, self._monitoring, secrets)]
        labels = {
            "environment": self._args["environment"],
            "region": f"{self._args['cloud']}:{self._args['region']}",
            "cluster": self._args["cluster_name"],
        }
        return self._release(
            charts.PROMETHEUS_STACK,
            prometheus.values(
                labels,
                self._args.get("storage_class", STORAGE_CLASS),
                retention_days=int(self._args.get("retention_days", prometheus.DEFAULT_DAYS)),
                disk_gib=int(self._args.get("disk_gib", prometheus.DEFAULT_GIB)),
                alerting=self._alerting,
                secret=bool(given),
                sends=parts.prometheus,
            ),
            self._monitoring,
            after,
            called=prometheus.RELEASE,
        )

    def _rules(self, servers: pulumi.Resource) -> None:
        domain, usual = self._args.get("grafana_domain"), Scope()
        scope = Scope(
            runbooks=self._runbooks,
            grafana=f"https://{domain}" if domain else "",
            serving_namespaces=self._args.get("serving_namespaces") or usual.serving_namespaces,
            training_namespaces=self._args.get("training_namespaces") or usual.training_namespaces,
            monthly_budget_usd=self._args.get("machine_budget_usd"),
        )
        for group in rule_groups(scope):
            k8s.apiextensions.CustomResource(
                f"{self._name}-{group['name']}",
                api_version="monitoring.coreos.com/v1",
                kind="PrometheusRule",
                metadata={"name": group["name"], "namespace": self._monitoring},
                spec={"groups": [group]},
                opts=self._within(servers),
            )

    def _grafana(self, parts: Parts, namespace: k8s.core.v1.Namespace, after: list[pulumi.Resource]) -> None:
        where = namespace.metadata.name
        oidc = self._args.get("oidc")
        if oidc is not None:
            secret = pulumi.Output.secret({"client_secret": oidc["client_secret"]})
            after = [*after, self._secret(grafana.OIDC_SECRET, where, secret)]
        reads = k8s.rbac.v1.Role(
            f"{self._name}-grafana",
            metadata={"name": grafana.SERVICE, "namespace": where},
            rules=[{"api_groups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}],
            opts=self._within(),
        )
        k8s.rbac.v1.RoleBinding(
            f"{self._name}-grafana",
            metadata={"name": grafana.SERVICE, "namespace": where},
            role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "Role", "name": reads.metadata.name},
            subjects=[{"kind": "ServiceAccount", "name": grafana.SERVICE, "namespace": where}],
            opts=self._within(),
        )
        for uid, data in grafana.files(dashboards(self._runbooks)).items():
            k8s.core.v1.ConfigMap(
                f"{self._name}-dashboard-{uid}",
                metadata={"name": f"dashboard-{uid}", "namespace": where, "labels": {grafana.LABEL: "1"}},
                data=data,
                opts=self._within(),
            )
        values = grafana.values(
            self._prometheus_url,
            f"http://{prometheus.ALERTMANAGER}.{self._monitoring}.svc:{prometheus.ALERTMANAGER_PORT}",
            parts.data_sources,
            parts.plugins,
            domain=self._args.get("grafana_domain", ""),
            oidc=oidc,
        )
        self._release(charts.GRAFANA, values, where, after)

    def _collectors(self, parts: Parts, namespace: k8s.core.v1.Namespace, after: list[pulumi.Resource]) -> None:
        where, tracing = namespace.metadata.name, self._args.get("tracing") or {}
        k8s.core.v1.Service(
            f"{self._name}-gateways",
            metadata={"name": collectors.HEADLESS, "namespace": where},
            spec={
                "cluster_ip": "None",
                "selector": collectors.GATEWAY_PODS,
                "ports": [{"name": "otlp", "port": collectors.GRPC, "protocol": "TCP"}],
            },
            opts=self._within(),
        )
        gateway = self._release(
            charts.OPENTELEMETRY_COLLECTOR,
            collectors.gateway(
                parts.traces,
                sample_ratio=float(tracing.get("sample_ratio", DEFAULT_RATIO)),
                slow_ms=int(tracing.get("slow_ms", DEFAULT_SLOW_MS)),
            ),
            where,
            after,
            called=GATEWAY,
        )
        resource = {
            "cloud.provider": self._args["cloud"],
            "cloud.region": self._args["region"],
            "deployment.environment.name": self._args["environment"],
            "k8s.cluster.name": self._args["cluster_name"],
        }
        self._release(
            charts.OPENTELEMETRY_COLLECTOR,
            collectors.agent(self._here, resource),
            where,
            [*after, gateway],
            called=collectors.AGENT,
        )

    def _cost(self, namespace: k8s.core.v1.Namespace, after: list[pulumi.Resource]) -> None:
        where = namespace.metadata.name
        prices = k8s.core.v1.ConfigMap(
            f"{self._name}-prices",
            metadata={"name": cost.PRICES, "namespace": where},
            data=cost.prices(self._args["cloud"]),
            opts=self._within(),
        )
        values = cost.values(self._monitoring, prometheus.SERVICE, prometheus.PORT, self._args["cluster_name"])
        self._release(charts.OPENCOST, values, where, [*after, prices])

    def _secret(
        self, called: str, where: pulumi.Input[str], data: pulumi.Input[Mapping[str, pulumi.Input[str]]]
    ) -> k8s.core.v1.Secret:
        return k8s.core.v1.Secret(
            f"{self._name}-{called}",
            metadata={"name": called, "namespace": where},
            type="Opaque",
            string_data=data,
            opts=self._within(),
        )

    def _release(
        self,
        chart: charts.Chart,
        values: Mapping[str, Any],
        where: pulumi.Input[str],
        after: list[pulumi.Resource],
        called: str = "",
    ) -> k8s.helm.v3.Release:
        return charts.release(
            f"{self._name}-{called or chart.chart}",
            chart,
            values,
            self,
            namespace=where,
            called=called,
            after=[*self._after, *after],
        )
