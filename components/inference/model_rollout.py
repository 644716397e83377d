"""ModelRollout: carries out one rollout of a model's next version in a cluster, step by step, on evidence."""

import hashlib
import json
import re
from typing import Any, NotRequired, Optional, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from components import arguments
from components.inference.rollout_pod import (
    SPECIFICATION_FILE,
    TEXTS_FILE,
    Arm,
    Controller,
    arm_policy,
    controller_policy,
    job_spec,
    journals,
)
from components.inference.server_arguments import DEFAULT_MONITORING, Refusal, check_image
from components.inference.traffic import HTTP
from components.ordering import after
from components.training import runs

LONGEST_NAME = 57
"""Of a Job whose pods have five characters and a dash more."""
MOST_TEXTS_BYTES = 900_000
"""A ConfigMap holds a MiB, of which some is the specification's."""
STRATEGIES = ("canary", "blue-green", "ab", "shadow")
"""Of workloads.rollout.spec, but for `rolling`, which needs the right to change replicas."""
GUARDRAILS = ("errors", "p50_latency", "p99_latency", "quality")
FIELDS = (
    *("name", "baseline", "candidate", "strategy", "guardrails", "steps", "mirror_percent", "objective", "replicas"),
    *("harm_budget_requests", "look_interval_s", "deadline_s", "on_inconclusive", "sample_ratio_alpha"),
)
"""Of a specification; tests hold all three to the controller's own."""
_ROLLOUT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


class RolloutArmArgs(TypedDict):
    """The server of one of both versions: a backend of the route."""

    namespace: str
    """Namespace of the Service."""
    service: str
    """Name of the Service, such as TritonInference's `service`."""
    port: NotRequired[int]
    """HTTP port of the Service, and of its pods. Default 8000."""
    labels: NotRequired[dict[str, str]]
    """Labels of its pods. Needed with `texts` alone: they are let in to score these."""


class ModelRolloutArgs(TypedDict):
    """Arguments of ModelRollout."""

    namespace: str
    """Kubernetes namespace, which is there and is closed. The route's `rollout` names it, and the component's name as
    the service account."""
    image: str
    """What carries out rollouts (workloads/rollout/Dockerfile), with a digest or a tag other than `latest`."""
    specification: NotRequired[str]
    """JSON of the rollout, as workloads.rollout.spec has it: versions, strategy, steps, guardrails. Another rollout has
    another `name`: the journal of a name is continued, and refuses a specification other than the one it began with.
    Absent: the baseline has the candidate's version by now, and is handed the requests back."""
    route_namespace: pulumi.Input[str]
    """InferenceRoute's output `namespace`."""
    route: pulumi.Input[str]
    """Name of the HTTPRoute: InferenceRoute's output `route`, or its `model_routes` of the model."""
    baseline: RolloutArmArgs
    """Who has the requests before the rollout."""
    candidate: RolloutArmArgs
    """Who is to have them; before it has none."""
    ready_replicas: NotRequired[int]
    """Of whoever is to have requests, before it gets any; default 1."""
    control: NotRequired[bool]
    """Compare with a sample of the candidate's size and not with all that the old version answers; default false."""
    texts: NotRequired[list[str]]
    """What both versions score, where quality is a guardrail: Envoy's copies of requests have no answers."""
    journal_claim: NotRequired[str]
    """Name of the PersistentVolumeClaim that journals are kept on, which is there; default one that goes with this
    component, and all evidence with it."""
    monitoring_namespace: NotRequired[str]
    """Namespace of the Prometheus that counts the route's requests; default `monitoring`. Where Observability closes
    it, its `query_namespaces` has to name this one's `namespace`."""


