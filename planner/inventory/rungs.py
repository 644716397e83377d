"""Groups of machines, read from an EKS node group, a Karpenter NodePool or a GKE node pool."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from components.labels import POOL
from planner.inventory.model import CATALOG, Rung, Taint
from planner.inventory.references import at, items, mapping
from planner.plan import UNKNOWN, Resource

CAPACITY = "aicloud.dev/capacity"
"""Label: the kind of the rung, as components.cluster.ladder writes it."""

LAUNCH_TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
SUBNET = "aws:ec2/subnet:Subnet"
NODE_CLASS = "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"
EKS_NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
KARPENTER_POOL = "kubernetes:karpenter.sh/v1:NodePool"
GKE_NODE_POOL = "gcp:container/nodePool:NodePool"
COMPUTE_CLASS = "kubernetes:cloud.google.com/v1:ComputeClass"
GCP_NETWORK = "gcp:compute/network:Network"
RELEASE = "kubernetes:helm.sh/v3:Release"

STANDING = 1000
"""Weight of a group that is of fixed size: its machines are there before any is asked for."""

Find = Callable[..., list[Resource]]
"""`Inventory.references`."""

_WELL_KNOWN = re.compile(r"([a-z0-9.-]*\.)?(kubernetes\.io|k8s\.io|karpenter\.sh|karpenter\.k8s\.aws)/").match
"""Labels that say which machines a NodePool wants, not what to call them."""
_EFFECTS = {"NO_SCHEDULE": "NoSchedule", "PREFER_NO_SCHEDULE": "PreferNoSchedule", "NO_EXECUTE": "NoExecute"}


def eks_node_group(resource: Resource, region: str, cluster: str, find: Find, shared: Mapping[str, int]) -> Rung:
    """The machines of an EKS managed node group. `shared`: device plugin configuration -> pods that share a GPU."""
    templates = find(resource, "launchTemplate", LAUNCH_TEMPLATE)
    template: Mapping[str, Any] = templates[0].inputs if templates else {}
    labels = _labels(resource.inputs.get("labels"))
    scaling = mapping(resource.inputs, "scalingConfig")
    reservation = _known(
        at(template, "capacityReservationSpecification.capacityReservationTarget.capacityReservationId")
    )
    capacity = _known(resource.inputs.get("capacityType")) or "ON_DEMAND"
    kind = {"SPOT": "spot", "CAPACITY_BLOCK": "capacity-block"}.get(
        capacity, "reservation" if reservation else "on-demand"
    )
    disks = [mapping(item, "ebs") for item in items(template, "blockDeviceMappings")]
    types = [t for t in items(resource.inputs, "instanceTypes") if _known(t)] or [_known(template.get("instanceType"))]
    fewest = _count(scaling.get("minSize"), 1)
    return Rung(
        urn=resource.urn,
        name=_known(resource.inputs.get("nodeGroupName")) or resource.name,
        manager="eks",
        kind=labels.get(CAPACITY, kind),
        region=region,
        cluster=cluster,
        pool=labels.get(POOL, resource.name),
        machine_types=tuple(name for name in types if name),
        zones=_zones(find(resource, "subnetIds", SUBNET)),
        min=fewest,
        max=_count(scaling.get("maxSize"), fewest),
        labels=labels,
        taints=_taints(items(resource.inputs, "taints")),
        reservations=(reservation,) if reservation else (),
        disk_gib=_size(disks[0].get("volumeSize")) if disks else _size(resource.inputs.get("diskSize")),
        disk_type=_known(disks[0].get("volumeType")) if disks else "",
        image=_known(resource.inputs.get("amiType")),
        mig_profile=_mig(labels),
        gpu_replicas=shared.get(labels.get("nvidia.com/device-plugin.config", ""), 1),
        local_nvme_raid=_strategy_raid0(template.get("userData")),
        fabric_interfaces=_efa(items(template, "networkInterfaces")),
        placement_group=_known(at(template, "placement.groupName")),
        weight=STANDING,
    )  # fmt: skip


def karpenter_pool(resource: Resource, region: str, cluster: str, find: Find, shared: Mapping[str, int]) -> Rung:
    """The machines that Karpenter may start for a NodePool."""
    spec = mapping(resource.inputs, "spec")
    template = mapping(spec, "template")
    labels = _labels(at(template, "metadata.labels"))
    wanted = {
        str(requirement.get("key")): [v for v in items(requirement, "values") if _known(v)]
        for requirement in items(template, "spec.requirements")
        if isinstance(requirement, Mapping) and requirement.get("operator") == "In"
    }
    # A node also bears the labels that its pool requires; which value of several it gets, nobody knows before.
    own = {key: values[0] if len(values) == 1 else "" for key, values in wanted.items() if not _WELL_KNOWN(key)}
    labels = {**own, **labels}
    classes = find(resource, "spec.template.spec.nodeClassRef.name", NODE_CLASS)
    node_class = mapping(classes[0].inputs, "spec") if classes else {}
    disks = [mapping(item, "ebs") for item in items(node_class, "blockDeviceMappings")]
    reservations = tuple(
        term["id"]
        for term in items(node_class, "capacityReservationSelectorTerms")
        if isinstance(term, Mapping) and _known(term.get("id"))
    )
    types = tuple(wanted.get("node.kubernetes.io/instance-type", ()))
    zones = tuple(wanted.get("topology.kubernetes.io/zone", ()))
    if not zones and classes:
        zones = _zones(find(classes[0], "spec.subnetSelectorTerms", SUBNET))
    capacities = wanted.get("karpenter.sh/capacity-type", ["on-demand"])
    blocks = wanted.get("karpenter.k8s.aws/capacity-reservation-type", [])
    kind = "capacity-block" if "capacity-block" in blocks else "reservation" if "reserved" in capacities else ""
    kind = kind or ("spot" if "spot" in capacities else "on-demand")
    aliases = [_known(at(term, "alias")) for term in items(node_class, "amiSelectorTerms")]
    return Rung(
        urn=resource.urn,
        name=_known(at(resource.inputs, "metadata.name")) or resource.name,
        manager="karpenter",
        kind=labels.get(CAPACITY, kind),
        region=region,
        cluster=cluster,
        pool=labels.get(POOL, _known(at(resource.inputs, "metadata.name")) or resource.name),
        machine_types=types,
        zones=zones,
        min=_count(spec.get("replicas"), 0),
        max=_limit(mapping(spec, "limits"), types),
        labels=labels,
        taints=_taints(items(template, "spec.taints")),
        reservations=reservations,
        disk_gib=_size(disks[0].get("volumeSize")) if disks else None,
        disk_type=_known(disks[0].get("volumeType")) if disks else "",
        image=next((alias for alias in aliases if alias), ""),
        mig_profile=_mig(labels),
        gpu_replicas=shared.get(labels.get("nvidia.com/device-plugin.config", ""), 1),
        local_nvme_raid=node_class.get("instanceStorePolicy") == "RAID0",
        fabric_interfaces=_efa(items(node_class, "networkInterfaces")),
        max_pods=_count(at(node_class, "kubelet.maxPods"), 0) or None,
        weight=_count(spec.get("weight"), 0),
    )


def gke_node_pool(resource: Resource, region: str, cluster: str, find: Find, order: Mapping[str, int]) -> Rung:
    """The machines of a GKE node pool. `order`: name of the node pool -> its place in its ComputeClass, from 0."""
    config = mapping(resource.inputs, "nodeConfig")
    labels = _labels(config.get("labels"))
    zones = tuple(zone for zone in items(resource.inputs, "nodeLocations") if _known(zone))
    fewest, most = _gke_size(resource.inputs, max(1, len(zones)))
    reservations = tuple(
        value for value in items(config, "reservationAffinity.values") if _known(value)
    )  # fmt: skip
    accelerators = [item for item in items(config, "guestAccelerators") if isinstance(item, Mapping)]
    sharing = mapping(accelerators[0], "gpuSharingConfig") if accelerators else {}
    networks = items(resource.inputs, "networkConfig.additionalNodeNetworkConfigs")
    networks = networks or find(resource, "networkConfig.additionalNodeNetworkConfigs", GCP_NETWORK)
    name = _known(resource.inputs.get("name")) or resource.name
    flexible = bool(config.get("flexStart")) or bool(at(resource.inputs, "queuedProvisioning.enabled"))
    spot = bool(config.get("spot")) or bool(config.get("preemptible"))
    kind = "spot" if spot else "flex-start" if flexible else "reservation" if reservations else "on-demand"
    return Rung(
        urn=resource.urn,
        name=name,
        manager="gke",
        kind=kind,
        region=region,
        cluster=cluster,
        pool=labels.get(POOL, name),
        machine_types=tuple(filter(None, [_known(config.get("machineType"))])),
        zones=zones,
        min=fewest,
        max=most,
        labels=labels,
        taints=_taints(items(config, "taints")),
        reservations=reservations,
        disk_gib=_size(config.get("diskSizeGb")),
        disk_type=_known(config.get("diskType")),
        image=_known(config.get("imageType")),
        mig_profile=_known(at(accelerators[0], "gpuPartitionSize")) if accelerators else "",
        gpu_replicas=_count(sharing.get("maxSharedClientsPerGpu"), 1),
        local_nvme_raid=bool(mapping(config, "ephemeralStorageLocalSsdConfig")),
        fabric_interfaces=len(networks),
        placement_group=_known(at(resource.inputs, "placementPolicy.policyName")),
        max_pods=_count(resource.inputs.get("maxPodsPerNode"), 0) or None,
        weight=STANDING - order[name] if name in order else 0,
    )  # fmt: skip


def time_slicing(release: Resource) -> dict[str, int]:
    """Name of a device plugin configuration -> pods that share a GPU, out of the GPU operator's chart values.

    https://docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/gpu-sharing.html
    """
    found = {}
    for name, text in mapping(release.inputs, "values.devicePlugin.config.data").items():
        try:
            config = yaml.safe_load(text) if isinstance(text, str) else None
        except yaml.YAMLError:
            continue
        replicas = [_count(at(one, "replicas"), 1) for one in items(config, "sharing.timeSlicing.resources")]
        found[name] = max(replicas, default=1)
    return found


def compute_class_order(compute_class: Resource) -> dict[str, int]:
    """Name of a GKE node pool -> its place in the ladder of a ComputeClass, from 0."""
    names = [name for rule in items(compute_class.inputs, "spec.priorities") for name in items(rule, "nodepools")]
    return {name: place for place, name in enumerate(names) if isinstance(name, str)}


def _gke_size(inputs: Mapping[str, Any], zones: int) -> tuple[int, int | None]:
    scaling = mapping(inputs, "autoscaling")
    if scaling:
        if "totalMaxNodeCount" in scaling:
            return _count(scaling.get("totalMinNodeCount"), 0), _count(scaling["totalMaxNodeCount"], 0)
        most = scaling.get("maxNodeCount")
        return zones * _count(scaling.get("minNodeCount"), 0), zones * _count(most, 0) if most is not None else None
    count = zones * _count(inputs.get("nodeCount", inputs.get("initialNodeCount")), 1)
    return count, count


def _limit(limits: Mapping[str, Any], types: tuple[str, ...]) -> int | None:
    """Most machines under a NodePool's limits: what it says of nodes, or what its CPUs amount to."""
    if "nodes" in limits:
        return _count(limits["nodes"], 0)
    machines = [CATALOG[("aws", name)] for name in types if ("aws", name) in CATALOG]
    cpus = _count(limits.get("cpu"), 0)
    return cpus // min(machine.vcpus for machine in machines) if machines and cpus else None


