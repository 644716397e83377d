"""The Inventory of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from planner.inventory.model import Cluster, Workload
from planner.plan import Plan, Resource
from planner.regions import regions


class Inventory:
    """A plan, and what it amounts to. Everything is read when it is first asked for, and once."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @cached_property
    def regions(self) -> Mapping[str, str]:
        """URN -> `aws:us-east-1`, `gcp:europe-west4` or `global`."""
        return regions(self.plan)

    def references(self, resource: Resource, path: str, *types: str) -> list[Resource]:
        """The resources of these types that a property names, such as ("launchTemplate.id", LAUNCH_TEMPLATE).

        By id, ARN, name, selfLink or URL where the plan knows the value; else by what the property depends on.
        """
        raise NotImplementedError

    @cached_property
    def clusters(self) -> tuple[Cluster, ...]:
        """Every Kubernetes cluster with its pools."""
        raise NotImplementedError

    @cached_property
    def workloads(self) -> tuple[Workload, ...]:
        """Every pod template: of Deployments, Jobs and the like, and of custom resources."""
        raise NotImplementedError
