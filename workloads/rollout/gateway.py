"""The weights of an HTTPRoute of ours (`InferenceRoute`, `weights_by: rollout`), set through the cluster's API.

Of the route, one rule is the rollout's: the one named `weighted`. Its backends become the arms, each with a header that
says whose an answer is, and with it a cluster of its own in Envoy, so that arms are counted apart. `spec.rules` is one
value to the API, so the whole list is sent back, with the version of the object that was read: whoever else changes it
meanwhile makes the change fail, not undo theirs. In the same change an annotation says whose word it is, the fence.

Experiments (rules by header or cookie) stay as they are: they are how a cluster keeps a tester with an arm.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workloads.rollout.errors import Fenced, RoutingError
from workloads.rollout.kubernetes import Cluster, Conflict, route_path, scale_path, slices_path
from workloads.rollout.routing import Fence
from workloads.rollout.shells import BASELINE, CANDIDATE, CONTROL, Replicas, Setting

WEIGHTED, SERVED_BY = "weighted", "x-served-by"
"""Name of the rule, and header of answers, as `components.inference.route_rules` has them."""
FENCE = "aicloud.dev/rollout-fence"
TOTAL = 10_000
"""What weights add up to: hundredths of a percent."""
CONFLICTS = 5


@dataclass(frozen=True)
class Service:
    """An arm's. `deployment`: whose replicas a rolling rollout changes."""

    namespace: str
    name: str
    port: int = 8000
    deployment: str = ""

    @classmethod
    def parse(cls, text: str) -> Service:
        """Read `NAMESPACE/SERVICE[:PORT][@DEPLOYMENT]`. Raises RoutingError."""
        found = re.fullmatch(r"([a-z0-9-]+)/([a-z0-9-]+)(?::([0-9]{1,5}))?(?:@([a-z0-9.-]+))?", text)
        if not found:
            raise RoutingError(f"{text!r}: expected NAMESPACE/SERVICE[:PORT][@DEPLOYMENT]")
        return cls(found[1], found[2], int(found[3] or 8000), found[4] or "")

    @property
    def reference(self) -> dict[str, Any]:
        return {"group": "", "kind": "Service", "name": self.name, "namespace": self.namespace, "port": self.port}

    def is_in(self, reference: Mapping[str, Any], home: str) -> bool:
        """Whether a route in namespace `home` means this one."""
        return (reference["name"], reference.get("namespace", home)) == (self.name, self.namespace)


