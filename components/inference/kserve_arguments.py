"""What KServeInference accepts: wrong arguments are refused where they are given, not by a webhook in the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.inference.kserve_pod import PROTOCOLS
from components.inference.kserve_scaling import METRICS
from components.inference.pod import Model
from components.inference.server_arguments import (
    Refusal,
    check_accelerator,
    check_image,
    check_server,
    checked_models,
)

if TYPE_CHECKING:
    from components.inference.kserve_inference import KServeInferenceArgs

LONGEST_NAME = 48
"""KServe labels pods `isvc.<name>-predictor`, in the 63 characters of a label."""
MOST_TIMEOUT_S = 600
"""Knative refuses more, unless its `max-revision-timeout-seconds` is raised."""


def checked(name: str, args: KServeInferenceArgs) -> tuple[Refusal, list[Model]]:
    """How to refuse later values, and the models; once every argument is found good. ValueError names what isn't."""
    refuse = Refusal(f"KServeInference {name!r}")
    check_server(refuse, name, args, LONGEST_NAME)
    check_image(refuse, "image", args["image"])
    check_accelerator(refuse, args, "Triton")
    refuse.numbers_above_zero(
        args,
        *("gpus", "pods_per_gpu", "cpu", "memory_gib", "load_bandwidth_gib_s", "device_bandwidth_gib_s"),
        *("scale_target", "timeout_s"),
    )
    mode = args.get("mode", "raw")
    refuse.one_of("mode", mode, METRICS)
    refuse.one_of("protocol", args.get("protocol", "v2"), PROTOCOLS)
    metric = args.get("scale_metric", next(iter(METRICS[mode])))
    if metric not in METRICS[mode]:
        refuse("scale_metric", metric, f"accepted are, in mode {mode!r}, {', '.join(map(repr, METRICS[mode]))}")
    known = METRICS[mode][metric]
    if (target := args.get("scale_target", known.target)) > known.most:
        refuse("scale_target", target, f"of {metric!r}, {known.unit}, accepted is at most {known.most:g}")
    least = {"raw": 1, "serverless": 0}[mode]
    if args["min_replicas"] < least:
        why = ": only serverless ones wait at zero for a request" if args["min_replicas"] == 0 else ""
        refuse("min_replicas", args["min_replicas"], f"accepted is, in mode {mode!r}, {least} or more{why}")
    _check_mode(refuse, mode, args)
    return refuse, checked_models(refuse, args["models"])


def _check_mode(refuse: Refusal, mode: str, args: KServeInferenceArgs) -> None:
    canary = args.get("canary_traffic_percent")
    if canary is not None and mode != "serverless":
        refuse("canary_traffic_percent", canary, "accepted in mode 'serverless' only, where Knative divides requests")
    if canary is not None and not 0 <= canary <= 100:
        refuse("canary_traffic_percent", canary, "accepted is 0 to 100")
    if mode == "serverless":
        if args.get("timeout_s", 1) > MOST_TIMEOUT_S:
            refuse("timeout_s", args.get("timeout_s"), f"accepted is, in mode 'serverless', at most {MOST_TIMEOUT_S}")
        if "cluster_queue" in args:
            refuse(
                "cluster_queue", args["cluster_queue"], "accepted in mode 'raw' only: Knative makes other Deployments"
            )
        for argument in ("service", "service_annotations"):
            if argument in args:
                value = args[argument]
                refuse(argument, value, "accepted in mode 'raw' only: the Service of a serverless one is Knative's")
    elif "protocol" in args:
        refuse("protocol", args["protocol"], "accepted in mode 'serverless' only: a raw server answers both")
