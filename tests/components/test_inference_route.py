"""InferenceRoute: proxies that last, routes that lead somewhere, weights that are one's, and nobody else let in."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

import kubernetes_validate
import pulumi
import pulumi_kubernetes as k8s
import pytest

from components import InferenceRoute
from components.cluster import gateway
from components.routing.front import CONNECTION_DRAINING
from planner.engine import PreviewFailed
from planner.inventory.gateways import seconds
from planner.plan import Plan, Resource
from tests.samples import backend, samples
from tests.support import plan_of

API = "kubernetes:gateway.networking.k8s.io/v1:"
ENVOY = "kubernetes:gateway.envoyproxy.io/v1alpha1:"
POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
ROLE, BINDING = "kubernetes:rbac.authorization.k8s.io/v1:Role", "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding"
OUTPUTS = ("service", "namespace", "http_port", "route", "model_routes")

Arguments = dict[str, Any]


def plan_for(cloud: str = "aws", change: Callable[[Arguments], object] | None = None) -> Plan:
    args = copy.deepcopy(samples(cloud)["InferenceRoute"])
    if change:
        change(args)

    def program() -> None:
        provider = k8s.Provider("cluster", kubeconfig="{}")
        servers = k8s.core.v1.ConfigMap("servers", opts=pulumi.ResourceOptions(provider=provider))
        options = pulumi.ResourceOptions(providers=[provider], depends_on=[servers])
        route = InferenceRoute("route", args, options)  # type: ignore[arg-type]
        for output in OUTPUTS:
            pulumi.export(output, getattr(route, output))

    return plan_of(program)


@pytest.fixture(scope="module")
def aws() -> Plan:
    return plan_for("aws")


@pytest.fixture(scope="module")
def gcp() -> Plan:
    return plan_for("gcp")


@pytest.fixture(params=["aws", "gcp"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return request.getfixturevalue(request.param)


def children(plan: Plan) -> list[Resource]:
    return list(plan.under(plan.one("aicloud:index:InferenceRoute").urn))


def routes(plan: Plan) -> dict[str, Mapping[str, Any]]:
    return {r.inputs["metadata"]["name"]: r.inputs["spec"] for r in plan.of_type(f"{API}HTTPRoute")}


def kubernetes_part(plan: Plan) -> Mapping[str, Any]:
    return plan.one(f"{ENVOY}EnvoyProxy").inputs["spec"]["provider"]["kubernetes"]


def policy(plan: Plan, name: str) -> Mapping[str, Any]:
    return next(r.inputs["spec"] for r in plan.of_type(POLICY) if r.inputs["metadata"]["name"] == name)


# ---- what is built


def test_both_clouds_build_the_same_objects(aws: Plan, gcp: Plan) -> None:
    kinds = [sorted(f"{r.type} {r.name}" for r in children(plan)) for plan in (aws, gcp)]
    assert kinds[0] == kinds[1]
    assert dict(aws.outputs) == dict(gcp.outputs)
    assert dict(aws.outputs) == {
        "service": "route",
        "namespace": "gateway",
        "http_port": 8000,
        "route": "route",
        "model_routes": {"resnet50": "route-resnet50"},
    }


def test_kubernetes_knows_every_field_of_its_own(plan: Plan) -> None:
    own = [r for r in children(plan) if not r.type.startswith((API, ENVOY, "kubernetes:monitoring.coreos.com"))]
    for resource in own:
        kubernetes_validate.validate(json.loads(json.dumps(resource.inputs)), "1.34", strict=True)
    assert len(own) == 14


def test_what_the_component_waits_for_its_children_wait_for(aws: Plan) -> None:
    servers = aws.one("kubernetes:core/v1:ConfigMap").urn
    for resource in children(aws):
        assert servers in resource.dependencies, resource.name


def test_a_route_comes_after_its_gateway_and_that_after_its_proxies_and_walls(aws: Plan) -> None:
    gate, proxies = aws.one(f"{API}Gateway"), aws.one(f"{ENVOY}EnvoyProxy")
    assert {proxies.urn, *(r.urn for r in aws.of_type(POLICY, f"{API}ReferenceGrant"))} <= set(gate.dependencies)
    for route in aws.of_type(f"{API}HTTPRoute"):
        assert gate.urn in route.dependencies


def test_the_gateway_is_the_controllers_and_is_waited_for(aws: Plan) -> None:
    gate = aws.one(f"{API}Gateway").inputs
    assert gate["spec"]["gatewayClassName"] == gateway.CLASS
    assert gate["spec"]["infrastructure"]["parametersRef"]["name"] == "route"
    assert gate["spec"]["listeners"][0]["allowedRoutes"]["namespaces"] == {"from": "Same"}
    assert gate["metadata"]["annotations"] == {"pulumi.com/waitFor": "condition=Programmed"}


# ---- proxies


def test_proxies_outlast_the_load_balancer(plan: Plan) -> None:
    shutdown = plan.one(f"{ENVOY}EnvoyProxy").inputs["spec"]["shutdown"]
    least, most = (seconds(shutdown[key], 0) for key in ("minDrainDuration", "drainTimeout"))
    assert CONNECTION_DRAINING < least < most


def test_proxies_are_several_spread_and_leave_one_by_one(plan: Plan) -> None:
    spec = kubernetes_part(plan)
    assert spec["envoyHpa"]["minReplicas"] == 2
    assert "replicas" not in spec["envoyDeployment"]
    assert spec["envoyPDB"]["maxUnavailable"] == 1
    assert spec["envoyDeployment"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    spread = spec["envoyDeployment"]["pod"]["topologySpreadConstraints"]
    assert [one["topologyKey"] for one in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    resources = spec["envoyDeployment"]["container"]["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"] == "512Mi"


def test_the_service_has_a_name_and_no_load_balancer() -> None:
    found = kubernetes_part(
        plan_for("gcp", lambda args: args.update(service="front", service_annotations={"cloud.google.com/neg": "{}"}))
    )
    assert found["envoyService"] == {
        "name": "front",
        "type": "ClusterIP",
        "annotations": {"cloud.google.com/neg": "{}"},
    }


def test_health_checks_that_went_well_are_not_logged(aws: Plan) -> None:
    (log,) = aws.one(f"{ENVOY}EnvoyProxy").inputs["spec"]["telemetry"]["accessLog"]["settings"]
    assert log["matches"] == ["!(request.path == '/v2/health/ready' && response.code == 200)"]
    assert log["sinks"] == [{"type": "File", "file": {"path": "/dev/stdout"}}]
    assert not any("AUTHORIZATION" in part or "COOKIE" in part for part in log["format"]["json"].values())


def test_only_what_no_backend_has_seen_is_tried_again(aws: Plan) -> None:
    retry = aws.one(f"{ENVOY}BackendTrafficPolicy").inputs["spec"]["retry"]
    assert retry["retryOn"] == {"triggers": ["connect-failure", "refused-stream", "reset-before-request"]}
    once = plan_for("aws", lambda args: args.update(retries=0))
    assert "retry" not in once.one(f"{ENVOY}BackendTrafficPolicy").inputs["spec"]


# ---- routes


def test_each_model_has_a_route_and_all_else_one(aws: Plan) -> None:
    found = routes(aws)
    assert set(found) == {"route", "route-resnet50", "route.health"}
    prefixes = {
        name: {match["path"]["value"] for rule in spec["rules"] for match in rule["matches"]}
        for name, spec in found.items()
    }
    assert prefixes == {
        "route": {"/v2", "/v2/health", "/v2/models"},
        "route-resnet50": {"/v2/models/resnet50"},
        "route.health": {"/v2/health/ready"},
    }


def test_the_health_check_is_routed_for_any_host(aws: Plan) -> None:
    found = routes(aws)
    assert found["route"]["hostnames"] == found["route-resnet50"]["hostnames"] == ["inference.example.com"]
    assert "hostnames" not in found["route.health"]
    one = plan_for("aws", lambda args: args.pop("hostnames"))
    assert set(routes(one)) == {"route", "route-resnet50"}


def test_a_health_check_elsewhere_is_let_through() -> None:
    found = routes(plan_for("aws", lambda args: args.update(health_check_path="/ready")))
    paths = [match["path"] for match in found["route"]["rules"][-1]["matches"]]
    assert {"type": "Exact", "value": "/ready"} in paths


def test_weights_belong_to_the_rollout(aws: Plan) -> None:
    for route in aws.of_type(f"{API}HTTPRoute"):
        assert route.ignore_changes == ("spec.rules",)
        assert "annotations" not in route.inputs["metadata"]
    allowed = {role.inputs["metadata"]["namespace"]: role.inputs["rules"] for role in aws.of_type(ROLE)}
    look = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]}
    change = {
        "apiGroups": ["gateway.networking.k8s.io"],
        "resources": ["httproutes"],
        "resourceNames": ["route", "route-resnet50", "route.health"],
        "verbs": ["get", "patch"],
    }
    homes = {grant.inputs["metadata"]["namespace"] for grant in aws.of_type(f"{API}ReferenceGrant")}
    assert allowed == {"gateway": [change], **{home: [look] for home in homes}}
    for binding in aws.of_type(BINDING):
        assert binding.inputs["subjects"] == [{"kind": "ServiceAccount", "namespace": "rollouts", "name": "rollout"}]
        (role,) = [r for r in aws.of_type(ROLE) if r.inputs["metadata"] == binding.inputs["metadata"]]
        assert binding.inputs["roleRef"]["name"] == role.inputs["metadata"]["name"]
    assert len(aws.of_type(BINDING)) == len(allowed) == 1 + len(homes)


def test_or_to_the_program_which_takes_them_back() -> None:
    def change(args: Arguments) -> None:
        del args["rollout"], args["weights_by"]

    plan = plan_for("aws", change)
    for route in plan.of_type(f"{API}HTTPRoute"):
        assert route.ignore_changes == ()
        assert route.inputs["metadata"]["annotations"] == {"pulumi.com/patchForce": "true"}
    assert not plan.of_type(ROLE, BINDING)


# ---- who is let in


def test_proxies_reach_their_backends_names_and_controller_and_nobody_else(aws: Plan) -> None:
    egress = policy(aws, "route-traffic")["egress"]
    to = [
        (peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name"), port["port"])
        for rule in egress
        for peer in rule["to"]
        if "namespaceSelector" in peer
        for port in rule["ports"]
    ]
    assert to == [
        ("kube-system", 53),
        ("kube-system", 53),
        ("envoy-gateway-system", 18000),
        ("serving-stable", 8000),
        ("serving-canary", 8000),
        ("serving-shadow", 8000),
    ]
    assert policy(aws, "route-deny-all") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_backends_let_the_proxies_in(aws: Plan) -> None:
    for name in ("stable", "canary", "shadow"):
        (grant,) = [
            r for r in aws.of_type(f"{API}ReferenceGrant") if r.inputs["metadata"]["namespace"] == f"serving-{name}"
        ]
        assert grant.inputs["spec"] == {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "gateway"}],
            "to": [{"group": "", "kind": "Service", "name": f"triton-{name}"}],
        }
        spec = policy(aws, f"gateway-route-triton-{name}")
        assert spec["podSelector"] == {"matchLabels": {"app.kubernetes.io/instance": f"triton-{name}"}}
        (rule,) = spec["ingress"]
        assert rule["ports"] == [{"port": 8000, "protocol": "TCP"}]
        (peer,) = rule["from"]
        assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "gateway"}
        assert peer["podSelector"]["matchLabels"]["gateway.envoyproxy.io/owning-gateway-name"] == "route"


def test_clients_are_who_is_named_and_googles_load_balancers(aws: Plan, gcp: Plan) -> None:
    blocks = {
        name: [peer["ipBlock"]["cidr"] for peer in policy(plan, "route-traffic")["ingress"][0]["from"]]
        for name, plan in (("aws", aws), ("gcp", gcp))
    }
    assert blocks == {"aws": ["10.16.0.0/16"], "gcp": ["10.16.0.0/16", "35.191.0.0/16", "130.211.0.0/22"]}


# ---- what is refused


def _put(**changes: Any) -> Callable[[Arguments], None]:
    return lambda args: args.update(changes)


def _model(**changes: Any) -> Callable[[Arguments], None]:
    return lambda args: args["models"][0].update(changes)


def _experiment(**changes: Any) -> Callable[[Arguments], None]:
    def change(args: Arguments) -> None:
        args["experiments"][0].update(changes)
        for key in [key for key, value in args["experiments"][0].items() if value is None]:
            del args["experiments"][0][key]

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_put(cloud="azure"), "cloud is 'azure'; accepted are 'aws', 'gcp'"),
        (_put(namespace="Gateway"), "namespace is 'Gateway'"),
        (_put(namespace="serving-canary"), "namespace is 'serving-canary'; one of its own"),
        (_put(hostnames=["Example.com"]), "hostnames[0] is 'Example.com'"),
        (_put(client_cidrs=[]), "client_cidrs is []; give at least one"),
        (_put(client_cidrs=["10.0.0.1/8"]), "client_cidrs[0] is '10.0.0.1/8'"),
        (_put(backends=[]), "backends is []; give at least one"),
        (_put(backends=[backend("stable", 90), backend("canary", 20)]), "these add up to 110"),
        (_put(backends=[backend("stable", 110), backend("canary", -10)]), "backends[0].weight is 110"),
        (_put(backends=[backend("stable", 101), backend("canary", -1)]), "accepted is 0 to 100 percent"),
        (_put(backends=[backend("stable", 100), backend("stable", 0)]), "backends[1].name is 'stable'; each name once"),
        (_put(backends=[backend("stable", 100, labels={})]), "backends[0].labels is {}"),
        (_put(backends=[backend("stable", 100, port=0)]), "backends[0].port is 0"),
        (_put(mirror={"backend": "shadow"}), "mirror.backend is 'shadow'; accepted are 'stable', 'canary'"),
        (_put(mirror={"backend": "stable"}), "this one has 100, and would get requests and their copies"),
        (_put(mirror={"backend": "canary", "percent": 0}), "mirror.percent is 0"),
        (_model(mirror={"backend": "canary"}), "models[0].mirror.backend is 'canary'"),
        (_model(name="res net"), "models[0].name is 'res net'"),
        (_put(models=[{"name": n, "backends": [backend("stable", 100)]} for n in ("a.b", "a-b")]), "'a.b' already"),
        (_put(models=[{"name": "a", "backends": [backend("stable", 100)]}] * 2), "each name once"),
        (_experiment(backend="blue"), "experiments[0].backend is 'blue'; accepted are 'canary', 'shadow', 'stable'"),
        (_experiment(backend="shadow"), "experiments[0].backend is 'shadow'; a backend that gets copies alone"),
        (_experiment(model="bert"), "experiments[0].model is 'bert'; accepted are 'resnet50'"),
        (_experiment(name="weighted"), "experiments[0].name is 'weighted'"),
        (_experiment(name="half"), "experiments[1].name is 'half'; each name once"),
        (_experiment(header=None), "give a header or a cookie"),
        (_experiment(cookie={"name": "a", "value": "b"}), "give a header or a cookie, and one of them only"),
        (_experiment(header={"name": "Cookie", "value": "a=b"}), "give `cookie`"),
        (_experiment(header={"name": "x y", "value": "b"}), "experiments[0].header.name is 'x y'"),
        (_experiment(header=None, cookie={"name": "v", "value": "a;b"}), "experiments[0].cookie.value is 'a;b'"),
        (
            _experiment(header=None, cookie={"name": "variant", "value": "b"}, backend="stable"),
            "experiments[1] is 'half'; accepted is a header or cookie of its own",
        ),
        (_put(paths=["v2"]), "paths[0] is 'v2'"),
        (_put(paths=["/v2/"]), "paths[0] is '/v2/'"),
        (_put(health_check_path="/it's"), "health_check_path is"),
        (_put(request_timeout_s=0), "request_timeout_s is 0"),
        (_put(request_timeout_s=60, backend_timeout_s=90), "backend_timeout_s is 90; accepted is 1 to request_timeout"),
        (_put(retries=9), "retries is 9"),
        (_put(min_replicas=1), "min_replicas is 1; accepted is 2 or more"),
        (_put(min_replicas=4, max_replicas=3), "max_replicas is 3"),
        (_put(proxy_cpu=0), "proxy_cpu is 0"),
        (_put(weights_by="me"), "weights_by is 'me'; accepted are 'program' and 'rollout'"),
        (_put(weights_by="program"), "accepted with weights_by 'rollout' only"),
        (_put(weight=1), "weight: unknown argument"),
    ],
)
def test_a_route_that_leads_nowhere_is_refused(change: Callable[[Arguments], object], said: str) -> None:
    with pytest.raises(PreviewFailed) as failed:
        plan_for("aws", change)
    assert "InferenceRoute 'route'" in str(failed.value)
    assert said in str(failed.value)


def test_as_many_experiments_as_a_route_has_rules_for() -> None:
    def some(count: int) -> Callable[[Arguments], None]:
        return _put(
            experiments=[
                {"name": f"e{i}", "backend": "canary", "header": {"name": "x-side", "value": str(i)}}
                for i in range(count)
            ]
        )

    spec = routes(plan_for("aws", some(15)))["route"]
    assert len(spec["rules"]) == 16
    assert sum(len(rule["matches"]) for rule in spec["rules"]) <= 128
    with pytest.raises(PreviewFailed) as failed:
        plan_for("aws", some(16))
    assert "accepted are at most 15" in str(failed.value)
