"""What flows between the boxes: requests, models, training data, second copies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import replace

from planner.diagram.clusters import PURPOSES, group_id, trains, workload_id
from planner.diagram.picture import Flow
from planner.diagram.services import model_flows
from planner.diagram.tiers import Store, read_by
from planner.inventory.front_door_model import FrontDoor, Target
from planner.inventory.inventory import Inventory
from planner.inventory.model import Workload
from planner.inventory.references import mapping

CLIENTS = "clients"
_VOLUME = "kubernetes:core/v1:PersistentVolume"


def flows(
    inventory: Inventory, doors: Iterable[FrontDoor], stores: Mapping[str, Store], there: Set[str]
) -> tuple[Flow, ...]:
    """Every flow between two boxes that are `there`, each once."""
    found = [
        *_requests(inventory, doors, there),
        *_storage(inventory, stores),
        *model_flows(inventory, stores, there),
    ]
    found = [flow for flow in found if flow.source in there and flow.target in there]
    return _gathered(found, {workload_id(one): group_id(one) for one in inventory.workloads}, there)


def _gathered(found: Iterable[Flow], groups: Mapping[str, str], there: Set[str]) -> tuple[Flow, ...]:
    """Each flow once; what goes from one box to several workloads of a group goes to the group, as one."""
    together: dict[Flow, set[str]] = {}
    for flow in found:
        together.setdefault(replace(flow, target=groups.get(flow.target, "")), set()).add(flow.target)
    gathered = {flow: flow.target in there and len(targets) > 1 for flow, targets in together.items()}
    each = (
        (to_group if gathered[to_group] else flow)
        for flow in found
        for to_group in [replace(flow, target=groups.get(flow.target, ""))]
    )
    return tuple(dict.fromkeys(each))


def name_id(index: int) -> str:
    """Id of the box of the front door's n-th name."""
    return f"name:{index}"


def endpoint_id(target: Target) -> str:
    """Id of the box of what takes a region's requests."""
    return f"endpoint:{target.urn or target.group}:{target.region}"


def gateway_id(urn: str) -> str:
    """Id of the box of a gateway's proxies, which have this URN."""
    return f"gateway:{urn}"


def _requests(inventory: Inventory, doors: Iterable[FrontDoor], there: Set[str]) -> Iterator[Flow]:
    workloads: dict[str, list[Workload]] = {}
    for workload in inventory.workloads:
        workloads.setdefault(workload.urn, []).append(workload)
    for index, door in enumerate(doors):
        yield Flow(CLIENTS, name_id(index), "requests")
        for entry in door.entries:
            # A load balancer that a name leads to by itself stands in its region: there is no box in between.
            direct = entry.urn not in there
            if not direct:
                yield Flow(name_id(index), entry.urn, "requests")
            for target in entry.targets:
                yield Flow(name_id(index) if direct else entry.urn, endpoint_id(target), "requests")
                gateways = [gateway_id(urn) for urn in target.proxies]
                yield from (Flow(endpoint_id(target), gateway, "requests") for gateway in gateways)
                for workload in (one for urn in target.workloads for one in workloads.get(urn, ())):
                    for source in gateways or [endpoint_id(target)]:
                        yield Flow(source, workload_id(workload), "requests")


def _storage(inventory: Inventory, stores: Mapping[str, Store]) -> Iterator[Flow]:
    for store in stores.values():
        yield from (Flow(source, store.urn, "replication") for source in store.copy_of)
        yield from (Flow(source, store.urn, "data") for source in store.fed_by)
    for workload in inventory.workloads:
        for urn in read_by(inventory, inventory.plan.by_urn[workload.urn], stores):
            models = stores[urn].tier == "cold" and not trains(workload)
            yield Flow(urn, workload_id(workload), "models" if models else "data")
    # A bucket that fills a file system reaches the pods through it; the mount beside it is not drawn.
    through = {urn for store in stores.values() for urn in store.fed_by}
    for volume in inventory.plan.of_type(_VOLUME):
        namespace = mapping(volume.inputs, "spec.claimRef").get("namespace")
        purpose = namespace if namespace in PURPOSES else "training"
        group = f"group:{purpose}:{inventory.cluster_of(volume)}"
        for urn in read_by(inventory, volume, stores):
            if urn not in through:
                yield Flow(urn, group, "data")
