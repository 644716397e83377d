"""What TritonInference accepts: wrong arguments are refused where they are given, not by a pod that never starts."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from components import images
from components.accelerators import accelerator, best_machine
from components.cluster.addon_values import PODS_READY_MINUTES
from components.inference.clouds import CLOUDS
from components.inference.pod import Model
from components.inference.scaling_checks import check_scaling

if TYPE_CHECKING:
    from components.inference.triton_inference import TritonInferenceArgs

DEFAULT_PREFIX = "models"
DEFAULT_MONITORING = "monitoring"

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PREFIX = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


def checked_models(name: str, args: TritonInferenceArgs) -> list[Model]:
    """The models, once every argument is found good. ValueError names the component, the argument and its value."""
    where = f"TritonInference {name!r}"

    def refuse(argument: str, value: object, accepted: str) -> None:
        raise ValueError(f"{where}: {argument} is {value!r}; {accepted}")

    if args["cloud"] not in CLOUDS:
        refuse("cloud", args["cloud"], f"accepted are {', '.join(map(repr, CLOUDS))}")
    for argument, value in (
        ("name", name),
        ("namespace", args["namespace"]),
        ("service", args.get("service", name)),
        ("monitoring_namespace", args.get("monitoring_namespace", DEFAULT_MONITORING)),
    ):
        if not _NAME.fullmatch(value):
            refuse(argument, value, "a Kubernetes name has up to 63 lower-case letters, digits and dashes")
    if problem := images.problem(args["image"]):
        refuse("image", args["image"], problem)
    if not _PREFIX.fullmatch(args.get("repository_prefix", DEFAULT_PREFIX)):
        refuse(
            "repository_prefix", args.get("repository_prefix"), "accepted is a path such as 'models' or 'team/models'"
        )
    if not args["client_cidrs"]:
        # An empty list of peers allows everyone, in Kubernetes.
        refuse("client_cidrs", [], "give at least one network, such as the region's own CIDR")
    for index, cidr in enumerate(args["client_cidrs"]):
        try:
            ipaddress.ip_network(cidr)
        except ValueError as error:
            refuse(f"client_cidrs[{index}]", cidr, f"expected a network such as 10.0.0.0/16: {error}")
    check_scaling(
        where,
        name,
        args.get("scaling", {}),
        least=args["min_replicas"],
        most=args["max_replicas"],
        models={model["name"] for model in args["models"]},
    )
    for argument in (
        "queue_objective_ms",
        "load_bandwidth_gib_s",
        "device_bandwidth_gib_s",
        "cpu",
        "memory_gib",
        "gpus",
        "pods_per_gpu",
    ):
        number = args.get(argument, 1)
        if not isinstance(number, (int, float)) or not 0 < number < float("inf"):
            refuse(argument, number, "accepted is a number above 0")
    _check_accelerator(where, args)
    return _models(where, args)


def _check_accelerator(where: str, args: TritonInferenceArgs) -> None:
    try:
        found = accelerator(args["accelerator"])
        best_machine(args["accelerator"], args["cloud"], args["region"], int(args["gpus"]))
    except ValueError as error:
        raise ValueError(f"{where}: accelerator is {args['accelerator']!r}, gpus {args['gpus']}: {error}") from None
    if found.kubernetes_resource != "nvidia.com/gpu":
        raise ValueError(f"{where}: accelerator is {args['accelerator']!r}; Triton serves on NVIDIA GPUs only")


def _models(where: str, args: TritonInferenceArgs) -> list[Model]:
    models: list[Model] = []
    for index, given in enumerate(args["models"]):
        here = f"{where}: models[{index}]"
        if not _MODEL_NAME.fullmatch(given["name"]):
            raise ValueError(f"{here}.name is {given['name']!r}; accepted are letters, digits, '.', '_' and '-'")
        if given["version"] < 1 or given["version"] != int(given["version"]):
            raise ValueError(f"{here}.version is {given['version']!r}; accepted is a whole number from 1")
        if not 0 < given["size_gib"] < float("inf"):
            raise ValueError(f"{here}.size_gib is {given['size_gib']!r}; accepted is a number above 0")
        if not 1 <= given.get("gpus", 1) <= args["gpus"]:
            raise ValueError(f"{here}.gpus is {given.get('gpus')!r}; accepted is 1 to the pod's gpus, {args['gpus']}")
        model = Model(given["name"], int(given["version"]), float(given["size_gib"]))
        if str(model) in map(str, models):
            raise ValueError(f"{here} is {model}, which is there already; accepted is each model version once")
        models.append(model)
    if not models:
        raise ValueError(f"{where}: models is []; give at least one")
    return models


def checked_url(name: str, url: str, prefix: str) -> str:
    """The repository's URL, if it ends in the prefix that the pods may read."""
    if urlsplit(url).path.strip("/") != prefix:
        raise ValueError(
            f"TritonInference {name!r}: repository_url is {url!r}; with repository_prefix {prefix!r} it must be "
            f"<bucket URL>/{prefix}: the pods may read nothing else"
        )
    return url


def checked_queue(name: str, queue: str) -> str:
    """The ClusterQueue's name, if it is one: TrainingQueue gives an empty one where it lends nothing."""
    if not _NAME.fullmatch(queue):
        raise ValueError(
            f"TritonInference {name!r}: cluster_queue is {queue!r}; give the name of a ClusterQueue, or leave it out"
        )
    return queue


def check_admission(name: str, deadline_s: int) -> None:
    """ValueError for a server that Kueue would evict before it is ready, each time anew."""
    if deadline_s > PODS_READY_MINUTES * 60:
        raise ValueError(
            f"TritonInference {name!r}: cluster_queue is given, and a pod may take {deadline_s} s until it is ready; "
            f"Kueue takes it away after {PODS_READY_MINUTES} minutes. Leave cluster_queue out, or give the bandwidths "
            "that are measured (load_bandwidth_gib_s, device_bandwidth_gib_s)"
        )
