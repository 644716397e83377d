"""What TritonInference accepts: wrong arguments are refused where they are given, not by a pod that never starts.

What concerns its models and their groups is in components.inference.groups."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from components import images
from components.accelerators import accelerator
from components.inference import groups
from components.inference.clouds import CLOUDS
from components.inference.device import Device, device
from components.inference.groups import ModelGroup
from components.inference.server_arguments import DEFAULT_MONITORING, DEFAULT_PREFIX

if TYPE_CHECKING:
    from components.inference.triton_inference import TritonInferenceArgs

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_PREFIX = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


def checked_groups(name: str, args: TritonInferenceArgs) -> list[ModelGroup]:
    """The groups, once every argument is found good. ValueError names the component, the argument and its value."""
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
    for argument, image in (
        ("image", args["image"]),
        *((f"prepull_images[{index}]", one) for index, one in enumerate(args.get("prepull_images", []))),
    ):
        if problem := images.problem(image):
            refuse(argument, image, problem)
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
    for argument in (
        "queue_objective_ms",
        "load_bandwidth_gib_s",
        "claim_bandwidth_gib_s",
        "cold_start_objective_s",
        "device_bandwidth_gib_s",
        "cpu",
        "memory_gib",
        "gpus",
        "pods_per_gpu",
    ):
        number = args.get(argument, 1)
        if not isinstance(number, (int, float)) or not 0 < number < float("inf"):
            refuse(argument, number, "accepted is a number above 0")
    _check_help(where, args)
    return groups.checked(where, name, args, _device(where, args))


def _check_help(where: str, args: TritonInferenceArgs) -> None:
    """What is there before a pod is wanted."""
    if args.get("warm_machines", 0) < 0:
        raise ValueError(f"{where}: warm_machines is {args.get('warm_machines')}; accepted is a whole number from 0")
    if args.get("warm_machines", 0) and "cluster_queue" in args:
        raise ValueError(
            f"{where}: warm_machines is {args.get('warm_machines')} and cluster_queue is given; accepted is one of "
            "them. A placeholder is no workload of Kueue's: it would hold a machine that Kueue counts as idle and "
            "lends, and training would wait for it. Where machines are lent, what always stands is not (the pool's "
            "min): raise that instead"
        )
    if "weights_claim" in args and not _NAME.fullmatch(args["weights_claim"]):
        raise ValueError(f"{where}: weights_claim is {args['weights_claim']!r}; expected the name of a claim")
    for argument, seconds in args.get("cold_start", {}).items():
        if not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
            raise ValueError(f"{where}: cold_start.{argument} is {seconds!r}; accepted is a number of seconds from 0")


def _device(where: str, args: TritonInferenceArgs) -> Device:
    profile, shared = args.get("mig_profile", ""), int(args.get("pods_per_gpu", 1))
    try:
        kind = accelerator(args["accelerator"])
        if profile:
            cut = kind.mig_partitions(profile)
            if shared not in (1, cut):
                raise ValueError(f"pods_per_gpu is {shared}, and a GPU cut into {profile} has {cut}: leave it out")
        found = device(
            args["cloud"],
            args["region"],
            args["accelerator"],
            int(args["gpus"]),
            args.get("machine_type", ""),
            profile,
            shared,
        )
    except ValueError as error:
        given = {
            key: value
            for key in ("accelerator", "gpus", "machine_type", "mig_profile")
            if (value := args.get(key)) is not None
        }
        said = ", ".join(f"{key} is {value!r}" for key, value in given.items())
        raise ValueError(f"{where}: {said}: {error}") from None
    if kind.kubernetes_resource != "nvidia.com/gpu":
        raise ValueError(f"{where}: accelerator is {args['accelerator']!r}; Triton serves on NVIDIA GPUs only")
    return found
