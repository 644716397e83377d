"""What somebody could change at a gateway and its routes, so that requests no longer get through."""

from __future__ import annotations

from tests.faults.fault import Fault, State, all_of, remove, the

GATEWAY = "kubernetes:gateway.networking.k8s.io/v1:Gateway"
ROUTE = "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute"
GRANT = "kubernetes:gateway.networking.k8s.io/v1:ReferenceGrant"
PROXY = "kubernetes:gateway.envoyproxy.io/v1alpha1:EnvoyProxy"
POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
RELEASE = "kubernetes:helm.sh/v3:Release"
ADDON = "aws:eks/addon:Addon"


def _rules(states: list[State], name: str) -> list[dict]:
    return the(states, ROUTE, name)["inputs"]["spec"]["rules"]


def _proxy(states: list[State], name: str) -> dict:
    return the(states, PROXY, name)["inputs"]["spec"]


def _class(states: list[State]) -> None:
    the(states, GATEWAY, "us-west-2-route")["inputs"]["spec"]["gatewayClassName"] = "envoy-gateway"


def _parameters(states: list[State]) -> None:
    spec = the(states, GATEWAY, "us-central1-route")["inputs"]["spec"]
    spec["infrastructure"]["parametersRef"]["name"] = "proxies"


def _controller(states: list[State]) -> None:
    remove(states, RELEASE, "eu-central-1-cluster-addons-gateway-helm")


def _parent(states: list[State]) -> None:
    the(states, ROUTE, "europe-west4-route-httproute")["inputs"]["spec"]["parentRefs"][0]["name"] = "gateway"


def _listener(states: list[State]) -> None:
    the(states, GATEWAY, "us-west-2-route")["inputs"]["spec"]["listeners"][0]["name"] = "web"


def _no_grant(states: list[State]) -> None:
    remove(states, GRANT, "us-east-1-route")


def _grant_of_another(states: list[State]) -> None:
    """The canary was renamed; what lets routes name it was not."""
    the(states, GRANT, "us-central1-route")["inputs"]["spec"]["to"][0]["name"] = "us-central1-triton-canary"


def _no_share(states: list[State]) -> None:
    for rule in _rules(states, "us-west-2-route-sentiment-httproute"):
        for backend in rule["backendRefs"]:
            backend["weight"] = 0


def _canary_that_is_not_there(states: list[State]) -> None:
    backends = _rules(states, "us-central1-route-sentiment-httproute")[0]["backendRefs"]
    backends.append({**backends[0], "name": "us-central1-triton-canary", "weight": 5})


def _wrong_port(states: list[State]) -> None:
    _rules(states, "us-west-2-route-sentiment-httproute")[0]["backendRefs"][0]["port"] = 8080


def _shadow_that_is_not_there(states: list[State]) -> None:
    rule = _rules(states, "asia-southeast1-route-httproute")[0]
    copy = {**rule["backendRefs"][0], "name": "asia-southeast1-shadow"}
    del copy["weight"], copy["filters"]
    rule["filters"] = [{"type": "RequestMirror", "requestMirror": {"backendRef": copy, "percent": 10}}]


def _health_not_routed(states: list[State]) -> None:
    """Only models are let through, and the health check is forgotten."""
    rule = _rules(states, "us-west-2-route-httproute")[0]
    rule["matches"] = [one for one in rule["matches"] if one["path"]["value"] == "/v2/models"]


def _health_of_one_host(states: list[State]) -> None:
    """The route is for the domain alone; health checks ask for an address."""
    the(states, ROUTE, "us-central1-route-httproute")["inputs"]["spec"]["hostnames"] = ["inference.staging.example.com"]


def _short_drain(states: list[State]) -> None:
    _proxy(states, "ap-northeast-1-route")["shutdown"] = {"drainTimeout": "30s", "minDrainDuration": "15s"}


def _default_drain(states: list[State]) -> None:
    """GCP's backend service lets requests finish for a minute; proxies by default go on for ten seconds."""
    _proxy(states, "us-central1-route").pop("shutdown")


def _service_renamed(states: list[State]) -> None:
    _proxy(states, "us-west-2-route")["provider"]["kubernetes"]["envoyService"].pop("name")
    the(states, GATEWAY, "us-west-2-route")["inputs"]["metadata"]["name"] = "gateway"
    for route in all_of(states, ROUTE, "us-west-2-route"):
        route["inputs"]["spec"]["parentRefs"][0]["name"] = "gateway"


def _groups_forgotten(states: list[State]) -> None:
    _proxy(states, "us-central1-route")["provider"]["kubernetes"]["envoyService"].pop("annotations")


def _listens_elsewhere(states: list[State]) -> None:
    """Below 1024 proxies listen 10,000 higher, where no security group lets the load balancer in."""
    the(states, GATEWAY, "us-east-1-route")["inputs"]["spec"]["listeners"][0]["port"] = 80


def _not_let_out(states: list[State]) -> None:
    rules = the(states, POLICY, "us-west-2-route-traffic")["inputs"]["spec"]["egress"]
    rules[:] = [one for one in rules if one["ports"][0]["port"] != 8000]


def _not_let_in(states: list[State]) -> None:
    remove(states, POLICY, "us-central1-route-serving")


def _no_way_to_the_controller(states: list[State]) -> None:
    rules = the(states, POLICY, "europe-west4-route-traffic")["inputs"]["spec"]["egress"]
    rules[:] = [one for one in rules if one["ports"][0]["port"] != 18000]


