"""What somebody could do that makes one loss take down more than itself."""

from __future__ import annotations

from tests.faults.fault import Fault, State, all_of, remove, the

RECORD = "aws:route53/record:Record"
GROUP = "aws:globalaccelerator/endpointGroup:EndpointGroup"
BACKENDS = "gcp:compute/backendService:BackendService"
SCALER = "kubernetes:keda.sh/v1alpha1:ScaledObject"
KARPENTER = "kubernetes:karpenter.sh/v1:NodePool"
NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
GKE_POOL = "gcp:container/nodePool:NodePool"


def _demand_of_europe(states: list[State]) -> None:
    """Europe runs more at least than the other AWS regions can take over at most."""
    autoscaler = the(states, SCALER, "eu-central-1-triton")["inputs"]["spec"]
    autoscaler |= {"minReplicaCount": 18, "maxReplicaCount": 20}


def _one_zone(states: list[State]) -> None:
    """Serving in Tokyo moves to the only zone that has the machines left."""
    for pool in all_of(states, KARPENTER, "ap-northeast-1-cluster-karpenter-serving"):
        pool["inputs"]["spec"]["template"]["spec"]["requirements"].append(
            {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["ap-northeast-1a"]}
        )
    group = the(states, NODE_GROUP, "ap-northeast-1-cluster-nodes-serving-l4-on-demand")
    group["inputs"]["subnetIds"] = group["inputs"]["subnetIds"][:1]


def _zones_of_gke(states: list[State]) -> None:
    """One zone too few: the reserve of a region of Google's is where the rest is."""
    for pool in all_of(states, GKE_POOL, "asia-southeast1-cluster-nodes-serving-l4"):
        pool["inputs"]["nodeLocations"] = ["asia-southeast1-a"]


def _spot_only(states: list[State]) -> None:
    """The floor goes, to save money."""
    remove(states, KARPENTER, "us-east-1-cluster-karpenter-serving-l4-on-demand")
    remove(states, NODE_GROUP, "us-east-1-cluster-nodes-serving-l4-on-demand")


def _floor_below_need(states: list[State]) -> None:
    """On-demand machines stay, but fewer than the replicas that run at least."""
    pool = the(states, GKE_POOL, "europe-west4-cluster-nodes-serving-l4-on-demand")
    pool["inputs"]["autoscaling"] |= {"totalMinNodeCount": 1, "totalMaxNodeCount": 1}


def _no_other_rung(states: list[State]) -> None:
    """Everything hangs on one rung: the other holds one machine."""
    spot = the(states, GKE_POOL, "asia-southeast1-cluster-nodes-serving-l4-spot")
    spot["inputs"]["autoscaling"]["totalMaxNodeCount"] = 1


def _no_health_check(states: list[State]) -> None:
    """The health check goes from the records of Google's entry."""
    for record in all_of(states, RECORD, "front-door-gcp-"):
        record["inputs"].pop("healthCheckId", None)


def _wrong_health_check(states: list[State]) -> None:
    """The accelerator's records get the health check of Google's entry."""
    check = the(states, "aws:route53/healthCheck:HealthCheck", "front-door-gcp")
    for record in all_of(states, RECORD, "front-door-aws-"):
        record["inputs"]["healthCheckId"] = check["id"]


def _drained_by_dial(states: list[State]) -> None:
    """Frankfurt is drained by its traffic dial, and its weight stays."""
    door = the(states, "aicloud:index:GlobalLoadBalancer")
    next(r for r in door["inputs"]["regions"] if r["region"] == "aws:eu-central-1")["drained"] = True
    remove(states, RECORD, "front-door-aws-eu-central-1")
    the(states, GROUP, "eu-central-1")["inputs"]["trafficDialPercentage"] = 0


def _drained_on_one_cloud(states: list[State]) -> None:
    """Singapore is drained, but its backends keep their capacity."""
    door = the(states, "aicloud:index:GlobalLoadBalancer")
    next(r for r in door["inputs"]["regions"] if r["region"] == "gcp:asia-southeast1")["drained"] = True


def _all_weights_zero(states: list[State]) -> None:
    """Maintenance in every region at once: all weights are 0."""
    for group in all_of(states, GROUP):
        group["inputs"]["endpointConfigurations"][0]["weight"] = 0


def _too_many_drained(states: list[State]) -> None:
    """Two of four groups are drained: with one more gone, three closest groups may have nothing."""
    first = the(states, GROUP, "eu-central-1")
    for region in ("eu-west-1", "eu-west-2"):
        copy = {**first, "urn": first["urn"].replace("eu-central-1", region), "id": f"{first['id']}-{region}"}
        endpoint = {**first["inputs"]["endpointConfigurations"][0], "weight": 0}
        copy["inputs"] = {**first["inputs"], "endpointGroupRegion": region, "endpointConfigurations": [endpoint]}
        states.append(copy)


def _standby(states: list[State]) -> None:
    """A region gets no regular share, and all of another's when that fails."""
    the(states, GROUP, "ap-northeast-1")["inputs"]["trafficDialPercentage"] = 0
    remove(states, RECORD, "front-door-aws-")


def _one_gateway(states: list[State]) -> None:
    """All zones of Frankfurt go out through the gateway of one."""
    gateway = the(states, "aws:ec2/natGateway:NatGateway", "eu-central-1-network-nat-eu-central-1a")
    for table in all_of(states, "aws:ec2/routeTable:RouteTable", "eu-central-1-network-private"):
        for route in table["inputs"]["routes"]:
            if route.get("natGatewayId"):
                route["natGatewayId"] = gateway["id"]


FAULTS: tuple[Fault, ...] = (
    Fault("one region needs more than the others hold", "prod", "serving-survives-a-region", "aws:eu-central-1",
          _demand_of_europe),
    Fault("serving in one zone only on AWS", "prod", "serving-survives-a-zone", "ap-northeast-1a", _one_zone),
    Fault("serving in one zone only on GCP", "prod", "serving-survives-a-zone", "asia-southeast1-a", _zones_of_gke),
    Fault("serving on spot alone", "prod", "serving-survives-without-spot", "us-east-1-triton", _spot_only),
    Fault("on-demand floor below the least replicas", "prod", "serving-survives-without-spot", "europe-west4-triton",
          _floor_below_need),
    Fault("one rung holds everything", "prod", "serving-survives-a-pool", "gcp:asia-southeast1/serving-l4/on-demand",
          _no_other_rung),
    Fault("records without a health check", "staging", "name-resolves-after-any-loss", "gcp:us-central1",
          _no_health_check),
    Fault("health check of the other cloud", "staging", "name-resolves-after-any-loss", "aws:us-west-2",
          _wrong_health_check),
    Fault("every endpoint has weight 0", "dev", "name-resolves-after-any-loss", "always", _all_weights_zero),
    Fault("region drained by its dial", "prod", "drain-by-weight", "aws:eu-central-1", _drained_by_dial),
    Fault("region drained on paper only", "prod", "drain-by-weight", "gcp:asia-southeast1", _drained_on_one_cloud),
    Fault("too many groups without weight", "prod", "accelerator-finds-a-healthy-group", "front-door",
          _too_many_drained),
    Fault("dial of 0 without a drain", "prod", "dial-zero-is-a-standby", "aws:ap-northeast-1", _standby),
    Fault("one NAT gateway for all zones", "prod", "egress-survives-a-zone", "eu-central-1a", _one_gateway),
)  # fmt: skip
