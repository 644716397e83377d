"""The front door: from each DNS name to the pods that finally answer, region by region, and what would fail over where.

    FrontDoor  inference.example.com
      Answer     one Route 53 record: policy, weight, health check
        Entry      a Global Accelerator, a Google load balancer, or a load balancer that the record names itself
          Target     one region's (or zone's) share: weight, dial, the Services and workloads behind it

What it takes to be healthy and what happens when nothing is, `planner.checks.survivors` knows.
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_WEIGHT = 128
"""Of an endpoint that says none.
https://docs.aws.amazon.com/global-accelerator/latest/dg/about-endpoints-endpoint-weights.html"""


@dataclass(frozen=True)
class Target:
    """What takes the requests in one region: a load balancer, or a network endpoint group of one zone."""

    urn: str
    """Of the load balancer or, for groups that GKE makes, of the Service; empty where the plan has neither."""
    region: str
    """Such as `aws:us-east-1`."""
    zone: str = ""
    """Where it is of one zone."""
    weight: int = DEFAULT_WEIGHT
    """Share within its group; 0: gets nothing, not even when others fail."""
    dial: float = 100.0
    """Percent of the requests nearest to it that may come to it. An accelerator ignores it when others fail."""
    health_checked: bool = True
    """Whether the entry would find out that nothing behind it answers."""
    services: tuple[str, ...] = ()
    """URNs of the Kubernetes Services behind it; of what makes them, where that is a gateway."""
    workloads: tuple[str, ...] = ()
    """URNs of the workloads that finally answer: those that the Services select, or a gateway's routes lead to."""
    proxies: tuple[str, ...] = ()
    """URNs of the gateways' proxies in between; empty without a gateway."""
    group: str = ""
    """URN of the resource that names it and sets its share: endpoint group or backend service."""

    @property
    def drained(self) -> bool:
        """Whether it gets nothing whatever happens. A dial of 0 alone doesn't do that on an accelerator."""
        return self.weight == 0


@dataclass(frozen=True)
class Entry:
    """Where requests come in: one set of addresses."""

    urn: str
    kind: str
    """`accelerator`, `google` or `load-balancer`."""
    targets: tuple[Target, ...]
    groups: tuple[str, ...] = ()
    """URNs of an accelerator's endpoint groups, also of those without an endpoint; of Google's backend services."""

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions that it can send requests to, each once."""
        return tuple(dict.fromkeys(target.region for target in self.targets))


@dataclass(frozen=True)
class Answer:
    """A DNS record: one of the things that the name may resolve to."""

    urn: str
    policy: str
    """simple, latency, weighted, failover, geolocation, multivalue, …"""
    key: str = ""
    """What the policy asks: the AWS region of a latency record, PRIMARY or SECONDARY of a failover record."""
    weight: int | None = None
    """Of a weighted record."""
    set_identifier: str = ""
    health_check: str = ""
    """URN of its health check, or its id where the plan has none; empty without one."""
    asks: str = ""
    """URN of the entry that its health check asks; empty where there is none or it asks something else."""
    evaluates_target: bool = False
    """Whether an alias is as healthy as what it names."""
    entry: Entry | None = None
    """None where the plan doesn't tell what it names."""
    alias_of: str = ""
    """Another name of the same zone that it is an alias of."""


@dataclass(frozen=True)
class FrontDoor:
    """A name that clients ask for, and all that may answer; without a name where no record leads to an entry."""

    name: str
    answers: tuple[Answer, ...]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All entries behind the name, each once."""
        return tuple({answer.entry.urn: answer.entry for answer in self.answers if answer.entry}.values())

    @property
    def targets(self) -> tuple[Target, ...]:
        """All targets behind the name."""
        return tuple(target for entry in self.entries for target in entry.targets)

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions that may answer, each once."""
        return tuple(dict.fromkeys(target.region for target in self.targets))
