"""What changes between two plans of one environment, as data: everything that a renderer or a test may want to know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from planner.cost.model import Amount
from planner.finding import Finding
from planner.plan import Diagnostic

OPS = ("delete", "replace", "create", "update", "rename", "read")
"""Worst first. A rename touches the state only: the resource in the cloud stays as it is."""


@dataclass(frozen=True)
class Property:
    """One property that changes. Values are as a person may see them: no secrets, and no made-up ids."""

    path: str
    """Such as `scalingConfig.maxSize`, `spec.containers[triton].image` or, of a list's elements, `subnetIds[]`."""
    old: Any
    """None where there was none."""
    new: Any
    """None where it goes; `KNOWN_AFTER_APPLY` where only the cloud will tell."""
    forces: str = ""
    """`replace`: Pulumi replaces the resource because of it; `may`: the provider decides; empty: changed in place."""
    cause: str = ""
    """URN of the changed resource that the new value comes from, or empty."""


@dataclass(frozen=True)
class Loss:
    """Capacity of one purpose in one region that a change takes away, of what there is before it."""

    region: str
    purpose: str
    """serving, training, system, or empty where the plan doesn't tell."""
    accelerators: bool
    """Whether the figures count accelerators; else machines."""
    least: int
    """At the fewest machines."""
    largest: int | None
    """At the most machines; None where nothing limits them."""
    share_of_region: float | None
    """Part of what the region has at its largest, 0 to 1; None where it cannot be told."""
    share_of_all: float | None
    """Part of what the environment has at its largest."""


@dataclass(frozen=True)
class Impact:
    """What a change takes down while it is made, or for good."""

    kind: str
    """`gone` (deleted), `replaced`, `rolled` (in place, but its machines or pods are exchanged little by little) or
    `drained` (in place, but it sends no traffic any more)."""
    capacity: tuple[Loss, ...] = ()
    workloads: tuple[str, ...] = ()
    """Deployments and the like that go with it, `name in region (n pods)`."""
    traffic: tuple[str, ...] = ()
    """What traffic no longer takes, such as `an answer of inference.example.com`."""
    because: tuple[str, ...] = ()
    """Properties of which the change exchanges machines or pods."""
    resources: int = 0
    """How many other resources follow from it."""


@dataclass(frozen=True)
class Change:
    """One resource that changes."""

    op: str
    urn: str
    """In the new plan; of a deletion, in the old one."""
    type: str
    region: str
    place: str = ""
    old_urn: str = ""
    """Where an alias gave it another name before."""
    properties: tuple[Property, ...] = ()
    reasons: tuple[str, ...] = ()
    """Why it is, or may be, replaced: a sentence each."""
    may_replace: bool = False
    """Whether an update may turn out to be a replacement: the provider decides."""
    deletes_first: bool = False
    """Whether a replacement deletes the old one before there is a new one."""
    causes: tuple[str, ...] = ()
    """URNs of the changes that it follows from."""
    impact: Impact | None = None
    data: str = ""
    """What is stored in it and would be lost, or empty."""
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.urn.split("::", 3)[3]

    @property
    def kind(self) -> str:
        """`aws:eks/nodeGroup:NodeGroup` as `aws NodeGroup`."""
        return f"{self.type.partition(':')[0]} {self.type.rpartition(':')[2]}"

    @property
    def follows(self) -> bool:
        """Whether it only changes because something else does."""
        return bool(self.causes) and all(p.cause for p in self.properties)


@dataclass(frozen=True)
class Capacity:
    """How many machines a pool may have, before and after, where that changes."""

    region: str
    cluster: str
    pool: str
    purpose: str
    accelerator: str
    """Machine types, such as `g6.xlarge`; empty where the plan doesn't tell."""
    accelerators: int
    """In each machine."""
    old: tuple[int, int | None]
    """Fewest and most machines; (0, 0) where there was no such pool."""
    new: tuple[int, int | None]


@dataclass(frozen=True)
class Cost:
    """US dollars a month, before and after."""

    old: Amount
    new: Amount
    regions: Mapping[str, Amount]
    """Region -> difference, where there is one."""
    unpriced: tuple[str, ...] = ()
    """Names of created resources that cost money and nobody knows how much."""

    @property
    def delta(self) -> Amount:
        """What it costs more, or less."""
        return self.new - self.old


@dataclass(frozen=True)
class Comparison:
    """What changes in one environment."""

    environment: str
    changes: tuple[Change, ...] = ()
    """Worst first."""
    blocking: tuple[Finding, ...] = ()
    """What is wrong with the change itself, such as a protected resource that would have to go."""
    capacity: tuple[Capacity, ...] = ()
    new_findings: tuple[Finding, ...] = ()
    fixed_findings: tuple[Finding, ...] = ()
    kept_findings: tuple[Finding, ...] = ()
    """Findings that were there before and still are."""
    cost: Cost | None = None
    diagnostics: tuple[Diagnostic, ...] = ()
    """Errors of the preview of the new side: then the change is not whole."""
    notes: tuple[str, ...] = ()
    decided_by: str = "planner"
    """`planner`, or `pulumi` where its own preview says what is created, updated, replaced and deleted."""

    @property
    def counts(self) -> Counter[str]:
        """Changes by op."""
        return Counter(change.op for change in self.changes)

    @property
    def errors(self) -> int:
        """What stops this change from being merged: its own errors, new findings that are, and a failed preview."""
        found = (*self.blocking, *self.new_findings)
        return sum(finding.severity == "error" for finding in found) + len(self.diagnostics)

    @property
    def may_replace(self) -> int:
        """Updates that may turn out to be replacements."""
        return sum(change.may_replace and change.op == "update" for change in self.changes)

    def of(self, *ops: str) -> list[Change]:
        """Changes of these ops."""
        return [change for change in self.changes if change.op in ops]


@dataclass(frozen=True)
class Report:
    """What changes in every environment that was compared."""

    base: str
    """What the old side is, such as `main at 1a2b3c4`."""
    head: str
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()

    @property
    def errors(self) -> int:
        """Of all environments."""
        return sum(comparison.errors for comparison in self.comparisons)
