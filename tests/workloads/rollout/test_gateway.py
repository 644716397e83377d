"""Weights of an HTTPRoute of ours: set whole, by whoever has the word, and never over what another has changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.rollout.cluster import ApiServer
from tests.workloads.rollout.plain import BEGAN, Time, spec
from tests.workloads.rollout.prometheus import NAMES, Prometheus
from workloads.rollout.controller import Controller
from workloads.rollout.envoy import EnvoyObserver
from workloads.rollout.errors import Fenced, RoutingError, ShellFailed
from workloads.rollout.gateway import FENCE, SERVED_BY, TOTAL, WEIGHTED, GatewayRoute, Service, whole
from workloads.rollout.journal import Journal, read, replay
from workloads.rollout.kubernetes import Cluster, Conflict
from workloads.rollout.routing import Fence
from workloads.rollout.shells import BASELINE, CANDIDATE, CONTROL, Replicas, Setting
from workloads.rollout.state import Phase

STABLE, CANARY = Service("serving", "stable-lm"), Service("serving", "canary-lm")


def reference(name: str, weight: int) -> dict[str, Any]:
    said = {"set": [{"name": SERVED_BY, "value": name}]}
    return {
        "group": "",
        "kind": "Service",
        "name": f"{name}-lm",
        "namespace": "serving",
        "port": 8000,
        "weight": weight,
        "filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": said}],
    }


def program_s_rules(mirror: str = "") -> list[dict[str, Any]]:
    """As InferenceRoute makes them: tests/components/test_route_rules.py compares the two."""
    path = {"type": "PathPrefix", "value": "/v2/models/lm"}
    timeouts = {"request": "300s", "backendRequest": "60s"}
    headers = [{"type": "Exact", "name": "x-variant", "value": "canary"}]
    testers = {
        "name": "testers",
        "matches": [{"path": path, "headers": headers}],
        "backendRefs": [reference("canary", 100)],
        "timeouts": timeouts,
    }
    weighted = {
        "name": WEIGHTED,
        "matches": [{"path": path}],
        "backendRefs": [reference("stable", 100), reference("canary", 0), reference("shadow", 0)],
        "timeouts": timeouts,
    }
    if mirror:
        there = {key: value for key, value in reference(mirror, 0).items() if key not in ("weight", "filters")}
        copies = {"backendRef": there, "percent": 5}
        weighted["filters"] = [{"type": "RequestMirror", "requestMirror": copies}]
    return [testers, weighted]


@pytest.fixture
def api(tmp_path: Path) -> ApiServer:
    return ApiServer({"spec": {"parentRefs": [{"name": "route"}], "rules": program_s_rules()}}, tmp_path / "account")


@pytest.fixture
def route(api: ApiServer) -> Iterator[GatewayRoute]:
    with api.running() as url:
        yield GatewayRoute(Cluster(url, account=api.account), "gateway", "route-lm", STABLE, CANARY)


def weighted(api: ApiServer) -> dict[str, Any]:
    (rule,) = [rule for rule in api.route["spec"]["rules"] if rule["name"] == WEIGHTED]
    return rule


def shares(api: ApiServer) -> list[tuple[str, str, int]]:
    """Who says he has answered, the Service, its weight."""
    return [
        (each["filters"][0]["responseHeaderModifier"]["set"][0]["value"], each["name"], each["weight"])
        for each in weighted(api)["backendRefs"]
    ]


@given(st.floats(0, 1), st.floats(0, 1))
def test_shares_are_whole_numbers_and_nobody_s_is_lost(weight: float, mirror: float) -> None:
    made = whole(Setting(weight, mirror))
    assert sum(made.values()) == TOTAL
    assert min(made.values()) >= 0
    # Who shall have requests has some, and who shall not has none.
    assert (made[CANDIDATE] > 0) == (weight > 0)
    assert (made[CANDIDATE] < TOTAL) == (weight < 1)
    # The control is as large, as far as there is room.
    assert made[CONTROL] == min(made[CANDIDATE], TOTAL - made[CANDIDATE])
    if 1e-3 < weight < 1 - 1e-3:
        assert abs(made[CANDIDATE] / TOTAL - weight) < 1e-4


def test_a_route_of_the_program_s_is_taken_over(api: ApiServer, route: GatewayRoute) -> None:
    assert route.current() == (Setting(0.0, 0.0), Fence())
    before = api.route["spec"]
    route.set(Setting(0.05, 0.1), Fence(1, 2))
    assert route.current() == (Setting(0.05, 0.1), Fence(1, 2))
    assert shares(api) == [
        (CANDIDATE, "canary-lm", 500),
        (BASELINE, "stable-lm", 9000),
        (CONTROL, "stable-lm", 500),
    ]
    (copies,) = weighted(api)["filters"]
    assert copies["requestMirror"]["backendRef"]["name"] == "canary-lm"
    assert copies["requestMirror"]["fraction"] == {"numerator": 1000, "denominator": 10000}
    # All else stays: testers' rule, paths, timeouts, parents.
    after = api.route["spec"]
    assert after["rules"][0] == before["rules"][0]
    kept = ("name", "matches", "timeouts")
    assert [weighted(api)[key] for key in kept] == [before["rules"][1][key] for key in kept]
    assert after["parentRefs"] == before["parentRefs"]
    route.set(Setting(0.0, 0.0), Fence(1, 3))
    assert "filters" not in weighted(api)
    assert shares(api) == [(CANDIDATE, "canary-lm", 0), (BASELINE, "stable-lm", 10000), (CONTROL, "stable-lm", 0)]
    route.set(Setting(1.0, 0.0), Fence(1, 4))
    assert route.current()[0] == Setting(1.0, 0.0)


def test_clusters_are_those_of_envoy_gateway(route: GatewayRoute) -> None:
    # The rule for testers stands first.
    assert route.clusters() == {
        CANDIDATE: "httproute/gateway/route-lm/rule/1/backend/0",
        BASELINE: "httproute/gateway/route-lm/rule/1/backend/1",
        CONTROL: "httproute/gateway/route-lm/rule/1/backend/2",
        "mirror": "httproute/gateway/route-lm/rule/1-mirror-0",
    }


def test_a_mirror_of_the_program_s_is_read_and_another_s_is_left(api: ApiServer, route: GatewayRoute) -> None:
    api.route["spec"]["rules"] = program_s_rules("canary")
    assert route.current()[0] == Setting(0.0, 0.05)
    api.route["spec"]["rules"] = program_s_rules("shadow")
    assert route.current()[0] == Setting(0.0, 0.0)
    route.set(Setting(0.1, 0.2), Fence(1, 1))
    names = [each["requestMirror"]["backendRef"]["name"] for each in weighted(api)["filters"]]
    # Ours first: Envoy Gateway numbers their clusters.
    assert names == ["canary-lm", "shadow-lm"]
    route.set(Setting(0.1, 0.0), Fence(1, 2))
    assert [each["requestMirror"]["backendRef"]["name"] for each in weighted(api)["filters"]] == ["shadow-lm"]


def test_what_another_changes_meanwhile_is_not_undone(api: ApiServer, route: GatewayRoute) -> None:
    def longer(server: ApiServer) -> None:
        new = {**server.route, "spec": {**server.route["spec"], "hostnames": ["a.example"]}}
        server.put(new)

    api.meanwhile = [longer, longer]
    route.set(Setting(0.05), Fence(1, 1))
    assert api.route["spec"]["hostnames"] == ["a.example"]
    assert route.current()[0].weight == 0.05
    assert len(api.patches) == 1
    api.meanwhile = [longer] * 100
    with pytest.raises(Conflict, match="has been modified"):
        route.set(Setting(0.25), Fence(1, 2))


def test_an_old_controller_sets_nothing(api: ApiServer, route: GatewayRoute) -> None:
    route.set(Setting(0.05), Fence(3, 7))
    for old in (Fence(2, 99), Fence(3, 6)):
        with pytest.raises(Fenced, match=r"another controller has taken over: 3\.7"):
            route.set(Setting(1.0), old)
    route.set(Setting(0.05), Fence(3, 7))

    # Also one that is paused between reading and writing.
    def newer(server: ApiServer) -> None:
        metadata = {**server.route["metadata"], "annotations": {FENCE: "4.1"}}
        server.put({**server.route, "metadata": metadata})

    api.meanwhile = [newer]
    with pytest.raises(Fenced, match=r"4\.1"):
        route.set(Setting(1.0), Fence(3, 8))
    assert route.current() == (Setting(0.05), Fence(4, 1))


def test_requests_of_others_are_not_taken_away(api: ApiServer, route: GatewayRoute) -> None:
    weighted(api)["backendRefs"][2]["weight"] = 10
    for attempt in (route.current, lambda: route.set(Setting(0.05), Fence(1, 1))):
        with pytest.raises(RoutingError, match="shadow-lm has requests"):
            attempt()
    assert not api.patches


def test_ready_pods_are_counted_once(api: ApiServer, route: GatewayRoute) -> None:
    api.ready = {
        "stable-lm": {"10.0.0.1": True, "10.0.0.2": True, "10.0.0.3": False},
        "canary-lm": {"10.0.0.4": None},
    }
    assert route.replicas() == Replicas(2, 1)
    api.ready = {}
    assert route.replicas() == Replicas(0, 0)


def test_replicas_are_those_of_deployments(api: ApiServer, route: GatewayRoute) -> None:
    with pytest.raises(RoutingError, match="rolling needs its @DEPLOYMENT"):
        route.scale(1, 3)
    with api.running() as url:
        services = [Service.parse(f"serving/{name}-lm@{name}") for name in ("stable", "canary")]
        GatewayRoute(Cluster(url, account=api.account), "gateway", "route-lm", *services).scale(1, 3)
    assert api.scales == {"canary": 1, "stable": 3}


def test_what_time_may_mend_is_told_from_what_it_does_not(api: ApiServer, route: GatewayRoute) -> None:
    for status in (500, 503, 429):
        api.fail = [status]
        with pytest.raises(ShellFailed, match=str(status)):
            route.current()
    for status in (403, 404, 422):
        api.fail = [status]
        with pytest.raises(RoutingError, match=f"{status}: as told"):
            route.current()
    # Tokens expire, and are replaced in their place.
    (api.account / "token").write_text("old")
    with pytest.raises(RoutingError, match="401: Unauthorized"):
        route.current()
    (api.account / "token").write_text("of-this-pod\n")
    assert route.current()[0] == Setting()
    (api.account / "token").unlink()
    with pytest.raises(ShellFailed, match="token"):
        route.current()


@pytest.mark.parametrize("text", ["canary", "serving/", "serving/canary:http", "Serving/canary", "a/b/c"])
def test_a_service_is_named_with_its_namespace(text: str) -> None:
    with pytest.raises(RoutingError, match="expected NAMESPACE/SERVICE"):
        Service.parse(text)


def test_a_service_is_read() -> None:
    assert Service.parse("serving/canary") == Service("serving", "canary", 8000)
    assert Service.parse("serving/canary:8080@triton") == Service("serving", "canary", 8080, "triton")
    with pytest.raises(RoutingError, match="expected two"):
        GatewayRoute(Cluster("http://api"), "gateway", "route", STABLE, STABLE)


@pytest.mark.parametrize(("failing", "phase"), [(0.0, Phase.PROMOTED), (0.2, Phase.ROLLED_BACK)])
def test_the_whole_way_in_a_cluster(failing: float, phase: Phase, api: ApiServer, tmp_path: Path) -> None:
    """The controller with the cluster's shells: an HTTPRoute's weights, counts of Envoy's, replicas that come late."""
    prometheus, time, asked = Prometheus(), Time(BEGAN), defaultdict[str, float](float)
    api.ready = {"stable-lm": {"10.0.0.1": True}}

    def sleep(seconds: float) -> None:
        """A hundred requests a second, shared as the route says; the first replica is there after two minutes."""
        time.sleep(seconds)
        if time() > BEGAN + 120:
            api.ready["canary-lm"] = {"10.0.0.2": True}
        for arm, _, weight in shares(api):
            # What is left of a request is part of the next pause: a small share is none of nothing.
            asked[arm] += 100 * seconds * weight / TOTAL if weight <= TOTAL and arm in NAMES else 0
            count = int(asked[arm])
            asked[arm] -= count
            failed = round(count * failing) if arm == CANDIDATE else 0
            prometheus.add("proxy", arm, ok=count - failed, failed=failed)

    plan = spec(mirror_percent=0)
    with (
        api.running() as url,
        prometheus.running() as metrics,
        Journal(tmp_path / "journal.jsonl", plan, time) as journal,
        (tmp_path / "out").open("a") as out,
    ):
        route = GatewayRoute(Cluster(url, account=api.account), "gateway", "route-lm", STABLE, CANARY)
        # The rule for testers stands first in this route.
        names = {arm: name.replace("rule/1", "rule/0") for arm, name in route.clusters().items()}
        observer = EnvoyObserver(metrics, lambda: names, clock=time)
        state = Controller(journal, route, observer, clock=time, sleep=sleep, out=out).run()
    assert state.phase is phase, (tmp_path / "out").read_text()
    assert state.reason == ("errors-worse" if failing else "proven")
    assert not api.problems(api.route)
    weights = [patch["spec"]["rules"][1]["backendRefs"][0]["weight"] for patch in api.patches]
    moved = [weight for before, weight in pairwise([0, *weights]) if weight != before]
    if failing:
        assert moved[-1] == 0
        assert max(moved) <= 2500
    else:
        assert moved == sorted(moved)
        assert moved[-3:] == [2500, 5000, 10000]
    count, different = replay(read(tmp_path / "journal.jsonl"), "journal")
    assert count > 5
    assert different == []
    # No look was of two weights: what each counted adds up as the shares say.
    split = state.evidence["split"]
    assert split["log_e_before"] < 3
