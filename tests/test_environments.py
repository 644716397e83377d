"""dev, staging and prod as they would be built: reviewed, clean, repeatable, and what each is there for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from planner import urn as urns
from planner.engine import preview, schema
from planner.engine.project import load
from planner.plan import Plan, Resource
from planner.regions import regions
from tests.environment_summary import is_managed, summary
from tests.support import ROOT

GOLDEN = Path(__file__).parent / "golden"
ENVIRONMENTS = ("dev", "staging", "prod")
PROD = {"aws:us-east-1", "aws:eu-central-1", "aws:ap-northeast-1", "gcp:europe-west4", "gcp:asia-southeast1"}
TRAINING = {"aws:us-east-1", "gcp:europe-west4"}
TAGS = {"aws": ("tags",), "gcp": ("labels", "resourceLabels")}

Previews = Callable[[str], Plan]

each = pytest.mark.parametrize("name", ENVIRONMENTS)


# ---- all environments


@each
def test_an_environment_is_the_one_that_was_reviewed(name: str, environment_plan: Previews) -> None:
    golden, text = GOLDEN / f"{name}.txt", summary(environment_plan(name))
    if os.environ.get("AICLOUD_WRITE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert golden.read_text(encoding="utf-8") == text, "the environment changed: `make golden`, and read the difference"


@each
def test_a_preview_has_nothing_to_complain_about(name: str, environment_plan: Previews) -> None:
    plan = environment_plan(name)
    assert plan.errors == []
    assert plan.warnings == []


@each
def test_two_previews_are_the_same_bytes(name: str, environment_plan: Previews) -> None:
    assert preview(load(ROOT, name)).to_json() == environment_plan(name).to_json()


@pytest.mark.parametrize(
    "name", ["dev", pytest.param("staging", marks=pytest.mark.slow), pytest.param("prod", marks=pytest.mark.slow)]
)
def test_a_process_of_its_own_gives_the_same_bytes(name: str, environment_plan: Previews) -> None:
    assert preview(load(ROOT, name), isolate=True).to_json() == environment_plan(name).to_json()


@each
def test_every_regional_aws_resource_is_in_its_components_region(name: str, environment_plan: Previews) -> None:
    plan = environment_plan(name)
    regional = [r for r in _managed(plan, "aws") if "region" in schema.resource_schema(r.type).inputs]
    assert len(regional) > 50
    wrong = [(r.name, r.inputs.get("region")) for r in regional if r.inputs.get("region") not in _expected(plan, r)]
    assert wrong == []


def _expected(plan: Plan, resource: Resource) -> set[str]:
    """The region of the nearest component that states one; for a second copy of the data, where it is copied to."""
    ancestor = plan.by_urn.get(resource.parent)
    while ancestor is not None:
        if "region" in ancestor.inputs:
            replica = ancestor.inputs.get("cold", {}).get("replicate_to")
            return {replica} if re.search(r"-replica(-|$)", resource.name) else {ancestor.inputs["region"]}
        ancestor = plan.by_urn.get(ancestor.parent)
    return set()


@each
def test_everything_that_bears_a_tag_says_whose_it_is(name: str, environment_plan: Previews) -> None:
    plan = environment_plan(name)
    found = 0
    for resource in _managed(plan, "aws", "gcp"):
        accepted = schema.resource_schema(resource.type).inputs
        for key in TAGS[resource.package]:
            # Google's notification channels have their address as labels, and labels as user labels.
            key = "userLabels" if "userLabels" in accepted else key
            if key in accepted:
                found += 1
                tags = resource.inputs.get(key) or {}
                assert tags.get("environment") == name, (resource.urn, tags)
                assert tags.get("owner", "").startswith("ml-platform"), (resource.urn, tags)
    assert found > 40


@each
def test_secrets_do_not_leave_the_engine(name: str, environment_plan: Previews) -> None:
    assert environment_plan(name).outputs["kubeconfigs"] == "[secret]"


DRIVERS = {
    "s3.csi.aws.com": "aws-mountpoint-s3-csi-driver",
    "efs.csi.aws.com": "aws-efs-csi-driver",
    "fsx.csi.aws.com": "aws-fsx-csi-driver",
    "gcsfuse.csi.storage.gke.io": "gcsFuseCsiDriverConfig",
    "filestore.csi.storage.gke.io": "gcpFilestoreCsiDriverConfig",
    "lustre.csi.storage.gke.io": "lustreCsiDriverConfig",
}
"""Driver of a volume -> the add-on of EKS, or the setting of GKE, that brings it."""


@pytest.mark.parametrize("name", ["staging", "prod"])
def test_every_volume_has_its_driver_in_the_cluster(name: str, environment_plan: Previews) -> None:
    plan = environment_plan(name)
    where = regions(plan)
    installed = {(where[addon.urn], addon.inputs["addonName"]) for addon in plan.of_type("aws:eks/addon:Addon")}
    for cluster in plan.of_type("gcp:container/cluster:Cluster"):
        addons = cluster.inputs["addonsConfig"].items()
        installed |= {(where[cluster.urn], addon) for addon, setting in addons if setting.get("enabled")}
    volumes = plan.of_type("kubernetes:core/v1:PersistentVolume")
    needed = {(where[volume.urn], DRIVERS[volume.inputs["spec"]["csi"]["driver"]]) for volume in volumes}
    assert needed
    assert needed - installed == set()


# ---- dev


def test_dev_serves_on_spot_machines_alone_and_on_none_when_nothing_asks(environment_plan: Previews) -> None:
    pools = list(_pools(environment_plan("dev"), "serving"))
    assert [(pool["rung"], pool["standing"]) for pool in pools] == [("spot", 0)]
    assert not any(resource.protect for resource in environment_plan("dev"))


# ---- prod


def test_prod_protects_whatever_holds_data_or_the_keys_to_it(environment_plan: Previews) -> None:
    plan = environment_plan("prod")
    protected = {resource.type for resource in plan if resource.protect}
    stateful = {
        *("aws:s3/bucket:Bucket", "aws:efs/fileSystem:FileSystem", "aws:fsx/lustreFileSystem:LustreFileSystem"),
        *("aws:eks/cluster:Cluster", "gcp:container/cluster:Cluster"),
        *("gcp:storage/bucket:Bucket", "gcp:filestore/instance:Instance", "gcp:lustre/instance:Instance"),
        *("aws:kms/key:Key", "gcp:kms/cryptoKey:CryptoKey"),
    }
    assert stateful <= protected
    left_out = [r.name for r in plan if r.type in stateful and not r.protect]
    assert left_out == []


def test_prod_copies_the_cold_tier_of_every_region_to_another(environment_plan: Previews) -> None:
    plan = environment_plan("prod")
    storage = {f"{r.inputs['cloud']}:{r.inputs['region']}": r for r in plan.of_type("aicloud:index:TieredStorage")}
    assert set(storage) == PROD
    for region, component in storage.items():
        inside = list(plan.under(component.urn))
        copies = [r for r in inside if "eplication" in r.type or r.type == "gcp:storage/transferJob:TransferJob"]
        assert copies, region
        cold, replica = (
            [r for r in inside if r.type.endswith("/bucket:Bucket") and r.name.endswith(kind)]
            for kind in ("-cold", "-replica")
        )
        places = [str(r.inputs.get("region") or r.inputs["location"]).lower() for r in (*cold, *replica)]
        assert places == [component.inputs["region"], component.inputs["cold"]["replicate_to"]]


def test_prod_trains_in_two_regions_with_the_fabric_attached(environment_plan: Previews) -> None:
    pools = list(_pools(environment_plan("prod"), "training"))
    assert {pool["region"] for pool in pools} == TRAINING
    assert all(pool["fabric"] for pool in pools)
    assert {pool["region"] for pool in pools if pool["rung"] == "reservation"} == TRAINING


def test_prod_serves_in_every_region_with_machines_that_nobody_takes_away(environment_plan: Previews) -> None:
    pools = list(_pools(environment_plan("prod"), "serving"))
    assert {pool["region"] for pool in pools} == PROD
    floors = {pool["region"]: pool["standing"] for pool in pools if pool["rung"] == "on-demand" and pool["standing"]}
    assert floors == dict.fromkeys(PROD, 2)


# ---- helpers


def _managed(plan: Plan, *packages: str) -> list[Resource]:
    return [resource for resource in plan if is_managed(resource) and resource.package in packages]


def _pools(plan: Plan, purpose: str) -> Iterator[dict[str, Any]]:
    """What each cloud makes of a rung: its region, how many machines always stand on it, whether it has the fabric."""
    where = regions(plan)
    classes = {(where[r.urn], r.inputs["metadata"]["name"]): r for r in plan if r.inputs.get("kind") == "EC2NodeClass"}
    templates = {r.name: r for r in plan.of_type("aws:ec2/launchTemplate:LaunchTemplate")}
    for resource in plan:
        standing, fabric = 0, False
        region = where[resource.urn]
        if resource.type == "gcp:container/nodePool:NodePool":
            labels = resource.inputs["nodeConfig"].get("labels", {})
            standing = resource.inputs.get("autoscaling", {}).get("totalMinNodeCount", 0)
            fabric = bool(resource.inputs["networkConfig"].get("additionalNodeNetworkConfigs"))
        elif resource.type == "aws:eks/nodeGroup:NodeGroup":
            labels = resource.inputs.get("labels", {})
            standing = resource.inputs["scalingConfig"]["minSize"]
            interfaces = templates[resource.name].inputs.get("networkInterfaces") or ()
            fabric = any(one.get("interfaceType", "").startswith("efa") for one in interfaces)
        elif resource.inputs.get("kind") == "NodePool" and resource.type.startswith("kubernetes:karpenter.sh"):
            labels = resource.inputs["spec"]["template"]["metadata"]["labels"]
            node_class = classes[region, resource.inputs["metadata"]["name"]]
            interfaces = node_class.inputs["spec"].get("networkInterfaces", ())
            fabric = any(one["interfaceType"].startswith("efa") for one in interfaces)
        else:
            continue
        if labels.get("aicloud.dev/purpose") == purpose:
            rung = labels["aicloud.dev/capacity"]
            yield {"region": region, "rung": rung, "standing": standing, "fabric": fabric}


def test_the_stack_is_the_only_root(environment_plan: Previews) -> None:
    plan = environment_plan("dev")
    roots = [r for r in plan.children[""] if not r.is_provider]
    assert [root.type for root in roots] == [urns.STACK_TYPE]
