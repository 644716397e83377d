"""GpuCluster on EKS: a private cluster, machines that stand, and Karpenter for the rest."""

from __future__ import annotations

import base64
import json

import yaml

from components import labels
from components.cluster.karpenter_policy import controller_policy
from planner.plan import UNKNOWN
from tests.components.clusters import AWS, default, depends, objects, plan_with, releases


def test_eks_is_private_encrypted_logged_and_in_api_mode() -> None:
    cluster = default("aws").one("aws:eks/cluster:Cluster").inputs
    assert cluster["vpcConfig"]["endpointPrivateAccess"] is True
    assert cluster["vpcConfig"]["endpointPublicAccess"] is False
    assert cluster["accessConfig"]["authenticationMode"] == "API"
    assert len(cluster["enabledClusterLogTypes"]) == 5
    assert cluster["encryptionConfig"]["resources"] == ["secrets"]
    assert cluster["bootstrapSelfManagedAddons"] is False
    assert cluster["region"] == "us-west-2"
    logs = default("aws").one("aws:cloudwatch/logGroup:LogGroup").inputs
    assert logs["name"] == "/aws/eks/main/cluster"
    assert logs["retentionInDays"] == 30
    assert logs["kmsKeyId"] == UNKNOWN
    key = default("aws").one("aws:kms/key:Key").inputs
    assert key["enableKeyRotation"] is True
    via = next(s for s in json.loads(key["policy"])["Statement"] if s["Sid"] == "VolumesThroughEc2")
    assert via["Condition"]["StringEquals"]["kms:ViaService"] == "ec2.us-west-2.amazonaws.com"


def test_eks_opens_its_endpoint_only_to_given_networks() -> None:
    vpc = plan_with("aws", public_access_cidrs=["203.0.113.0/24"]).one("aws:eks/cluster:Cluster").inputs["vpcConfig"]
    assert vpc["endpointPublicAccess"] is True
    assert vpc["publicAccessCidrs"] == ["203.0.113.0/24"]
    assert vpc["endpointPrivateAccess"] is True


def test_eks_administrators_and_nodes_have_access_entries() -> None:
    entries = {e.inputs["principalArn"]: e.inputs.get("type") for e in default("aws").of_type(
        "aws:eks/accessEntry:AccessEntry")}  # fmt: skip
    assert entries["arn:aws:iam::123456789012:role/admin"] is None
    assert entries[UNKNOWN] == "EC2_LINUX"
    association = default("aws").one("aws:eks/accessPolicyAssociation:AccessPolicyAssociation").inputs
    assert association["policyArn"].endswith("AmazonEKSClusterAdminPolicy")


def test_eks_addons_come_before_or_after_the_nodes_as_they_need() -> None:
    plan = default("aws")
    addons = {a.inputs["addonName"]: a for a in plan.of_type("aws:eks/addon:Addon")}
    system = plan.one("aws:eks/nodeGroup:NodeGroup", "main-nodes-system")
    for name in ("vpc-cni", "kube-proxy", "eks-pod-identity-agent"):
        assert depends(plan, system, addons[name]), name
    for name in ("coredns", "aws-ebs-csi-driver", "aws-efs-csi-driver", "aws-fsx-csi-driver"):
        assert depends(plan, addons[name], system), name
    assert (
        addons["aws-ebs-csi-driver"].inputs["podIdentityAssociations"][0]["serviceAccount"] == "ebs-csi-controller-sa"
    )


def test_pods_live_in_the_pod_subnets_and_network_policies_hold() -> None:
    plan = plan_with("aws", simulate_up=True)
    addons = {a.inputs["addonName"]: a for a in plan.of_type("aws:eks/addon:Addon")}
    settings = json.loads(addons["vpc-cni"].inputs["configurationValues"])
    subnets = settings["eniConfig"]["subnets"]
    assert {zone: s["id"] for zone, s in subnets.items()} == dict(zip(AWS["zones"], AWS["pod_subnet_ids"], strict=True))
    assert all(s["securityGroups"][0].startswith("sg-") for s in subnets.values())
    assert settings["enableNetworkPolicy"] == "true"
    assert settings["env"]["AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG"] == "true"
    assert releases(plan)["karpenter"].inputs["values"]["settings"]["reservedENIs"] == "1"


