"""Controllers that make things in the cloud for Kubernetes objects, and have to be there when these are deleted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from planner.checks.view import View
from planner.inventory.gateways import CHART, CONTROLLER
from planner.inventory.objects import Object, maps
from planner.inventory.references import at, mapping
from planner.plan import UNKNOWN, Resource


@dataclass(frozen=True)
class Controller:
    """What makes and deletes things in the cloud, or takes finalizers off objects."""

    name: str
    charts: tuple[str, ...] = ()
    """Last parts of the names of charts that bring it."""
    addons: tuple[str, ...] = ()
    """Names of EKS add-ons that bring it."""
    calls_cloud: bool = True
    """Whether it needs the cloud's API, and so a way out of its network and an identity."""


KARPENTER = Controller("Karpenter", ("karpenter",))
BALANCERS = Controller("the AWS load balancer controller", ("aws-load-balancer-controller",))
EXTERNAL_DNS = Controller("external-dns", ("external-dns",), ("external-dns",))
KUEUE = Controller("Kueue", ("kueue",), calls_cloud=False)
KEDA = Controller("KEDA", ("keda",), calls_cloud=False)
KSERVE = Controller("KServe", ("kserve-resources", "kserve"), calls_cloud=False)
KNATIVE_OPERATOR = Controller("Knative's operator", ("knative-operator",), calls_cloud=False)
ENVOY_GATEWAY = Controller("Envoy Gateway", (CHART,), calls_cloud=False)
DRIVERS: Mapping[str, Controller] = {
    "ebs.csi.aws.com": Controller("the EBS driver", ("aws-ebs-csi-driver",), ("aws-ebs-csi-driver",)),
    "efs.csi.aws.com": Controller("the EFS driver", ("aws-efs-csi-driver",), ("aws-efs-csi-driver",)),
    "fsx.csi.aws.com": Controller("the FSx driver", ("aws-fsx-csi-driver",), ("aws-fsx-csi-driver",)),
}
"""Provisioner of a storage class -> who makes and deletes its volumes. GKE's are part of its control plane."""

DNS_ANNOTATION = "external-dns.alpha.kubernetes.io/hostname"
_BALANCER_TYPE = "service.beta.kubernetes.io/aws-load-balancer-type"


@dataclass(frozen=True)
class Made:
    """Something that a controller makes in the cloud, or an object that it has to release."""

    by: Object
    """The object whose deletion makes the controller clean up: for claims of charts the namespace."""
    what: str
    controller: Controller | None
    """None: the control plane itself, which goes with the cluster."""
    deleter: bool = True
    """Whether anything deletes it at all."""
    why: str = ""
    """Why not."""


def made(view: View) -> Iterator[Made]:
    """Everything in a plan for which a controller makes something outside the plan."""
    for one in view.objects.all:
        cloud = _cloud(view, one)
        match one.kind:
            case "NodePool" | "EC2NodeClass" if "karpenter" in one.resource.type:
                if at(one.spec, "template.spec.nodeClassRef.group") != "eks.amazonaws.com":
                    yield Made(one, "machines" if one.kind == "NodePool" else "instance profiles", KARPENTER)
            case "TargetGroupBinding":
                yield Made(one, "registered targets", BALANCERS)
            case "Service" if one.spec.get("type") == "LoadBalancer":
                yield Made(one, "load balancer", _service_controller(view, one) if cloud == "aws" else None)
            case "Ingress" if cloud == "gcp":
                yield Made(one, "load balancer", None)
            case "Ingress" if _ingress_class(one) == "alb":
                yield Made(one, "load balancer", BALANCERS)
            case "ClusterQueue" | "ResourceFlavor" | "LocalQueue" | "Cohort" | "Topology":
                yield Made(one, "finalizer", KUEUE)
            case "ScaledObject":
                yield Made(one, "finalizer", KEDA)
            case "InferenceService":
                yield Made(one, "finalizer", KSERVE)
            case "KnativeServing" | "KnativeEventing":
                yield Made(one, "finalizer", KNATIVE_OPERATOR)
            case "GatewayClass" if one.spec.get("controllerName") == CONTROLLER:
                yield Made(one, "finalizer", ENVOY_GATEWAY)
            case "PersistentVolumeClaim" if at(one.spec, "volumeName") in (None, ""):
                if (driver := _driver(view, one, one.spec.get("storageClassName"))) is not _KEPT:
                    yield Made(one, "volume", driver)
            case "StatefulSet":
                yield from _templates(view, one)
        if one.kind in ("Service", "Ingress") and DNS_ANNOTATION in one.annotations:
            yield _dns(view, one)
    for release in view.links.of_type("kubernetes:helm.sh/v3:Release"):
        yield from _charts_claims(view, release)


