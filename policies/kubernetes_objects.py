"""Objects around the pods: network policies, charts, Services, autoscalers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from planner.inventory import Inventory
from planner.inventory.objects import INSTALLERS, Object, Objects, objects_in
from planner.plan import UNKNOWN, Resource
from policies.declare import Parameters, Violation, at, each, on, resource_policy, stack_policy, texts
from policies.kubernetes_gateways import ENVOY_PROXY, service_type
from policies.kubernetes_pods import POD_TYPES, Pod, combined, pods

NAMESPACE = "kubernetes:core/v1:Namespace"
RELEASE = "kubernetes:helm.sh/v3:Release"
CHARTS = (RELEASE, "kubernetes:helm.sh/v3:Chart", "kubernetes:helm.sh/v4:Chart")


@stack_policy(
    "default-deny-network-policy",
    "In every namespace that the program runs pods in, what no network policy allows is denied",
    risk="high",
    why="https://kubernetes.io/docs/concepts/services-networking/network-policies/#default-policies",
    fix="Add a NetworkPolicy with an empty podSelector and policyTypes [Ingress, Egress]; allow the rest in others.",
    parameters={"except": ["kube-system"], "directions": ["Ingress", "Egress"]},
)
def default_deny_network_policy(inventory: Inventory, parameters: Parameters) -> Iterator[Violation]:
    objects = objects_in(inventory)
    policies = list(objects.of_kind("NetworkPolicy"))
    for (cluster, namespace), where in _homes(inventory).items():
        if namespace in parameters["except"]:
            continue
        near = [p for p in policies if p.cluster == cluster and p.namespace in (namespace, UNKNOWN)]
        open_ways = [way for way in parameters["directions"] if not any(_denies(policy, way) for policy in near)]
        if open_ways:
            yield Violation(
                f"namespace {namespace} denies no {' and no '.join(open_ways).lower()} by default", where, namespace
            )


def _homes(inventory: Inventory) -> dict[tuple[str, str], Resource]:
    """(cluster, namespace) of the program's own pods -> where that is stated.

    A namespace in which only charts, or operators, install pods is their own; one without either is where pods will
    come.
    """
    objects = objects_in(inventory)
    charts = {(one.cluster, one.namespace) for one in objects.of_kind(*INSTALLERS)} | {
        (objects.cluster_of(release), name)
        for release in inventory.plan.of_type(*CHARTS)
        for name in _namespaces(inventory, release)
    }
    homes = {
        (one.cluster, one.name): one.resource
        for one in objects.of_kind("Namespace")
        if not {(one.cluster, one.name), (one.cluster, UNKNOWN)} & charts and one.name != UNKNOWN
    }
    made = {(one.cluster, one.name): one.resource for one in objects.of_kind("Namespace")}
    for one in objects.all:
        if one.resource.type in POD_TYPES and one.namespace not in ("", UNKNOWN) and pods(one.resource):
            place = one.cluster, one.namespace
            homes.setdefault(place, made.get(place, one.resource))
    return homes


def _namespaces(inventory: Inventory, release: Resource) -> list[str]:
    """The namespace of a chart, as the plan knows it: by name, or by the Namespace that it depends on."""
    stated = at(release, "namespace", "default")
    if stated != UNKNOWN:
        return [str(stated)]
    made = [inventory.plan.by_urn.get(urn) for urn in release.property_dependencies.get("namespace", ())]
    return [at(one, "metadata.name", UNKNOWN) for one in made if one is not None and one.type == NAMESPACE] or [UNKNOWN]


def _denies(policy: Object, direction: str) -> bool:
    """Whether a policy allows no pod of its namespace anything in a direction; or may, where it isn't known."""
    spec = policy.resource.inputs.get("spec")
    if UNKNOWN in (spec, policy.resource.inputs.get("metadata")) or not isinstance(spec, Mapping):
        return spec == UNKNOWN or policy.resource.inputs.get("metadata") == UNKNOWN
    selector, kinds, rules = spec.get("podSelector"), spec.get("policyTypes"), spec.get(direction.lower())
    # https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/: without policyTypes it
    # is about ingress, and about egress if it has rules for that.
    named = direction in kinds or UNKNOWN in kinds if isinstance(kinds, list | str) else direction == "Ingress"
    everyone = selector == UNKNOWN or (
        isinstance(selector, Mapping) and all(value in (None, {}, [], UNKNOWN) for value in selector.values())
    )
    return named and everyone and rules in (None, [], UNKNOWN)


