"""Settings: what is right comes through unchanged, and what is wrong is named, all of it, with what is accepted."""

from __future__ import annotations

import contextlib
import copy
import ipaddress
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from components.accelerators import MACHINES, REGIONS, MachineType
from stacks.problems import SettingsError
from stacks.settings import Settings, parse

GONE = "<gone>"
"""In place of a value: the key is taken away."""
unhurried = hypothesis_settings(deadline=None)  # a busy machine is no failure

BASE: dict[str, Any] = {
    "gcp:project": "some-project",
    "ai-cloud:owner": "team@example.com",
    "ai-cloud:kubernetesVersion": "1.34",
    "ai-cloud:regions": [
        {"region": "aws:us-east-1", "cidr": "10.0.0.0/16", "purposes": ["training", "serving"]},
        {"region": "gcp:europe-west4", "cidr": "10.1.0.0/16", "purposes": ["serving"]},
    ],
    "ai-cloud:nodePools": [
        {"name": "system", "purpose": "system", "min": 1, "max": 3, "ladder": [{"kind": "on-demand"}]},
        {
            "name": "serving",
            "purpose": "serving",
            "accelerator": "l4",
            "min": 0,
            "max": 4,
            "ladder": [{"kind": "spot"}],
        },
        {
            "name": "training",
            "purpose": "training",
            "accelerator": "h100-80gb",
            "acceleratorsPerMachine": 8,
            "min": 0,
            "max": 4,
            "fabric": True,
            "ladder": [{"kind": "capacity-block", "reservations": ["cr-1"]}, {"kind": "on-demand", "ceiling": 3}],
        },
    ],
    "ai-cloud:frontDoor": {"domain": "ai.example.com", "hostedZoneId": "Z0123456789EXAMPLE"},
    "ai-cloud:serving": {"image": "registry.example.com/serving:1.0", "namespace": "serving"},
    "ai-cloud:models": [
        {"name": "m", "version": 1, "sizeGib": 1.5, "accelerator": "l4", "gpus": 1, "minReplicas": 1, "maxReplicas": 2}
    ],
    "ai-cloud:serverless": [
        {
            "name": "waits",
            "region": "aws:us-east-1",
            "mode": "asynchronous",
            "image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/serving:1.0",
            "model": "m",
            "version": 1,
            "sizeGib": 1.5,
            "accelerator": "l4",
            "maxInstances": 2,
            "invokers": ["arn:aws:iam::123456789012:role/app"],
        },
        {
            "name": "answers",
            "region": "gcp:europe-west4",
            "image": "europe-west4-docker.pkg.dev/some-project/r/serving:1.0",
            "model": "m",
            "version": 1,
            "sizeGib": 1.5,
            "accelerator": "l4",
            "maxInstances": 2,
        },
    ],
    "ai-cloud:training": {
        "image": "registry.example.com/training:1.0",
        "rayImage": "registry.example.com/training:1.0-ray",
    },
    "ai-cloud:trainingJobs": [
        {
            "name": "gang",
            "region": "aws:us-east-1",
            "config": "llama_1b",
            "settings": {"training.steps": 100, "parallel.compile": False, "optimizer.learning_rate": 1e-3},
            "data": "datasets/books",
            "accelerator": "h100-80gb",
            "acceleratorsPerNode": 8,
            "minNodes": 2,
            "maxNodes": 4,
            "fabric": True,
        }
    ],
    "ai-cloud:sweeps": [
        {
            "name": "rate",
            "region": "aws:us-east-1",
            "config": "tiny",
            "accelerator": "l4",
            "search": {"optimizer.learning_rate": "log:1e-4:1e-2"},
            "trials": 8,
            "workers": 4,
        }
    ],
    "ai-cloud:rayJobs": [
        {"name": "ray", "region": "aws:us-east-1", "config": "tiny", "accelerator": "l4", "maxWorkers": 2}
    ],
}


