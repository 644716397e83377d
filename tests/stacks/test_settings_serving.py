"""Settings of serving: which models go together, what stands by, and what a cold start may take."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from stacks.devices import device_in
from stacks.settings import parse
from tests.stacks.test_settings import BASE, MODEL, POOLS, RAY, REGION, SWEEPS, changed, problems_of

SERVING = "ai-cloud:serving"
FIRST = BASE[MODEL][0]
LARGE = {**FIRST, "name": "large", "sizeGib": 12.0}
OTHER = {**FIRST, "name": "other", "sizeGib": 8.0}


def test_what_is_absent_stands_for_one_group_and_nothing_that_stands_by() -> None:
    settings = parse(BASE)
    assert settings.models[0].group is None
    assert settings.serving.warm_machines == {}
    assert settings.serving.prepull_images is None
    assert not settings.serving.weights_from_warm_tier
    assert settings.serving.cold_start_objective_s is None


def test_models_that_do_not_fit_a_gpu_together_are_told_with_groups_that_do() -> None:
    found = problems_of(changed((MODEL, [FIRST, LARGE, OTHER])))
    assert found.keys() == {f"{MODEL}[2].group"}
    said = found[f"{MODEL}[2].group"]
    assert (
        "expected models that fit a GPU in aws:us-east-1: they take 25.8 GiB together; l4 has 21.6 for models" in said
    )
    assert "What fits is no group: large, m (16.2 GiB); group 'other': other (9.6 GiB)" in said
    assert parse(changed((MODEL, [FIRST, LARGE, {**OTHER, "group": "other"}])))
    assert parse(changed((MODEL, [FIRST, LARGE, {**OTHER, "deviceMemoryGib": 2.0}])))


def test_groups_are_looked_at_in_each_region_by_the_models_that_it_serves() -> None:
    models = [FIRST, {**LARGE, "regions": ["aws:us-east-1"]}, {**OTHER, "regions": ["gcp:europe-west4"]}]
    assert parse(changed((MODEL, models)))


@pytest.mark.parametrize(
    ("sharing", "memory", "says"),
    [
        ({"mode": "time-slicing", "replicas": 4}, 6, "large takes 14.4 GiB of a GPU that has 5.0 for models; take a"),
        (None, 24, ""),
    ],
)
def test_pods_that_share_a_gpu_share_its_memory(sharing: Any, memory: float, says: str) -> None:
    config = changed((MODEL, [LARGE]), (f"{POOLS}[1].gpuSharing", sharing))
    if says:
        assert says in problems_of(config)[f"{MODEL}[0].sizeGib"]
    settings = parse(changed((f"{POOLS}[1].gpuSharing", sharing)))
    device = device_in(settings.node_pools[1], settings.regions[0])
    assert device is not None
    assert device.memory_gib == memory


def test_a_slice_has_its_own_memory() -> None:
    sharing = {"mode": "mig", "profile": "1g.10gb"}
    pool = {**BASE[POOLS][1], "accelerator": "h100-80gb", "acceleratorsPerMachine": 8, "gpuSharing": sharing}
    config = {
        key: value for key, value in copy.deepcopy(BASE).items() if key not in (SWEEPS, RAY, "ai-cloud:serverless")
    }
    config[POOLS][1] = {**pool, "regions": ["aws:us-east-1"]}
    config[REGION] = config[REGION][:1]
    config[MODEL] = [{**FIRST, "accelerator": "h100-80gb"}]
    assert parse(config)
    config[MODEL][0]["sizeGib"] = 8.0
    said = problems_of(config)[f"{MODEL}[0].sizeGib"]
    assert "m takes 9.6 GiB of a GPU that has 9.0 for models; take a larger one (a 1g.10gb slice of h100-80gb" in said


@pytest.mark.parametrize(
    ("model", "key", "says"),
    [
        (
            {"gpus": 4},
            "gpus",
            "another number in aws:us-east-1: m goes over 4 GPUs, which in a g6.12xlarge (l4) have no",
        ),
        ({"gpus": 3, "overPcie": True}, "gpus", "m goes over 3 GPUs, and a g6.12xlarge has 4; accepted are 1, 2, 4"),
        ({"group": "Large"}, "group", "1 to 20 of a-z, 0-9 and -"),
        ({"deviceMemoryGib": -1.0}, "deviceMemoryGib", "expected at least 0"),
    ],
)
def test_a_model_over_several_gpus_is_looked_at_on_its_machines(model: dict[str, Any], key: str, says: str) -> None:
    pool = {**BASE[POOLS][1], "acceleratorsPerMachine": 4}
    assert says in problems_of(changed((f"{POOLS}[1]", pool), (MODEL, [{**FIRST, **model}])))[f"{MODEL}[0].{key}"]


@pytest.mark.parametrize(
    ("key", "value", "path", "says"),
    [
        (
            "warmMachines",
            {"aws:us-east-1": 1},
            '.warmMachines["aws:us-east-1"]',
            "none: idle serving machines of a region",
        ),
        ("warmMachines", {"aws:eu-west-1": 1}, '.warmMachines["aws:eu-west-1"]', "regions of this environment: one of"),
        ("warmMachines", {"gcp:europe-west4": 0}, '.warmMachines["gcp:europe-west4"]', "expected at least 1"),
        ("weightsFromWarmTier", True, ".weightsFromWarmTier", "false: there is no ai-cloud:storage.warm"),
        ("prepullImages", ["serving:latest"], ".prepullImages[0]", "'serving:latest'"),
        (
            "coldStartObjectiveS",
            300.0,
            ".coldStartObjectiveS",
            "at least 519: in aws:us-east-1 a cold start takes 519 s",
        ),
        ("coldStartObjectiveS", 0.0, ".coldStartObjectiveS", "expected more than 0"),
    ],
)
def test_what_stands_by_is_named_where_it_cannot(key: str, value: Any, path: str, says: str) -> None:
    found = problems_of(changed((f"{SERVING}.{key}", value)))
    assert says in found[f"{SERVING}{path}"], found


def test_what_stands_by_counts_towards_the_objective() -> None:
    objective = (f"{SERVING}.coldStartObjectiveS", 420.0)
    assert f"{SERVING}.coldStartObjectiveS" in problems_of(changed(objective))
    assert parse(changed(objective, (f"{SERVING}.prepullImages", [])))
    warm = {**BASE, SERVING: {**BASE[SERVING], "coldStartObjectiveS": 100.0, "warmMachines": {"gcp:europe-west4": 1}}}
    assert "in aws:us-east-1" in problems_of(warm)[f"{SERVING}.coldStartObjectiveS"]
    only = [{**FIRST, "regions": ["gcp:europe-west4"]}]
    assert parse({**warm, MODEL: only})


def test_what_was_measured_counts_towards_the_objective() -> None:
    objective = (f"{SERVING}.coldStartObjectiveS", 200.0)
    measured = {"nodeS": 90.0, "imageS": 40.0, "serverS": 20.0, "loadGibS": 1.0, "deviceGibS": 1.0}
    assert parse(changed(objective, (f"{SERVING}.coldStart", measured)))
    said = problems_of(changed(objective, (f"{SERVING}.coldStart", {"nodeS": 90.0})))[f"{SERVING}.coldStartObjectiveS"]
    assert "node 90 s (as measured), image 150 s (not measured)" in said


def test_the_region_that_has_a_warm_tier_may_keep_a_copy() -> None:
    assert parse(changed((f"{SERVING}.weightsFromWarmTier", True), ("ai-cloud:storage.warm", {"capacityGib": 1024})))
