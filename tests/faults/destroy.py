"""What somebody could leave out, of which nothing is seen until the day on which the environment shall go."""

from __future__ import annotations

from collections.abc import Iterable

from tests.faults.fault import Fault, State, all_of, the

RELEASE = "kubernetes:helm.sh/v3:Release"
KARPENTER_POOL, NODE_CLASS = "kubernetes:karpenter.sh/v1:NodePool", "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"
BINDING = "kubernetes:elbv2.k8s.aws/v1beta1:TargetGroupBinding"
DEPLOYMENT, SERVICE = "kubernetes:apps/v1:Deployment", "kubernetes:core/v1:Service"
ADDON = "aws:eks/addon:Addon"


def forget(objects: Iterable[State], *kinds: str) -> None:
    """Take resources of some kinds (parts of their URNs) out of what others depend on."""
    for state in objects:
        state["dependencies"] = [u for u in state.get("dependencies", []) if not any(kind in u for kind in kinds)]
        for key, urns in state.get("propertyDependencies", {}).items():
            state["propertyDependencies"][key] = [u for u in urns if not any(kind in u for kind in kinds)]


def _pools_before_karpenter(states: list[State]) -> None:
    """Pools and classes are made beside the release, not after it."""
    forget([*all_of(states, KARPENTER_POOL, "us-east-1"), *all_of(states, NODE_CLASS, "us-east-1")], RELEASE)


def _karpenter_without_identity(states: list[State]) -> None:
    """The release doesn't wait for its identity."""
    releases = all_of(states, RELEASE, "us-west-2-cluster-karpenter")
    forget(releases, "podIdentityAssociation:", "rolePolicy:")


def _no_karpenter(states: list[State]) -> None:
    """Karpenter is taken out, its pools stay."""
    release = next(
        r for r in all_of(states, RELEASE, "eu-central-1-cluster-karpenter") if r["inputs"]["name"] == "karpenter"
    )
    states.remove(release)
    forget(states, release["urn"])


def _machines_without_access(states: list[State]) -> None:
    """Nothing waits for the entry that lets Karpenter's machines in."""
    forget(states, "accessEntry:AccessEntry::us-west-2-cluster-nodes-access")


def _binding_before_controller(states: list[State]) -> None:
    """Nothing of the cluster's waits for the controller that keeps the bindings."""
    forget(states, "Release::ap-northeast-1-cluster-balancers")


def _balancer_service(states: list[State]) -> None:
    """A Service gets a load balancer of its own in a cluster without the controller that it asks for."""
    release = next(r for r in all_of(states, RELEASE, "us-east-1-cluster-balancers"))
    states.remove(release)
    forget(states, release["urn"])
    the(states, SERVICE, "us-east-1-triton-service")["inputs"]["spec"] |= {
        "type": "LoadBalancer",
        "loadBalancerClass": "service.k8s.aws/nlb",
    }


def _retained_pool(states: list[State]) -> None:
    """The pool is kept on delete, so that nobody loses machines by a slip."""
    for pool in all_of(states, KARPENTER_POOL, "us-east-1-cluster-karpenter-training-h100-on-demand"):
        pool["retainOnDelete"] = True


def _deleted_with_cluster(states: list[State]) -> None:
    """To destroy faster, pools count as deleted with the cluster."""
    cluster = the(states, "aws:eks/cluster:Cluster", "us-west-2")
    for pool in all_of(states, KARPENTER_POOL, "us-west-2"):
        pool["deletedWith"] = cluster["urn"]


def _volumes_of_a_chart(states: list[State]) -> None:
    """Prometheus moves to a namespace that is everybody's."""
    for release in all_of(states, RELEASE, "europe-west4-observability-prometheus"):
        release["inputs"]["namespace"] = "kube-system"


def _driver_before_volumes(states: list[State]) -> None:
    """Nothing waits for the add-on that deletes volumes."""
    forget(states, "Addon::us-west-2-cluster-aws-ebs-csi-driver")


def _queues_before_kueue(states: list[State]) -> None:
    """Queues are made beside the release."""
    for kind in ("ClusterQueue", "ResourceFlavor", "Cohort"):
        forget(all_of(states, f"kubernetes:kueue.x-k8s.io/v1beta2:{kind}", "us-west-2"), RELEASE)
    # What a component waits for, its children outlive as well.
    forget(all_of(states, "aicloud:index:TrainingQueue", "us-west-2"), RELEASE)


def _monitor_before_definition(states: list[State]) -> None:
    """Nothing waits for the operator that brings the monitor's kind."""
    forget(states, "Release::europe-west4-cluster-addons-kube-prometheus-stack")


