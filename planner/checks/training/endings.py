"""Training, endings: a job leaves within the time that its machines give it, and that counts as no failure.

- AWS tells two minutes before it takes a spot machine
  (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html).
- GKE's kubelet has 30 s for a spot machine's pods, of which the last 15 s are for the system's; more where the node
  pool says so (https://cloud.google.com/kubernetes-engine/docs/concepts/spot-vms#termination-graceful-shutdown;
  since 1.35.0-gke.1171000, up to 120 s: `kubeletConfig.shutdownGracePeriodSeconds`). Read on 2026-11-23.
- Of machines of a flex start, which end after seven days at the latest, no document was found that tells a notice; of
  them nothing is said here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from planner.checks.placement.placed import Placed
from planner.checks.training.commands import TRAINERS, TRAINING, Command, commands, environment, named
from planner.finding import Finding, Rule
from planner.inventory import Inventory, Rung
from planner.inventory.objects import maps
from planner.inventory.references import items, mapping
from planner.plan import UNKNOWN, Resource

GRACE = Rule(
    "grace-fits-the-notice",
    "The time that training takes for leaving is no longer than its pod gets, nor than its machines have",
    url="https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination",
    remediation="Give TRAINING_GRACE_S and terminationGracePeriodSeconds one value, no longer than the notice; on GKE "
    "a longer kubeletConfig.shutdownGracePeriodSeconds of the spot node pool makes that longer.",
)
FAILURE = Rule(
    "preemption-is-no-failure",
    "A job that was stopped with everything saved, or lost its machine, is run again and not counted as failed",
    url="https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy",
    remediation="Let the Job's podFailurePolicy ignore the condition DisruptionTarget and exit code 75, before any "
    "rule that matches them too.",
)
RULES = (GRACE, FAILURE)

VARIABLE = "TRAINING_GRACE_S"
"""What `workloads.training` takes its time from."""
STOPPED = 75
"""Its exit code for: stopped by a notice, everything saved, run me again (workloads/training/errors.py)."""
KILLED = 137
"""What is left of a container that was not asked."""

DEFAULT_GRACE_S = 30
AWS_SPOT_S = 120
GKE_SPOT_S, GKE_CRITICAL_S = 30, 15
LAUNCHERS = frozenset({f"{TRAINING}.launch", "torch.distributed.run", "torch.distributed.elastic"})
"""Modules that end with the exit code of what they launch."""


def findings(inventory: Inventory, one: Placed) -> Iterator[Finding]:
    """Time that is not there, and endings that count as failures."""
    yield from _grace(inventory, one)
    yield from _failure(one)


# ---- time


def _grace(inventory: Inventory, one: Placed) -> Iterator[Finding]:
    spec, workload = one.workload.spec, one.workload
    own = spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE_S)
    told = [value for c in maps(spec, "containers") if (value := _seconds(environment(c).get(VARIABLE))) is not None]
    if not told:
        return
    most = max(told)
    if isinstance(own, int | float) and most > own:
        yield GRACE.finding(
            f"{named(workload)}: {VARIABLE} is {most:g}, and its pods are killed after {own:g} s"
            " (terminationGracePeriodSeconds)",
            one.near.resource,
            subject=f"{workload.part} pod".strip(),
        )
    notices = {rung.name: notice for rung in one.rungs if (notice := spot_notice(inventory, rung)) is not None}
    short = {name: notice for name, notice in notices.items() if notice < most}
    if short:
        name, notice = min(short.items(), key=lambda pair: pair[1])
        yield GRACE.finding(
            f"{named(workload)}: {VARIABLE} is {most:g}, and pods on the spot machines of {name} get {notice} s: what"
            " was learnt since the last checkpoint is lost",
            one.near.resource,
            subject=f"{workload.part} machine".strip(),
            severity="warning",
        )


def spot_notice(inventory: Inventory, rung: Rung) -> int | None:
    """Seconds that pods get when the cloud takes a spot machine; None where it takes none, or nobody knows."""
    if not rung.spot:
        return None
    if rung.cloud == "aws":
        return AWS_SPOT_S
    resource: Resource = inventory.plan.by_urn[rung.urn]
    kubelet: Mapping[str, Any] = mapping(resource.inputs, "nodeConfig.kubeletConfig")
    whole = kubelet.get("shutdownGracePeriodSeconds", GKE_SPOT_S)
    critical = kubelet.get("shutdownGracePeriodCriticalPodsSeconds", GKE_CRITICAL_S)
    if UNKNOWN in (whole, critical) or not isinstance(whole, int | float) or not isinstance(critical, int | float):
        return None
    return int(whole - critical)


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


# ---- failures


def _failure(one: Placed) -> Iterator[Finding]:
    """Of jobs whose machines go, or that a queue stops for others: this project's trainers and sweeps."""
    workload = one.workload
    trainers = [c for c in commands(workload) if _trains(c)]
    if not workload.job or not trainers or not (workload.queue or any(rung.spot for rung in one.rungs)):
        return
    policy = workload.job.get("podFailurePolicy")
    rules = maps(policy, "rules")
    if policy == UNKNOWN or (isinstance(policy, Mapping) and policy.get("rules") == UNKNOWN):
        return
    for container in trainers:
        if not _ends_as_trainer(container):
            continue
        action = _action(rules, container.container, STOPPED, disrupted=False)
        if action != "Ignore":
            yield FAILURE.finding(
                f"{named(workload)}: exit code {STOPPED} of {container.container} (stopped, everything saved)"
                f" {_becomes(action)}",
                one.near.resource,
                subject=f"{workload.part} {STOPPED}".strip(),
            )
    action = _action(rules, trainers[0].container, KILLED, disrupted=True)
    if action != "Ignore":
        yield FAILURE.finding(
            f"{named(workload)}: a pod whose machine is taken away {_becomes(action)}",
            one.near.resource,
            subject=f"{workload.part} disruption".strip(),
        )


def _trains(command: Command) -> bool:
    return not command.initial and any(name in TRAINERS or name == f"{TRAINING}.sweep" for name in command.modules())


def _ends_as_trainer(command: Command) -> bool:
    """Whether the container's exit code is that of training: it runs nothing else, or a launcher that passes it on."""
    first = command.modules()[0]
    return first == TRAINING or first in LAUNCHERS or command.words[:1] == ("torchrun",)


def _action(rules: list[Mapping[str, Any]], container: str, code: int, *, disrupted: bool) -> str:
    """What becomes of a pod: the action of the first rule that it matches, else Count."""
    for rule in rules:
        exits, conditions = mapping(rule, "onExitCodes"), maps(rule, "onPodConditions")
        if exits and exits.get("containerName") in (None, container):
            listed = code in [int(v) for v in items(exits, "values") if isinstance(v, int | float)]
            if listed is (exits.get("operator") == "In"):
                return str(rule.get("action"))
        if disrupted and any(
            c.get("type") == "DisruptionTarget" and str(c.get("status", "True")) == "True" for c in conditions
        ):
            return str(rule.get("action"))
    return "Count"


def _becomes(action: str) -> str:
    return "fails the whole job" if action == "FailJob" else "counts as a failure"