def _clients_kept_out(states: list[State]) -> None:
    rules = the(states, POLICY, "us-west-2-route-traffic")["inputs"]["spec"]["ingress"]
    rules[0]["ports"][0]["port"] = 8443


def _one_proxy(states: list[State]) -> None:
    provider = _proxy(states, "us-east-1-route")["provider"]["kubernetes"]
    provider.pop("envoyHpa")


def _no_budget(states: list[State]) -> None:
    _proxy(states, "eu-central-1-route")["provider"]["kubernetes"].pop("envoyPDB")


def _one_zone(states: list[State]) -> None:
    pod = _proxy(states, "europe-west4-route")["provider"]["kubernetes"]["envoyDeployment"]["pod"]
    pod["topologySpreadConstraints"] = pod["topologySpreadConstraints"][1:]


def _too_large(states: list[State]) -> None:
    container = _proxy(states, "us-west-2-route")["provider"]["kubernetes"]["envoyDeployment"]["container"]
    container["resources"]["requests"]["cpu"] = "12"


def _no_limit(states: list[State]) -> None:
    _proxy(states, "us-west-2-route")["provider"]["kubernetes"]["envoyDeployment"].pop("container")


def _load_balancer(states: list[State]) -> None:
    """Nobody says what the Service shall be: Envoy Gateway makes a load balancer, open to the internet."""
    _proxy(states, "us-central1-route")["provider"]["kubernetes"]["envoyService"].pop("type")


def _no_metrics(states: list[State]) -> None:
    remove(states, ADDON, "us-west-2-cluster-metrics-server")


def _monitor(states: list[State]) -> None:
    monitor = the(states, "kubernetes:monitoring.coreos.com/v1:PodMonitor", "us-central1-route")
    monitor["inputs"]["spec"]["podMetricsEndpoints"][0]["port"] = "stats"


FAULTS: tuple[Fault, ...] = (
    Fault("class that is not there", "staging", "gateway-has-a-controller", "us-west-2-route", _class),
    Fault("parameters of the proxies renamed", "staging", "gateway-has-a-controller", "us-central1-route", _parameters),
    Fault("gateway without its controller", "prod", "gateway-has-a-controller", "eu-central-1-route", _controller),
    Fault("route of another gateway", "prod", "route-has-a-gateway", "europe-west4-route-httproute", _parent),
    Fault("listener renamed", "staging", "route-has-a-gateway", "us-west-2-route-httproute", _listener),
    Fault("grant forgotten", "prod", "reference-is-granted", "us-east-1-route", _no_grant),
    Fault("grant for another Service", "staging", "reference-is-granted", "us-central1-route", _grant_of_another),
    Fault("all weights 0", "staging", "route-sends-somewhere", "us-west-2-route-sentiment", _no_share),
    Fault("canary that is not there", "staging", "service-exists", "us-central1-route-sentiment",
          _canary_that_is_not_there),
    Fault("backend at a port that is not there", "staging", "service-exists", "us-west-2-route-sentiment", _wrong_port),
    Fault("shadow that is not there", "prod", "service-exists", "asia-southeast1-route", _shadow_that_is_not_there),
    Fault("health check not routed", "staging", "health-path-is-routed", "us-west-2-route", _health_not_routed),
    Fault("health check routed for one host", "staging", "health-path-is-routed", "us-central1-route",
          _health_of_one_host),
    Fault("proxies end too soon", "prod", "gateway-outlasts-deregistration", "ap-northeast-1-route", _short_drain),
    Fault("proxies end as they do by default", "staging", "gateway-outlasts-deregistration", "us-central1-route",
          _default_drain),
    Fault("Service of the proxies renamed", "staging", "service-exists", "us-west-2-endpoint", _service_renamed),
    Fault("proxies without endpoint groups", "staging", "backend-group-has-a-service", "gcp:us-central1",
          _groups_forgotten),
    Fault("proxies listen elsewhere", "prod", "service-exists", "us-east-1-endpoint", _listens_elsewhere),
    Fault("proxies not let out", "staging", "network-policies-let-the-gateway-through", "us-west-2-route",
          _not_let_out),
    Fault("servers let no proxy in", "staging", "network-policies-let-the-gateway-through", "us-central1-route",
          _not_let_in),
    Fault("proxies cannot ask their controller", "prod", "network-policies-let-the-gateway-through",
          "europe-west4-route", _no_way_to_the_controller),
    Fault("clients kept from the proxies", "staging", "network-policy-admits-the-service", "us-west-2-route",
          _clients_kept_out),
    Fault("one proxy", "prod", "servers-have-replicas", "us-east-1-route", _one_proxy),
    Fault("proxies without a budget", "prod", "servers-have-a-disruption-budget", "eu-central-1-route", _no_budget),
    Fault("proxies in one zone", "prod", "servers-spread-over-zones", "europe-west4-route", _one_zone),
    Fault("proxies larger than a system machine", "staging", "pod-fits-a-pool", "us-west-2-route", _too_large),
    Fault("proxies without a limit of memory", "staging", "gateway-proxies-are-bounded", "us-west-2-route", _no_limit),
    Fault("proxies behind a load balancer of their own", "staging", "no-load-balancer-services", "us-central1-route",
          _load_balancer),
    Fault("autoscaler of proxies without metrics", "staging", "resource-metrics-are-served", "us-west-2-route",
          _no_metrics),
    Fault("monitor of proxies at another port", "staging", "port-exists", "us-central1-route-podmonitor", _monitor),
)  # fmt: skip
