"""What every cluster runs beside its workloads: metrics and queues, and on EKS the device plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.cluster import addon_values as values
from components.cluster import charts, dcgm, gateway, gpudirect, karpenter, keda
from components.cluster.ladder import Pool
from components.cluster.serving_operators import ServingOperators

STORAGE_CLASS = "encrypted"
"""The default StorageClass: network disks, encrypted with the cluster's key."""

TRAINER_NAMESPACE = "kubeflow-system"


@dataclass(frozen=True, kw_only=True)
class AddonOptions:
    """For which pools, and on which disks."""

    cloud: str
    pools: Sequence[Pool]
    disk_key: pulumi.Input[str]
    """ARN, or id, of the key for network disks."""
    kserve: str = ""
    """`raw` or `serverless`; empty: no KServe."""
    prometheus: bool = True
    """A Prometheus beside its operator; False where Observability brings one."""


class Addons(pulumi.ComponentResource):
    """The releases that workloads rely on, each in a namespace of its own, in the order in which they need each other.

    - the default StorageClass, encrypted with the cluster's key
    - Prometheus' operator and, unless Observability brings one, a Prometheus; first because others bring monitors
    - KEDA, which scales servers by what Prometheus knows; where a pool serves, its HTTP add-on, in which requests wait
      for a server at zero
    - Kueue; its queues are TrainingQueue's
    - where it is asked for: KServe with what it needs (ServingOperators)
    - where a pool serves: Envoy Gateway with the Gateway API's definitions; Gateways and routes are InferenceRoute's
    - where a pool trains: Kubeflow Trainer with JobSet, and KubeRay; their runtimes and jobs are others'
    - EKS: the NVIDIA GPU operator, the EFA and Neuron device plugins, each where a pool needs it. GKE runs its own.
    - GKE, for pools with GPUs: the DCGM exporter, which on EKS is the GPU operator's
    - GKE, for pools with GPUDirect: what puts NCCL's plugin on their machines, as Google has it (gpudirect)

    Custom resources depend on the release that brings their definitions, so they go first when all is removed.
    """

    made: list[pulumi.Resource]
    """All of them, for workloads to depend on."""

    def __init__(
        self,
        name: str,
        args: AddonOptions,
        opts: pulumi.ResourceOptions | None = None,
        *,
        after: Sequence[pulumi.Resource] = (),
    ) -> None:
        """`after` is what pods need to run: nodes, DNS, volumes."""
        super().__init__("aicloud:cluster:Addons", name, {}, opts)
        self._name, self._after = name, list(after)
        storage = self._storage_class(args)
        monitoring = self._release(
            charts.PROMETHEUS_STACK,
            values.prometheus_stack(STORAGE_CLASS, servers=args.prometheus),
            values.MONITORING_NAMESPACE,
            [storage],
            privileged=True,
        )
        self.made = [storage, monitoring]
        scaling = self._scaling(monitoring, serves=any(pool.purpose == "serving" for pool in args.pools))
        self.made += scaling
        self.made.append(self._release(charts.KUEUE, values.kueue(), "kueue-system", [monitoring]))
        if args.kserve:
            # KEDA first: KServe looks once, when it starts, whether there are ScaledObjects to watch.
            within = pulumi.ResourceOptions(parent=self)
            operators = ServingOperators(
                f"{name}-serving", args.kserve, within, after=[*self._after, monitoring, *scaling]
            )
            self.made += operators.made
        if any(pool.purpose == "serving" for pool in args.pools):
            self.made += self._gateway()
        if any(pool.purpose == "training" for pool in args.pools):
            self.made += self._training()
        if args.cloud == "aws":
            self.made += self._devices(args.pools, monitoring)
        else:
            self.made += self._gpus_of_gke(args.pools, monitoring)
            self.made += self._gpudirect(args.pools)
        self.register_outputs({})

    def _storage_class(self, args: AddonOptions) -> k8s.storage.v1.StorageClass:
        parameters: dict[str, pulumi.Input[str]]
        if args.cloud == "aws":
            provisioner = "ebs.csi.aws.com"
            parameters = {"type": "gp3", "encrypted": "true", "kmsKeyId": args.disk_key}
        else:
            provisioner = "pd.csi.storage.gke.io"
            parameters = {"type": "pd-balanced", "disk-encryption-kms-key": args.disk_key}
        return k8s.storage.v1.StorageClass(
            f"{self._name}-storage",
            metadata={
                "name": STORAGE_CLASS,
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            provisioner=provisioner,
            parameters=parameters,
            volume_binding_mode="WaitForFirstConsumer",
            allow_volume_expansion=True,
            reclaim_policy="Delete",
            opts=pulumi.ResourceOptions(parent=self, depends_on=self._after),
        )

    def _scaling(self, monitoring: pulumi.Resource, *, serves: bool) -> list[pulumi.Resource]:
        operator = self._release(charts.KEDA, keda.keda(), keda.NAMESPACE, [monitoring])
        if not serves:
            return [operator]
        activator = self._release(charts.KEDA_HTTP, keda.activator(), keda.ACTIVATOR_NAMESPACE, [operator])
        budgets = [
            self._budget(f"activator-{one}", keda.ACTIVATOR_NAMESPACE, keda.unbudgeted_pods(one), activator)
            for one in keda.UNBUDGETED
        ]
        return [operator, activator, *budgets]

    def _gateway(self) -> list[pulumi.Resource]:
        controller = self._release(charts.ENVOY_GATEWAY, gateway.values(), gateway.NAMESPACE)
        kind = k8s.apiextensions.CustomResource(
            f"{self._name}-gateway-class",
            api_version="gateway.networking.k8s.io/v1",
            kind="GatewayClass",
            metadata={"name": gateway.CLASS},
            spec={"controllerName": gateway.CONTROLLER},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[controller]),
        )
        return [controller, kind]

    def _training(self) -> list[pulumi.Resource]:
        trainer = self._release(charts.TRAINER, values.trainer(), TRAINER_NAMESPACE)
        budget = self._budget("trainer", TRAINER_NAMESPACE, values.TRAINER_PODS, trainer, called="kubeflow-trainer")
        return [trainer, budget, self._release(charts.KUBERAY, values.kuberay(), "kuberay-system")]

    def _budget(
        self, name: str, namespace: str, pods: Mapping[str, str], release: pulumi.Resource, *, called: str = ""
    ) -> k8s.policy.v1.PodDisruptionBudget:
        """For pods of a chart that has no disruption budget for them."""
        return k8s.policy.v1.PodDisruptionBudget(
            f"{self._name}-{name}",
            metadata={"name": called or name, "namespace": namespace},
            spec={
                "selector": {"match_labels": dict(pods)},
                "max_unavailable": 1,
                "unhealthy_pod_eviction_policy": "AlwaysAllow",
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[release]),
        )

    def _gpudirect(self, pools: Sequence[Pool]) -> list[pulumi.Resource]:
        return [
            k8s.apps.v1.DaemonSet(
                f"{self._name}-{name}",
                metadata={"name": name, "namespace": gpudirect.NAMESPACE, "labels": gpudirect.labels_of(name)},
                spec=spec,
                opts=pulumi.ResourceOptions(parent=self, depends_on=self._after),
            )
            for name, spec in gpudirect.daemon_sets(pools).items()
        ]

    def _gpus_of_gke(self, pools: Sequence[Pool], monitoring: pulumi.Resource) -> list[pulumi.Resource]:
        if not any(pool.resource == "nvidia.com/gpu" for pool in pools):
            return []
        exporter = dcgm.exporter(values.tolerations(pools))
        return [self._release(charts.DCGM_EXPORTER, exporter, dcgm.NAMESPACE, [monitoring], privileged=True)]

    def _devices(self, pools: Sequence[Pool], monitoring: pulumi.Resource) -> list[pulumi.Resource]:
        made: list[pulumi.Resource] = [self._karpenter_monitor(monitoring)]
        if any(pool.resource == "nvidia.com/gpu" for pool in pools):
            made.append(
                self._release(
                    charts.GPU_OPERATOR, values.gpu_operator(pools), "gpu-operator", [monitoring], privileged=True
                )
            )
        if any(pool.fabric for pool in pools):
            made.append(
                self._release(charts.EFA_DEVICE_PLUGIN, values.efa_device_plugin(pools), "efa-plugin", privileged=True)
            )
        if any(pool.resource == "aws.amazon.com/neuron" for pool in pools):
            made.append(self._release(charts.NEURON, values.neuron(pools), "neuron", privileged=True))
        return made

    def _karpenter_monitor(self, monitoring: pulumi.Resource) -> pulumi.Resource:
        """Prometheus reads Karpenter, which makes the first machines and so is there before any definition of monitors.
        Service: charts/karpenter/templates/service.yaml of aws/karpenter-provider-aws."""
        return k8s.apiextensions.CustomResource(
            f"{self._name}-karpenter-monitor",
            api_version="monitoring.coreos.com/v1",
            kind="ServiceMonitor",
            metadata={"name": "karpenter", "namespace": values.MONITORING_NAMESPACE},
            spec={
                "namespaceSelector": {"matchNames": [karpenter.NAMESPACE]},
                "selector": {"matchLabels": {"app.kubernetes.io/name": "karpenter"}},
                "endpoints": [{"port": "http-metrics", "interval": "30s"}],
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[monitoring]),
        )

    def _release(
        self,
        chart: charts.Chart,
        chart_values: Mapping[str, Any],
        namespace: str,
        after: Sequence[pulumi.Resource] = (),
        *,
        privileged: bool = False,
    ) -> pulumi.Resource:
        level = "privileged" if privileged else "baseline"  # device plugins and node exporters need the host
        space = k8s.core.v1.Namespace(
            f"{self._name}-{namespace}",
            metadata={"name": namespace, "labels": {"pod-security.kubernetes.io/enforce": level}},
            opts=pulumi.ResourceOptions(parent=self, depends_on=self._after),
        )
        return charts.release(
            f"{self._name}-{chart.chart.rsplit('/', 1)[-1]}",
            chart,
            chart_values,
            self,
            namespace=space.metadata["name"],
            after=[*self._after, *after],
        )
