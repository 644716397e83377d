"""Servers behind KServe and of SavedModels, as settings: what is wrong is named, with what is accepted."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from stacks.problems import SettingsError
from stacks.servers import kserve_mode
from stacks.settings import Settings, parse
from tests.stacks.test_settings import BASE

KSERVE: dict[str, Any] = {
    "name": "reviews",
    "models": [{"name": "sentiment", "version": 1, "sizeGib": 0.5}],
    "accelerator": "l4",
    "minReplicas": 1,
    "maxReplicas": 2,
}
TENSORFLOW: dict[str, Any] = {
    "name": "clicks",
    "image": "registry.example.com/tensorflow-serving:2.20.0",
    "regions": ["gcp:europe-west4"],
    "models": [{"name": "clicks", "version": 1, "sizeGib": 0.2, "labels": ["stable"]}],
    "minReplicas": 1,
    "maxReplicas": 2,
}
CPUS = {
    "name": "cpus",
    "purpose": "serving",
    "regions": ["gcp:europe-west4"],
    "min": 0,
    "max": 2,
    "ladder": [{"kind": "on-demand"}],
}


def settings(kserve: Any = (), tensorflow: Any = (), pools: Any = (CPUS,)) -> Settings:
    values = copy.deepcopy(BASE)
    values["ai-cloud:nodePools"] += copy.deepcopy(list(pools))
    values["ai-cloud:kserveServices"] = [{**KSERVE, **one} for one in kserve]
    values["ai-cloud:tensorflowServings"] = [{**TENSORFLOW, **one} for one in tensorflow]
    return parse(values)


def told(**given: Any) -> list[str]:
    with pytest.raises(SettingsError) as error:
        settings(**given)
    return [str(problem) for problem in error.value.problems]


def test_what_is_right_comes_through() -> None:
    found = settings([{}, {"name": "zero", "mode": "serverless", "minReplicas": 0}], [{}])
    assert [one.mode for one in found.kserve_services] == ["raw", "serverless"]
    assert found.tensorflow_servings[0].models[0].labels == ("stable",)
    aws, gcp = found.regions
    assert [one.name for one in found.kserve_services_in(aws)] == ["reviews", "zero"]
    assert found.tensorflow_servings_in(aws) == ()
    assert [one.name for one in found.tensorflow_servings_in(gcp)] == ["clicks"]


def test_a_region_has_the_operator_that_its_services_need() -> None:
    zero = {"name": "zero", "mode": "serverless", "minReplicas": 0, "regions": ["gcp:europe-west4"]}
    found = settings([{}, zero])
    assert [kserve_mode(found, region) for region in found.regions] == [{"kserve": "raw"}, {"kserve": "serverless"}]
    assert kserve_mode(settings(), found.regions[0]) == {}


@pytest.mark.parametrize(
    ("kserve", "tensorflow", "path", "says"),
    [
        ([{"minReplicas": 3}], [], "kserveServices[0].minReplicas", "at most maxReplicas, which is 2"),
        ([{"minReplicas": 0}], [], "kserveServices[0].minReplicas", "only mode serverless waits at 0"),
        ([{"mode": "knative"}], [], "kserveServices[0].mode", "one of raw, serverless"),
        ([{"scaleMetric": "rps"}], [], "kserveServices[0].scaleMetric", "mode raw scales on: cpu, memory, queue"),
        ([{"canaryTrafficPercent": 5}], [], "kserveServices[0].canaryTrafficPercent", "only mode serverless divides"),
        ([{"accelerator": "l5"}], [], "kserveServices[0].accelerator", "one of b200, h200"),
        ([{"accelerator": "t4"}], [], "kserveServices[0].accelerator", "a serving pool in aws:us-east-1: l4"),
        ([{"gpus": 8}], [], "kserveServices[0].gpus", "at most 1"),
        ([{"regions": ["aws:us-west-2"]}], [], "kserveServices[0].regions", "regions that serve"),
        ([{}, {}], [], "kserveServices[1].name", "aws:us-east-1 has it from kserveServices[0]"),
        ([{"name": "a-name-of-17-chars"}], [], "kserveServices[0].name", "1 to 16 of a-z"),
        ([{"models": KSERVE["models"] * 2}], [], "kserveServices[0].models[1].version", "each version once"),
        ([{"models": []}], [], "kserveServices[0].models", "at least 1 of them"),
        ([], [{"regions": ["aws:us-east-1"]}], "tensorflowServings[0].accelerator", "is without accelerators"),
        ([], [{"image": "tensorflow/serving:latest"}], "tensorflowServings[0].image", "a tag other than latest"),
        ([], [{"minReplicas": 0}], "tensorflowServings[0].minReplicas", "at least 1"),
        ([], [{"scaleMetric": "queue"}], "tensorflowServings[0].scaleMetric", "one of cpu, requests"),
        (
            [],
            [{"models": [TENSORFLOW["models"][0], {**TENSORFLOW["models"][0], "version": 2}]}],
            "tensorflowServings[0].models[1].labels",
            "each label once for a model: models[0] has it already",
        ),
    ],
)
def test_what_is_wrong_is_named(kserve: Any, tensorflow: Any, path: str, says: str) -> None:
    (line,) = told(kserve=kserve, tensorflow=tensorflow)
    assert line.startswith(f"ai-cloud:{path}")
    assert says in line


def test_nothing_is_said_of_pools_that_could_not_be_read() -> None:
    (line,) = told(kserve=[{"accelerator": "t4"}], pools=[{**CPUS, "min": "none"}])
    assert line.startswith("ai-cloud:nodePools[3].min")
