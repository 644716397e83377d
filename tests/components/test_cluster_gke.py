"""GpuCluster on GKE: a private cluster, a node pool a rung, and a ComputeClass that orders them."""

from __future__ import annotations

from components.cluster.gke import account_id
from planner.plan import UNKNOWN
from tests.components.clusters import FLEX, SERVE, default, depends, objects, plan_with


def test_gke_is_regional_private_and_hardened() -> None:
    cluster = default("gcp").one("gcp:container/cluster:Cluster").inputs
    assert cluster["location"] == "us-central1"
    assert cluster["privateClusterConfig"]["enablePrivateNodes"] is True
    assert cluster["privateClusterConfig"]["enablePrivateEndpoint"] is True
    assert not cluster["masterAuthorizedNetworksConfig"].get("cidrBlocks")
    assert cluster["datapathProvider"] == "ADVANCED_DATAPATH"
    assert cluster["enableShieldedNodes"] is True
    assert cluster["workloadIdentityConfig"]["workloadPool"] == "sim-project.svc.id.goog"
    assert cluster["databaseEncryption"] == {"state": "ENCRYPTED", "keyName": UNKNOWN}
    assert cluster["binaryAuthorization"]["evaluationMode"] == "PROJECT_SINGLETON_POLICY_ENFORCE"
    assert cluster["nodePoolDefaults"]["nodeConfigDefaults"]["gcfsConfig"]["enabled"] is True
    assert cluster["releaseChannel"]["channel"] == "REGULAR"
    assert cluster["maintenancePolicy"]["recurringWindow"]["recurrence"].startswith("FREQ=WEEKLY")
    assert cluster["enableMultiNetworking"] is True
    assert cluster["removeDefaultNodePool"] is True
    assert "APISERVER" in cluster["loggingConfig"]["enableComponents"]
    assert default("gcp").one("gcp:kms/cryptoKey:CryptoKey").inputs["rotationPeriod"] == "7776000s"
    assert default("gcp").one("gcp:logging/projectBucketConfig:ProjectBucketConfig").inputs["retentionDays"] == 30


def test_gke_opens_its_endpoint_only_to_given_networks() -> None:
    cluster = plan_with("gcp", public_access_cidrs=["203.0.113.0/24"]).one("gcp:container/cluster:Cluster").inputs
    assert cluster["privateClusterConfig"]["enablePrivateEndpoint"] is False
    (block,) = cluster["masterAuthorizedNetworksConfig"]["cidrBlocks"]
    assert block["cidrBlock"] == "203.0.113.0/24"


def test_gke_pools_are_encrypted_shielded_and_without_their_own_permissions() -> None:
    plan = default("gcp")
    pools = plan.of_type("gcp:container/nodePool:NodePool")
    assert len(pools) == 1 + 2 + 3 + 1  # system, serve, batch, train
    for pool in pools:
        node = pool.inputs["nodeConfig"]
        assert node["bootDiskKmsKey"] == UNKNOWN, pool.name
        assert node["shieldedInstanceConfig"]["enableSecureBoot"] is True
        assert node["workloadMetadataConfig"]["mode"] == "GKE_METADATA"
        assert node["gcfsConfig"]["enabled"] is True
        assert pool.inputs["networkConfig"]["enablePrivateNodes"] is True
    roles = {m.inputs["role"] for m in plan.of_type("gcp:projects/iAMMember:IAMMember")}
    assert roles == {
        "roles/container.defaultNodeServiceAccount",
        "roles/artifactregistry.reader",
        "roles/container.clusterViewer",
    }
    agents = {m.inputs["member"].split("@")[1] for m in plan.of_type("gcp:kms/cryptoKeyIAMMember:CryptoKeyIAMMember")}
    assert agents == {
        "container-engine-robot.iam.gserviceaccount.com",
        "compute-system.iam.gserviceaccount.com",
    }


def test_gke_auto_provisioning_never_holds_back_the_pools() -> None:
    scaling = default("gcp").one("gcp:container/cluster:Cluster").inputs["clusterAutoscaling"]
    limits = {limit["resourceType"]: limit["maximum"] for limit in scaling["resourceLimits"]}
    # serve: 8 on spot, 10 on demand; batch: 4 on each of three rungs; train: 4. Eight H100 a machine.
    assert limits["nvidia-l4"] == 18
    assert limits["nvidia-h100-80gb"] == (12 + 4) * 8
    assert limits["cpu"] > 16 * 208
    assert scaling["autoProvisioningDefaults"]["bootDiskKmsKey"] == UNKNOWN


