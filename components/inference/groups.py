"""The groups of models of an inference server, out of its arguments: what each has, and that it fits its pods."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from components.accelerators import NotOffered, best_machine, machines
from components.inference import cold_start, placement
from components.inference.cold_start import ColdStart, Help
from components.inference.device import Device, check_several
from components.inference.placement import Demand
from components.inference.pod import Model
from components.inference.scaling import Scaling, scaling_of
from components.inference.scaling_checks import check_idle, check_scaling

if TYPE_CHECKING:
    from components.inference.triton_inference import GroupArgs, TritonInferenceArgs

DEFAULT_QUEUE_OBJECTIVE_MS = 50.0
USABLE_SHARE = 0.7
"""Of a machine's CPU and memory for each accelerator; the rest is for the kubelet, the driver and node agents."""

GROUP_NAME = re.compile(r"[a-z]([-a-z0-9]{0,18}[a-z0-9])?")
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST = 63


@dataclass(frozen=True)
class ModelGroup:
    """Models that have a Deployment together."""

    name: str
    """Empty: of models that name none."""
    models: tuple[Model, ...]
    device: Device
    gpus: int
    """For each pod."""
    scaling: Scaling
    cpu: float
    memory_gib: float
    service: str
    service_annotations: dict[str, str]
    cold: ColdStart

    def called(self, component: str) -> str:
        """The name of what is built for it. It follows from the group alone: another group changes nothing here."""
        return named_after(component, self.name)


def named_after(name: str, group: str) -> str:
    """A component's or Service's name, for one of its groups."""
    return f"{name}-{group}" if group else name


def checked(where: str, name: str, args: TritonInferenceArgs, device: Device) -> list[ModelGroup]:
    """The groups, that of models without one first, then in the order of the models.

    ValueError names `where`, the argument and its value; where models do not fit, it says which groups would.
    """
    given = _settings(where, name, args)
    models = _models(where, name, args, device, given)
    named = sorted(dict.fromkeys(model.group for model in models), key=bool)
    for group in given:
        if group not in named:
            near = difflib.get_close_matches(group, named, 1)
            hint = f"did you mean {near[0]!r}?" if near else "expected the group of some model"
            raise ValueError(f"{where}: groups: {group!r} has no model; {hint}")
    helped = _help(args)
    found = []
    for group in named:
        mine = tuple(model for model in models if model.group == group)
        found.append(_group(where, name, args, device, given.get(group, {}), group, mine, helped))
    return found


def _group(
    where: str,
    name: str,
    args: TritonInferenceArgs,
    device: Device,
    own: GroupArgs | dict[str, Any],
    group: str,
    models: tuple[Model, ...],
    helped: Help,
) -> ModelGroup:
    here = f"{where}: {placement.named(group)}" if group else where
    gpus = int(own.get("gpus", args["gpus"]))
    device = _of_size(args, device, gpus)
    _check_memory(here, group, models, device)
    _check_gpus(here, models, gpus, device)
    for argument in ("queue_objective_ms", "cpu", "memory_gib"):
        number = own.get(argument, 1)
        if not isinstance(number, (int, float)) or not 0 < number < float("inf"):
            raise ValueError(f"{here}: {argument} is {number!r}; accepted is a number above 0")
    cold = cold_start.cold_start([(model.size_gib, model.gpus) for model in models], helped)
    objective = args.get("cold_start_objective_s")
    if objective is not None and (said := cold_start.beyond(cold, objective)):
        raise ValueError(f"{here}: cold_start_objective_s is {objective:g}; {said}")
    scaling = _scaling(here, named_after(name, group), args, own, models)
    check_idle(here, scaling.idle_s, cold.deadline_s)
    cpu, memory = _share(args, device, gpus)
    service = named_after(args.get("service", name), group)
    return ModelGroup(
        name=group,
        models=models,
        device=device,
        gpus=gpus,
        scaling=scaling,
        cpu=own.get("cpu", args.get("cpu", cpu)),
        memory_gib=own.get("memory_gib", args.get("memory_gib", memory)),
        service=service,
        # Annotations of a load balancer name one Service; another group's has its own.
        service_annotations=own.get("service_annotations", {} if group else args.get("service_annotations", {})),
        cold=cold,
    )


