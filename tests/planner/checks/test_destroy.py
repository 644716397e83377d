"""Destroy order: who outlives whom, and what stays behind where nobody does."""

from __future__ import annotations

from itertools import pairwise

import pytest

from planner.checks.destroy import RULES, findings
from planner.checks.destroy.order import Order
from planner.inventory import Inventory
from planner.plan import Plan, Resource
from planner.rules import Rules
from tests.faults.destroy import FAULTS
from tests.faults.fault import Fault, State, all_of, the

SERVICE = "kubernetes:core/v1:Service"


def found(plan: Plan) -> list:
    return list(findings(Inventory(plan), Rules()))


def after(plan: Plan, mutate) -> list:
    return found(Fault("", "", "", "", mutate).plant(plan))


def resource(name: str, *dependencies: str, **more) -> Resource:
    return Resource(urn(name), "a:b:C", dependencies=tuple(map(urn, dependencies)), **more)


def urn(name: str) -> str:
    return f"urn:pulumi:t::t::a:b:C::{name}"


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_the_fault_is_found(fault, simulated_plan):
    new = [f for f in found(fault.plant(simulated_plan(fault.environment))) if f.rule == fault.rule]
    assert any(fault.at in f.urn or fault.at in f.subject for f in new)


def test_every_rule_has_a_fault():
    assert {rule.name for rule in RULES} == {fault.rule for fault in FAULTS}


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
@pytest.mark.parametrize("known", [True, False])
def test_nothing_is_wrong_where_nothing_is(known, environment, environment_plan, simulated_plan):
    assert found((simulated_plan if known else environment_plan)(environment)) == []


# ---- order


def outlives(one: str, other: str, *resources: Resource) -> bool:
    plan = Plan.of("t", "t", resources)
    return Order(plan).outlives(plan.by_urn[urn(one)], plan.by_urn[urn(other)])


def test_what_is_depended_on_outlives():
    chain = resource("a"), resource("b", "a"), resource("c", "b"), resource("d")
    assert outlives("a", "c", *chain)
    assert not outlives("c", "a", *chain)
    assert not outlives("d", "c", *chain)
    assert not outlives("c", "d", *chain)
    assert not outlives("a", "a", *chain)


@pytest.mark.parametrize(
    "more",
    [
        {"parent": urn("a")},
        {"provider": f"{urn('a')}::id"},
        {"deleted_with": urn("a")},
        {"property_dependencies": {"x": (urn("a"),)}},
    ],
    ids=str,
)
def test_every_kind_of_dependency_counts(more):
    assert outlives("a", "b", resource("a"), resource("b", **more))


def test_chains_may_be_long_and_broken_plans_may_go_round():
    names = [f"r{index}" for index in range(5000)]
    chain = [resource("r0"), *(resource(name, before) for before, name in pairwise(names))]
    assert outlives("r0", "r4999", *chain)
    ring = resource("a", "c"), resource("b", "a"), resource("c", "b"), resource("d", "a", "nowhere")
    assert outlives("a", "d", *ring)


# ---- who deletes what


def _service(states: list[State], **spec) -> None:
    the(states, SERVICE, "triton-service")["inputs"]["spec"] |= {"type": "LoadBalancer", **spec}


def test_a_load_balancer_that_the_control_plane_makes_goes_with_its_service(simulated_plan):
    assert after(simulated_plan("dev"), _service) == []


def test_a_load_balancer_has_its_controller(simulated_plan):
    assert after(simulated_plan("dev"), lambda states: _service(states, loadBalancerClass="service.k8s.aws/nlb")) == []


def test_records_that_external_dns_makes_and_never_deletes(simulated_plan):
    def annotated(states):
        metadata = the(states, SERVICE, "triton-service")["inputs"]["metadata"]
        metadata["annotations"]["external-dns.alpha.kubernetes.io/hostname"] = "x.example.com"

    def with_policy(policy):
        def mutate(states):
            annotated(states)
            balancers = next(s for s in states if s["urn"].endswith("cluster-balancers") and ":Release" in s["urn"])
            inputs = {"chart": "external-dns", "name": "external-dns", "namespace": "kube-system",
                      "values": {"policy": policy}}  # fmt: skip
            release = {**balancers, "urn": f"{balancers['urn']}-dns", "inputs": inputs}
            states.append(release)
            the(states, SERVICE, "triton-service")["dependencies"].append(release["urn"])

        return mutate

    plan = simulated_plan("dev")
    assert [f.rule for f in after(plan, annotated)] == ["cloud-objects-have-a-deleter"]
    assert "never deletes a record" in after(plan, with_policy("upsert-only"))[0].message
    assert after(plan, with_policy("sync")) == []


def _stateful(states: list[State], **spec) -> None:
    service = the(states, SERVICE, "triton-service")
    kind = "kubernetes:apps/v1:StatefulSet"
    template = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    inputs = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "serving"},
              "spec": {"volumeClaimTemplates": [template], **spec}}  # fmt: skip
    states.append({**service, "urn": service["urn"].replace(SERVICE, kind), "type": kind, "inputs": inputs})


def test_volumes_of_a_stateful_set_go_with_their_namespace(simulated_plan):
    assert after(simulated_plan("dev"), _stateful) == []

    def elsewhere(states):
        _stateful(states)
        states[-1]["inputs"]["metadata"]["namespace"] = "default"

    (finding,) = after(simulated_plan("dev"), elsewhere)
    assert finding.rule == "cloud-objects-have-a-deleter"
    assert "claims that its templates make" in finding.message


def test_volumes_that_are_to_stay_need_no_deleter(simulated_plan):
    def mutate(states):
        _stateful(states)
        states[-1]["inputs"]["metadata"]["namespace"] = "default"
        for storage_class in all_of(states, "kubernetes:storage.k8s.io/v1:StorageClass"):
            storage_class["inputs"]["reclaimPolicy"] = "Retain"

    assert after(simulated_plan("dev"), mutate) == []


def test_a_cluster_that_stays_keeps_everything(simulated_plan):
    def mutate(states):
        the(states, "aws:eks/cluster:Cluster")["retainOnDelete"] = True
        for pool in all_of(states, "kubernetes:karpenter.sh/v1:NodePool"):
            pool["retainOnDelete"] = True

    rules = {finding.rule for finding in after(simulated_plan("dev"), mutate)}
    assert rules == {"network-outlives-its-users"}, "but its network has to stay as well"


def test_a_plan_of_somebody_elses(simulated_plan):
    plan = simulated_plan("prod")
    kubernetes = [r for r in plan if r.package == "kubernetes"]
    assert {f.rule for f in found(Plan.of("p", "s", kubernetes))} <= {"custom-resource-after-its-definition"}
    assert found(Plan.of("p", "s", ())) == []