class ModelRollout(pulumi.ComponentResource):
    """The controller of one rollout, as a Job: its exit code says how the rollout ended, and a Job that failed says no.

    Without a specification the Job hands the requests back, in steps, to a baseline that has the candidate's version as
    well: then the candidate can be removed.

    Built in this order: the service account, which may do what InferenceRoute's `rollout` lets it and nothing else; the
    network policies; a volume for the journal, unless one is named; the specification; the Job, on a system
    machine; its PodMonitor. The Job of a pod that is killed or evicted starts another, which goes on from the journal.
    0 of the pod is promoted (or, of a shadow, passed); 10 rolled back, 11 stopped and 12 inconclusive fail the Job at
    once, as wrong arguments do. A changed image, specification or arm makes a new Job, and the old one's end is waited
    for: one controller has the journal at a time, and an older one cannot change weights any more.

    `pulumi up` does not wait for the rollout, which takes hours. Its pod stays for 45 minutes after the end, for alerts
    to hear of it, and for a person to go back: `python -m workloads.rollout abort` in its pod; that, `status` and
    `replay` are in docs/rollout.md. Strategy `rolling` is refused: it needs the right to change replicas.

    Takes a Kubernetes provider from `opts`; `opts.depends_on` names the route. ValueError, naming the argument, for
    anything that Kubernetes or the controller would refuse.
    """

    job: pulumi.Output[str]
    """Name of the Job."""
    journal: pulumi.Output[str]
    """Path of the journal in its pod; empty without a specification."""

    def __init__(self, name: str, args: ModelRolloutArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        where = f"ModelRollout {name!r}"
        arguments.check(where, args, ModelRolloutArgs)
        rollout = _checked(where, name, args)
        super().__init__("aicloud:index:ModelRollout", name, {**args}, opts)
        child = pulumi.ResourceOptions(parent=self, depends_on=opts.depends_on if opts else None)
        labels = {"app.kubernetes.io/name": "rollout", "app.kubernetes.io/instance": name}
        placed = {"namespace": args["namespace"], "labels": labels}
        monitoring = args.get("monitoring_namespace", DEFAULT_MONITORING)
        arms = [_arm(args["baseline"]), _arm(args["candidate"])]
        texts = args.get("texts", [])

        account = k8s.core.v1.ServiceAccount(
            f"{name}-account",
            metadata={**placed, "name": name},
            # It asks the cluster's API for its route, and which pods are ready.
            automount_service_account_token=True,
            opts=child,
        )
        traffic = k8s.networking.v1.NetworkPolicy(
            f"{name}-traffic",
            metadata={**placed, "name": name},
            spec=controller_policy(labels, monitoring, arms if texts else []),
            opts=child,
        )
        let_in = [
            k8s.networking.v1.NetworkPolicy(
                f"{name}-{arm.namespace}-{arm.service}",
                metadata={"namespace": arm.namespace, "name": f"{args['namespace']}-{name}-{arm.service}"},
                spec=arm_policy(arm, args["namespace"], labels),
                opts=child,
            )
            for arm in (arms if texts else [])
        ]
        made: list[pulumi.Resource] = [account, traffic, *let_in]
        if "journal_claim" not in args:
            claim = journals(name, args["namespace"], labels)
            made.append(k8s.core.v1.PersistentVolumeClaim(f"{name}-journal", **claim, opts=child))
        files = {
            **({SPECIFICATION_FILE: args["specification"]} if rollout else {}),
            **({TEXTS_FILE: "".join(f"{json.dumps(text)}\n" for text in texts)} if texts else {}),
        }
        if rollout:
            metadata = {**placed, "name": name}
            made.append(k8s.core.v1.ConfigMap(f"{name}-config", metadata=metadata, data=files, opts=child))
        controller = Controller(
            name=name,
            rollout=rollout,
            labels=labels,
            image=args["image"],
            route_namespace=args["route_namespace"],
            route=args["route"],
            baseline=arms[0],
            candidate=arms[1],
            ready_replicas=int(args.get("ready_replicas", 1)),
            control=args.get("control", False),
            texts=bool(texts),
            monitoring_namespace=monitoring,
            claim=args.get("journal_claim", name),
            digest=hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16],
        )
        job = k8s.batch.v1.Job(
            f"{name}-job",
            metadata={
                **placed,
                "name": name,
                # A rollout takes hours, and may well fail: that is what it is for.
                "annotations": {"pulumi.com/skipAwait": "true"},
            },
            spec=job_spec(controller),
            opts=pulumi.ResourceOptions.merge(
                child,
                pulumi.ResourceOptions(depends_on=made, delete_before_replace=True),
            ),
        )
        if rollout:
            runs.monitor(name, args, labels, ("metrics",), child)

        self.job = after(job.metadata.name, [job])
        self.journal = pulumi.Output.from_input(controller.journal)
        self.register_outputs({"job": self.job, "journal": self.journal})


