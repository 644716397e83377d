"""What all runs have in common: arguments that are checked alike, the account, the identity, metrics."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.security import WorkloadIdentity, identity_place
from components.training import ray_pods
from components.training.blueprints import METRICS
from components.training.commands import OUTPUT, OWN_SETTINGS
from components.training.workers import refuse

__all__ = ["METRICS", "OUTPUT"]

CONFIGS = ("tiny", "gpt2_124m", "llama_1b", "llama_8b")
"""Of workloads/training; the contract test holds the two together."""
PRIORITIES = ("low", "normal", "high")

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_PREFIX = re.compile(r"[\w.-]+(/[\w.-]+)*")
_SETTING = re.compile(r"[a-z]+\.[a-z0-9_]+")


def check(where: str, name: str, args: Mapping[str, Any], longest_name: int, own: tuple[str, ...] = ()) -> None:
    """Refuse names, config, priority, settings and prefixes that cannot be. `own`: more settings that are not given."""
    for argument, value in (("name", name), ("namespace", args["namespace"])):
        if not _NAME.fullmatch(value) or len(value) > 63:
            refuse(where, argument, value, "a Kubernetes name has lower-case letters, digits and dashes")
    if len(name) > longest_name:
        refuse(where, "name", name, f"pods are called after it: accepted are {longest_name} characters")
    for argument, value, accepted in (
        ("config", args.get("config", CONFIGS[0]), CONFIGS),
        ("priority", args.get("priority") or "normal", PRIORITIES),
    ):
        if value not in accepted:
            refuse(where, argument, value, f"accepted are {', '.join(map(repr, accepted))}")
    for argument in ("data_prefix", "checkpoint_prefix"):
        prefix = args.get(argument)
        if prefix and not _PREFIX.fullmatch(prefix):
            refuse(where, argument, prefix, "accepted is a prefix such as 'team/books', with no slash at either end")
    for setting, value in (args.get("settings") or {}).items():
        if not _SETTING.fullmatch(setting):
            refuse(where, "settings", setting, "accepted are names such as 'training.steps'")
        if setting in (*OWN_SETTINGS, *own):
            refuse(where, "settings", setting, "it is what other arguments say")
        if not isinstance(value, str):
            refuse(where, f"settings[{setting}]", value, "accepted is text, as the command line takes it")


def counts(where: str, args: Mapping[str, Any], least: str, most: str, from_: int = 1) -> tuple[int, int]:
    """Two arguments, the first of which is at most the second."""
    fewest, largest = args[least], args[most]
    if fewest != int(fewest) or fewest < from_:
        refuse(where, least, fewest, f"accepted is a whole number from {from_}")
    if largest != int(largest) or largest < max(fewest, 1):
        refuse(where, most, largest, f"accepted is a whole number from {least}, {fewest}")
    return int(fewest), int(largest)


def settings(args: Mapping[str, Any]) -> list[str]:
    """Command-line words of the settings."""
    return [word for name, value in sorted((args.get("settings") or {}).items()) for word in (f"--{name}", value)]


def queued(args: Mapping[str, Any]) -> dict[str, Any]:
    """Labels by which Kueue takes an object into the queue."""
    return {
        "kueue.x-k8s.io/queue-name": args["queue"],
        "kueue.x-k8s.io/priority-class": f"training-{args.get('priority') or 'normal'}",
    }


def account(name: str, args: Mapping[str, Any], labels: Mapping[str, str], child: pulumi.ResourceOptions) -> Any:
    """The service account of pods that ask the Kubernetes API nothing."""
    return k8s.core.v1.ServiceAccount(
        f"{name}-account",
        metadata={"name": name, "namespace": args["namespace"], "labels": labels},
        automount_service_account_token=False,
        opts=child,
    )


def identity(name: str, args: Mapping[str, Any], writes: str, child: pulumi.ResourceOptions) -> WorkloadIdentity:
    """What the account may do in the cloud: read the data and, where `writes` is a prefix, write under it."""
    bucket = {"bucket": args["bucket"], **({"key": args["encryption_key"]} if args.get("encryption_key") else {})}
    accesses: list[Any] = [{**bucket, "prefix": f"{writes}/", "write": True}] if writes else []
    accesses += [{**bucket, "prefix": f"{args['data_prefix']}/"}] if args.get("data_prefix") else []
    return WorkloadIdentity(
        f"{name}-identity",
        {
            **identity_place(args),
            "service_account": name,
            "buckets": accesses,
        },
        opts=child,
    )


def monitor(
    name: str,
    args: Mapping[str, Any],
    labels: Mapping[str, str],
    ports: tuple[str, ...],
    child: pulumi.ResourceOptions,
) -> None:
    """Prometheus reads these ports of the pods."""
    k8s.apiextensions.CustomResource(
        f"{name}-monitor",
        api_version="monitoring.coreos.com/v1",
        kind="PodMonitor",
        metadata={"name": name, "namespace": args["namespace"], "labels": labels},
        spec={
            "selector": {"matchLabels": dict(labels)},
            "podMetricsEndpoints": [{"port": port, "path": "/metrics", "interval": "15s"} for port in ports],
        },
        opts=child,
    )


# ---- Ray's


def elastic(size: tuple[int, int]) -> dict[str, str]:
    """Annotations of a Ray object whose autoscaler changes its size: Kueue then counts what it grows by.
    https://kueue.sigs.k8s.io/docs/tasks/run/rayjobs/#autoscaling-aka-intreeautoscaling"""
    return {"kueue.x-k8s.io/elastic-job": "true"} if size[0] < size[1] else {}


def ray_foundation(
    name: str, args: Mapping[str, Any], labels: Mapping[str, str], child: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    """What is there before a Ray cluster's pods: accounts, the workers' identity, the operator's way to the head."""
    head = k8s.core.v1.ServiceAccount(
        f"{name}-head-account",
        metadata={"name": f"{name}-head", "namespace": args["namespace"], "labels": dict(labels)},
        automount_service_account_token=False,
        opts=child,
    )
    policy = k8s.networking.v1.NetworkPolicy(
        f"{name}-operator",
        metadata={"name": f"{name}-operator", "namespace": args["namespace"], "labels": dict(labels)},
        spec=ray_pods.operator_policy(labels),
        opts=child,
    )
    prefix = args.get("checkpoint_prefix") or f"checkpoints/{name}"
    return [account(name, args, labels, child), identity(name, args, prefix, child), head, policy]
