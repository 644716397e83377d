"""What an API server checks in code rather than by schema: names, labels, quantities and references inside an object.

Each rule is a function of one part of a manifest and yields what is wrong there. A part of the wrong type is passed
over: the schema has said so already. Unknown values fit everywhere. Source: k8s.io/kubernetes, pkg/apis/*/validation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from planner.engine.schema import did_you_mean
from planner.plan import UNKNOWN

Problem = tuple[str, str, str]
"""Property path, message, severity."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY = re.compile(r"(?P<prefix>[^/]+/)?(?P<name>[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)", re.ASCII)
_VALUE = re.compile(r"([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?", re.ASCII)
_PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d+)?")
_CRON = re.compile(r"@(yearly|annually|monthly|weekly|daily|midnight|hourly|every .+)|\S+( +\S+){4}")

_SUFFIXES = {
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
    **{
        suffix: Decimal(1000) ** power
        for power, suffix in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), -3)
    },
}

_POD = {
    "Pod": "spec",
    "PodTemplate": "template.spec",
    "CronJob": "spec.jobTemplate.spec.template.spec",
    **dict.fromkeys(
        ("Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "ReplicationController", "Job"), "spec.template.spec"
    ),
}
"""Kind -> where its pod is."""

_ANY_NAME = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
"""Kinds whose names may have any character but / and %, such as `system:node`."""


def check(manifest: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with an object of a core kind or, as far as its metadata goes, a custom resource."""
    kind, group = str(manifest.get("kind")), str(manifest.get("apiVersion")).rpartition("/")[0]
    yield from _metadata(_map(manifest.get("metadata")), "metadata", kind)
    spec = _map(manifest.get("spec"))
    if (group, kind) == ("keda.sh", "ScaledObject"):
        yield from _scaled_object(spec)
    if "." in group.removesuffix(".k8s.io"):
        return  # others, too, call their kinds Service and Job
    if kind in _POD:
        yield from _pod(_at(manifest, _POD[kind]), _POD[kind], kind, _claim_templates(spec))
    if kind in ("Deployment", "DaemonSet", "StatefulSet", "ReplicaSet"):
        yield from _selector(spec)
    if kind in _KINDS:
        yield from _KINDS[kind](spec)


# ---- metadata


def _metadata(metadata: Mapping[str, Any], path: str, kind: str) -> Iterator[Problem]:
    name = metadata.get("name")
    if isinstance(name, str) and name != UNKNOWN:
        if kind in _ANY_NAME:
            if not name or "/" in name or "%" in name:
                yield f"{path}.name", f"{name!r}: a name has no / or %", "error"
        elif kind in ("Namespace", "Service"):
            if not _LABEL.fullmatch(name) or (kind == "Service" and name[0].isdigit()):
                yield (
                    f"{path}.name",
                    f"{name!r}: expected a-z 0-9 -, from letter to letter or digit, at most 63",
                    "error",
                )
        elif not _SUBDOMAIN.fullmatch(name):
            yield (
                f"{path}.name",
                f"{name!r}: expected a-z 0-9 - . with letter or digit at both ends, at most 253",
                "error",
            )
    yield from _labels(_map(metadata.get("labels")), f"{path}.labels")
    for key in _map(metadata.get("annotations")):
        if not _key_fits(key):
            yield f"{path}.annotations", f"{key!r} is no key for an annotation, [prefix/]name", "error"


def _labels(labels: Mapping[str, Any], path: str) -> Iterator[Problem]:
    for key, value in labels.items():
        if not _key_fits(key):
            yield (
                path,
                f"{key!r} is no key for a label, [prefix/]name with at most 63 of A-Z a-z 0-9 - _ . in name",
                "error",
            )
        if isinstance(value, str) and value != UNKNOWN and not _VALUE.fullmatch(value):
            yield path, f"{value!r}, the value of {key}: expected at most 63 of A-Z a-z 0-9 - _ .", "error"


def _key_fits(key: str) -> bool:
    found = _KEY.fullmatch(key)
    return found is not None and (not found["prefix"] or _SUBDOMAIN.fullmatch(found["prefix"][:-1].lower()) is not None)


def _selector(spec: Mapping[str, Any]) -> Iterator[Problem]:
    labels = _get(spec, "template.metadata.labels")
    if labels == UNKNOWN:
        return
    labels = _map(labels)
    yield from _labels(labels, "spec.template.metadata.labels")
    for key, value in _map(_at(spec, "selector").get("matchLabels")).items():
        given = labels.get(key)
        if UNKNOWN not in (given, value) and given != value:
            found = f"has {given!r}" if key in labels else "does not have it"
            yield "spec.selector.matchLabels", f"selects {key}={value}, but the pod template {found}", "error"


# ---- pods


def _pod(pod: Mapping[str, Any], path: str, kind: str, claims: frozenset[str]) -> Iterator[Problem]:
    volumes = _names(pod.get("volumes"))
    yield from _duplicates(volumes, f"{path}.volumes", "name")
    names = [*_names(pod.get("initContainers")), *_names(pod.get("containers"))]
    yield from _duplicates(names, f"{path}.containers", "name")
    for part in ("initContainers", "containers"):
        for index, container in enumerate(_objects(pod.get(part))):
            yield from _container(container, f"{path}.{part}[{index}]", {*volumes, *claims})
    expected = {"Job": ("OnFailure", "Never"), "CronJob": ("OnFailure", "Never"), "Pod": None}.get(kind, ("Always",))
    policy = pod.get("restartPolicy")
    if expected and policy != UNKNOWN and (policy or "Always") not in expected:
        yield f"{path}.restartPolicy", f"{policy or 'Always'!r}: a {kind} takes {' or '.join(expected)}", "error"
    for index, toleration in enumerate(_objects(pod.get("tolerations"))):
        if toleration.get("operator") == "Exists" and toleration.get("value"):
            yield f"{path}.tolerations[{index}].value", "goes with operator Equal, not with Exists", "error"
    for index, spread in enumerate(_objects(pod.get("topologySpreadConstraints"))):
        if spread.get("maxSkew") in (0, -1):
            yield f"{path}.topologySpreadConstraints[{index}].maxSkew", "must be at least 1", "error"


def _container(container: Mapping[str, Any], path: str, volumes: set[Any]) -> Iterator[Problem]:
    name = container.get("name")
    if isinstance(name, str) and name != UNKNOWN and not _LABEL.fullmatch(name):
        yield f"{path}.name", f"{name!r}: expected at most 63 of a-z 0-9 -", "error"
    ports = _objects(container.get("ports"))
    names = _names(container.get("ports"))
    yield from _duplicates(names, f"{path}.ports", "name")
    yield from _duplicates(
        [(port.get("containerPort"), port.get("protocol") or "TCP", port.get("hostIP")) for port in ports],
        f"{path}.ports",
        "containerPort",
    )
    for index, port in enumerate(ports):
        yield from _port(port.get("containerPort"), f"{path}.ports[{index}].containerPort")
        yield from _port_name(port.get("name"), f"{path}.ports[{index}].name")
    # The server keeps lists of these as maps by name, and refuses to apply one with two of a name.
    yield from _duplicates(_names(container.get("env")), f"{path}.env", "name")
    mounts = _objects(container.get("volumeMounts"))
    yield from _duplicates([mount.get("mountPath") for mount in mounts], f"{path}.volumeMounts", "mountPath")
    for index, mount in enumerate(mounts):
        if UNKNOWN not in volumes and mount.get("name") not in (None, UNKNOWN, *volumes):
            hint = did_you_mean(str(mount["name"]), [str(volume) for volume in volumes])
            yield f"{path}.volumeMounts[{index}].name", f"no volume is called {mount['name']!r}{hint}", "error"
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        yield from _probe(_map(container.get(probe)), f"{path}.{probe}", names)
    yield from _resources(_map(container.get("resources")), f"{path}.resources")


def _probe(probe: Mapping[str, Any], path: str, ports: list[Any]) -> Iterator[Problem]:
    handlers = [name for name in ("exec", "grpc", "httpGet", "tcpSocket") if probe.get(name) is not None]
    if probe and len(handlers) != 1:
        yield path, f"needs one of exec, grpc, httpGet, tcpSocket; has {', '.join(handlers) or 'none'}", "error"
    for handler in handlers:
        port = _map(probe[handler]).get("port")
        if isinstance(port, str) and port != UNKNOWN and UNKNOWN not in ports and port not in ports:
            hint = did_you_mean(port, [name for name in ports if isinstance(name, str)])
            yield f"{path}.{handler}.port", f"the container has no port called {port!r}{hint}", "error"


def _resources(resources: Mapping[str, Any], path: str) -> Iterator[Problem]:
    requests, limits = _map(resources.get("requests")), _map(resources.get("limits"))
    for part, amounts in (("requests", requests), ("limits", limits)):
        for name, amount in amounts.items():
            yield from _quantity(amount, f"{path}.{part}", name)
    for name, wanted in requests.items():
        low, high = quantity(wanted), quantity(limits.get(name))
        # Devices and huge pages are not overcommitted: what is asked for is the limit.
        exact = "/" in name.removeprefix("kubernetes.io/") or name.startswith("hugepages-")
        if exact and name not in limits and resources.get("limits") != UNKNOWN:
            yield (
                f"{path}.limits",
                f"{name} is requested and has no limit; an extended resource needs an equal one",
                "error",
            )
        elif low is not None and high is not None and (low > high or (exact and low != high)):
            relation = "differs from" if exact else "exceeds"
            yield f"{path}.requests", f"{name}: {wanted} {relation} its limit, {limits[name]}", "error"
    for part, amounts in (("requests", requests), ("limits", limits)):
        for name, amount in amounts.items():
            value = quantity(amount)
            if "/" in name and value is not None and value % 1:
                yield f"{path}.{part}", f"{name}: {amount} is not a whole number", "error"


def quantity(amount: Any) -> Decimal | None:
    """A resource quantity ("500m", "2Gi", 3) as a number; None where it is unknown or not one."""
    if isinstance(amount, bool) or not isinstance(amount, int | float | str) or amount == UNKNOWN:
        return None
    found = _QUANTITY.fullmatch(str(amount))
    if found is None:
        return None
    number, suffix = found.groups()
    try:
        factor = _SUFFIXES[suffix or ""] if (suffix or "") in _SUFFIXES else Decimal(f"1{suffix}")
        return Decimal(number) * factor
    except InvalidOperation:
        return None


def _quantity(amount: Any, path: str, name: str) -> Iterator[Problem]:
    if amount in (None, UNKNOWN) or isinstance(amount, bool | dict | list):
        return
    value = quantity(amount)
    if value is None:
        yield path, f"{name}: {amount!r} is not a quantity, such as 500m, 2, 16Gi", "error"
    elif value < 0:
        yield path, f"{name}: {amount} is negative", "error"
    elif name in ("memory", "ephemeral-storage") and value % 1:
        yield path, f"{name}: {amount} is a fraction of a byte; did you mean {str(amount).rstrip('m')}Mi?", "warning"


# ---- other kinds


def _service(spec: Mapping[str, Any]) -> Iterator[Problem]:
    ports = _objects(spec.get("ports"))
    names = _names(spec.get("ports"))
    yield from _duplicates(names, "spec.ports", "name")
    yield from _duplicates([(p.get("port"), p.get("protocol") or "TCP") for p in ports], "spec.ports", "port")
    for index, port in enumerate(ports):
        yield from _port(port.get("port"), f"spec.ports[{index}].port")
        yield from _port(port.get("targetPort"), f"spec.ports[{index}].targetPort")
        if isinstance(port.get("targetPort"), str):
            yield from _port_name(port["targetPort"], f"spec.ports[{index}].targetPort")
        if len(ports) > 1 and not names[index]:
            yield f"spec.ports[{index}].name", "is required where there are several ports", "error"
    types = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
    if isinstance(spec.get("type"), str) and spec["type"] not in (*types, UNKNOWN):
        hint = did_you_mean(spec["type"], types)
        yield "spec.type", f"{spec['type']!r}: expected one of {', '.join(types)}{hint}", "error"


def _claim(spec: Mapping[str, Any]) -> Iterator[Problem]:
    requests = _get(spec, "resources.requests")
    if spec and requests != UNKNOWN and "storage" not in _map(requests):
        yield "spec.resources.requests.storage", "is required", "error"
    for name, amount in _map(requests).items():
        yield from _quantity(amount, "spec.resources.requests", name)
    modes = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
    for index, mode in enumerate(_list(spec.get("accessModes"))):
        if isinstance(mode, str) and mode not in (*modes, UNKNOWN):
            yield f"spec.accessModes[{index}]", f"{mode!r}: expected one of {', '.join(modes)}", "error"


def _disruption_budget(spec: Mapping[str, Any]) -> Iterator[Problem]:
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        yield "spec.maxUnavailable", "conflicts with minAvailable: give one of them", "error"


def _cron_job(spec: Mapping[str, Any]) -> Iterator[Problem]:
    schedule = spec.get("schedule")
    if isinstance(schedule, str) and schedule != UNKNOWN and not _CRON.fullmatch(schedule.strip()):
        yield "spec.schedule", f"{schedule!r}: expected five fields (minute hour day month weekday) or @daily", "error"


def _autoscaler(spec: Mapping[str, Any]) -> Iterator[Problem]:
    for index, metric in enumerate(_objects(spec.get("metrics"))):
        source = metric.get("type")
        field = source[:1].lower() + source[1:] if isinstance(source, str) else ""
        if field and source != UNKNOWN and metric.get(field) is None:
            yield f"spec.metrics[{index}].{field}", f"is required for type {source}", "error"


_TRIGGER_METADATA = {
    "prometheus": ("serverAddress", "query", "threshold"),
    "external": ("scalerAddress",),
    "external-push": ("scalerAddress",),
    "cron": ("timezone", "start", "end", "desiredReplicas"),
}
"""What KEDA refuses a trigger without, of the types that serving is scaled by (kedacore/keda v2.20, pkg/scalers)."""


_REPLICAS = {"idle": None, "min": 0, "max": 100}
"""Numbers of replicas of a ScaledObject, with KEDA's defaults."""


def _scaled_object(spec: Mapping[str, Any]) -> Iterator[Problem]:
    """What KEDA's webhook and scalers refuse (apis/keda/v1alpha1/scaledobject_webhook.go)."""
    triggers = _objects(spec.get("triggers"))
    yield from _duplicates(_names(spec.get("triggers")), "spec.triggers", "name")
    for index, trigger in enumerate(triggers):
        path, metadata = f"spec.triggers[{index}].metadata", trigger.get("metadata")
        for key in _TRIGGER_METADATA.get(str(trigger.get("type")), ()) if metadata != UNKNOWN else ():
            if _map(metadata).get(key) in (None, ""):
                yield f"{path}.{key}", f"is required for type {trigger['type']}", "error"
        for key, value in _map(metadata).items():
            if not isinstance(value, str):
                yield f"{path}.{key}", f"{value!r}: expected a text, such as {str(value).lower()!r}", "error"
        if trigger.get("type") in ("cpu", "memory") and spec.get("minReplicaCount") == 0 and len(triggers) == 1:
            yield "spec.minReplicaCount", f"0: a pod that isn't there uses no {trigger['type']} to scale by", "error"
    idle, fewest, most = (spec.get(f"{name}ReplicaCount", default) for name, default in _REPLICAS.items())
    if isinstance(fewest, int | float) and isinstance(most, int | float) and fewest > most:
        yield "spec.minReplicaCount", f"{fewest} exceeds maxReplicaCount, which is {most}", "error"
    if isinstance(idle, int | float) and isinstance(fewest, int | float) and idle >= fewest:
        yield "spec.idleReplicaCount", f"{idle}: expected fewer than minReplicaCount, which is {fewest}", "error"


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], Iterator[Problem]]] = {
    "Service": _service,
    "PersistentVolumeClaim": _claim,
    "PodDisruptionBudget": _disruption_budget,
    "CronJob": _cron_job,
    "HorizontalPodAutoscaler": _autoscaler,
}


