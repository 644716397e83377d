"""dev, staging and prod as they are written: right, fit for what they are for, and read by Pulumi as they stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from stacks.problems import SettingsError
from stacks.settings import from_pulumi, load_settings, parse

STACKS = Path(__file__).parents[2] / "stacks"
ENVIRONMENTS = ("dev", "staging", "prod")


def environment(name: str) -> dict[str, Any]:
    return yaml.safe_load((STACKS / f"Pulumi.{name}.yaml").read_text())["config"]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_environment_is_right(name: str) -> None:
    settings = parse(environment(name))
    for region in settings.regions:
        purposes = {pool.purpose for pool in settings.node_pools_in(region)}
        assert purposes == {"system", *region.purposes}
        assert settings.models_in(region) if "serving" in region.purposes else True


def test_environments_are_what_they_are_for() -> None:
    dev, staging, prod = (parse(environment(name)) for name in ENVIRONMENTS)
    assert [region.cloud for region in dev.regions] == ["aws"]
    serving = [pool for pool in dev.node_pools if pool.purpose == "serving"]
    assert [(pool.min, [rung.kind for rung in pool.ladder]) for pool in serving] == [(0, ["spot"])]
    assert sorted(region.cloud for region in staging.regions) == ["aws", "gcp"]
    assert sorted(region.cloud for region in prod.regions) == ["aws"] * 3 + ["gcp"] * 2
    continents = {"us": "america", "eu": "europe", "europe": "europe", "ap": "asia", "asia": "asia"}
    assert {continents[region.name.split("-")[0]] for region in prod.regions} == {"america", "europe", "asia"}
    assert prod.protect
    assert {region.region for region in prod.regions} == set(prod.storage.cold.replicate_to)
    training = [pool for pool in prod.node_pools if pool.purpose == "training"]
    assert all(pool.fabric and pool.accelerator == "h100-80gb" for pool in training)
    assert len(prod.regions_for("training")) == 2
    fabrics = {region.region: prod.gpudirect_in(region) for region in prod.regions}
    assert {region: found[0].interfaces for region, found in fabrics.items() if found} == {"gcp:europe-west4": 8}
    assert len(prod.regions_for("serving")) == 5
    for region in prod.regions:
        pools = [pool for pool in prod.node_pools_in(region) if pool.purpose == "serving"]
        assert any(rung.kind == "on-demand" and rung.floor >= 1 for pool in pools for rung in pool.ladder)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_pulumi_hands_over_the_same_settings(name: str) -> None:
    """As the engine passes configuration to a program: text as it is, everything else as JSON."""
    values = environment(name)
    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    pulumi.runtime.set_all_config(text)
    try:
        assert from_pulumi() == load_settings(pulumi.Config("ai-cloud")) == load_settings(values) == parse(values)
        pulumi.runtime.set_config("ai-cloud:protect", "perhaps")
        with pytest.raises(SettingsError, match="ai-cloud:protect: got 'perhaps'; expected true or false"):
            from_pulumi()
    finally:
        pulumi.runtime.set_all_config({})