@stack_policy(
    "service-account-tokens-only-where-needed",
    "Pods have a token for the Kubernetes API only where their service account was given something to do there",
    risk="medium",
    why="https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/"
    "#opt-out-of-api-credential-automounting",
    fix="Set automountServiceAccountToken: false in the pod; credentials of the cloud do not need that token.",
)
def service_account_tokens_only_where_needed(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    objects, whole = objects_in(inventory), combined(inventory)
    for one in objects.all:
        if one.resource.type not in POD_TYPES or one.namespace == UNKNOWN:
            continue
        for pod in whole.get(one.resource.urn) or pods(one.resource):
            name = at(pod.spec, "serviceAccountName", "default")
            if pod.partial or pod.fragment or name == UNKNOWN or not _mounts_token(objects, one, pod, name):
                continue
            if _scales_itself(one, pod):
                continue
            bindings = (b for b in objects.of_kind("RoleBinding", "ClusterRoleBinding") if b.cluster == one.cluster)
            if not any(_may_bind(binding, one.namespace, name) for binding in bindings):
                yield Violation(
                    f"mounts a token of service account {name}, which no role of the plan is bound to; "
                    "expected automountServiceAccountToken: false",
                    one.resource,
                    pod.part,
                )


def _scales_itself(one: Object, pod: Pod) -> bool:
    """Whether a pod is the head of a Ray cluster with the autoscaler in it, for which KubeRay makes the role.

    https://docs.ray.io/en/latest/cluster/kubernetes/user-guides/configuring-autoscaling.html
    """
    place = {"RayCluster": "", "RayJob": "rayClusterSpec."}.get(one.kind)
    if place is None or at(one.spec, f"{place}headGroupSpec.template.spec") != pod.spec:
        return False
    return at(one.spec, f"{place}enableInTreeAutoscaling") in (True, UNKNOWN)


def _mounts_token(objects: Objects, one: Object, pod: Pod, account: str) -> bool:
    """Whether pods get a token: as they say, else as their service account says, else yes."""
    own = at(pod.spec, "automountServiceAccountToken")
    if own is not None:
        return on(own)
    return all(
        on(at(other.resource, "automountServiceAccountToken", True))
        for other in objects.of_kind("ServiceAccount")
        if other.cluster == one.cluster
        and other.namespace in (one.namespace, UNKNOWN)
        and other.name in (account, UNKNOWN)
    )


def _may_bind(binding: Object, namespace: str, name: str) -> bool:
    """Whether a binding gives a service account a role; or may, where it isn't known."""
    subjects = at(binding.resource, "subjects", [])
    if subjects == UNKNOWN:
        return True
    return any(
        one.get("kind") in ("ServiceAccount", UNKNOWN)
        and one.get("name") in (name, UNKNOWN)
        and one.get("namespace", binding.namespace) in (namespace, UNKNOWN)
        for one in each(subjects)
    ) or (isinstance(subjects, list) and UNKNOWN in subjects)


@resource_policy(
    "charts-pinned",
    "Helm charts are installed in one exact version",
    types=CHARTS,
    risk="medium",
    why="https://www.pulumi.com/registry/packages/kubernetes/api-docs/helm/v3/release/",
    fix="Set `version` to the chart's exact version, such as 1.2.3.",
)
def charts_pinned(release: Resource, _: Parameters) -> Iterator[str]:
    chart, version = at(release, "chart", ""), at(release, "version", "")
    if UNKNOWN in (chart, version) or not isinstance(chart, str):
        return
    if chart.startswith((".", "/")) or chart.endswith(".tgz") or at(release, "path"):
        return  # what lies in the repository has its version there
    if on(at(release, "devel")):
        yield f"installs whichever version of {chart} is newest, unfinished ones too; expected a version and no devel"
    elif not re.fullmatch(r"v?\d+\.\d+\.\d+([-+][\w.+-]+)?", str(version)):
        yield f"installs {chart} in version {version or 'whichever is newest'}; expected an exact one"


@resource_policy(
    "no-load-balancer-services",
    "Load balancers and open ports are made by Pulumi, not by a controller behind its back",
    types=("kubernetes:core/v1:Service", ENVOY_PROXY),
    risk="high",
    why="https://kubernetes.io/docs/concepts/services-networking/service/#publishing-services-service-types",
    fix="Make the Service a ClusterIP, and bind it to a target group or NEG of a RegionalEndpoint.",
    parameters={"allowed": ["ClusterIP", "ExternalName"]},
)
def no_load_balancer_services(service: Resource, parameters: Parameters) -> Iterator[str]:
    kind = service_type(service) if service.type == ENVOY_PROXY else at(service, "spec.type", "ClusterIP")
    if kind != UNKNOWN and kind not in parameters["allowed"]:
        yield (
            f"is of type {kind}; allowed are {', '.join(parameters['allowed'])}: what a controller makes is outside "
            "of the firewall, and nobody deletes it with the stack"
        )


_COUNTER = re.compile(
    r"(?!nv_inference_pending_request_count\b)"
    r"(\w+_(total|count|sum|bucket)|nv_(inference|energy)\w*_(us|success|failure|count|consumption))"
)
"""Names of Prometheus counters, by its conventions and by Triton's (docs/user_guide/metrics.md), of whose counts one is
a gauge."""
_TIME_COUNTER = re.compile(
    r"(?:rate|irate|increase)\s*\(\s*(\w*(?:queue|wait|latency|duration|delay)\w*(?:_us|_ms|_ns|_sum|_seconds_total|_us_total))\b"
)
_PER_REQUEST = re.compile(
    r"/\s*[\s(]*(?:(?:sum|avg|max|min|clamp_min)\s*(?:(?:by|without)\s*\([^)]*\))?\s*\(\s*)*(?:rate|irate|increase)\s*\("
)
_RATED = re.compile(r"\b(rate|irate|increase|deriv|delta|idelta)\s*\(")


@resource_policy(
    "scalers-not-on-counters",
    "Autoscalers go by what one request meets, not by a number that grows with traffic or with time",
    types=(
        "kubernetes:autoscaling/v2:HorizontalPodAutoscaler",
        "kubernetes:keda.sh/v1alpha1:ScaledObject",
        RELEASE,
    ),
    risk="medium",
    why="https://prometheus.io/docs/practices/histograms/#count-and-sum-of-observations",
    fix="Divide the rate of the time counter by the rate of the requests: seconds for each request.",
)
def scalers_not_on_counters(resource: Resource, _: Parameters) -> Iterator[Violation]:
    for name in _metric_names(resource):
        if _COUNTER.fullmatch(name):
            yield Violation(f"scales on the counter {name}, which only ever grows", resource, name)
    for name, query in _queries(resource):
        if waited := _TIME_COUNTER.search(query):
            if not _PER_REQUEST.search(query):
                yield Violation(
                    f"metric {name!r} is the growth of {waited[1]}: time waited each second by all requests together, "
                    "which grows with traffic; expected it to be divided by the rate of requests",
                    resource,
                    name,
                )
        elif not _RATED.search(query) and (raw := next(filter(_COUNTER.fullmatch, re.findall(r"\w+", query)), None)):
            yield Violation(f"metric {name!r} is the counter {raw}, which only ever grows", resource, name)


def _metric_names(scaler: Resource) -> Iterator[str]:
    for metric in each(scaler, "spec.metrics"):
        for kind in ("pods", "object", "external"):
            yield from texts(metric, f"{kind}.metric.name")


def _queries(resource: Resource) -> Iterator[tuple[str, str]]:
    """(name, PromQL) of the metrics that a ScaledObject goes by, or that a prometheus-adapter serves to autoscalers."""
    for index, trigger in enumerate(each(resource, "spec.triggers")):
        for query in texts(trigger, "metadata.query"):
            yield str(trigger.get("name", index)), query
    for kind in ("custom", "external"):
        for index, rule in enumerate(each(resource, f"values.rules.{kind}")):
            for query in texts(rule, "metricsQuery"):
                yield str(at(rule, "name.as", index)), query