def _arm(args: RolloutArmArgs) -> Arm:
    return Arm(args["namespace"], args["service"], int(args.get("port", HTTP)), dict(args.get("labels", {})))


def _checked(where: str, name: str, args: ModelRolloutArgs) -> str:
    """Name of the rollout, empty without a specification, once every argument is found good."""
    refuse = Refusal(where)
    for argument, value, longest in (
        ("name", name, LONGEST_NAME),
        ("namespace", args["namespace"], 63),
        ("monitoring_namespace", args.get("monitoring_namespace", DEFAULT_MONITORING), 63),
        ("journal_claim", args.get("journal_claim", name), 63),
    ):
        refuse.unless_named(argument, value, longest)
    check_image(refuse, "image", args["image"])
    texts = args.get("texts", [])
    for arm in ("baseline", "candidate"):
        given: Any = args[arm]
        for key in ("namespace", "service"):
            refuse.unless_named(f"{arm}.{key}", given[key])
        if not 1 <= given.get("port", HTTP) <= 65535:
            refuse(f"{arm}.port", given["port"], "accepted is 1 to 65535")
        if texts and not given.get("labels"):
            refuse(f"{arm}.labels", given.get("labels"), "expected with texts: its pods are let in to score them")
    if _place(args["baseline"]) == _place(args["candidate"]):
        refuse("candidate", "/".join(_place(args["candidate"])), "expected another Service than the baseline's")
    ready = args.get("ready_replicas", 1)
    if ready < 1 or ready != int(ready):
        refuse("ready_replicas", ready, "accepted is a whole number from 1")
    if "specification" not in args:
        if texts:
            refuse("texts", texts, "expected none without a specification: nothing is compared")
        return ""
    return _specification(refuse, args["specification"], texts)


def _place(arm: RolloutArmArgs) -> tuple[str, str]:
    return arm["namespace"], arm["service"]


def _specification(refuse: Refusal, text: str, texts: list[str]) -> str:
    """Name of the rollout, once all names are right. Values are the controller's to judge (`validate`)."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        refuse("specification", text, f"expected JSON: {error}")
    if not isinstance(found, dict):
        refuse("specification", text, "expected an object")
    rollout = found.get("name")
    if not isinstance(rollout, str) or not _ROLLOUT.fullmatch(rollout):
        refuse("specification.name", rollout, "its journal is called so: accepted are up to 63 of a-z, 0-9, . and -")
    for field in found:
        refuse.one_of("specification", field, FIELDS)
    refuse.one_of("specification.strategy", found.get("strategy"), STRATEGIES)
    guardrails = found.get("guardrails")
    if not isinstance(guardrails, dict) or not guardrails:
        refuse("specification.guardrails", guardrails, f"expected some of {', '.join(GUARDRAILS)}")
    for guardrail in guardrails:
        refuse.one_of("specification.guardrails", guardrail, GUARDRAILS)
    if "quality" in guardrails and not texts:
        refuse("texts", texts, "expected some with the guardrail quality: Envoy's copies of requests have no answers")
    size = sum(len(json.dumps(one).encode()) + 1 for one in texts)
    if size > MOST_TEXTS_BYTES:
        refuse("texts", f"{size} bytes", f"accepted are up to {MOST_TEXTS_BYTES}")
    return str(rollout)
