"""Settings of the closed loop: where its servers are, and what watches, retrains and is told."""

from __future__ import annotations

from typing import Any

import pytest

from stacks.retraining import tracking_traffic, tracking_uri
from stacks.settings import parse
from tests.stacks.test_settings import BASE, changed, problems_of

PIPELINES = "ai-cloud:pipelines"
IMAGE = "registry.example.com/x:1"
RETRAINING: dict[str, Any] = {
    "model": "m", "image": IMAGE, "pipelineImage": IMAGE, "corpus": "datasets/text", "accelerator": "l4",
}  # fmt: skip
TRAINS = next(region["region"] for region in BASE["ai-cloud:regions"] if "training" in region["purposes"])
ENTRY: dict[str, Any] = {"region": TRAINS, "mlflow": {"image": IMAGE}}


def entry(**changes: Any) -> dict[str, Any]:
    return changed((PIPELINES, [{**ENTRY, **changes}]))


def test_what_is_absent_is_small_and_in_one_zone() -> None:
    (found,) = parse(entry()).pipelines
    assert found.mlflow is not None
    assert found.mlflow.database.component_args() == {
        "size": "small", "storage_gib": 20, "zonal_redundancy": False, "backup_days": 7,
    }  # fmt: skip
    assert (found.airflow, found.sagemaker, found.retraining) == (None, None, None)


def test_training_tells_the_tracking_server_of_its_region_and_may_reach_it() -> None:
    settings = parse(entry())
    here = next(region for region in settings.regions if region.region == TRAINS)
    assert tracking_uri(settings, here) == f"http://{here.name}-mlflow.mlflow.svc.cluster.local:5000"
    (rule,) = tracking_traffic(settings, here)
    assert rule["ports"] == [{"port": 5000, "protocol": "TCP"}]
    others = [region for region in settings.regions if region.region != TRAINS]
    assert others
    assert all(not tracking_uri(settings, region) and not tracking_traffic(settings, region) for region in others)
    quiet = parse(entry(mlflow={"image": IMAGE, "trackTraining": False}))
    assert tracking_uri(quiet, here) == ""


def test_a_policy_goes_to_the_watcher_as_it_is() -> None:
    settings = parse(entry(retraining={**RETRAINING, "policy": {"retrain": {"usd_a_month": 5.0}}}))
    retraining = settings.pipelines[0].retraining
    assert retraining is not None
    args = retraining.component_args()
    assert args["policy"] == '{"retrain": {"usd_a_month": 5.0}}'
    assert args["corpus_prefix"] == "datasets/text"
    assert "catalog" not in args


@pytest.mark.parametrize(
    ("entries", "path", "says"),
    [
        ([ENTRY, ENTRY], "[1].region", "each region once: pipelines[0] has it already"),
        ([{**ENTRY, "region": "aws:eu-west-2"}], "[0].region", "a region of this environment"),
        ([{**ENTRY, "mlflow": {"image": IMAGE, "namespace": "training"}}], "[0].mlflow.namespace", "training's own"),
        (
            [{**ENTRY, "airflow": {"image": IMAGE, "namespace": "mlflow"}}],
            "[0].airflow.namespace",
            "mlflow is mlflow's",
        ),
        (
            [{**ENTRY, "kubeflow": {"namespace": "mlflow"}}],
            "[0].kubeflow.namespace",
            "mlflow is mlflow's",
        ),
        ([{**ENTRY, "kubeflow": {"storageGib": 1}}], "[0].kubeflow.storageGib", "at least 5"),
        ([{**ENTRY, "airflow": {}}], "[0].airflow.image", "or managed: true"),
        ([{**ENTRY, "airflow": {"managed": True, "maxWorkers": 30}}], "[0].airflow.maxWorkers", "at most 25"),
        ([{**ENTRY, "sagemaker": {"definition": "nowhere"}}], "[0].sagemaker.definition", "a file, from stacks/ on"),
        (
            [{**ENTRY, "sagemaker": {"definition": "definitions/retrain.json", "parameters": {"a": "b"}}}],
            "[0].sagemaker.parameters",
            "none without a schedule",
        ),
        ([{**ENTRY, "retraining": {**RETRAINING, "accelerator": "l5"}}], "[0].retraining.accelerator", "one of b200"),
        ([{**ENTRY, "retraining": {**RETRAINING, "accelerator": "b200"}}], "[0].retraining.accelerator", "what pools"),
        ([{**ENTRY, "retraining": {**RETRAINING, "model": "m" * 40}}], "[0].retraining.model", "characters: roles are"),
        (
            [{**ENTRY, "retraining": {**RETRAINING, "accelerator": None, "acceleratorsPerNode": 2}}],
            "[0].retraining.acceleratorsPerNode",
            "none without accelerator",
        ),
        ([{**ENTRY, "retraning": RETRAINING}], "[0].retraning", "did you mean 'retraining'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_where_it_is(entries: list[dict[str, Any]], path: str, says: str) -> None:
    found = problems_of(changed((PIPELINES, entries)))
    assert found.keys() == {f"{PIPELINES}{path}"}
    assert says in found[f"{PIPELINES}{path}"]


def test_googles_side_has_no_sagemaker_and_no_catalog_of_its_own() -> None:
    gcp = next(region["region"] for region in BASE["ai-cloud:regions"] if region["region"].startswith("gcp:"))
    found = problems_of(
        changed((PIPELINES, [{"region": gcp, "sagemaker": {"definition": "definitions/retrain.json"}}]))
    )
    assert "none on gcp" in found[f"{PIPELINES}[0].sagemaker"]


def test_where_nothing_trains_nothing_retrains() -> None:
    serves = [region["region"] for region in BASE["ai-cloud:regions"] if "training" not in region["purposes"]]
    for place in serves:
        found = problems_of(changed((PIPELINES, [{"region": place, "retraining": RETRAINING}])))
        assert "which doesn't train" in found[f"{PIPELINES}[0].retraining"]
    assert serves