class GatewayRoute:
    """One HTTPRoute as a Route. `baseline` and `candidate` are the old and the new version's."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, baseline: Service, candidate: Service) -> None:
        if (baseline.namespace, baseline.name) == (candidate.namespace, candidate.name):
            raise RoutingError(f"baseline and candidate are both {baseline.namespace}/{baseline.name}: expected two")
        self._cluster, self.namespace, self.name = cluster, namespace, name
        self._services = {CANDIDATE: candidate, BASELINE: baseline, CONTROL: baseline}
        self._path = route_path(namespace, name)

    # ---- what is in force

    def current(self) -> tuple[Setting, Fence]:
        found = self._cluster.get(self._path)
        return self._setting(found), fence_of(found)

    def _setting(self, route: Mapping[str, Any]) -> Setting:
        rule = route["spec"]["rules"][self.rule_of(route)]
        weights = {CANDIDATE: 0, BASELINE: 0}
        for reference in rule.get("backendRefs", []):
            weight = reference.get("weight", 1)
            arm = next((arm for arm in weights if self._services[arm].is_in(reference, self.namespace)), None)
            if arm is not None:
                weights[arm] += weight
            elif weight:
                known = " and ".join(f"{self._services[arm].namespace}/{self._services[arm].name}" for arm in weights)
                raise RoutingError(
                    f"HTTPRoute {self.namespace}/{self.name}: {reference['name']} has requests (weight {weight}): "
                    f"expected those of {known}, which are this rollout's"
                )
        total = sum(weights.values())
        if not total:
            raise RoutingError(f"HTTPRoute {self.namespace}/{self.name}: nobody has requests")
        mirror = 0.0
        for each in filter(self._is_ours, rule.get("filters", [])):
            mirror = _ratio(each["requestMirror"])
        return Setting(weights[CANDIDATE] / total, mirror)

    def rule_of(self, route: Mapping[str, Any]) -> int:
        """Index of the rule whose weights these are."""
        found = [index for index, rule in enumerate(route["spec"]["rules"]) if rule.get("name") == WEIGHTED]
        if len(found) != 1:
            raise RoutingError(f"HTTPRoute {self.namespace}/{self.name}: expected one rule called {WEIGHTED!r}")
        return found[0]

    def clusters(self) -> dict[str, str]:
        """Arm -> name of its cluster in Envoy's metrics; and of the copies."""
        index = self.rule_of(self._cluster.get(self._path))
        rule = f"httproute/{self.namespace}/{self.name}/rule/{index}"
        arms = {arm: f"{rule}/backend/{number}" for number, arm in enumerate(self._services)}
        return {**arms, "mirror": f"{rule}-mirror-0"}

    # ---- changing it

    def set(self, setting: Setting, fence: Fence) -> None:
        for attempt in range(CONFLICTS):
            found = self._cluster.get(self._path)
            if fence < fence_of(found):
                raise Fenced(
                    f"HTTPRoute {self.namespace}/{self.name}: another controller has taken over: {found_by(found)}"
                )
            self._setting(found)  # That nobody else has requests.
            rules = copy.deepcopy(found["spec"]["rules"])
            index = self.rule_of(found)
            rules[index] = self.weighted(rules[index], setting)
            metadata = {
                "resourceVersion": found["metadata"]["resourceVersion"],
                "annotations": {FENCE: f"{fence.token}.{fence.number}"},
            }
            try:
                self._cluster.patch(self._path, {"metadata": metadata, "spec": {"rules": rules}})
                return
            except Conflict:
                if attempt == CONFLICTS - 1:
                    raise

    def weighted(self, rule: Mapping[str, Any], setting: Setting) -> dict[str, Any]:
        """The rule with other shares; all else of it stays."""
        weights = whole(setting)
        references = [
            {
                **service.reference,
                "weight": weights[arm],
                "filters": [
                    {
                        "type": "ResponseHeaderModifier",
                        "responseHeaderModifier": {"set": [{"name": SERVED_BY, "value": arm}]},
                    }
                ],
            }
            for arm, service in self._services.items()
        ]
        filters = [each for each in rule.get("filters", []) if not self._is_ours(each)]
        if setting.mirror:
            fraction = {"numerator": max(1, round(setting.mirror * TOTAL)), "denominator": TOTAL}
            copies = {"backendRef": self._services[CANDIDATE].reference, "fraction": fraction}
            # The first: Envoy Gateway numbers the copies' clusters by it.
            filters.insert(0, {"type": "RequestMirror", "requestMirror": copies})
        made = {key: value for key, value in rule.items() if key != "filters"}
        return {**made, "backendRefs": references, **({"filters": filters} if filters else {})}

    def _is_ours(self, each: Mapping[str, Any]) -> bool:
        candidate = self._services[CANDIDATE]
        return each["type"] == "RequestMirror" and candidate.is_in(each["requestMirror"]["backendRef"], self.namespace)

    # ---- who is there

    def replicas(self) -> Replicas:
        return Replicas(self._ready(self._services[BASELINE]), self._ready(self._services[CANDIDATE]))

    def _ready(self, service: Service) -> int:
        """Pods of a Service that take requests; one may be in two slices, while it moves between them."""
        found = self._cluster.get(
            slices_path(service.namespace), labelSelector=f"kubernetes.io/service-name={service.name}"
        )
        return len(
            {
                address
                for part in found.get("items", [])
                for endpoint in part.get("endpoints") or []
                # Unknown counts as ready, as the API says; a pod that ends is not.
                if endpoint.get("conditions", {}).get("ready") is not False
                for address in endpoint["addresses"][:1]
            }
        )

    def scale(self, candidate: int, baseline: int) -> None:
        for arm, replicas in ((CANDIDATE, candidate), (BASELINE, baseline)):
            service = self._services[arm]
            if not service.deployment:
                raise RoutingError(f"{arm} {service.namespace}/{service.name}: rolling needs its @DEPLOYMENT")
            self._cluster.patch(scale_path(service.namespace, service.deployment), {"spec": {"replicas": replicas}})


def whole(setting: Setting) -> dict[str, int]:
    """Shares as whole numbers that add up to TOTAL. Whoever shall have requests has some, and nobody else has any."""
    candidate = round(setting.weight * TOTAL)
    if 0 < setting.weight < 1:
        candidate = min(max(candidate, 1), TOTAL - 1)
    control = min(candidate, TOTAL - candidate)
    return {CANDIDATE: candidate, CONTROL: control, BASELINE: TOTAL - candidate - control}


def fence_of(route: Mapping[str, Any]) -> Fence:
    """Whose word a route's weights are; nobody's yet: 0."""
    token, _, number = found_by(route).partition(".")
    return Fence(int(token), int(number)) if token.isdecimal() and number.isdecimal() else Fence()


def found_by(route: Mapping[str, Any]) -> str:
    return str((route["metadata"].get("annotations") or {}).get(FENCE, ""))


def _ratio(mirror: Mapping[str, Any]) -> float:
    if "fraction" in mirror:
        return float(mirror["fraction"]["numerator"]) / float(mirror["fraction"].get("denominator", 100))
    return float(mirror.get("percent", 100)) / 100