def _zones(subnets: list[Resource]) -> tuple[str, ...]:
    return tuple(sorted({zone for subnet in subnets if (zone := _known(subnet.inputs.get("availabilityZone")))}))


def _taints(raw: list[Any]) -> tuple[Taint, ...]:
    return tuple(
        Taint(
            _known(t.get("key")), _known(t.get("value")), _EFFECTS.get(_known(t.get("effect")), _known(t.get("effect")))
        )
        for t in raw
        if isinstance(t, Mapping)
    )


def _labels(value: Any) -> dict[str, str]:
    return {key: _known(item) for key, item in value.items()} if isinstance(value, Mapping) else {}


def _mig(labels: Mapping[str, str]) -> str:
    """`nvidia.com/mig.config: all-1g.10gb` -> `1g.10gb`."""
    return labels.get("nvidia.com/mig.config", "").removeprefix("all-").removesuffix("disabled")


def _strategy_raid0(user_data: Any) -> bool:
    """Whether a node's (base64) NodeConfig makes one RAID0 of the machine's own disks, `localStorage.strategy: RAID0`.

    https://awslabs.github.io/amazon-eks-ami/nodeadm/doc/api/
    """
    try:
        text = base64.b64decode(_known(user_data), validate=True).decode("utf-8", "replace")
    except ValueError:
        text = _known(user_data)
    return "localStorage" in text and "RAID0" in text


def _efa(interfaces: list[Any]) -> int:
    return sum(1 for one in interfaces if isinstance(one, Mapping) and str(one.get("interfaceType")).startswith("efa"))


def _size(value: Any) -> int | None:
    """GiB of a disk, `200` or `200Gi`."""
    if isinstance(value, str):
        value = value.removesuffix("Gi").removesuffix("G")
    return _count(value, 0) or None


def _count(value: Any, default: int) -> int:
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


def _known(value: Any) -> str:
    return value if isinstance(value, str) and UNKNOWN not in value else ""