def changed(*changes: tuple[str, Any]) -> dict[str, Any]:
    """BASE with values put at paths such as `ai-cloud:nodePools[2].max`."""
    config = copy.deepcopy(BASE)
    for path, value in changes:
        key, *steps = re.findall(r"^[^.\[]+|[^.\[\]]+", path)
        place, last = config, key
        for step in steps:
            at: Any = int(last) if last.isdigit() else last
            if not isinstance(place, list) and at not in place:
                place[at] = {}
            place, last = place[at], step
        at = int(last) if last.isdigit() else last
        if value is GONE:
            del place[at]
        elif isinstance(place, list) and at == len(place):
            place.append(value)
        else:
            place[at] = value
    return config


def problems_of(config: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SettingsError) as error:
        parse(config)
    return {problem.path: str(problem) for problem in error.value.problems}


POOLS, REGION, MODEL = "ai-cloud:nodePools", "ai-cloud:regions", "ai-cloud:models"
RUNG = {"kind": "on-demand"}
JOBS, SWEEPS, RAY = "ai-cloud:trainingJobs", "ai-cloud:sweeps", "ai-cloud:rayJobs"
FREE = "ai-cloud:serverless"
SMALL = {"name": "t", "purpose": "training", "accelerator": "l4", "min": 0, "max": 2, "ladder": [RUNG]}