def test_gke_static_pool_is_fixed_compact_and_in_one_zone() -> None:
    pool = default("gcp").one("gcp:container/nodePool:NodePool", "main-nodes-train-on-demand").inputs
    assert pool["nodeCount"] == 4
    assert pool["nodeLocations"] == ["us-central1-a"]
    assert pool["placementPolicy"] == {"type": "COMPACT"}
    assert "autoscaling" not in pool
    floor = default("gcp").one("gcp:container/nodePool:NodePool", "main-nodes-serve-on-demand").inputs
    assert floor["autoscaling"]["totalMinNodeCount"] == 2


def test_gke_fabric_has_its_networks_on_nodes_and_for_pods() -> None:
    plan = default("gcp")
    pool = plan.one("gcp:container/nodePool:NodePool", "main-nodes-batch-flex-start").inputs
    attached = pool["networkConfig"]["additionalNodeNetworkConfigs"]
    assert attached[0] == {
        "network": "projects/p/global/networks/g0",
        "subnetwork": "projects/p/regions/us-central1/subnetworks/g0",
    }
    networks = objects(plan, "Network")
    assert len(networks) == len(objects(plan, "GKENetworkParamSet")) == len(attached) > 0
    assert objects(plan, "GKENetworkParamSet")["gpudirect-1"].inputs["spec"]["vpc"] == "g1"


def test_gke_fabric_has_nccls_plugin_on_its_machines_and_on_no_others() -> None:
    h100 = {"a3-megagpu-8g": "tcpxo", "a3-highgpu-8g": "tcpx"}
    plan = plan_with(
        "gcp",
        node_pools=[
            SERVE,
            *({**FLEX, "name": fabric, "machine_type": machine} for machine, fabric in h100.items()),
            {
                **FLEX,
                "name": "ultra",
                "accelerator": "h200",
                "machine_type": "a3-ultragpu-8g",
                "ladder": [{"kind": "spot"}],
            },
            {**FLEX, "name": "plain", "machine_type": "a3-megagpu-8g", "fabric": False},
        ],
    )
    found = objects(plan, "DaemonSet")
    assert set(found) == {"nccl-tcpx-installer", "nccl-tcpxo-installer", "nccl-rdma-installer", "device-injector"}
    where = {}
    for name, one in found.items():
        pod = one.inputs["spec"]["template"]["spec"]
        affinity = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        (term,) = affinity["nodeSelectorTerms"]
        (match,) = term["matchExpressions"]
        assert (match["key"], match["operator"]) == ("aicloud.dev/pool", "In")
        where[name] = match["values"]
        assert pod["tolerations"] == [{"operator": "Exists"}]
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            assert ":" in container["image"].rpartition("/")[2], container["image"]
            assert container["resources"]["limits"]["memory"]
    assert where == {
        "nccl-tcpx-installer": ["tcpx"],
        "nccl-tcpxo-installer": ["tcpxo"],
        "nccl-rdma-installer": ["ultra"],
        "device-injector": ["tcpx", "tcpxo"],  # with RDMA no side container needs the GPUs
    }
    plugin = found["nccl-tcpxo-installer"].inputs["spec"]["template"]["spec"]["initContainers"][1]
    assert plugin["image"].endswith("gpudirect-tcpxo/nccl-plugin-gpudirecttcpx-dev:v1.0.15")
    assert "cp -r /var/lib/tcpxo/lib64/. /usr/local/nvidia/lib64" in plugin["args"][0]


def test_gke_compute_classes_list_rungs_in_order_and_go_before_their_pools() -> None:
    plan = default("gcp")
    classes = objects(plan, "ComputeClass")
    assert set(classes) == {"serve", "batch", "train"}
    spec = classes["batch"].inputs["spec"]
    order = [priority["nodepools"][0] for priority in spec["priorities"]]
    assert order == ["batch-reservation", "batch-flex-start", "batch-on-demand"]
    for name in order:
        assert depends(plan, classes["batch"], plan.one("gcp:container/nodePool:NodePool", f"main-nodes-{name}"))
        labelled = plan.one("gcp:container/nodePool:NodePool", f"main-nodes-{name}").inputs["nodeConfig"]["labels"]
        assert labelled["cloud.google.com/compute-class"] == "batch"


def test_gke_administrators_are_bound_in_the_cluster() -> None:
    plan = default("gcp")
    binding = plan.one("kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding").inputs
    assert {(s["kind"], s["name"]) for s in binding["subjects"]} == {
        ("Group", "ml@example.com"),
        ("User", "ann@example.com"),
    }
    groups = plan.one("gcp:container/cluster:Cluster").inputs["authenticatorGroupsConfig"]
    assert groups["securityGroup"] == "gke-security-groups@example.com"


def test_service_account_ids_fit() -> None:
    assert account_id("main") == "main-nodes"
    assert len(account_id("a" * 40)) <= 30
