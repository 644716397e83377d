"""GpuCluster on both clouds: one set of arguments, the same outputs, the same add-ons, the same refusals."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from components import labels
from components.cluster import GpuCluster, charts, dcgm, keda
from components.cluster.addon_values import PROMETHEUS_URL
from planner.engine import PreviewFailed
from planner.plan import SECRET, UNKNOWN, Plan
from tests.components.clusters import (
    BATCH,
    CLOUDS,
    OUTPUTS,
    SERVE,
    TRAIN,
    default,
    objects,
    plan_with,
    releases,
)
from tests.samples import system_pool
from tests.support import ROOT


@pytest.mark.parametrize("cloud", CLOUDS)
def test_outputs_are_the_same_on_both_clouds(cloud: str) -> None:
    outputs = plan_with(cloud, simulate_up=True).outputs
    assert set(OUTPUTS) <= set(outputs)
    assert outputs["cluster_name"] == "main"
    assert outputs["endpoint"].startswith("https://")
    assert outputs["kubeconfig"] == SECRET
    assert bool(outputs["workload_identity_pool"]) is (cloud == "gcp")
    assert bool(outputs["node_security_group_id"]) is (cloud == "aws")
    assert outputs["addons"] > 10


@pytest.mark.parametrize("cloud", CLOUDS)
def test_everything_in_the_cluster_uses_its_own_provider(cloud: str) -> None:
    plan = default(cloud)
    provider = plan.one("pulumi:providers:kubernetes", "main-kubernetes")
    inside = [r for r in plan if r.package == "kubernetes" and not r.is_provider]
    assert len(inside) > 15
    assert {r.provider.split("::")[3] for r in inside} == {"main-kubernetes"}
    assert provider.inputs["kubeconfig"] in (SECRET, UNKNOWN)
    assert str(provider.inputs["enableServerSideApply"]).lower() == "true"


@pytest.mark.parametrize("cloud", CLOUDS)
def test_releases_are_pinned_atomic_and_in_their_own_namespaces(cloud: str) -> None:
    found = releases(default(cloud))
    expected = {"kueue", "kube-prometheus-stack", "keda", "keda-add-ons-http", "kubeflow-trainer", "kuberay-operator"}
    expected |= {"gateway-helm"}
    if cloud == "aws":
        expected |= {"karpenter", "karpenter-crd", "aws-load-balancer-controller", "gpu-operator"}
        expected |= {"aws-efa-k8s-device-plugin"}
    else:
        expected |= {"dcgm-exporter"}
    assert set(found) == expected
    for name, release in found.items():
        assert release.inputs["version"], name
        assert release.inputs["atomic"] is True
        assert release.inputs["timeout"] == charts.TIMEOUT_SECONDS
        assert release.inputs["namespace"]
    assert found["kueue"].inputs["chart"] == "oci://registry.k8s.io/kueue/charts/kueue"


def _kueue(plan: Plan) -> dict[str, Any]:
    values = releases(plan)["kueue"].inputs["values"]
    return yaml.safe_load(values["managerConfig"]["controllerManagerConfigYaml"])


@pytest.mark.parametrize("cloud", CLOUDS)
def test_kueue_looks_at_labelled_namespaces_alone_and_counts_accelerators_alone(cloud: str) -> None:
    plan = default(cloud)
    assert not objects(plan, "ClusterQueue"), "queues are TrainingQueue's"
    configuration = _kueue(plan)
    selector = configuration["managedJobsNamespaceSelector"]
    # No namespace that the cluster makes has the label, kube-system and kueue-system least of all.
    assert selector == {"matchLabels": {labels.QUEUED: "true"}}
    for namespace in objects(plan, "Namespace").values():
        assert labels.QUEUED not in namespace.inputs["metadata"].get("labels", {})
    frameworks = set(configuration["integrations"]["frameworks"])
    assert frameworks >= {"trainer.kubeflow.org/trainjob", "jobset.x-k8s.io/jobset", "batch/job", "ray.io/rayjob"}
    assert frameworks >= {"ray.io/raycluster", "pod", "deployment"}
    excluded = tuple(configuration["resources"]["excludeResourcePrefixes"])
    for counted in labels.ACCELERATOR_TAINTS:
        assert not counted.startswith(excluded)
    for beside in ("cpu", "memory", "hugepages-2Mi", "vpc.amazonaws.com/efa", "networking.gke.io.networks/gpudirect-0"):
        assert beside.startswith(excluded)


def test_kueue_takes_back_what_never_becomes_ready_and_never_gives_up() -> None:
    waiting = _kueue(default("aws"))["waitForPodsReady"]
    assert (waiting["timeout"], waiting["recoveryTimeout"]) == ("60m", "30m")
    assert "backoffLimitCount" not in waiting["requeuingStrategy"]
    controller = releases(default("aws"))["kueue"].inputs["values"]["controllerManager"]
    assert controller["replicas"] == 2
    assert controller["podDisruptionBudget"] == {"enabled": True, "minAvailable": 1}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_operators_of_training_come_with_pools_that_train(cloud: str) -> None:
    assert not {"kubeflow-trainer", "kuberay-operator"} & set(releases(plan_with(cloud, node_pools=[SERVE])))
    plan = default(cloud)
    trainer = releases(plan)["kubeflow-trainer"]
    assert trainer.inputs["values"]["runtimes"] == {"defaultEnabled": False}
    assert trainer.inputs["values"]["jobset"]["install"] is True
    budget = objects(plan, "PodDisruptionBudget")["kubeflow-trainer"]
    assert budget.inputs["metadata"]["namespace"] == "kubeflow-system"
    assert "kubeflow-system" in objects(plan, "Namespace")
    # The chart's own labels: app.kubernetes.io/name is its name, which is also the release's.
    assert budget.inputs["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] == trainer.inputs["name"]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_scaling_outlives_a_machine(cloud: str) -> None:
    plan = default(cloud)
    values = releases(plan)["keda"].inputs["values"]
    for component, budget in (("operator",) * 2, ("metricsServer", "metricServer"), ("webhooks",) * 2):
        assert values[component]["replicaCount"] == 2
        assert values["podDisruptionBudget"][budget] == {"maxUnavailable": 1}
        assert set(values["resources"][budget]) == {"requests", "limits"}
        (spread,) = values["topologySpreadConstraints"][component]
        assert spread["topologyKey"] == "kubernetes.io/hostname"
    values = releases(plan)["keda-add-ons-http"].inputs["values"]
    assert (values["operator"]["replicas"], values["scaler"]["replicas"]) == (2, 2)
    assert values["interceptor"]["replicas"]["min"] == 2
    assert values["interceptor"]["pdb"] == {"enabled": True, "minAvailable": 0, "maxUnavailable": 1}
    # Its chart has a budget for one of the three components.
    budgets = objects(plan, "PodDisruptionBudget")
    for component in ("operator", "scaler"):
        inputs = budgets[f"activator-{component}"].inputs
        assert inputs["metadata"]["namespace"] == keda.ACTIVATOR_NAMESPACE
        assert inputs["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"] == component


@pytest.mark.parametrize("cloud", CLOUDS)
def test_what_scales_reads_no_secrets_and_nothing_but_what_it_scales(cloud: str) -> None:
    values = releases(default(cloud))["keda"].inputs["values"]
    assert values["rbac"]["enabledCustomScaledRefKinds"] is False
    assert {key: value["restrict"] for key, value in values["permissions"].items()} == {
        "operator": {"secret": True},
        "metricServer": {"secret": True},
    }
    context = releases(default(cloud))["keda-add-ons-http"].inputs["values"]
    assert context["podSecurityContext"]["runAsNonRoot"] is True
    assert context["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_requests_wait_as_long_as_a_pod_of_the_activator_stays(cloud: str) -> None:
    interceptor = releases(default(cloud))["keda-add-ons-http"].inputs["values"]["interceptor"]
    assert interceptor["drainTimeout"] == "0s"  # no other limit than the pod's own
    assert interceptor["terminationGracePeriodSeconds"] >= 1_800
    assert interceptor["coldStart"]["maxPendingRequests"] > 0


@pytest.mark.parametrize("cloud", CLOUDS)
def test_an_activator_is_where_a_pool_serves(cloud: str) -> None:
    assert "keda-add-ons-http" in releases(plan_with(cloud, node_pools=[SERVE]))
    plan = plan_with(cloud, node_pools=[TRAIN])
    assert "keda" in releases(plan)
    assert "keda-add-ons-http" not in releases(plan)
    assert keda.ACTIVATOR_NAMESPACE not in objects(plan, "Namespace")


@pytest.mark.parametrize("cloud", CLOUDS)
def test_prometheus_is_where_scalers_ask_it(cloud: str) -> None:
    release = releases(default(cloud))["kube-prometheus-stack"].inputs
    host, port = PROMETHEUS_URL.removeprefix("http://").split(":")
    assert host == f"{release['values']['fullnameOverride']}-prometheus.{_namespace(default(cloud), release)}.svc"
    assert port == "9090"


@pytest.mark.parametrize("cloud", CLOUDS)
def test_prometheus_is_left_to_observability_where_it_is_asked_to(cloud: str) -> None:
    values = releases(default(cloud))["kube-prometheus-stack"].inputs["values"]
    assert values["prometheus"]["enabled"] is True
    values = releases(plan_with(cloud, prometheus=False))["kube-prometheus-stack"].inputs["values"]
    assert values["prometheus"] == values["alertmanager"] == {"enabled": False}
    # What tells of machines and pods stays, with the labels by which cost is told.
    labels = " ".join(values["kube-state-metrics"]["metricLabelsAllowlist"])
    assert "aicloud.dev/team" in labels
    assert "app.kubernetes.io/instance" in labels


def test_gpus_tell_the_same_on_both_clouds() -> None:
    found = releases(default("aws"))["gpu-operator"].inputs["values"]["dcgmExporter"]
    ours = releases(default("gcp"))["dcgm-exporter"].inputs["values"]
    assert found["config"]["data"] == ours["customMetrics"] == dcgm.counters()
    assert found["serviceMonitor"] == ours["serviceMonitor"]
    assert found["serviceMonitor"]["honorLabels"] is True
    for line in dcgm.counters().splitlines():
        field, kind, meaning = line.split(", ", 2)
        assert field.startswith(("DCGM_FI_DEV_", "DCGM_FI_PROF_"))
        assert kind in ("gauge", "counter")
        assert "," not in meaning, "the exporter reads three columns"
    exported = (ROOT / "tests/fixtures/exported_metrics/dcgm-exporter.txt").read_text()
    assert set(re.findall(r"^(DCGM_\w+):", exported, re.MULTILINE)) <= set(dcgm.COUNTERS), (
        "what rules go by is asked for"
    )
    assert "dcgm-exporter" not in releases(plan_with("gcp", node_pools=[system_pool()])), "no GPUs, nothing to tell"
    (cluster,) = default("gcp").of_type("gcp:container/cluster:Cluster")
    assert "DCGM" not in cluster.inputs["monitoringConfig"]["enableComponents"], "two would compete for the counters"


def _namespace(plan: Plan, release: dict[str, Any]) -> str:
    """Unknown before the namespace is there; it is called as its input says."""
    assert release["namespace"] in (UNKNOWN, "monitoring")
    return objects(plan, "Namespace")["monitoring"].inputs["metadata"]["name"]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_envoy_gateway_comes_with_pools_that_serve_and_is_the_only_one(cloud: str) -> None:
    assert "gateway-helm" not in releases(plan_with(cloud, node_pools=[TRAIN]))
    plan = default(cloud)
    release = releases(plan)["gateway-helm"]
    values = release.inputs["values"]
    assert values["config"]["envoyGateway"]["provider"]["kubernetes"]["deploy"] == {"type": "GatewayNamespace"}
    assert values["deployment"]["replicas"] == 2
    assert values["podDisruptionBudget"]["maxUnavailable"] == 1
    (kind,) = objects(plan, "GatewayClass").values()
    assert release.urn in kind.dependencies
    assert kind.inputs["spec"]["controllerName"] == values["config"]["envoyGateway"]["gateway"]["controllerName"]
    for cluster in plan.of_type("gcp:container/cluster:Cluster"):
        assert cluster.inputs["gatewayApiConfig"] == {"channel": "CHANNEL_DISABLED"}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_default_storage_class_is_encrypted(cloud: str) -> None:
    (storage,) = default(cloud).of_type("kubernetes:storage.k8s.io/v1:StorageClass")
    assert storage.inputs["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
    key = {"aws": "kmsKeyId", "gcp": "disk-encryption-kms-key"}[cloud]
    assert storage.inputs["parameters"][key] == UNKNOWN
    assert storage.inputs["volumeBindingMode"] == "WaitForFirstConsumer"


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_plan_is_the_same_twice(cloud: str) -> None:
    assert plan_with(cloud).to_json() == default(cloud).to_json()


@pytest.mark.parametrize("cloud", CLOUDS)
def test_protection_reaches_the_cluster_and_its_key(cloud: str) -> None:
    stateful = {"aws": ("aws:eks/cluster:Cluster", "aws:kms/key:Key")}.get(
        cloud, ("gcp:container/cluster:Cluster", "gcp:kms/cryptoKey:CryptoKey")
    )
    guarded, open_ = default(cloud), plan_with(cloud, protect=False)
    for kind in stateful:
        assert all(r.protect for r in guarded.of_type(kind))
        assert not any(r.protect for r in open_.of_type(kind))
    assert guarded.one(stateful[0]).inputs["deletionProtection"] is True
    assert open_.one(stateful[0]).inputs["deletionProtection"] is False


# ---- what pods see


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("pool", [SERVE, BATCH, TRAIN], ids=["shared serving", "training with fabric", "static"])
def test_every_pool_finds_its_nodes_by_the_same_labels_and_taints(cloud: str, pool: dict[str, Any]) -> None:
    plan = plan_with(cloud, node_pools=[pool])
    found: list[tuple[dict[str, str], set[str]]] = []
    for resource in plan.of_type("gcp:container/nodePool:NodePool"):
        node = resource.inputs["nodeConfig"]
        found.append((node.get("labels") or {}, {t["key"] for t in node.get("taints") or ()}))
    for resource in plan.of_type("aws:eks/nodeGroup:NodeGroup"):
        found.append((resource.inputs.get("labels") or {}, {t["key"] for t in resource.inputs.get("taints") or ()}))
    for resource in objects(plan, "NodePool").values():
        template = resource.inputs["spec"]["template"]
        found.append((template["metadata"]["labels"], {t["key"] for t in template["spec"]["taints"]}))
    nodes = [(own, taints) for own, taints in found if own.get(labels.POOL) == pool["name"]]
    assert nodes
    for own, taints in nodes:
        assert own[labels.PURPOSE] == pool["purpose"]
        assert own[labels.ACCELERATOR] == pool["accelerator"]
        assert "nvidia.com/gpu" in taints
        assert (labels.PURPOSE in taints) is (pool["purpose"] == "training")


# ---- refusals


@pytest.mark.parametrize(
    ("cloud", "changes", "message"),
    [
        ("aws", {"cluster_name": "Main_Cluster"}, "cluster_name is 'Main_Cluster'"),
        ("aws", {"kubernetes_version": "latest"}, "kubernetes_version is 'latest'"),
        ("aws", {"administrators": ["ann"]}, "administrators has 'ann'; on aws each begins with arn:"),
        ("gcp", {"administrators": ["arn:aws:iam::1:role/x"]}, "on gcp each begins with user: or group:"),
        ("aws", {"public_access_cidrs": ["0.0.0.0/0"]}, "public_access_cidrs has '0.0.0.0/0'"),
        ("aws", {"node_pools": [SERVE, SERVE]}, "2 node pools are called 'serve'"),
        ("aws", {"node_pools": [{**SERVE, "accelerator": "l44"}]}, "node_pools[0]: no accelerator 'l44', did you mean"),
        ("aws", {"node_pools": [{**SERVE, "machine_type": "p5.48xlarge"}]}, "which has h100-80gb, but accelerator is"),
        ("aws", {"region": "us-west-1", "node_pools": [{**SERVE, "machine_type": "g6.xlarge"}]}, "is not offered in"),
        ("aws", {"node_pools": [SERVE, {**BATCH, "ladder": [{"kind": "flex-start"}]}]}, "node_pools[1]: node pool"),
        (
            "aws",
            {
                "node_pools": [
                    {**BATCH, "min": 2, "ladder": [{"kind": "reservation", "reservations": ["cr-0a", "cr-0b"]}]}
                ]
            },
            "standing machines are launched into exactly one",
        ),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_by_name(cloud: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PreviewFailed) as refused:
        plan_with(cloud, **changes)
    assert message in str(refused.value)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_zone_that_the_network_lacks_is_refused(cloud: str) -> None:
    with pytest.raises(PreviewFailed, match=r"zones has 'mars-1a'; the network has"):
        plan_with(cloud, node_pools=[{**TRAIN, "zones": ["mars-1a"]}])


def test_an_unknown_cloud_is_refused() -> None:
    with pytest.raises(ValueError, match="GpuCluster 'main': cloud is 'azure'; accepted are 'aws' and 'gcp'"):
        GpuCluster("main", {**CLOUDS["aws"], "cloud": "azure"})  # type: ignore[typeddict-item]