# ---- parts


def _port(port: Any, path: str) -> Iterator[Problem]:
    if isinstance(port, int | float) and not isinstance(port, bool) and not 1 <= port <= 65535:
        yield path, f"{port}: expected 1 to 65535", "error"


def _port_name(name: Any, path: str) -> Iterator[Problem]:
    if isinstance(name, str) and name != UNKNOWN and not _PORT_NAME.fullmatch(name):
        yield path, f"{name!r}: expected at most 15 of a-z 0-9 -, with a letter", "error"


def _duplicates(values: list[Any], path: str, key: str) -> Iterator[Problem]:
    parts = [value if isinstance(value, tuple) else (value,) for value in values]
    counted = Counter(part for part in parts if part[0] is not None and UNKNOWN not in part and _hashable(part))
    for part, count in counted.items():
        if count > 1:
            yield path, f"{key} {part[0]!r} is given {count} times", "error"


def _hashable(part: tuple[Any, ...]) -> bool:
    return not any(isinstance(value, dict | list) for value in part)


def _claim_templates(spec: Mapping[str, Any]) -> frozenset[Any]:
    names = (_get(claim, "metadata.name") for claim in _list(spec.get("volumeClaimTemplates")))
    return frozenset(name for name in names if isinstance(name, str))


def _names(items: Any) -> list[Any]:
    """The names of a list of objects: None where one has none, UNKNOWN where it (or the whole list) is unknown."""
    names = [UNKNOWN] if items == UNKNOWN else [_get(item, "name") for item in _list(items)]
    return [name if isinstance(name, str) else None for name in names]


def _get(value: Any, path: str) -> Any:
    """What is at a path; UNKNOWN where something on the way is, None where nothing is."""
    for key in path.split("."):
        if value == UNKNOWN:
            break
        value = _map(value).get(key)
    return value


def _at(value: Any, path: str) -> Mapping[str, Any]:
    return _map(_get(value, path))


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _objects(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list; what is not one becomes empty, so that indices stay."""
    return [_map(item) for item in _list(value)]
