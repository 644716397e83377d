"""What TensorFlowServing accepts: wrong arguments are refused where they are given, not by a server that exits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from components.inference.pod import Model
from components.inference.server_arguments import (
    Refusal,
    check_accelerator,
    check_image,
    check_server,
    checked_models,
)
from components.inference.tensorflow_config import SavedModel
from components.inference.tensorflow_scaling import METRICS

if TYPE_CHECKING:
    from components.inference.tensorflow_serving import TensorFlowServingArgs

LONGEST_NAME = 52
"""A pod of a Deployment is called `<name>-<ten letters>-<five>`, which DNS cuts at 63."""

_LABEL = re.compile(r"[A-Za-z0-9_]+")


def checked(name: str, args: TensorFlowServingArgs) -> tuple[Refusal, list[Model], list[SavedModel]]:
    """How to refuse later values, what to fetch and what to serve; once every argument is found good."""
    refuse = Refusal(f"TensorFlowServing {name!r}")
    check_server(refuse, name, args, LONGEST_NAME)
    for argument in ("image", "fetch_image"):
        check_image(refuse, argument, args[argument])
    if args["min_replicas"] < 1:
        refuse("min_replicas", args["min_replicas"], "accepted is 1 or more: without a pod nothing is counted")
    refuse.numbers_above_zero(
        args,
        *("gpus", "pods_per_gpu", "cpu", "memory_gib", "load_bandwidth_gib_s", "device_bandwidth_gib_s"),
        *("scale_target", "timeout_s"),
    )
    if "accelerator" in args:
        check_accelerator(refuse, args, "TensorFlow Serving")
    else:
        for argument, value in (
            ("gpus", args.get("gpus")),
            ("pods_per_gpu", args.get("pods_per_gpu")),
            ("cluster_queue", args.get("cluster_queue")),
        ):
            if value is not None:
                refuse(argument, value, "accepted with an accelerator only")
    metric = args.get("scale_metric", next(iter(METRICS)))
    refuse.one_of("scale_metric", metric, METRICS)
    if (target := args.get("scale_target", 1)) > METRICS[metric].most:
        known = METRICS[metric]
        refuse("scale_target", target, f"of {metric!r}, {known.unit}, accepted is at most {known.most:g}")
    _check_batching(refuse, args)
    fetched = checked_models(refuse, args["models"])
    return refuse, fetched, _served(refuse, args)


def _check_batching(refuse: Refusal, args: TensorFlowServingArgs) -> None:
    batching = args.get("batching")
    if batching is None:
        return
    for argument in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
        value = batching.get(argument, 1)
        if value < 1:  # type: ignore[operator]
            refuse(f"batching.{argument}", value, "accepted is 1 or more")
    if batching["batch_timeout_ms"] < 0:
        refuse("batching.batch_timeout_ms", batching["batch_timeout_ms"], "accepted is 0 or more")
    sizes = batching.get("allowed_batch_sizes") or []
    # The server refuses a list that does not rise, or that ends elsewhere (batching_session.cc).
    if sizes and (sorted(set(sizes)) != list(sizes) or sizes[0] < 1 or sizes[-1] != batching["max_batch_size"]):
        accepted = f"accepted are sizes that rise, from 1 or more to max_batch_size, {batching['max_batch_size']}"
        refuse("batching.allowed_batch_sizes", sizes, accepted)


def _served(refuse: Refusal, args: TensorFlowServingArgs) -> list[SavedModel]:
    """Versions of one model together, with their labels."""
    versions: dict[str, list[int]] = {}
    labels: dict[str, dict[str, int]] = {}
    for index, model in enumerate(args["models"]):
        versions.setdefault(model["name"], []).append(int(model["version"]))
        own = labels.setdefault(model["name"], {})
        for label in model.get("labels") or []:
            if not _LABEL.fullmatch(label):
                refuse(f"models[{index}].labels", label, "accepted are letters, digits and '_'")
            if label in own:
                refuse(f"models[{index}].labels", label, f"version {own[label]} has it already")
            own[label] = int(model["version"])
    return [SavedModel(name, tuple(sorted(found)), labels[name]) for name, found in versions.items()]
