"""What arguments of servers in a namespace of their own have in common, and what is accepted of each."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn
from urllib.parse import urlsplit

from components import images
from components.accelerators import accelerator, best_machine
from components.cluster.addon_values import PODS_READY_MINUTES
from components.inference.clouds import CLOUDS
from components.inference.pod import Model

DEFAULT_PREFIX = "models"
DEFAULT_MONITORING = "monitoring"

NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PREFIX = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


class Refusal:
    """Refuses arguments of one component, in one form of words."""

    def __init__(self, where: str) -> None:
        self.where = where
        """How the component is called, such as `KServeInference 'chat'`."""

    def __call__(self, argument: str, value: object, accepted: str) -> NoReturn:
        raise ValueError(f"{self.where}: {argument} is {value!r}; {accepted}")

    def one_of(self, argument: str, value: object, accepted: Iterable[str]) -> None:
        """Refuse what is not among `accepted`."""
        choices = list(accepted)
        if value not in choices:
            self(argument, value, f"accepted are {', '.join(map(repr, choices))}")

    def unless_named(self, argument: str, value: str, longest: int = 63) -> None:
        """Refuse what is no name of a Kubernetes object."""
        if not NAME.fullmatch(value) or len(value) > longest:
            self(argument, value, f"a Kubernetes name has up to {longest} lower-case letters, digits and dashes")

    def numbers_above_zero(self, args: Mapping[str, Any], *names: str) -> None:
        """Refuse zero, what is below it and what is infinite, of arguments that are given."""
        for name in names:
            number = args.get(name, 1)
            if not isinstance(number, (int, float)) or not 0 < number < float("inf"):
                self(name, number, "accepted is a number above 0")


def check_server(refuse: Refusal, name: str, args: Mapping[str, Any], longest_name: int) -> None:
    """Refuse what no server's Kubernetes objects could be made of."""
    refuse.one_of("cloud", args["cloud"], CLOUDS)
    for argument, value in (
        ("name", name),
        ("namespace", args["namespace"]),
        ("service", args.get("service", name)),
        ("monitoring_namespace", args.get("monitoring_namespace", DEFAULT_MONITORING)),
    ):
        refuse.unless_named(argument, value, longest_name if argument == "name" else 63)
    prefix = args.get("repository_prefix", DEFAULT_PREFIX)
    if not _PREFIX.fullmatch(prefix):
        refuse("repository_prefix", prefix, "accepted is a path such as 'models' or 'team/models'")
    if not args["client_cidrs"]:
        # An empty list of peers allows everyone, in Kubernetes.
        refuse("client_cidrs", [], "give at least one network, such as the region's own CIDR")
    for index, cidr in enumerate(args["client_cidrs"]):
        try:
            ipaddress.ip_network(cidr)
        except ValueError as error:
            refuse(f"client_cidrs[{index}]", cidr, f"expected a network such as 10.0.0.0/16: {error}")
    if args["max_replicas"] < max(args["min_replicas"], 1):
        refuse("max_replicas", args["max_replicas"], f"accepted is min_replicas, {args['min_replicas']}, or more")


def check_image(refuse: Refusal, argument: str, image: str) -> None:
    """Refuse an image that may be another one tomorrow."""
    if problem := images.problem(image):
        refuse(argument, image, problem)


def check_accelerator(refuse: Refusal, args: Mapping[str, Any], server: str) -> None:
    """Refuse an accelerator, or a number of them, that no machine of the region has."""
    key, gpus = args["accelerator"], int(args.get("gpus", 1))
    try:
        found = accelerator(key)
        best_machine(key, args["cloud"], args["region"], gpus)
    except ValueError as error:
        raise ValueError(f"{refuse.where}: accelerator is {key!r}, gpus {gpus}: {error}") from None
    if found.kubernetes_resource != "nvidia.com/gpu":
        refuse("accelerator", key, f"{server} serves on NVIDIA GPUs only")


def checked_models(refuse: Refusal, given: Iterable[Mapping[str, Any]]) -> list[Model]:
    """The models, each version once."""
    models: list[Model] = []
    for index, one in enumerate(given):
        here = f"models[{index}]"
        if not _MODEL_NAME.fullmatch(one["name"]):
            refuse(f"{here}.name", one["name"], "accepted are letters, digits, '.', '_' and '-'")
        if one["version"] < 1 or one["version"] != int(one["version"]):
            refuse(f"{here}.version", one["version"], "accepted is a whole number from 1")
        if not 0 < one["size_gib"] < float("inf"):
            refuse(f"{here}.size_gib", one["size_gib"], "accepted is a number above 0")
        model = Model(one["name"], int(one["version"]), float(one["size_gib"]))
        if str(model) in map(str, models):
            refuse(here, str(model), "it is there already; accepted is each model version once")
        models.append(model)
    if not models:
        refuse("models", [], "give at least one")
    return models


def checked_url(refuse: Refusal, url: str, prefix: str) -> str:
    """The repository's URL, if it ends in the prefix that the pods may read."""
    if urlsplit(url).path.strip("/") != prefix:
        refuse(
            "repository_url",
            url,
            f"with repository_prefix {prefix!r} it must be <bucket URL>/{prefix}: the pods may read nothing else",
        )
    return url


def checked_queue(refuse: Refusal, queue: str) -> str:
    """The ClusterQueue's name, if it is one: TrainingQueue gives an empty one where it lends nothing."""
    if not NAME.fullmatch(queue):
        refuse("cluster_queue", queue, "give the name of a ClusterQueue, or leave it out")
    return queue


def check_admission(refuse: Refusal, args: Mapping[str, Any], deadline_s: int) -> None:
    """Refuse a counted server that Kueue would evict before it is ready, each time anew."""
    if args.get("cluster_queue") is not None and deadline_s > PODS_READY_MINUTES * 60:
        raise ValueError(
            f"{refuse.where}: cluster_queue is given, and a pod may take {deadline_s} s until it is ready; Kueue takes "
            f"it away after {PODS_READY_MINUTES} minutes. Leave cluster_queue out, or give the bandwidths that are "
            "measured (load_bandwidth_gib_s, device_bandwidth_gib_s)"
        )
