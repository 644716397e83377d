"""Version skew: Kubernetes and its end of support, nodes, charts, API versions, drivers and CUDA."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from planner.checks.versions_table import (
    APIS,
    CHARTS,
    CLOUD_RUN_DRIVERS,
    CUDA_DRIVERS,
    EKS_IMAGE_DRIVERS,
    NODES_BEHIND,
    OPERATOR_DRIVERS,
    SAGEMAKER_DRIVERS,
    STRICT,
    TRITON_CUDA,
    Version,
    version,
)
from planner.finding import Finding, Rule
from planner.inventory import Inventory
from planner.inventory.documents import parsed
from planner.inventory.model import Cluster, MachineType, Workload
from planner.inventory.references import at, items, mapping, texts
from planner.inventory.rungs import RELEASE
from planner.inventory.serverless import serverless
from planner.plan import UNKNOWN, Resource
from planner.rules import Rules

NODES = Rule(
    "cluster-and-nodes-match",
    "Nodes are not newer than their control plane, nor much older",
    url="https://kubernetes.io/releases/version-skew-policy/",
    remediation="Upgrade the node group to the control plane's version, or leave its version out.",
)
CHART = Rule(
    "chart-fits-kubernetes",
    "Every chart works with the cluster's version of Kubernetes",
    "warning",
    "https://karpenter.sh/docs/upgrading/compatibility/",
    "Take a version of the chart whose window holds the cluster's version.",
)
API = Rule(
    "api-version-fits-chart",
    "Every custom resource is of a version that its chart serves",
    url="https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/",
    remediation="Upgrade the chart, or write the resource in the version that it serves.",
)
DRIVER = Rule(
    "driver-fits-cuda",
    "The driver of the machines runs the CUDA of the images",
    url="https://docs.nvidia.com/deploy/cuda-compatibility/",
    remediation="Take a newer node image or driver, or an image with an older CUDA.",
    parameters={"images": {}},
)
"""`images`: pattern of an image's name, without tag -> the release of NVIDIA's container that it is built from, such as
`26.09`, or, for what brings CUDA as Python packages, `cuda 13.0`."""

RULES = (NODES, CHART, API, DRIVER)

NVIDIA_IMAGE = re.compile(r"nvcr\.io/nvidia/[\w.-]+:(\d\d\.\d\d)\b")
CUDA_TAG = re.compile(r":[^:/]*\bcu(?:da)?(\d\d\.?\d)\b")
"""PyTorch's images say their CUDA in the tag: `2.13.0-cuda13.0-cudnn9-runtime`, `cu130`."""


def findings(inventory: Inventory, rules: Rules) -> Iterator[Finding]:
    """What doesn't go together. The date is that of the rules."""
    releases = _releases(inventory)
    for cluster in inventory.clusters:
        if cluster.version:
            yield from _nodes(cluster, inventory)
            for release in releases[cluster.urn].values():
                yield from _chart(release, cluster)
    yield from _apis(releases, inventory)
    yield from _drivers(releases, inventory, rules)
    yield from _service_drivers(inventory, rules)


def _releases(inventory: Inventory) -> dict[str, dict[str, Resource]]:
    """Cluster -> chart -> its release. A cluster that cannot be told is the empty string."""
    found: dict[str, dict[str, Resource]] = defaultdict(dict)
    for release in inventory.plan.of_type(RELEASE):
        found[inventory.cluster_of(release)][_chart_name(release)] = release
    return found


def _chart_name(release: Resource) -> str:
    return str(release.inputs.get("chart", "")).rstrip("/").rsplit("/", 1)[-1]


def _version(resource: Resource, key: str = "version") -> Version:
    value = resource.inputs.get(key)
    return version(value) if isinstance(value, str) and UNKNOWN not in value else ()


def _dotted(numbers: Version) -> str:
    return ".".join(map(str, numbers))


# ---- Kubernetes