def _scaling(
    here: str,
    called: str,
    args: TritonInferenceArgs,
    own: GroupArgs | dict[str, Any],
    models: Sequence[Model],
) -> Scaling:
    """How a group scales: where it says nothing itself, as the server does, with the forecasts of its own models."""
    names = {model.name for model in models}
    given: Any = own.get("scaling")
    if given is None:
        given = dict(args.get("scaling", {}))
        known = {one["name"] for one in args["models"]}
        forecasts = [one for one in given.get("forecasts", ()) if one["model"] in names or one["model"] not in known]
        if "forecasts" in given:
            given["forecasts"] = forecasts
    least = own.get("min_replicas", args["min_replicas"])
    most = own.get("max_replicas", args["max_replicas"])
    check_scaling(here, called, given, least=least, most=most, models=names)
    return scaling_of(
        given,
        least=int(least),
        most=int(most),
        queue_objective_ms=own.get("queue_objective_ms", args.get("queue_objective_ms", DEFAULT_QUEUE_OBJECTIVE_MS)),
    )


def _settings(where: str, name: str, args: TritonInferenceArgs) -> dict[str, GroupArgs]:
    found: dict[str, GroupArgs] = {}
    for index, one in enumerate(args.get("groups", [])):
        group = one["name"]
        _check_name(f"{where}: groups[{index}].name", name, args, group)
        gpus = int(one.get("gpus", args["gpus"]))
        try:
            best_machine(args["accelerator"], args["cloud"], args["region"], max(1, gpus))
        except NotOffered as error:
            raise ValueError(f"{where}: groups[{index}].gpus is {gpus}: {error}") from None
        if group in found:
            raise ValueError(f"{where}: groups[{index}].name is {group!r}, which is there already")
        found[group] = one
    return found


def _check_name(argument: str, name: str, args: TritonInferenceArgs, group: str) -> None:
    if not GROUP_NAME.fullmatch(group):
        raise ValueError(f"{argument} is {group!r}; accepted are up to 20 lower-case letters, digits and dashes")
    if group in placement.RESERVED_NAMES:
        raise ValueError(f"{argument} is {group!r}, which is the name of something else here; take another")
    longest = max(name, args.get("service", name), key=len)
    if len(named_after(longest, group)) > _LONGEST:
        raise ValueError(f"{argument} is {group!r}; {named_after(longest, group)} has more than {_LONGEST} characters")


def _models(
    where: str, name: str, args: TritonInferenceArgs, device: Device, given: dict[str, GroupArgs]
) -> list[Model]:
    models: list[Model] = []
    for index, one in enumerate(args["models"]):
        here = f"{where}: models[{index}]"
        if not _MODEL_NAME.fullmatch(one["name"]):
            raise ValueError(f"{here}.name is {one['name']!r}; accepted are letters, digits, '.', '_' and '-'")
        if one["version"] < 1 or one["version"] != int(one["version"]):
            raise ValueError(f"{here}.version is {one['version']!r}; accepted is a whole number from 1")
        if not 0 < one["size_gib"] < float("inf"):
            raise ValueError(f"{here}.size_gib is {one['size_gib']!r}; accepted is a number above 0")
        if group := one.get("group", ""):
            _check_name(f"{here}.group", name, args, group)
        gpus = int(one.get("gpus", 1))
        pod = int(given[group].get("gpus", args["gpus"]) if group in given else args["gpus"])
        if not 1 <= gpus <= pod:
            raise ValueError(f"{here}.gpus is {one.get('gpus')!r}; accepted is 1 to the pod's gpus, {pod}")
        device_gib = one.get("device_memory_gib", one["size_gib"] * placement.DEVICE_SHARE / gpus)
        if not 0 <= device_gib < float("inf"):
            raise ValueError(f"{here}.device_memory_gib is {device_gib!r}; accepted is a number from 0")
        model = Model(one["name"], int(one["version"]), float(one["size_gib"]), gpus, float(device_gib), group)
        if str(model) in map(str, models):
            raise ValueError(f"{here} is {model}, which is there already; accepted is each model version once")
        if other := next((m for m in models if m.name == model.name and m.group != group), None):
            raise ValueError(
                f"{here}.group is {group!r}, and {other} is in {placement.named(other.group)}; accepted is one group "
                "for all versions of a model: a request that names no version goes to one Service"
            )
        try:
            check_several(model.name, gpus, bool(one.get("over_pcie", False)), _of_size(args, device, pod))
        except ValueError as error:
            raise ValueError(f"{here}.gpus is {gpus}: {error}") from None
        models.append(model)
    if not models:
        raise ValueError(f"{where}: models is []; give at least one")
    return models