def installed(view: View, cluster: str, controller: Controller) -> list[Resource]:
    """What brings a controller into a cluster."""
    found = [r for r in view.releases_in(cluster) if chart_name(r) in controller.charts]
    for addon in view.addons.get(cluster, ()):
        if addon.inputs.get("addonName") in controller.addons:
            found.append(addon)
    return found


def chart_name(release: Resource) -> str:
    """`karpenter` of `oci://public.ecr.aws/karpenter/karpenter`."""
    return str(release.inputs.get("chart", "")).rstrip("/").rpartition("/")[2]


def _cloud(view: View, one: Object) -> str:
    return view.inventory.regions.get(one.cluster, "").partition(":")[0]


def _service_controller(view: View, service: Object) -> Controller | None:
    """Who makes the load balancer of a Service on EKS: the controller where it is asked for or there, else EKS."""
    wanted = service.spec.get("loadBalancerClass")
    if wanted == "service.k8s.aws/nlb" or service.annotations.get(_BALANCER_TYPE) in ("external", "nlb-ip"):
        return BALANCERS
    # Its webhook puts its class on every new Service, unless its values say no.
    there = installed(view, service.cluster, BALANCERS)
    hooked = any(at(r.inputs, "values.enableServiceMutatorWebhook") is not False for r in there)
    return BALANCERS if hooked and wanted is None else None


def _ingress_class(ingress: Object) -> str:
    return str(ingress.spec.get("ingressClassName") or ingress.annotations.get("kubernetes.io/ingress.class") or "")


_KEPT = Controller("nobody, for the storage class keeps its volumes")


def _driver(view: View, near: Object, name: Any) -> Controller | None:
    """Who deletes the volumes of a storage class: None for the control plane, _KEPT where they are to stay."""
    classes = list(view.objects.in_cluster(near.cluster, "StorageClass"))
    default = "storageclass.kubernetes.io/is-default-class"
    known = [c for c in classes if c.name == name or (name is None and c.annotations.get(default) == "true")]
    if known and known[0].resource.inputs.get("reclaimPolicy") == "Retain":
        return _KEPT
    provisioner = str(known[0].resource.inputs.get("provisioner", "")) if known else ""
    if not known and _cloud(view, near) == "aws":
        provisioner = "ebs.csi.aws.com"
    return DRIVERS.get(provisioner)


def _templates(view: View, stateful: Object) -> Iterator[Made]:
    retention = at(stateful.spec, "persistentVolumeClaimRetentionPolicy.whenDeleted")
    for template in maps(stateful.spec, "volumeClaimTemplates"):
        driver = _driver(view, stateful, at(template, "spec.storageClassName"))
        if driver is _KEPT:
            continue
        if retention == "Delete":
            yield Made(stateful, "volumes", driver)
        else:
            yield _with_namespace(view, stateful, driver, "claims that its templates make")


def _charts_claims(view: View, release: Resource) -> Iterator[Made]:
    """Volumes that a chart's values ask for: claims outlive the release, so their namespace has to delete them."""
    claims = list(_claims(release.inputs.get("values")))
    if not claims:
        return
    namespace = view.release_namespace(release)
    near = Object(release, view.objects.cluster_of(release), "Release", namespace, release.name)
    for claim in claims[:1]:
        driver = _driver(view, near, claim.get("storageClassName"))
        if driver is not _KEPT and namespace != UNKNOWN:
            yield _with_namespace(view, near, driver, "claims that its chart makes")


def _claims(values: Any) -> Iterator[Mapping[str, Any]]:
    """Specs of claims in a chart's values: `volumeClaimTemplate.spec`, or `persistence` that is switched on."""
    if isinstance(values, dict):
        for key, value in values.items():
            if key == "volumeClaimTemplate" and isinstance(value, dict):
                yield mapping(value, "spec")
            elif key == "persistence" and at(value, "enabled") is True:
                storage_class = at(value, "storageClass") or at(value, "storageClassName")
                yield {"storageClassName": storage_class} if storage_class else {}
            else:
                yield from _claims(value)
    elif isinstance(values, list):
        for value in values:
            yield from _claims(value)


def _with_namespace(view: View, near: Object, driver: Controller | None, claims: str) -> Made:
    namespace = view.objects.find(near, "Namespace", near.namespace)
    if namespace is None:
        why = f"nothing deletes the {claims}: their namespace {near.namespace} is not this environment's"
        return Made(near, "volumes", driver, deleter=False, why=why)
    return Made(namespace, "volumes", driver)


def _dns(view: View, one: Object) -> Made:
    there = installed(view, one.cluster, EXTERNAL_DNS)
    if there and not any(at(r.inputs, "values.policy") in ("sync", UNKNOWN) for r in there):
        why = "external-dns never deletes a record unless its policy is `sync`"
        return Made(one, "DNS records", EXTERNAL_DNS, deleter=False, why=why)
    return Made(one, "DNS records", EXTERNAL_DNS)