def _no_definition(states: list[State]) -> None:
    """The chart with Karpenter's definitions is taken out; the other one skips them."""
    release = next(r for r in all_of(states, RELEASE, "us-west-2-cluster-karpenter-crds"))
    states.remove(release)
    forget(states, release["urn"])


def _written_out_subnets(states: list[State]) -> None:
    """The load balancer's subnets are written out."""
    balancer = the(states, "aws:lb/loadBalancer:LoadBalancer", "eu-central-1")
    forget([balancer, the(states, "aicloud:index:RegionalEndpoint", "eu-central-1")], "")


def _routes_go_first(states: list[State]) -> None:
    """The subnets' outputs no longer wait for their routes."""
    forget(states, "routeTableAssociation:RouteTableAssociation::us-west-2-network-private-us-west-2b")


def _groups_in_use(states: list[State]) -> None:
    """The backends' links are put together by hand: nothing leads to the Service."""
    doors = [s for s in states if s["urn"].endswith("::front-door")]
    forget(doors, "kubernetes:", "TritonInference", "RegionalEndpoint")


def _retained_balancer(states: list[State]) -> None:
    """The load balancer is kept on delete, its subnets are not."""
    the(states, "aws:lb/loadBalancer:LoadBalancer", "us-west-2")["retainOnDelete"] = True


def _protected_only_in_the_cloud(states: list[State]) -> None:
    """Deletion protection at the load balancer, of which Pulumi knows nothing."""
    the(states, "aws:lb/loadBalancer:LoadBalancer", "us-west-2")["inputs"]["enableDeletionProtection"] = True


def _pods_after_pools(states: list[State]) -> None:
    """The model server, and the queues before it, wait for the add-ons but not for the cluster's pools."""
    forget(states, "NodePool::europe-west4-cluster-nodes-serving-l4-spot")


FAULTS: tuple[Fault, ...] = (
    Fault("pools made beside Karpenter", "prod", "controller-outlives-its-objects",
          "us-east-1-cluster-karpenter-serving", _pools_before_karpenter),
    Fault("Karpenter loses its identity first", "staging", "controller-outlives-its-objects",
          "us-west-2-cluster-karpenter-controller", _karpenter_without_identity),
    Fault("pools without Karpenter", "prod", "cloud-objects-have-a-deleter", "eu-central-1-cluster-karpenter",
          _no_karpenter),
    Fault("machines lose their access first", "staging", "controller-outlives-its-objects",
          "us-west-2-cluster-nodes-access", _machines_without_access),
    Fault("binding outlives its controller", "prod", "controller-outlives-its-objects", "ap-northeast-1-endpoint",
          _binding_before_controller),
    Fault("load balancer that nobody deletes", "dev", "cloud-objects-have-a-deleter", "us-east-1-triton-service",
          _balancer_service),
    Fault("pool retained on delete", "prod", "cloud-objects-have-a-deleter", "training-h100-on-demand", _retained_pool),
    Fault("pools deleted with their cluster", "staging", "cloud-objects-have-a-deleter", "us-west-2-cluster-karpenter",
          _deleted_with_cluster),
    Fault("volumes of a chart stay", "prod", "cloud-objects-have-a-deleter", "europe-west4-observability-prom",
          _volumes_of_a_chart),
    Fault("volumes outlive their driver", "staging", "controller-outlives-its-objects",
          "us-west-2-cluster-addons-monitoring", _driver_before_volumes),
    Fault("queues made beside Kueue", "staging", "controller-outlives-its-objects",
          "us-west-2-queue-clusterqueue", _queues_before_kueue),
    Fault("monitor before its definition", "prod", "custom-resource-after-its-definition",
          "europe-west4-triton-monitor", _monitor_before_definition),
    Fault("kinds that nothing brings", "staging", "custom-resource-after-its-definition", "us-west-2-cluster-karpenter",
          _no_definition),
    Fault("subnets written out", "prod", "network-outlives-its-users", "eu-central-1-endpoint", _written_out_subnets),
    Fault("routes go before the machines", "staging", "network-outlives-its-users",
          "us-west-2-network-private-us-west-2b", _routes_go_first),
    Fault("endpoint groups in use", "prod", "network-outlives-its-users", "front-door", _groups_in_use),
    Fault("load balancer retained in a network that goes", "staging", "network-outlives-its-users",
          "us-west-2-endpoint", _retained_balancer),
    Fault("protected in the cloud only", "staging", "protection-is-told-to-pulumi", "us-west-2-endpoint",
          _protected_only_in_the_cloud),
    Fault("pods outlive their nodes", "prod", "pods-go-before-their-nodes", "europe-west4-triton", _pods_after_pools),
)  # fmt: skip
