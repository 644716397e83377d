"""docs/example-comment.md is what `aicloud diff` says about a change of prod; AICLOUD_WRITE_GOLDEN writes it anew."""

import json
import os
from dataclasses import replace
from datetime import date

import pytest

from planner.diff import Report, assess
from planner.diff.markdown import markdown
from planner.engine import preview
from planner.engine.project import load
from tests.support import ROOT

GOLDEN = ROOT / "docs" / "example-comment.md"


def edited(config):
    """What a person might put into one pull request: more spot serving, larger disks for training, a region drained."""
    pools = json.loads(config["ai-cloud:nodePools"])
    for pool in pools:
        if pool["name"] == "serving-l4" and "aws:us-east-1" in pool["regions"]:
            pool["max"] = 20
            pool["ladder"][0]["ceiling"] = 16
        if pool["name"] == "training-h100-base":
            pool["diskGib"] = 1000
    regions = json.loads(config["ai-cloud:regions"])
    next(region for region in regions if region["region"] == "gcp:asia-southeast1")["drained"] = True
    return {**config, "ai-cloud:nodePools": json.dumps(pools), "ai-cloud:regions": json.dumps(regions)}


@pytest.fixture(scope="module")
def comparison():
    project = load(ROOT, "prod")
    old = preview(project, simulate_up=True)
    new = preview(replace(project, config=edited(project.config)), simulate_up=True)
    assert not old.errors
    assert not new.errors
    return assess.assess(old, new, date(2026, 11, 22))


def test_the_example_in_the_documents_is_true(comparison):
    text = markdown(Report("main at 1a2b3c4d", "serve-more at 5e6f7a8b", (comparison,)))
    if os.environ.get("AICLOUD_WRITE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert GOLDEN.read_text(encoding="utf-8") == text, "write it anew with AICLOUD_WRITE_GOLDEN=1, and read it"


def test_the_example_shows_what_a_reviewer_looks_for(comparison):
    assert {one.pool for one in comparison.capacity} == {"serving-l4"}
    assert comparison.cost.delta.largest > comparison.cost.delta.low
    rolled = [c for c in comparison.changes if c.impact and c.impact.kind == "rolled"]
    assert any("training-h100-base" in change.name for change in rolled)
    drained = [c.name for c in comparison.changes if c.impact and c.impact.traffic]
    assert drained == ["front-door-gcp-asia-southeast1", "front-door"]
    assert not comparison.blocking