def test_every_launch_template_has_imdsv2_within_a_hop_and_an_encrypted_root() -> None:
    templates = default("aws").of_type("aws:ec2/launchTemplate:LaunchTemplate")
    assert len(templates) == 4
    for template in templates:
        metadata = template.inputs["metadataOptions"]
        assert (metadata["httpTokens"], metadata["httpPutResponseHopLimit"]) == ("required", 1)
        (disk,) = template.inputs["blockDeviceMappings"]
        assert (disk["ebs"]["encrypted"], disk["ebs"]["volumeType"]) == ("true", "gp3")
        assert disk["ebs"]["kmsKeyId"] == UNKNOWN


def test_a_floor_is_a_node_group_that_nothing_can_shrink() -> None:
    group = default("aws").one("aws:eks/nodeGroup:NodeGroup", "main-nodes-serve-on-demand").inputs
    assert group["scalingConfig"] == {"minSize": 2, "desiredSize": 2, "maxSize": 2}
    assert group["capacityType"] == "ON_DEMAND"
    assert group["amiType"] == "AL2023_x86_64_NVIDIA"
    assert group["labels"][labels.POOL] == "serve"
    assert group["taints"] == [{"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}]


def test_a_static_pool_stands_in_one_zone_and_one_placement_group_with_efa() -> None:
    plan = default("aws")
    group = plan.one("aws:eks/nodeGroup:NodeGroup", "main-nodes-train-on-demand").inputs
    assert group["subnetIds"] == ["subnet-a"]
    assert group["scalingConfig"]["minSize"] == group["scalingConfig"]["maxSize"] == 4
    template = plan.one("aws:ec2/launchTemplate:LaunchTemplate", "main-nodes-train-on-demand").inputs
    interfaces = template["networkInterfaces"]
    assert sum(i["interfaceType"] == "efa-only" for i in interfaces) == 32
    assert all("sg-fabric" in i["securityGroups"] for i in interfaces)
    assert plan.one("aws:ec2/placementGroup:PlacementGroup").inputs["strategy"] == "cluster"
    assert template["placement"]["groupName"] == UNKNOWN
    assert "strategy: RAID0" in base64.b64decode(template["userData"]).decode()
    assert not any("train-" in r.name for r in objects(plan, "NodePool").values())


def test_a_capacity_block_is_the_target_of_its_launch_template() -> None:
    plan = default("aws")
    template = plan.one("aws:ec2/launchTemplate:LaunchTemplate", "main-nodes-block-capacity-block").inputs
    assert template["instanceMarketOptions"] == {"marketType": "capacity-block"}
    target = template["capacityReservationSpecification"]["capacityReservationTarget"]
    assert target == {"capacityReservationId": "cr-0abc"}
    assert "placement" not in template
    group = plan.one("aws:eks/nodeGroup:NodeGroup", "main-nodes-block-capacity-block").inputs
    assert group["capacityType"] == "CAPACITY_BLOCK"


def test_karpenter_has_a_rung_for_each_way_to_grow_and_hears_of_every_end() -> None:
    plan = default("aws")
    pools = objects(plan, "NodePool")
    assert set(pools) == {"serve-spot", "serve-on-demand", "batch-reservation", "batch-on-demand"}
    assert set(objects(plan, "EC2NodeClass")) == set(pools)
    assert pools["serve-spot"].inputs["spec"]["weight"] > pools["serve-on-demand"].inputs["spec"]["weight"]
    fabric = objects(plan, "EC2NodeClass")["batch-on-demand"].inputs["spec"]["securityGroupSelectorTerms"]
    assert fabric == [{"id": UNKNOWN}, {"id": "sg-fabric"}]
    assert objects(plan, "EC2NodeClass")["serve-spot"].inputs["spec"]["securityGroupSelectorTerms"] == [{"id": UNKNOWN}]
    queue = plan.one("aws:sqs/queue:Queue").inputs
    assert "kmsMasterKeyId" in queue
    rules = plan.of_type("aws:cloudwatch/eventRule:EventRule")
    kinds = {json.loads(rule.inputs["eventPattern"])["detail-type"][0] for rule in rules}
    assert len(kinds) == len(plan.of_type("aws:cloudwatch/eventTarget:EventTarget")) == 4
    assert "EC2 Spot Instance Interruption Warning" in kinds
    assert releases(plan)["karpenter"].inputs["values"]["settings"]["interruptionQueue"]
    assert releases(plan)["karpenter"].inputs["skipCrds"] is True


def test_machines_go_before_karpenter_and_karpenter_before_nodes_and_its_permissions() -> None:
    plan = default("aws")
    karpenter = releases(plan)["karpenter"]
    for name, pool in objects(plan, "NodePool").items():
        node_class = objects(plan, "EC2NodeClass")[name]
        assert depends(plan, pool, node_class)
        assert depends(plan, node_class, karpenter)
        assert pool.inputs["metadata"]["annotations"]["pulumi.com/deletionPropagationPolicy"] == "foreground"
        assert pool.custom_timeouts
    for earlier in (
        plan.one("aws:eks/nodeGroup:NodeGroup", "main-nodes-system"),
        plan.one("aws:iam/rolePolicy:RolePolicy", "main-karpenter-controller-policy"),
        plan.one("aws:sqs/queuePolicy:QueuePolicy"),
        releases(plan)["karpenter-crd"],
    ):
        assert depends(plan, karpenter, earlier), earlier.name


def test_karpenter_may_not_touch_what_is_not_this_clusters() -> None:
    arns = {"node_role_arn": "arn:role", "queue_arn": "arn:queue", "key_arn": "arn:key"}
    document = controller_policy("aws", "1" * 12, "us-west-2", "main", **arns)
    assert len(json.dumps(document)) < 10_240  # IAM's limit for the inline policies of a role
    for statement in document["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not any(action.endswith("*") for action in actions)
        if any(action.startswith(("ec2:Terminate", "ec2:Delete")) for action in actions):
            assert statement["Condition"]["StringEquals"] == {"aws:ResourceTag/kubernetes.io/cluster/main": "owned"}
        if "iam:PassRole" in actions:
            assert statement["Resource"] == "arn:role"


def test_device_plugins_tolerate_training_nodes() -> None:
    found = releases(default("aws"))
    operator = found["gpu-operator"].inputs["values"]
    assert operator["driver"]["enabled"] is False
    assert {t["key"] for t in operator["daemonsets"]["tolerations"]} == {"nvidia.com/gpu", labels.PURPOSE}
    assert operator["node-feature-discovery"]["worker"]["tolerations"] == operator["daemonsets"]["tolerations"]
    shared = yaml.safe_load(operator["devicePlugin"]["config"]["data"]["serve"])
    assert shared["sharing"]["timeSlicing"]["resources"] == [{"name": "nvidia.com/gpu", "replicas": 4}]
    efa = found["aws-efa-k8s-device-plugin"].inputs["values"]
    assert efa["supportedInstanceLabels"]["values"] == ["p5.48xlarge"]
    assert labels.PURPOSE in {t["key"] for t in efa["tolerations"]}


def test_the_load_balancer_controller_only_registers_targets() -> None:
    plan = plan_with("aws", simulate_up=True)
    policy = json.loads(plan.one("aws:iam/rolePolicy:RolePolicy", "main-balancers-policy").inputs["policy"])
    actions = {action for statement in policy["Statement"] for action in statement["Action"]}
    assert "elasticloadbalancing:RegisterTargets" in actions
    assert not [action for action in actions if "Create" in action or "Delete" in action or action.endswith("*")]
    values = releases(plan)["aws-load-balancer-controller"].inputs["values"]
    assert (values["vpcId"], values["region"]) == ("vpc-1", "us-west-2")
    assert values["enableServiceMutatorWebhook"] is False


def test_prometheus_reads_karpenter_once_it_knows_of_monitors() -> None:
    plan = default("aws")
    monitor = next(r for r in plan if r.type == "kubernetes:monitoring.coreos.com/v1:ServiceMonitor")
    assert monitor.inputs["metadata"] == {"name": "karpenter", "namespace": "monitoring"}
    assert monitor.inputs["spec"]["namespaceSelector"]["matchNames"] == ["kube-system"]
    assert [endpoint["port"] for endpoint in monitor.inputs["spec"]["endpoints"]] == ["http-metrics"]
    assert any("kube-prometheus-stack" in urn for urn in monitor.dependencies)


def test_pools_without_gpu_or_fabric_bring_no_device_plugin() -> None:
    cpu = {"name": "cpu", "purpose": "serving", "min": 0, "max": 3, "ladder": [{"kind": "spot"}]}
    plan = plan_with("aws", node_pools=[cpu])
    assert not {"gpu-operator", "aws-efa-k8s-device-plugin"} & set(releases(plan))
    assert not objects(plan, "DaemonSet"), "GPUDirect is Google's"
    neuron = {**cpu, "name": "neuron", "accelerator": "trainium2", "ladder": [{"kind": "capacity-block",
              "reservations": ["cr-0a"]}]}  # fmt: skip
    assert "neuron-helm-chart" in releases(plan_with("aws", region="us-east-2", node_pools=[neuron]))