# what is put where, where the problem is found (None: in the same place), and words of what is accepted instead
WRONG: list[tuple[str, Any, str | None, str]] = [
    ("ai-cloud:owner", "team", None, "an email address"),
    ("ai-cloud:owner", GONE, None, "is missing; expected email address"),
    ("ai-cloud:kubernetesVersion", 1.34, None, "text, in quotes"),
    ("ai-cloud:kubernetesVersion", "1.3", None, "a minor version of Kubernetes"),
    ("ai-cloud:protect", "yes", None, "true or false"),
    ("ai-cloud:budget", {"aws": 0}, "ai-cloud:budget.aws", "more than 0"),
    ("ai-cloud:budget", {"gcp": 100}, "ai-cloud:budget.billingAccount", "the billing account that pays"),
    ("ai-cloud:budget", {"gcp": 100, "billingAccount": "ours"}, "ai-cloud:budget.billingAccount", "01AB23-"),
    ("ai-cloud:administrators", ["joe"], "ai-cloud:administrators[0]", "the ARN of an AWS role or user"),
    ("ai-cloud:tags", {"Cost": "x"}, None, "not 'Cost'"),
    ("ai-cloud:tags", {"cost": "R&D"}, None, "not 'R&D'"),
    ("ai-cloud:tags", {"cost": 7}, "ai-cloud:tags.cost", "text, in quotes"),
    ("ai-cloud:nodePool", [], None, "(did you mean 'nodePools'?)"),
    ("ai-cloud:modles", [], None, "(did you mean 'models'?)"),
    (f"{REGION}", [], None, "at least 1 of them"),
    (f"{REGION}[0].region", "us-east-1", None, "a cloud and its region, such as aws:us-east-1"),
    (f"{REGION}[0].region", "aws:us-eat-1", None, "did you mean 'us-east-1'?"),
    (f"{REGION}[0].region", "aws:europe-west4", None, "a region of aws: one of 3"),
    (f"{REGION}[0].cidr", "10.0.0.0/24", None, "from /16 to /20"),
    (f"{REGION}[0].cidr", "8.8.0.0/16", None, "a private IPv4 network"),
    (f"{REGION}[0].cidr", "10.0.0.1/16", None, "a private IPv4 network"),
    (f"{REGION}[0].cidr", "fd00::/16", None, "a private IPv4 network"),
    (f"{REGION}[0].purposes[0]", "trianing", None, "one of training, serving (did you mean 'training'?)"),
    (f"{REGION}[0].publicAccessCidrs", ["0.0.0.0/0"], f"{REGION}[0].publicAccessCidrs[0]", "not the whole internet"),
    (f"{REGION}[0].natPerZones", True, None, "(did you mean 'natPerZone'?)"),
    (f"{REGION}[1].region", "aws:us-east-1", None, "each region once"),
    (f"{REGION}[1].cidr", "10.0.16.0/20", None, "gcp:europe-west4 overlaps aws:us-east-1, which has 10.0.0.0/16"),
    ("gcp:project", GONE, None, "is missing; expected the id of the Google Cloud project"),
    (f"{POOLS}[0].name", "System Pool", None, "1 to 24 of a-z"),
    (f"{POOLS}[0].accelerator", "l4", None, "none in a system pool"),
    (f"{POOLS}[2].machineType", "p5.48xlrage", None, "did you mean 'p5.48xlarge'?"),
    (f"{POOLS}[0].fabric", True, None, "a machine with a fabric, which"),
    (f"{POOLS}[0].acceleratorsPerMachine", 2, None, "none, since the pool has no accelerator"),
    (f"{POOLS}[0].max", "many", None, "a whole number (most machines)"),
    (f"{POOLS}[0].max", 3.5, None, "a whole number"),
    (f"{POOLS}[0].min", -1, None, "at least 0"),
    (f"{POOLS}[0].min", 4, None, "got 4; expected at most max, which is 3"),
    (f"{POOLS}[0].static", True, f"{POOLS}[0].min", "the same as max (3)"),
    (f"{POOLS}[0].ladder", [], None, "at least 1 of them"),
    (f"{POOLS}[0].ladder", {}, None, "a list"),
    (f"{POOLS}[0].ladder[0].kind", "ondemand", None, "(did you mean 'on-demand'?)"),
    (f"{POOLS}[0].ladder[0].kind", "reservation", f"{POOLS}[0].ladder[0].reservations", "at least one reservation"),
    (f"{POOLS}[0].ladder[0].reservations", ["cr-1"], None, "none, which only reservation and capacity-block"),
    (f"{POOLS}[0].ladder[0].kind", "flex-start", None, "a way to get a m7i.xlarge on aws"),
    (f"{POOLS}[0].ladder[0].floor", 4, None, "at most max, which is 3"),
    (f"{POOLS}[0].ladder[0].ceiling", 4, None, "at most max, which is 3"),
    (f"{POOLS}[0].ladder[0].ceiling", 2, f"{POOLS}[0].ladder", "room for max, which is 3"),
    (f"{POOLS}[0].ladder[1]", RUNG, f"{POOLS}[0].ladder[1].kind", "each kind once"),
    (f"{POOLS}[0].taints", [{"key": "a", "effect": "NoScedule"}], f"{POOLS}[0].taints[0].effect", "'NoSchedule'?"),
    (f"{POOLS}[1].name", "system", None, "each name once in a region: aws:us-east-1 has it from nodePools[0]"),
    (f"{POOLS}[1].accelerator", "l40", None, "(did you mean 'l40s'?)"),
    (f"{POOLS}[1].accelerator", "l40s", None, "what gcp:europe-west4 offers: gcp:europe-west4 offers no"),
    (f"{POOLS}[1].acceleratorsPerMachine", 16, f"{POOLS}[1].accelerator", "a machine there has 1 or"),
    (f"{POOLS}[1].localNvmeRaid", True, None, "a g2-standard-4 has no local NVMe"),
    (f"{POOLS}[1].regions", ["gcp:us-east1"], None, "regions of this environment: one of aws:us-east-1"),
    (f"{POOLS}[1].gpuSharing", {"mode": "mig", "profile": "1g.5gb"}, f"{POOLS}[1].gpuSharing.mode", "time-slicing"),
    (f"{POOLS}[1].gpuSharing", {"mode": "time-slicing"}, f"{POOLS}[1].gpuSharing.replicas", "2 to 48"),
    (f"{POOLS}[2].gpuSharing", {"mode": "mig", "profile": "1g.5gb"}, f"{POOLS}[2].gpuSharing.profile", "1g.10gb"),
    (f"{POOLS}[2].machineType", "g6.xlarge", None, "with h100-80gb in aws:us-east-1: p5.4xlarge, p5.48xlarge"),
    (f"{POOLS}[2].machineType", "p5.4xlarge", f"{POOLS}[2].acceleratorsPerMachine", "1, as many as a p5.4xlarge has"),
    (f"{POOLS}[2].accelerator", "trainium2", None, "aws has it in us-east-2"),
    (f"{POOLS}[2].ladder[0].reservations", [], None, "at least one reservation"),
    (f"{POOLS}[2].ladder[0].kind", "flex-start", None, "reservation, capacity-block, spot, on-demand"),
    (f"{POOLS}[2].ladder[1].floor", 4, None, "at most the ceiling, which is 3"),
    (f"{POOLS}[3]", {**SMALL, "acceleratorsPerMachine": 1, "fabric": True}, f"{POOLS}[3].fabric",
     "which g6.xlarge isn't: g6.8xlarge"),
    (f"{POOLS}[1].ladder[0]", {"kind": "reservation", "reservations": ["r"]}, f"{POOLS}[1].ladder[0].reservations",
     "a pool of one region"),
    ("ai-cloud:storage.cold", {"archiveAfterDays": 40}, "ai-cloud:storage.cold.archiveAfterDays", "at least 60"),
    ("ai-cloud:storage", {"cold": {"deepArchiveAfterDays": 100}}, "ai-cloud:storage.cold.deepArchiveAfterDays", "180"),
    ("ai-cloud:storage.cold", {"infrequentAfterDays": 7}, "ai-cloud:storage.cold.infrequentAfterDays", "at least 30"),
    ("ai-cloud:storage.hot", {"capacityGib": 0}, "ai-cloud:storage.hot.capacityGib", "at least 1"),
    ("ai-cloud:storage.cold", {"replicateTo": {"aws:us-east-1": "aws:us-east-1"}},
     'ai-cloud:storage.cold.replicateTo["aws:us-east-1"]', "another region"),
    ("ai-cloud:storage.cold", {"replicateTo": {"aws:us-east-1": "gcp:us-east1"}},
     'ai-cloud:storage.cold.replicateTo["aws:us-east-1"]', "another region of the same cloud, aws"),
    ("ai-cloud:storage.cold", {"replicateTo": {"aws:us-west-2": "aws:us-east-1"}},
     'ai-cloud:storage.cold.replicateTo["aws:us-west-2"]', "regions of this environment"),
    ("ai-cloud:frontDoor.domain", "https://ai.example.com", None, "a domain in lower case"),
    ("ai-cloud:frontDoor.hostedZoneId", "/hostedzone/Z1", None, "the id of a Route 53 hosted zone"),
    ("ai-cloud:frontDoor.healthCheckPath", "v2/health", None, "a path that begins with /"),
    ("ai-cloud:frontDoor.weights", {"aws:us-east-1": 10}, "ai-cloud:frontDoor.routingPolicy", "weighted, since"),
    ("ai-cloud:training.image", "registry.example.com/training", None, "an image with a tag"),
    ("ai-cloud:training", GONE, None, "is missing; expected the image that trainingJobs, sweeps, rayJobs run"),
    ("ai-cloud:training.rayImage", GONE, None, "is missing; expected the image, built with Ray"),
    (f"{JOBS}[0].name", "llama_1b", None, "1 to 24 of a-z"),
    (f"{JOBS}[0].region", "gcp:europe-west4", None, "a region that trains: one of aws:us-east-1"),
    (f"{JOBS}[0].config", "llama_8", None, "(did you mean 'llama_8b'?)"),
    (f"{JOBS}[0].settings", {"steps": 5}, None, "settings by section and name, such as training.steps; not 'steps'"),
    (f"{JOBS}[0].data", "s3://bucket/books", None, "a prefix such as datasets/books"),
    (f"{JOBS}[0].accelerator", "a100-80gb", None, "what pools in aws:us-east-1 have: h100-80gb, l4"),
    (f"{JOBS}[0].accelerator", "h100", None, "(did you mean 'h100-80gb'?)"),
    (f"{JOBS}[0].acceleratorsPerNode", 16, None, "at most 8, as many as a machine with h100-80gb has"),
    (f"{JOBS}[0].minNodes", 5, None, "at most maxNodes, which is 4"),
    (f"{JOBS}[0].compact", True, None, "false: no pool with h100-80gb in aws:us-east-1 is static"),
    (f"{JOBS}[0].priority", "urgent", None, "one of low, normal, high"),
    (f"{JOBS}[1]", {"name": "gang", "region": "aws:us-east-1", "config": "tiny", "accelerator": "l4"},
     f"{JOBS}[1].name", "each name once in a region: trainingJobs[0] has it already"),
    (f"{JOBS}[1]", {"name": "b", "region": "aws:us-east-1", "config": "tiny", "accelerator": "l4", "fabric": True},
     f"{JOBS}[1].fabric", "false: no pool with l4 in aws:us-east-1 has a fabric"),
    (f"{SWEEPS}[0].search", {}, None, "at least 1 of them"),
    (f"{SWEEPS}[0].workers", 9, None, "at most trials, which is 8"),
    (f"{SWEEPS}[0].minWorkers", 5, None, "at most workers, which is 4"),
    (f"{RAY}[0].minWorkers", 3, None, "at most maxWorkers, which is 2"),
    (f"{RAY}[0].name", "rate", None, "each name once in a region: sweeps[0] has it already"),
    ("ai-cloud:serving.image", "registry.example.com/serving", None, "an image with a tag"),
    ("ai-cloud:serving.image", "registry.example.com/serving:latest", None, "a tag other than latest"),
    ("ai-cloud:serving.namespace", "Serving", None, "1 to 63 of a-z"),
    ("ai-cloud:serving.route", {"namespace": "serving"}, "ai-cloud:serving.route.namespace", "another one than the"),
    ("ai-cloud:serving.route", {"minProxies": 8}, "ai-cloud:serving.route.maxProxies", "at least minProxies"),
    ("ai-cloud:serving.route", {"minProxies": 1}, "ai-cloud:serving.route.minProxies", "2"),
    ("ai-cloud:serving.route", {"weightsBy": "hand"}, "ai-cloud:serving.route.weightsBy", "one of program, rollout"),
    ("ai-cloud:serving.route", {"retry": 3}, "ai-cloud:serving.route.retry", "did you mean 'retries'?"),
    ("ai-cloud:serving", {"image": "a/b:1"}, "ai-cloud:serving.namespace", "is missing; expected Kubernetes namespace"),
    (f"{MODEL}[0].accelerator", "t4", None, "an accelerator of a serving pool in aws:us-east-1: l4"),
    (f"{MODEL}[0].gpus", 2, None, "at most 1, as many as a machine of serving has in"),
    (f"{MODEL}[0].minReplicas", 0, None, "1 or more, or scaling.toZero: without a replica there is no queue"),
    (f"{MODEL}[0].minReplicas", -1, None, "at least 0"),
    (f"{MODEL}[0].scaling", {"toZero": True}, f"{MODEL}[0].minReplicas", "0, since scaling.toZero is true"),
    (f"{MODEL}[0].scaling", {"idleS": 1200}, f"{MODEL}[0].scaling.idleS", "none without toZero"),
    (f"{MODEL}[0].scaling", {"hosts": ["a.example.com"]}, f"{MODEL}[0].scaling.hosts", "none without toZero"),
    (f"{MODEL}[0].scaling", {"forecast": {}}, f"{MODEL}[0].scaling.forecast.requestsPerReplicaS", "is missing"),
    (f"{MODEL}[0].scaling", {"forecast": {"requestsPerReplicaS": 5, "method": "month"}},
     f"{MODEL}[0].scaling.forecast.method", "trend"),
    (f"{MODEL}[0].scaling", {"forecast": {"requestsPerReplicaS": 5, "growth": 3.0}},
     f"{MODEL}[0].scaling.forecast.growth", "none for a level"),
    (f"{MODEL}[0].scaling", {"up": {"percent": 0}}, f"{MODEL}[0].scaling.up.percent", "at least 1"),
    (f"{MODEL}[1]", {**BASE[MODEL][0], "name": "other", "minReplicas": 0, "scaling": {"toZero": True}},
     f"{MODEL}[1].scaling.toZero", "false, as models[0] has it: one server of aws:us-east-1 has both"),
    (f"{MODEL}[1]", {**BASE[MODEL][0], "name": "other", "accelerator": "h100-80gb"}, f"{MODEL}[1].accelerator",
     "an accelerator of a serving pool"),
    (f"{POOLS}[1].zones", ["us-east-1a"], f"{POOLS}[1].zones[0]", "a zone of the pool's one region"),
    (f"{MODEL}[0].minReplicas", 3, None, "at most maxReplicas, which is 2"),
    (f"{MODEL}[0].sizeGib", 0, None, "more than 0"),
    (f"{MODEL}[1]", BASE[MODEL][0], f"{MODEL}[1].name", "each name once: models[0] has it already"),
    (f"{FREE}[0].region", "aws:us-west-2", None, "a region of this environment: one of aws:us-east-1, gcp:"),
    (f"{FREE}[0].mode", "sometimes", None, "one of synchronous, asynchronous"),
    (f"{FREE}[0].mode", "synchronous", f"{FREE}[0].accelerator", "none, or mode asynchronous"),
    (f"{FREE}[0].accelerator", GONE, None, "is missing; expected an accelerator"),
    (f"{FREE}[0].accelerator", "l-4", None, "did you mean 'l4'?"),
    (f"{FREE}[0].gpus", 3, f"{FREE}[0].accelerator", "there are instances with 1, 4, 8"),
    (f"{FREE}[0].image", "registry.example.com/serving:1.0", None, "an image in ECR of the region: <account>.dkr.ecr."),
    (f"{FREE}[0].invokers", ["group:ml@example.com"], f"{FREE}[0].invokers[0]", "the ARN of a role on aws"),
    (f"{FREE}[1].mode", "asynchronous", None, "synchronous: Cloud Run answers on the request's own connection"),
    (f"{FREE}[1].accelerator", "h100-80gb", None, "what gcp:europe-west4 offers without a cluster: Cloud Run has no"),
    (f"{FREE}[1].image", "registry.example.com/serving:1.0", None, "an image in Artifact Registry"),
    (f"{FREE}[1].minInstances", 3, None, "at most maxInstances, which is 2"),
    (f"{FREE}[1].ingress", "open", None, "one of internal, internal-and-load-balancer, all"),
    (f"{FREE}[2]", BASE[FREE][1], f"{FREE}[2].name", "each name once in a region: serverless[1] has it already"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "at", "accepted"), WRONG, ids=lambda part: str(part)[:40])
