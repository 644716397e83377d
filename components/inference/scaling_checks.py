"""What TritonInference accepts about scaling: mistakes are told where they are made."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from components.inference.forecast import DEFAULT_METHOD, METHODS
from components.inference.scaling import LONGEST_NAME

if TYPE_CHECKING:
    from components.inference.scaling_args import ForecastArgs, ScalingArgs

_HOST = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_ONLY_TO_ZERO = ("idle_s", "activator_requests", "hosts")
_LEAST = 0.001
"""Of a threshold: KEDA keeps thousandths."""
_STEPS = {"percent": (1, 10_000), "pods": (1, 10_000), "period_s": (1, 1_800), "stabilization_s": (0, 3_600)}
"""Fewest and most of each, as autoscaling/v2 has them for the last two."""


def check_scaling(
    where: str, name: str, args: ScalingArgs, *, least: float, most: float, models: Collection[str]
) -> None:
    """ValueError that begins with `where` and names the argument, its value and what is accepted.

    `name` is the deployment's, `least` and `most` are its replicas.
    """

    def refuse(argument: str, value: object, accepted: str) -> NoReturn:
        raise ValueError(f"{where}: {argument} is {value!r}; {accepted}")

    if len(name) > LONGEST_NAME:
        refuse("name", name, f"accepted are up to {LONGEST_NAME} characters: by its name the pods' metrics are found")
    to_zero = args.get("scale_to_zero", False)
    if least < 1 and not to_zero:
        refuse(
            "min_replicas",
            least,
            "accepted is 1 or more: without a pod nothing waits in its queue, so nothing would scale it up again. "
            "With scaling.scale_to_zero it is 0, and an activator lets requests wait",
        )
    if least != 0 and to_zero:
        refuse("min_replicas", least, "accepted is 0, since scaling.scale_to_zero is True")
    if most < max(1, least):
        accepted = f"min_replicas, {least}, or more" if least else "1 or more"
        refuse("max_replicas", most, f"accepted is {accepted}")
    for argument in _ONLY_TO_ZERO:
        if argument in args and not to_zero:
            refuse(f"scaling.{argument}", args[argument], "accepted is none without scale_to_zero")  # type: ignore[literal-required]
    for argument in ("pending_requests", "idle_s", "activator_requests", "polling_s"):
        number = args.get(argument, 1)
        if not isinstance(number, int | float) or not _LEAST <= number < math.inf:
            refuse(f"scaling.{argument}", number, "accepted is a number above 0")
    for index, host in enumerate(args.get("hosts", ())):
        if not _HOST.fullmatch(host):
            refuse(f"scaling.hosts[{index}]", host, "accepted is a host name such as chat.example.com")
    for direction in ("up", "down"):
        steps: Mapping[str, Any] = args.get(direction, {})  # type: ignore[assignment]
        for argument, number in steps.items():
            lowest, highest = _STEPS[argument]
            if not lowest <= number <= highest:
                refuse(f"scaling.{direction}.{argument}", number, f"accepted is {lowest} to {highest}")
    _check_forecasts(where, args.get("forecasts", ()), models)


def check_idle(where: str, idle_s: int | None, start_s: int) -> None:
    """ValueError for a server that would be taken away while it starts: who asked for it may have given up by then, and
    who asks next would begin anew."""
    if idle_s is not None and idle_s < start_s:
        raise ValueError(
            f"{where}: scaling.idle_s is {idle_s}; accepted is {start_s} or more, in which a replica may take to start"
        )


def _check_forecasts(where: str, forecasts: Collection[ForecastArgs], models: Collection[str]) -> None:
    seen: set[tuple[str, str]] = set()
    for index, one in enumerate(forecasts):
        here = f"{where}: scaling.forecasts[{index}]"
        method, growth, utilization = (
            one.get("method", DEFAULT_METHOD),
            one.get("growth", 1.0),
            one.get("utilization", 1.0),
        )
        if one["model"] not in models:
            raise ValueError(f"{here}.model is {one['model']!r}; the server has {', '.join(sorted(models))}")
        if method not in METHODS:
            raise ValueError(f"{here}.method is {method!r}; accepted are {', '.join(map(repr, METHODS))}")
        if not _LEAST <= one["requests_per_replica_s"] < math.inf:
            rate = one["requests_per_replica_s"]
            raise ValueError(f"{here}.requests_per_replica_s is {rate!r}; accepted is a number above 0")
        if method == "level" and "growth" in one:
            raise ValueError(
                f"{here}.growth is {growth!r}; accepted is none for a level, which is never above what came"
            )
        if not 1 <= growth < math.inf:
            raise ValueError(f"{here}.growth is {growth!r}; accepted is 1 or more")
        if not 0.01 <= utilization <= 1:
            raise ValueError(f"{here}.utilization is {utilization!r}; accepted is 0.01 to 1")
        if (one["model"], method) in seen:
            raise ValueError(f"{here} is the {method} of {one['model']}, which is there already; give each once")
        seen.add((one["model"], method))