def _nodes(cluster: Cluster, inventory: Inventory) -> Iterator[Finding]:
    control = version(cluster.version)[:2]
    for rung in cluster.rungs:
        resource = inventory.plan.by_urn[rung.urn]
        nodes = _version(resource)[:2]
        if rung.manager == "karpenter" or len(nodes) < 2 or nodes == control:
            continue
        behind = control[1] - nodes[1]
        words = f"nodes are of {_dotted(nodes)} and the control plane of {_dotted(control)}"
        allowed = NODES_BEHIND.get(cluster.cloud, 2)
        if behind < 0 or behind > allowed:
            yield NODES.finding(f"{words}; at most {allowed} minor versions older is allowed, and none newer", resource)
        else:
            yield NODES.finding(f"{words}: they were not upgraded together", resource, severity="warning")


# ---- charts and their APIs


def _chart(release: Resource, cluster: Cluster) -> Iterator[Finding]:
    name, own = _chart_name(release), _version(release)
    if not own or name not in CHARTS:
        return
    known = [window for window in CHARTS[name] if version(window.since) <= own]
    # What is older than the table goes at most as far as its first row.
    window = known[-1] if known else replace(CHARTS[name][0], oldest="")
    minor = version(cluster.version)[:2]
    if minor < version(window.oldest) or (window.newest and minor > version(window.newest)):
        span = f"{window.oldest or 'older ones'} to {window.newest}" if window.newest else f"{window.oldest} and later"
        yield CHART.finding(
            f"{name} {_dotted(own)} is for Kubernetes {span}, the cluster has {cluster.version} ({window.source})",
            release,
            subject=name,
            severity="error" if name in STRICT else "",
        )


def _apis(releases: Mapping[str, Mapping[str, Resource]], inventory: Inventory) -> Iterator[Finding]:
    """Of custom resources, and of configuration files inside a chart's values."""
    for resource in inventory.plan:
        api = resource.inputs.get("apiVersion")
        if resource.package == "kubernetes" and isinstance(api, str) and api in APIS:
            yield from _served(api, resource, releases[inventory.cluster_of(resource)])
    for own in list(releases.values()):
        for release in own.values():
            for api in _configured(release.inputs.get("values")):
                yield from _served(api, release, own)


def _configured(values: Any) -> Iterator[str]:
    """API versions of documents in texts, such as `managerConfig.controllerManagerConfigYaml`."""
    for text in texts(values):
        if text.startswith("apiVersion:"):
            api = at(parsed(text), "apiVersion")
            if api in APIS:
                yield api


def _served(api: str, resource: Resource, releases: Mapping[str, Resource]) -> Iterator[Finding]:
    known = APIS[api]
    release = releases.get(known.chart)
    own = _version(release) if release else ()
    # Without a release in the plan somebody else installs it, in a version that nobody here can tell.
    if own and (own < version(known.since) or (known.before and own >= version(known.before))):
        window = f"since {known.since}" + (f" and before {known.before}" if known.before else "")
        yield API.finding(
            f"{api} is served by {known.chart} {window}, the cluster gets {_dotted(own)} ({known.source})",
            resource,
            subject=api,
        )


# ---- drivers and CUDA


def _drivers(releases: Mapping[str, Mapping[str, Resource]], inventory: Inventory, rules: Rules) -> Iterator[Finding]:
    clusters = {cluster.urn: cluster for cluster in inventory.clusters}
    given = rules.parameter(DRIVER, "images")
    images = given if isinstance(given, Mapping) else {}
    for workload in inventory.workloads:
        cluster = clusters.get(workload.cluster)
        for image in _gpu_images(workload):
            cuda = cuda_of(image, images)
            if cluster is None or not cuda:
                continue
            native, with_package = CUDA_DRIVERS.get(cuda[0], (0, 0))
            if not _carries_package(image, images):
                with_package = native
            for what, driver in sorted(_machine_drivers(cluster, releases[cluster.urn], inventory).items()):
                if driver[0] < native:
                    least = driver[0] < with_package
                    package = "" if least else ", and only the compatibility package in the image helps"
                    yield DRIVER.finding(
                        f"driver {_dotted(driver)} of {what} does not run CUDA {_dotted(cuda)} of {image}: it takes "
                        f"{native} or later{package}",
                        inventory.plan.by_urn[workload.urn],
                        subject=what,
                        severity="error" if least else "warning",
                    )