def test_a_wrong_value_is_named_with_what_is_accepted(path: str, value: Any, at: str | None, accepted: str) -> None:
    problems = problems_of(changed((path, value)))
    assert (at or path) in problems, problems
    assert accepted in problems[at or path]
    assert "\n" not in problems[at or path]


def test_one_slip_gives_one_line() -> None:
    """The checks between values don't repeat what another line already says."""
    slips = {f"{path} = {value}": problems_of(changed((path, value))) for path, value, *_ in WRONG}
    assert {slip: sorted(found) for slip, found in slips.items() if len(found) > 1} == {
        # the kind changes what else is accepted, so these are two mistakes
        f"{POOLS}[0].ladder[0].kind = flex-start": [f"{POOLS}[0].ladder[0].kind", f"{POOLS}[0].min"],
        f"{POOLS}[2].ladder[0].kind = flex-start": [
            f"{POOLS}[2].ladder[0].kind",
            f"{POOLS}[2].ladder[0].reservations",
        ],
        f"{POOLS}[1].accelerator = l40s": [
            f"{MODEL}[0].accelerator",
            f"{POOLS}[1].accelerator",
            f"{RAY}[0].accelerator",
            f"{SWEEPS}[0].accelerator",
        ],
    }


def test_everything_wrong_is_reported_at_once() -> None:
    """Field errors, checks between valid parts, missing and unknown keys; 12 slips, 12 lines."""
    config = changed(
        ("ai-cloud:owner", "me"),
        ("ai-cloud:colour", "blue"),
        (f"{REGION}[1].cidr", "10.0.0.0/17"),
        (f"{REGION}[2]", {"region": "aws:eu-west-9", "cidr": "10.2.0.0/16", "purposes": ["serving"]}),
        (f"{POOLS}[0].min", 9),
        (f"{POOLS}[1].max", "four"),
        (f"{POOLS}[2].ladder[0].reservations", []),
        (f"{POOLS}[2].ladder[1].kind", "flex-start"),
        ("ai-cloud:frontDoor.routingPolicy", "random"),
        ("ai-cloud:serving.image", "x"),
        (f"{MODEL}[0].minReplicas", 7),
        (f"{MODEL}[0].regions", ["aws:eu-west-2"]),
    )
    problems = problems_of(config)
    assert set(problems) == {
        "ai-cloud:owner", "ai-cloud:colour", f"{REGION}[1].cidr", f"{REGION}[2].region", f"{POOLS}[0].min",
        f"{POOLS}[1].max", f"{POOLS}[2].ladder[0].reservations", f"{POOLS}[2].ladder[1].kind",
        "ai-cloud:frontDoor.routingPolicy", "ai-cloud:serving.image", f"{MODEL}[0].minReplicas", f"{MODEL}[0].regions",
    }  # fmt: skip
    with pytest.raises(SettingsError, match=r"^12 wrong values in the configuration:\n  ai-cloud:colour: no such key"):
        parse(config)


