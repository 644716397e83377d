"""Versions that do not go together, by the day."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from pathlib import Path

import pytest

from planner.checks import policies, versions
from planner.checks.versions_table import APIS, CHARTS, CUDA_DRIVERS, KUBERNETES, TRITON_CUDA, version
from planner.inventory import Inventory
from planner.plan import Plan
from planner.rules import Rules

ROOT = Path(__file__).parents[3]


def told(plan: Plan, today: date = date(2026, 11, 22)):
    return list(versions.findings(Inventory(plan), Rules.of(plan.config, (), today)))


def edited(plan: Plan, change) -> Plan:
    document = json.loads(plan.to_json())
    change(document["deployment"]["resources"])
    return Plan.from_json(json.dumps(document))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("v1.14.1", (1, 14, 1)), ("1.35.5-gke.1163012", (1, 35, 5)), ("v0.5.30", (0, 5, 30)), ("latest", ()), ("", ())],
)
def test_versions_are_numbers(text, numbers):
    assert version(text) == numbers


@pytest.mark.parametrize(
    ("today", "told"),
    [
        (date(2026, 11, 22), None),
        (KUBERNETES["aws", "1.35"].standard_until - timedelta(days=59), ("kubernetes-version-lasts", "warning")),
        (KUBERNETES["aws", "1.35"].standard_until, ("kubernetes-version-lasts", "warning")),
        # dev asks for standard support alone, so AWS upgrades it
        (KUBERNETES["aws", "1.35"].standard_until + timedelta(days=1), ("kubernetes-version-is-supported", "error")),
        (date(2028, 3, 28), ("kubernetes-version-is-supported", "error")),
    ],
)
def test_kubernetes_ends_on_a_day(today, told, simulated_plan):
    found = policies.findings(Inventory(simulated_plan("dev")), Rules(today=today))
    assert [(f.rule, f.severity) for f in found if "kubernetes-version" in f.rule] == ([told] if told else [])


def test_extended_support_is_paid_for_and_no_error(simulated_plan):
    def change(states):
        for state in states:
            if state["type"] == "aws:eks/cluster:Cluster":
                state["inputs"]["upgradePolicy"] = {"supportType": "EXTENDED"}

    plan = edited(simulated_plan("dev"), change)
    found = policies.findings(Inventory(plan), Rules(today=date(2027, 6, 1)))
    assert [f.rule for f in found if "kubernetes-version" in f.rule] == ["kubernetes-version-lasts"]


def test_a_version_that_is_newer_than_the_table_is_not_judged(simulated_plan):
    def change(states):
        for state in states:
            if state["type"] == "aws:eks/cluster:Cluster":
                state["inputs"]["version"] = "1.99"

    found = told(edited(simulated_plan("dev"), change))
    assert {f.rule for f in found} == {"chart-fits-kubernetes"}


@pytest.mark.parametrize(
    ("image", "cuda"),
    [
        ("nvcr.io/nvidia/tritonserver:26.09-py3", (13, 4)),
        ("nvcr.io/nvidia/pytorch:25.01-py3", (12, 8)),
        ("nvcr.io/nvidia/tritonserver:25.08-py3@sha256:0", (13, 0)),
        ("registry.example.com:5000/team/serving:0.1.0", (13, 0)),
        ("registry.example.com:5000/team/serving@sha256:0", (13, 0)),
        ("registry.example.com:5000/team/other:0.1.0", ()),
        ("python:3.11", ()),
        ("nvcr.io/nvidia/tritonserver:20.01-py3", ()),
        ("registry.example.com/training:2.13.0-1", (13, 0)),
        ("pytorch/pytorch:2.13.0-cuda13.0-cudnn9-runtime", (13, 0)),
        ("registry.example.com/other:2.7-cu128", (12, 8)),
        ("registry.example.com/other:security", ()),
    ],
)
def test_cuda_of_an_image(image, cuda):
    told = {"registry.example.com:5000/team/serving": "25.08", "*/training": "cuda 13.0"}
    assert versions.cuda_of(image, told) == cuda


def test_stacks_name_the_triton_that_the_serving_image_is_built_from(simulated_plan):
    built_from = re.search(r"^FROM nvcr\.io/nvidia/tritonserver:(\d\d\.\d\d)", (ROOT / "workloads/serving/Dockerfile").read_text(), re.M)  # fmt: skip # noqa: E501
    assert built_from
    for environment in ("dev", "staging", "prod"):
        images = Rules.of(simulated_plan(environment).config).parameter(versions.DRIVER, "images")
        assert {told for image, told in images.items() if image.endswith("/serving")} == {built_from[1]}


def test_the_tables_are_in_order():
    for chart, windows in CHARTS.items():
        since = [version(window.since) for window in windows]
        assert since == sorted(since), chart
        assert all(window.source for window in windows), chart
    assert [version(since) for since, _ in TRITON_CUDA] == sorted(version(since) for since, _ in TRITON_CUDA)
    assert {version(cuda)[0] for _, cuda in TRITON_CUDA} <= CUDA_DRIVERS.keys()
    assert all(api.source for api in APIS.values())
    for support in KUBERNETES.values():
        assert support.released < support.standard_until
        assert support.extended_until is None or support.extended_until > support.standard_until
