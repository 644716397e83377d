"""How dev, staging and prod serve: which models share pods, what stands by, and what a cold start takes."""

from __future__ import annotations

from collections.abc import Callable

from components import labels
from planner.plan import Plan, Resource
from planner.regions import regions
from tests.test_environments import PROD

Previews = Callable[[str], Plan]
DEPLOYMENT, SERVICE = "kubernetes:apps/v1:Deployment", "kubernetes:core/v1:Service"
STAGES = {"node", "image", "weights", "load", "warm-up", "total"}


def deployments(plan: Plan) -> dict[str, Resource]:
    """Deployments of this project by their name in the cluster; those in charts are in no plan."""
    return {r.inputs["metadata"]["name"]: r for r in plan.of_type(DEPLOYMENT)}


def test_prod_serves_its_two_models_apart_and_says_who_answers_each(environment_plan: Previews) -> None:
    plan = environment_plan("prod")
    found, services = deployments(plan), {r.inputs["metadata"]["name"] for r in plan.of_type(SERVICE)}
    assert set(plan.outputs["modelServices"]) == PROD
    for region, models in plan.outputs["modelServices"].items():
        name = f"{region.split(':')[1]}-triton"
        assert models == {"sentiment": name, "embeddings": f"{name}-embeddings"}
        assert set(models.values()) <= services & set(found)
        for model, service in models.items():
            (container,) = found[service].inputs["spec"]["template"]["spec"]["containers"]
            loaded = [word for word in container["args"] if word.startswith("--load-model=")]
            assert loaded == [f"--load-model={model}"]


def test_the_front_door_reaches_the_gateway_which_knows_each_models_group(environment_plan: Previews) -> None:
    plan = environment_plan("prod")
    for endpoint in plan.of_type("aicloud:index:RegionalEndpoint"):
        region = endpoint.inputs["region"]
        assert endpoint.inputs["service"] == f"{region}-route"
        (route,) = (r for r in plan.of_type("aicloud:index:InferenceRoute") if r.name == f"{region}-route")
        services = {model["name"]: [one["service"] for one in model["backends"]] for model in route.inputs["models"]}
        assert services == {"sentiment": [f"{region}-triton"], "embeddings": [f"{region}-triton-embeddings"]}
    # Google's load balancer finds the proxies by an annotation of the proxies' own Service, and so no server's.
    assert not [
        r for r in plan.of_type(SERVICE) if "cloud.google.com/neg" in r.inputs["metadata"].get("annotations", {})
    ]


def test_prod_holds_a_machine_where_none_is_lent(environment_plan: Previews) -> None:
    plan = environment_plan("prod")
    where = regions(plan)
    warm = [r for name, r in deployments(plan).items() if name.endswith("-warm")]
    assert [(where[r.urn], r.inputs["spec"]["replicas"]) for r in warm] == [("aws:eu-central-1", 1)]
    lends = {where[r.urn] for r in plan if r.type.endswith(":LocalQueue")}
    assert not lends & {where[r.urn] for r in warm}


def test_every_environment_tells_its_cold_starts_and_prod_and_staging_hold_theirs(environment_plan: Previews) -> None:
    for name, objective in (("dev", None), ("staging", 450), ("prod", 450)):
        plan = environment_plan(name)
        for region, services in plan.outputs["coldStarts"].items():
            assert set(services) == set(plan.outputs["modelServices"][region].values())
            for service, stages in services.items():
                assert set(stages) == STAGES, service
                assert abs(sum(stages.values()) - 2 * stages["total"]) < 0.5
                assert objective is None or stages["total"] <= objective
    warm = environment_plan("prod").outputs["coldStarts"]["aws:eu-central-1"]["eu-central-1-triton"]
    assert (warm["node"], warm["image"]) == (0, 0)


def test_images_are_pulled_on_the_machines_that_serve(environment_plan: Previews) -> None:
    for name in ("staging", "prod"):
        plan = environment_plan(name)
        where = regions(plan)
        daemons = [
            r for r in plan.of_type("kubernetes:apps/v1:DaemonSet") if r.name.endswith("-triton-prepull-daemons")
        ]
        assert {where[r.urn] for r in daemons} == set(plan.outputs["coldStarts"])
        for one in daemons:
            assert one.inputs["spec"]["template"]["spec"]["nodeSelector"][labels.PURPOSE] == "serving"


def test_staging_starts_its_pods_from_the_region_s_own_copy(environment_plan: Previews) -> None:
    plan = environment_plan("staging")
    where = regions(plan)
    claims = {
        where[r.urn]: r
        for r in plan.of_type("kubernetes:core/v1:PersistentVolumeClaim")
        if r.inputs["metadata"]["namespace"] == "serving"
    }
    assert set(claims) == {"aws:us-west-2", "gcp:us-central1"}
    for region, claim in claims.items():
        assert claim.inputs["metadata"]["name"] == "warm"
        assert claim.inputs["spec"]["accessModes"] == ["ReadWriteMany"]
        # It is in the namespace that the server makes, so it waits for that; and never for the pods that wait for it.
        (namespace,) = (
            r
            for r in plan.of_type("kubernetes:core/v1:Namespace")
            if where[r.urn] == region and r.inputs["metadata"]["name"] == "serving"
        )
        assert namespace.urn in claim.dependencies
        name = f"{region.split(':')[1]}-triton"
        pod = deployments(plan)[name].inputs["spec"]["template"]["spec"]
        mounted = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
        assert mounted == ["warm"]
        (job,) = (r for r in plan.of_type("kubernetes:batch/v1:Job") if r.name == f"{name}-weights-job")
        assert job.urn in deployments(plan)[name].dependencies


def test_pods_on_gke_ask_for_the_class_that_climbs_their_ladder(environment_plan: Previews) -> None:
    plan = environment_plan("staging")
    where = regions(plan)
    for deployment in deployments(plan).values():
        selector = deployment.inputs["spec"]["template"]["spec"]["nodeSelector"]
        if selector.get(labels.PURPOSE) == "system":
            continue
        expected = "serving-l4" if where[deployment.urn].startswith("gcp:") else None
        assert selector.get(labels.COMPUTE_CLASS) == expected