def test_the_base_of_these_tests_is_right() -> None:
    assert isinstance(parse(BASE), Settings)


def test_no_serving_region_behind_the_front_door() -> None:
    config = changed(
        (f"{REGION}[0].purposes", ["training"]), (f"{REGION}[1]", GONE), (MODEL, []), (f"{POOLS}[1]", GONE)
    )
    assert "at least one region whose purposes include serving" in problems_of(config)["ai-cloud:frontDoor"]


def test_machines_that_stay_cannot_come_from_flex_start() -> None:
    pool = {**SMALL, "min": 1, "regions": ["gcp:europe-west4"], "ladder": [{"kind": "flex-start"}]}
    assert "at most 0: flex start" in problems_of(changed((f"{POOLS}[3]", pool)))[f"{POOLS}[3].min"]


def test_a_name_may_stand_for_another_pool_elsewhere() -> None:
    """One name, two clouds, machines of each: that is how a pool differs by cloud."""
    there = {**BASE[POOLS][1], "regions": ["gcp:europe-west4"]}
    here = {**BASE[POOLS][1], "regions": ["aws:us-east-1"], "localNvmeRaid": True}
    settings = parse(changed((f"{POOLS}[1]", here), (f"{POOLS}[3]", there)))
    aws, gcp = settings.regions
    assert [pool.local_nvme_raid for pool in settings.node_pools_in(aws) if pool.name == "serving"] == [True]
    assert [pool.local_nvme_raid for pool in settings.node_pools_in(gcp) if pool.name == "serving"] == [False]