def demands(models: Sequence[Model]) -> tuple[Demand, ...]:
    """What models take of GPU memory, the versions of one together."""
    found: dict[str, Demand] = {}
    for model in models:
        before = found.get(model.name, Demand(model.name, 0.0, 1))
        found[model.name] = Demand(model.name, before.gib + model.device_gib, max(before.gpus, model.gpus))
    return tuple(found.values())


def _check_memory(here: str, group: str, models: Sequence[Model], device: Device) -> None:
    if said := too_much(group, demands(models), device):
        raise ValueError(f"{here}: models: {said}")


def too_much(group: str, asked: Sequence[Demand], device: Device) -> str:
    """Of models that do not fit a pod together: how much they take, and the groups that would fit. Else empty."""
    usable = placement.usable_gib(device.memory_gib)
    if placement.fits(asked, usable):
        return ""
    room = f"{device} has {usable:.1f} for models, of {device.memory_gib:g}"
    for demand in asked:
        if not placement.fits([demand], usable):
            return f"{placement.too_large(demand, usable, device.sharers == 1)} ({room})"
    # The group that is there keeps its name, and with it whatever holds the largest of its models.
    first, *others = placement.place(asked, usable)
    kept = placement.Group(group, first.demands)
    return (
        f"they take {sum(demand.gib for demand in asked):.1f} GiB together; {room}, and a model over several GPUs has "
        f"them to itself. What fits is {placement.described([kept, *others])}"
    )


def _of_size(args: TritonInferenceArgs, device: Device, gpus: int) -> Device:
    """The device in the machine that pods of so many GPUs come to; NotOffered where there is none."""
    if "machine_type" in args or gpus == args["gpus"]:
        return device
    return replace(device, machine=best_machine(device.accelerator, device.cloud, args["region"], gpus))


def _check_gpus(here: str, models: Sequence[Model], gpus: int, device: Device) -> None:
    ranks = max(model.gpus for model in models)
    if 1 < ranks < gpus:
        raise ValueError(f"{here}: gpus is {gpus}; accepted is {ranks}, as many as its model goes over: more are idle")
    if gpus > 1 and device.sharers > 1:
        raise ValueError(f"{here}: gpus is {gpus}; accepted is 1 where a GPU is cut or shared ({device})")


def _help(args: TritonInferenceArgs) -> Help:
    measured = args.get("cold_start", {})
    return Help(
        warm=bool(args.get("warm_machines", 0)),
        pulled="prepull_images" in args,
        claim="weights_claim" in args,
        node_s=measured.get("node_s"),
        image_s=measured.get("image_s"),
        server_s=measured.get("server_s"),
        load_gib_s=args.get("load_bandwidth_gib_s"),
        claim_gib_s=args.get("claim_bandwidth_gib_s"),
        device_gib_s=args.get("device_bandwidth_gib_s"),
    )


def _share(args: TritonInferenceArgs, device: Device, gpus: int) -> tuple[float, float]:
    """Cores and GiB of a pod: what fits the machine that is known, else any that may come."""
    offered = [m for m in machines(args["accelerator"], args["cloud"], args["region"]) if m.count >= gpus]
    if "machine_type" in args or not offered:
        offered = [device.machine]
    share = USABLE_SHARE * gpus / device.sharers
    return (
        share * min(machine.vcpus / machine.count for machine in offered),
        share * min(machine.memory_gib / machine.count for machine in offered),
    )
