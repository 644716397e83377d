"""KServe among a cluster's add-ons: its certificates, definitions and controller, and Knative where asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.cluster import charts
from components.cluster import serving_values as values

PROGRESS_DEADLINE_S = 3600
"""Within which a new revision of a serverless server has to be ready: as long as Kueue waits for pods."""


class ServingOperators(pulumi.ComponentResource):
    """What InferenceServices rely on, in the order in which the parts need each other.

    1. cert-manager, which makes the certificate of KServe's webhooks
    2. `serverless`: the Knative operator, and the KnativeServing that it installs Knative with Kourier by
    3. KServe's definitions, and its controller with a second replica and a disruption budget

    It is taken down in the opposite order: the controller takes its finalizer off InferenceServices before it goes, the
    operator takes Knative down before it goes, and definitions go last.
    """

    made: list[pulumi.Resource]
    """All of them, for InferenceServices to depend on."""

    def __init__(
        self,
        name: str,
        mode: str,
        opts: pulumi.ResourceOptions | None = None,
        *,
        after: Sequence[pulumi.Resource] = (),
    ) -> None:
        """`mode` is `raw` or `serverless`; `after` is what pods and monitors need."""
        super().__init__("aicloud:cluster:ServingOperators", name, {}, opts)
        self._name, self._after = name, list(after)
        certificates = self._release(charts.CERT_MANAGER, values.cert_manager(), self._namespace("cert-manager"))
        self.made = [certificates]
        if mode == "serverless":
            self.made += self._knative()
        namespace = self._namespace(values.KSERVE_NAMESPACE)
        definitions = self._release(charts.KSERVE_CRDS, {}, namespace)
        # Knative first: the controller looks once, when it starts, for what it may watch.
        controller = self._release(charts.KSERVE, values.kserve(mode), namespace, [definitions, *self.made])
        self.made += [definitions, controller, *self._second_replica(controller)]
        self.register_outputs({})

    def _knative(self) -> list[pulumi.Resource]:
        operator = self._release(
            charts.KNATIVE_OPERATOR, values.knative_operator(), self._namespace("knative-operator")
        )
        namespace = self._namespace(values.KNATIVE_NAMESPACE)
        serving = k8s.apiextensions.CustomResource(
            f"{self._name}-knative",
            api_version="operator.knative.dev/v1beta1",
            kind="KnativeServing",
            metadata={
                "name": "knative-serving",
                "namespace": namespace.metadata["name"],
                "annotations": {"pulumi.com/waitFor": "condition=Ready"},
            },
            spec=values.knative_serving(PROGRESS_DEADLINE_S),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[operator]),
        )
        budgets = [
            self._budget(f"{deployment}-budget", deployment, values.KNATIVE_NAMESPACE, {"app": deployment}, serving)
            for deployment in values.KNATIVE_UNBUDGETED
        ]
        return [operator, serving, *budgets]

    def _second_replica(self, controller: pulumi.Resource) -> list[pulumi.Resource]:
        place = {"name": values.CONTROLLER, "namespace": values.KSERVE_NAMESPACE}
        after = pulumi.ResourceOptions(parent=self, depends_on=[controller])
        # The chart says nothing of the count, so Helm leaves it alone; the controller elects a leader.
        replicas = k8s.apps.v1.DeploymentPatch(
            f"{self._name}-controller", metadata=place, spec={"replicas": 2}, opts=after
        )
        return [
            replicas,
            self._budget(
                "controller-budget", values.CONTROLLER, values.KSERVE_NAMESPACE, values.CONTROLLER_PODS, controller
            ),
        ]

    def _budget(
        self, suffix: str, name: str, namespace: str, labels: Mapping[str, str], after: pulumi.Resource
    ) -> pulumi.Resource:
        return k8s.policy.v1.PodDisruptionBudget(
            f"{self._name}-{namespace}-{suffix}",
            metadata={"name": name, "namespace": namespace},
            spec={
                "selector": {"match_labels": dict(labels)},
                "max_unavailable": 1,
                "unhealthy_pod_eviction_policy": "AlwaysAllow",
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[after]),
        )

    def _namespace(self, name: str) -> k8s.core.v1.Namespace:
        return k8s.core.v1.Namespace(
            f"{self._name}-{name}",
            metadata={"name": name, "labels": {"pod-security.kubernetes.io/enforce": "baseline"}},
            opts=pulumi.ResourceOptions(parent=self, depends_on=self._after),
        )

    def _release(
        self,
        chart: charts.Chart,
        chart_values: Mapping[str, Any],
        namespace: k8s.core.v1.Namespace,
        after: Sequence[pulumi.Resource] = (),
    ) -> pulumi.Resource:
        return charts.release(
            f"{self._name}-{chart.chart.rsplit('/', 1)[-1]}",
            chart,
            chart_values,
            self,
            namespace=namespace.metadata["name"],
            after=[*self._after, *after],
        )