def test_pools_and_models_know_their_regions() -> None:
    settings = parse(BASE)
    aws, gcp = settings.regions
    assert (aws.cloud, aws.name) == ("aws", "us-east-1")
    assert [pool.name for pool in settings.node_pools_in(aws)] == ["system", "serving", "training"]
    assert [pool.name for pool in settings.node_pools_in(gcp)] == ["system", "serving"]
    assert settings.regions_for("training") == (aws,)
    assert settings.models_in(gcp) == settings.models
    machine = settings.node_pools[2].machine_in(aws)
    assert isinstance(machine, MachineType)
    assert machine.name == "p5.48xlarge"


def test_a_pool_becomes_the_arguments_of_the_component() -> None:
    args = parse(BASE).node_pools[2].component_args()
    assert args["accelerators_per_machine"] == 8
    assert args["ladder"][1] == {"kind": "on-demand", "reservations": [], "floor": 0, "ceiling": 3}
    assert not {"regions", "gpu_sharing", "machine_type"} & set(args)
    json.dumps(args)


networks = st.builds(
    lambda base, prefix, bits: str(ipaddress.IPv4Network((int(base.network_address) | bits, prefix), strict=False)),
    st.sampled_from([ipaddress.IPv4Network(text) for text in ("10.0.0.0/14", "172.16.0.0/14", "192.168.0.0/16")]),
    st.integers(16, 20),
    st.integers(0, 2**18 - 1),
).filter(lambda text: ipaddress.IPv4Network(text).is_private)


