"""The policy pack over a plan, in process: as Pulumi runs it, without Pulumi."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from planner.finding import Finding, Rule
from planner.inventory import Inventory, kserve
from planner.inventory.references import at, items
from planner.plan import Resource
from planner.rules import Rules
from policies import POLICIES
from policies.declare import Policy, Violation

RULES: tuple[Rule, ...] = tuple(policy.rule for policy in POLICIES)
"""The policies' rules."""


def findings(inventory: Inventory, rules: Rules) -> Iterator[Finding]:
    """What the policies find. Levels and exceptions are the caller's to apply (`Rules.judge`)."""
    by_type: dict[str, list[Resource]] = {}
    for resource in inventory.plan:
        # What is read, not managed, is somebody else's; Pulumi shows a pack no such resource either.
        if not resource.external:
            by_type.setdefault(resource.type, []).append(resource)
    for policy in POLICIES:
        if rules.levels.get(policy.name) == "off":
            continue
        parameters = policy.parameters(rules)
        if policy.whole:
            found = policy.of_stack(inventory, parameters)
        else:
            found = (
                violation
                for type in sorted(policy.types & by_type.keys())
                for resource in by_type[type]
                for violation in policy.of_resource(resource, parameters)
            )
        for violation in _and_combined(policy, found, inventory, parameters):
            yield policy.rule.finding(violation.message, violation.resource, subject=violation.subject)


_POD = "kubernetes:core/v1:Pod"
_RUNTIMES = tuple(f"kubernetes:serving.kserve.io/v1alpha1:{kind}" for kind in kserve.RUNTIMES)


def _and_combined(
    policy: Policy, found: Iterable[Violation], inventory: Inventory, parameters: Mapping[str, Any]
) -> Iterator[Violation]:
    """What was found, and what is wrong with the pods of InferenceServices as they will be.

    Neither they nor their runtimes are whole pods by themselves. What is told of one of the two is not told again.
    """
    told: set[str] = set()
    for violation in found:
        if violation.resource is not None:
            told.add(violation.resource.urn)
        yield violation
    if policy.whole or _POD not in policy.types:
        return
    for workload in inventory.workloads:
        if workload.kind != kserve.KIND:
            continue
        service = inventory.plan.by_urn[workload.urn]
        runtimes = inventory.references(service, "spec.predictor.model.runtime", *_RUNTIMES)
        if told.intersection((service.urn, *(one.urn for one in runtimes))):
            continue
        # What Knative puts beside a server is Knative's own.
        own = [one for one in items(workload.spec, "containers") if at(one, "name") != kserve.QUEUE]
        pod = {
            "metadata": {"labels": workload.labels, "annotations": workload.annotations},
            "spec": {**workload.spec, "containers": own},
        }
        for violation in policy.of_resource(replace(service, type=_POD, inputs=pod), parameters):
            yield Violation(violation.message, service, f"{workload.part} {violation.subject}".strip())