def _service_drivers(inventory: Inventory, rules: Rules) -> Iterator[Finding]:
    """Of services and endpoints without a cluster, where it is known which driver they get."""
    given = rules.parameter(DRIVER, "images")
    images = given if isinstance(given, Mapping) else {}
    for service in serverless(inventory):
        driver = SAGEMAKER_DRIVERS.get(service.machine_image) or CLOUD_RUN_DRIVERS.get(service.accelerator)
        cuda = cuda_of(service.image, images) if service.image else ()
        if driver is None or not cuda:
            continue
        native, with_package = CUDA_DRIVERS.get(cuda[0], (0, 0))
        # On Cloud Run there is no newer one to be had, and the image's own entry point puts its package to use.
        packaged = service.kind == "cloud-run" and _carries_package(service.image, images)
        needed = with_package if packaged else native
        if driver < needed:
            yield DRIVER.finding(
                f"driver {driver} of {service.machine_image or 'Cloud Run'} does not run CUDA {_dotted(cuda)} of "
                f"{service.image}: it takes {needed} or later",
                inventory.plan.by_urn[service.urn],
                subject=service.machine_image or service.accelerator,
            )


def cuda_of(image: str, images: Mapping[str, Any] | None = None) -> Version:
    """CUDA of a container image, by NVIDIA's release that it is or is built from; empty where that is unknown."""
    found = NVIDIA_IMAGE.search(image)
    told = _told(image, images or {})
    if own := re.fullmatch(r"cuda ?(\d+\.\d+)", str(told)):
        return version(own[1])
    if not found and not told and (tagged := CUDA_TAG.search(image.split("@")[0])):
        digits = tagged[1].replace(".", "")
        return int(digits[:2]), int(digits[2:])
    release = version(found[1] if found else str(told)) if found or told else ()
    known = [cuda for since, cuda in TRITON_CUDA if version(since) <= release]
    return version(known[-1]) if known else ()


def _told(image: str, images: Mapping[str, Any]) -> Any:
    """What the environment says of an image."""
    name = image.split("@")[0]
    name = name.rpartition(":")[0] if ":" in name.rsplit("/", 1)[-1] else name
    return next((told for pattern, told in images.items() if fnmatchcase(name, pattern)), None)


def _carries_package(image: str, images: Mapping[str, Any]) -> bool:
    """Whether an image has NVIDIA's package for older drivers: theirs have, Python's packages of CUDA don't."""
    told = _told(image, images)
    return bool(NVIDIA_IMAGE.search(image)) or (told is not None and not str(told).startswith("cuda"))


def _gpu_images(workload: Workload) -> list[str]:
    return [
        image
        for container in items(workload.spec, "containers")
        if mapping(container, "resources.limits").get("nvidia.com/gpu")
        and isinstance(image := at(container, "image"), str)
        and UNKNOWN not in image
    ]


def _machine_drivers(cluster: Cluster, releases: Mapping[str, Resource], inventory: Inventory) -> dict[str, Version]:
    """What brings a driver to a cluster's GPU machines -> that driver. What can only be guessed is left out."""
    found: dict[str, Version] = {}
    operator = releases.get("gpu-operator")
    if operator and at(operator.inputs, "values.driver.enabled") is not False:
        stated = at(operator.inputs, "values.driver.version")
        # Its chart installs a driver unless told not to, also on images that have one.
        found["the GPU Operator"] = (
            version(stated) if isinstance(stated, str) and UNKNOWN not in stated
            else _since(OPERATOR_DRIVERS, _version(operator))
        )  # fmt: skip
        return {what: driver for what, driver in found.items() if driver}
    for rung in cluster.rungs:
        if not any(isinstance(machine, MachineType) for machine in rung.machines):
            continue
        resource = inventory.plan.by_urn[rung.urn]
        pinned = re.search(r"@v(\d{8})", rung.image) or re.search(
            r"-(\d{8})$", str(resource.inputs.get("releaseVersion"))
        )
        if pinned and "bottlerocket" not in rung.image.lower():
            found[rung.name] = _since(EKS_IMAGE_DRIVERS, (int(pinned[1]),))
        elif rung.image in ("al2023@latest", "AL2023_x86_64_NVIDIA"):
            found[rung.name] = version(EKS_IMAGE_DRIVERS[-1][1])
    return {what: driver for what, driver in found.items() if driver}


def _since(table: tuple[tuple[str, str], ...], own: Version) -> Version:
    known = [driver for since, driver in table if version(since) <= own]
    return version(known[-1]) if known else ()