@unhurried
@given(st.lists(networks, min_size=2, max_size=5))
def test_overlapping_networks_are_found_if_and_only_if_they_overlap(cidrs: list[str]) -> None:
    places = [f"aws:{name}" for name in REGIONS["aws"][: len(cidrs)]]
    config = {key: value for key, value in BASE.items() if key not in (MODEL, POOLS, JOBS, SWEEPS, RAY, FREE)}
    config[POOLS] = [BASE[POOLS][0]]
    config[REGION] = [
        {"region": place, "cidr": cidr, "purposes": ["serving"]} for place, cidr in zip(places, cidrs, strict=True)
    ]
    expected = {
        f"{REGION}[{later}].cidr"
        for later, cidr in enumerate(cidrs)
        for earlier in cidrs[:later]
        if ipaddress.ip_network(earlier).overlaps(ipaddress.ip_network(cidr))
    }
    if expected:
        assert set(problems_of(config)) == expected
    else:
        assert [region.cidr for region in parse(config).regions] == cidrs


@unhurried
@given(st.data())
def test_right_settings_come_through_unchanged(data: st.DataObject) -> None:
    """Whatever the catalog offers can be asked for, and the parsed settings, written again, are the same settings."""
    machine = data.draw(st.sampled_from(MACHINES))
    region = f"{machine.cloud}:{data.draw(st.sampled_from(machine.regions))}"
    kind = data.draw(st.sampled_from(sorted(machine.rungs)))
    most = data.draw(st.integers(1, 50))
    rung: dict[str, Any] = {"kind": kind}
    if kind in ("reservation", "capacity-block"):
        rung["reservations"] = ["cr-0"]
    pool = {
        "name": data.draw(st.from_regex(r"[a-z][a-z0-9]{0,10}", fullmatch=True).filter(lambda name: name != "system")),
        "purpose": "serving",
        "accelerator": machine.accelerator,
        "machineType": machine.name,
        "min": 0 if kind == "flex-start" else data.draw(st.integers(0, most)),
        "max": most,
        "fabric": data.draw(st.booleans()) and bool(machine.fabric),
        "localNvmeRaid": data.draw(st.booleans()) and machine.local_nvme_gib > 0,
        "ladder": [rung],
    }
    if pool["fabric"] and machine.fabric.kind == "gpudirect-rdma":
        pool["zones"] = [f"{region.split(':')[1]}-a"]
    gpus = data.draw(st.sampled_from([n for n in range(1, machine.count + 1) if machine.count % n == 0]))
    model = {**BASE[MODEL][0], "accelerator": machine.accelerator, "gpus": gpus, "overPcie": True}
    place = {
        "region": region,
        "cidr": data.draw(networks),
        "purposes": ["serving"],
        "drained": data.draw(st.booleans()),
    }
    none: dict[str, Any] = {JOBS: [], SWEEPS: [], RAY: [], FREE: []}
    config = {**BASE, REGION: [place], POOLS: [BASE[POOLS][0], pool], MODEL: [model], **none}
    settings = parse(config)
    written = json.loads(settings.model_dump_json(by_alias=True, exclude_none=True))
    again = parse({"gcp:project": "p", **{f"ai-cloud:{key}": value for key, value in written.items()}})
    assert again == settings
    assert settings.node_pools[1].model_dump(by_alias=True, exclude_unset=True, mode="json") == pool


@unhurried
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(sorted(key for key in BASE if key.startswith("ai-cloud:"))),
)
def test_nonsense_is_refused_and_never_crashes(nonsense: Any, key: str) -> None:
    with contextlib.suppress(SettingsError):
        assert isinstance(parse({**BASE, key: nonsense}), Settings)


def test_a_region_serves_from_one_kind_of_accelerator() -> None:
    second = {**BASE[POOLS][1], "name": "second", "accelerator": "a100-40gb", "regions": ["aws:us-east-1"]}
    pool = {**second, "acceleratorsPerMachine": 8}
    model = {**BASE[MODEL][0], "name": "other", "accelerator": "a100-40gb", "regions": ["aws:us-east-1"]}
    found = problems_of(changed((f"{POOLS}[3]", pool), (f"{MODEL}[1]", model)))
    assert found.keys() == {f"{MODEL}[1].accelerator"}
    assert "l4, which models[0] has in aws:us-east-1" in found[f"{MODEL}[1].accelerator"]


def test_a_roce_fabric_needs_the_zone_of_its_machines() -> None:
    pool = {**BASE[POOLS][2], "name": "ultra", "accelerator": "h200", "regions": ["gcp:europe-west4"]}
    pool["ladder"] = [{"kind": "flex-start"}]
    found = problems_of(changed((f"{POOLS}[3]", pool)))
    assert "one zone: the RoCE network" in found[f"{POOLS}[3].zones"]
    settings = parse(changed((f"{POOLS}[3]", {**pool, "zones": ["europe-west4-b"]})))
    fabric, zone = settings.gpudirect_in(settings.regions[1]) or (None, "")
    assert (fabric and fabric.kind, zone) == ("gpudirect-rdma", "europe-west4-b")
