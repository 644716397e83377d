"""Groups of models: what each has of its own, what none changes of another's, and which models go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from components import labels
from components.inference import TritonInference
from planner.plan import Plan
from tests.components.test_inference import AWS, DEPLOYMENT, GCP, POLICY, plan_for, pod, triton

SERVICE, SCALER = "kubernetes:core/v1:Service", "kubernetes:keda.sh/v1alpha1:ScaledObject"
SMALL = {"name": "bert", "version": 1, "size_gib": 2.0}
OTHER = {"name": "clip", "version": 2, "size_gib": 4.0, "group": "vision"}
OWN = {"name": "vision", "min_replicas": 1, "max_replicas": 3, "queue_objective_ms": 200.0, "cpu": 2.0}
TWO = {"models": [OTHER, SMALL], "groups": [OWN]}

H100 = {"accelerator": "h100-80gb", "gpus": 4, "machine_type": "p5.48xlarge", "region": "us-east-1"}
LLM = {"name": "llama-70b", "version": 1, "size_gib": 130.0, "gpus": 4}


def of(plan: Plan, type: str, name: str) -> dict[str, Any]:
    (found,) = (r for r in plan.of_type(type) if r.inputs["metadata"]["name"] == name)
    return dict(found.inputs)


def refused(**changes: Any) -> str:
    with pytest.raises(ValueError, match="TritonInference 'chat': ") as raised:
        TritonInference("chat", {**AWS, **changes})  # type: ignore[typeddict-item]
    return str(raised.value)


# ---- what a group has


@pytest.fixture(scope="module", params=[AWS, GCP], ids=["aws", "gcp"])
def two(request: pytest.FixtureRequest) -> Plan:
    return plan_for(request.param, **TWO)


def test_a_group_has_everything_of_its_own_and_identity_and_namespace_are_shared(two: Plan) -> None:
    names = {"chat", "chat-vision"}
    for type in (
        DEPLOYMENT,
        SERVICE,
        "kubernetes:policy/v1:PodDisruptionBudget",
        SCALER,
        "kubernetes:monitoring.coreos.com/v1:PodMonitor",
    ):
        assert {r.inputs["metadata"]["name"] for r in two.of_type(type)} == names, type
    assert {r.inputs["metadata"]["name"] for r in two.of_type(POLICY)} == {
        *("chat-deny-all", "chat-traffic", "chat-vision-traffic")
    }
    for type in ("kubernetes:core/v1:Namespace", "kubernetes:core/v1:ServiceAccount"):
        assert len(two.of_type(type)) == 1


def test_pods_fetch_and_load_the_models_of_their_group_alone(two: Plan) -> None:
    for name, model, other in (("chat", "bert:1", "clip"), ("chat-vision", "clip:2", "bert")):
        spec = of(two, DEPLOYMENT, name)["spec"]["template"]["spec"]
        assert spec["initContainers"][0]["args"][4:] == ["--model", model]
        loaded = [a for a in spec["containers"][0]["args"] if a.startswith("--load-model")]
        assert loaded == [f"--load-model={model.split(':')[0]}"]
        assert other not in str(spec)
    disks = [
        of(two, DEPLOYMENT, name)["spec"]["template"]["spec"]["volumes"][0]["emptyDir"]["sizeLimit"]
        for name in ("chat", "chat-vision")
    ]
    assert disks == ["2356Mi", "4608Mi"]


def test_no_selector_of_one_group_means_pods_of_another(two: Plan) -> None:
    pods = {
        name: of(two, DEPLOYMENT, name)["spec"]["template"]["metadata"]["labels"] for name in ("chat", "chat-vision")
    }
    for name, other in (("chat", "chat-vision"), ("chat-vision", "chat")):
        selectors = [
            of(two, DEPLOYMENT, name)["spec"]["selector"]["matchLabels"],
            of(two, SERVICE, name)["spec"]["selector"],
            of(two, "kubernetes:policy/v1:PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"],
            of(two, "kubernetes:monitoring.coreos.com/v1:PodMonitor", name)["spec"]["selector"]["matchLabels"],
            of(two, POLICY, f"{name}-traffic")["spec"]["podSelector"]["matchLabels"],
        ]
        for selector in selectors:
            assert selector.items() <= pods[name].items()
            assert not selector.items() <= pods[other].items()


def test_a_group_scales_by_itself(two: Plan) -> None:
    scalers = {name: of(two, SCALER, name)["spec"] for name in ("chat", "chat-vision")}
    assert [(s["minReplicaCount"], s["maxReplicaCount"]) for s in scalers.values()] == [(2, 8), (1, 3)]
    assert {name: s["scaleTargetRef"]["name"] for name, s in scalers.items()} == {n: n for n in scalers}
    assert [s["triggers"][0]["metadata"]["threshold"] for s in scalers.values()] == ["50", "200"]
    requests = of(two, DEPLOYMENT, "chat-vision")["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
    assert requests["cpu"] == "2000m"


def test_a_group_may_be_at_zero_while_the_other_stands_and_a_forecast_is_of_the_group_of_its_model() -> None:
    forecasts = [{"model": name, "requests_per_replica_s": 10.0} for name in ("bert", "clip")]
    both = plan_for(AWS, **{**TWO, "scaling": {"forecasts": forecasts}})
    for name, model in (("chat", "bert"), ("chat-vision", "clip")):
        assert [t["name"] for t in of(both, SCALER, name)["spec"]["triggers"][2:]] == [f"forecast-{model}-level"]
    zero = {**OWN, "min_replicas": 0, "scaling": {"scale_to_zero": True}}
    plan = plan_for(AWS, **{**TWO, "groups": [zero]})
    fewest = {name: of(plan, SCALER, name)["spec"]["minReplicaCount"] for name in ("chat", "chat-vision")}
    assert fewest == {"chat": 2, "chat-vision": 0}
    assert [r.inputs["metadata"]["name"] for r in plan.of_type("kubernetes:http.keda.sh/v1beta1:InterceptorRoute")] == [
        "chat-vision"
    ]
    said = refused(**TWO, scaling={"forecasts": [{"model": "nobody", "requests_per_replica_s": 1.0}]})
    assert "scaling.forecasts[0].model is 'nobody'; the server has bert" in said


def test_each_model_has_a_service_that_answers_it() -> None:
    plan = outputs(**TWO)
    assert plan.outputs["services"] == {"bert": "chat", "clip": "chat-vision"}
    # The first Service is that of models without a group, in whichever order they are given.
    assert plan.outputs["service"] == "chat"
    assert outputs(**{**TWO, "service": "api"}).outputs["services"] == {"bert": "api", "clip": "api-vision"}
    assert outputs(models=[OTHER], groups=[]).outputs["service"] == "chat-vision"


def outputs(base: Mapping[str, Any] = AWS, **changes: Any) -> Plan:
    import pulumi
    import pulumi_kubernetes as k8s

    from tests.support import plan_of

    def program() -> None:
        opts = pulumi.ResourceOptions(providers=[k8s.Provider("cluster", kubeconfig="{}")])
        chat = TritonInference("chat", {**base, **changes}, opts)  # type: ignore[typeddict-item]
        pulumi.export("service", chat.service)
        pulumi.export("services", chat.model_services)
        pulumi.export("coldStarts", chat.cold_start_s)

    return plan_of(program)


# ---- what one group changes of another


def deployments(**changes: Any) -> dict[str, Any]:
    return {r.name: r.inputs for r in plan_for(**changes).of_type(DEPLOYMENT)}


def test_a_model_more_changes_nothing_but_its_own_group() -> None:
    before = deployments(models=[SMALL])
    in_new_group = deployments(models=[OTHER, SMALL])
    in_that_group = deployments(models=[{**OTHER, "name": "vit"}, OTHER, SMALL], groups=[OWN])
    assert before["chat-deployment"] == in_new_group["chat-deployment"] == in_that_group["chat-deployment"]
    other = deployments(models=[OTHER, SMALL, {**SMALL, "name": "gpt2"}])
    assert other["chat-vision-deployment"] == in_new_group["chat-vision-deployment"]
    assert other["chat-deployment"] != before["chat-deployment"]


def test_without_groups_nothing_is_named_otherwise_than_before() -> None:
    names = {r.name for r in plan_for(AWS) if r.package == "kubernetes" and r.name.startswith("chat-")}
    assert names == {
        f"chat-{what}"
        for what in (
            *("namespace", "account", "deny-all", "traffic", "service", "deployment", "budget", "scaler"),
            "monitor",
        )
    }


# ---- what goes together


def test_models_that_do_not_fit_are_refused_with_groups_that_do() -> None:
    models = [{"name": f"m{i}", "version": 1, "size_gib": size} for i, size in enumerate((12.0, 9.0, 7.0, 2.0))]
    said = refused(models=models)
    assert (
        "models: they take 36.0 GiB together; l4 has 21.6 for models, of 24, and a model over several GPUs has them to "
        "itself. What fits is no group: m0, m3 (16.8 GiB); group 'm1': m1, m2 (19.2 GiB)"
    ) in said
    named = [{**model, "group": "m1" if model["name"] in ("m1", "m2") else ""} for model in models]
    assert len(plan_for(models=[{k: v for k, v in m.items() if v != ""} for m in named]).of_type(DEPLOYMENT)) == 2


def test_a_model_that_fits_no_gpu_is_refused_with_how_many_it_needs() -> None:
    said = refused(models=[{**SMALL, "size_gib": 30.0}])
    assert "models: bert takes 36.0 GiB of a GPU that has 21.6 for models; with gpus 2 it takes 18.0" in said
    assert "take a larger one" in refused(models=[{**SMALL, "size_gib": 30.0}], pods_per_gpu=2)
    # Whoever knows better says so.
    assert plan_for(models=[{**SMALL, "size_gib": 30.0, "device_memory_gib": 20.0}])
    assert plan_for(models=[{**SMALL, "size_gib": 30.0, "device_memory_gib": 0}])


def test_versions_of_a_model_count_together_and_stay_together() -> None:
    versions = [{**SMALL, "version": version, "size_gib": 10.0} for version in (1, 2)]
    assert "they take" not in (said := refused(models=versions))
    assert "bert takes 24.0 GiB" in said
    said = refused(models=[SMALL, {**SMALL, "version": 2, "group": "next"}])
    assert "models[1].group is 'next', and bert:1 is in no group; accepted is one group for all versions" in said


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"models": [{**OTHER, "group": "Vision"}]}, "models[0].group is 'Vision'; accepted are up to 20"),
        ({"models": [{**OTHER, "group": "warm"}]}, "models[0].group is 'warm', which is the name of something else"),
        ({"service": "s" * 60, **TWO}, "has more than 63 characters"),
        ({"groups": [OWN]}, "groups: 'vision' has no model"),
        ({**TWO, "groups": [{**OWN, "name": "visoin"}]}, "groups: 'visoin' has no model; did you mean 'vision'?"),
        ({**TWO, "groups": [OWN, OWN]}, "groups[1].name is 'vision', which is there already"),
        ({**TWO, "groups": [{**OWN, "replicas": 1}]}, "groups[0].replicas: unknown argument; did you mean"),
        ({**TWO, "groups": [{**OWN, "min_replicas": 0}]}, "group 'vision': min_replicas is 0; accepted is 1 or more"),
        ({**TWO, "groups": [{**OWN, "min_replicas": 4}]}, "group 'vision': max_replicas is 3; accepted is min_repl"),
        ({**TWO, "groups": [{**OWN, "cpu": 0}]}, "group 'vision': cpu is 0; accepted is a number above 0"),
        (
            {**TWO, "groups": [{**OWN, "gpus": 64}]},
            "groups[0].gpus is 64: aws:us-east-1 offers no machine with 64 x l4",
        ),
        ({"models": [{**SMALL, "device_memory_gib": -1}]}, "models[0].device_memory_gib is -1; accepted is a number"),
    ],
)
def test_a_wrong_group_is_named(changes: dict[str, Any], says: str) -> None:
    assert says in refused(**changes)


# ---- models over several GPUs


def test_a_model_over_several_gpus_has_a_pod_with_them_on_one_machine() -> None:
    plan = plan_for(AWS, **H100, models=[LLM])
    resources = triton(plan)["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == "4"
    volumes = {volume["name"]: volume for volume in pod(plan)["volumes"]}
    # A process for each GPU: NCCL and the engine talk through shared memory.
    assert volumes["shared-memory"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "8192Mi"}
    # Each GPU loads its part, all at once: 130 / 4 / 0.5 * 2 + 60 s, to the next 5.
    probe = triton(plan)["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] == 190


def test_groups_may_have_machines_of_another_size() -> None:
    models = [{"name": "llm", "version": 1, "size_gib": 60.0, "gpus": 4, "over_pcie": True, "group": "llm"}, SMALL]
    plan = plan_for(models=models, groups=[{"name": "llm", "gpus": 4}])
    asked = {
        r.name: r.inputs["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
        for r in plan.of_type(DEPLOYMENT)
    }
    assert asked == {"chat-deployment": "1", "chat-llm-deployment": "4"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {**H100, "models": [LLM, SMALL]},
            "a model over several GPUs has them to itself. What fits is no group: llama",
        ),
        ({**H100, "gpus": 8, "models": [LLM]}, "gpus is 8; accepted is 4, as many as its model goes over"),
        (
            {**H100, "gpus": 3, "models": [{**LLM, "gpus": 3}]},
            "models[0].gpus is 3: llama-70b goes over 3 GPUs, and a p5.48xlarge has 8; accepted are 1, 2, 4, 8",
        ),
        ({**H100, "gpus": 16, "models": [{**LLM, "gpus": 16}]}, "and a p5.48xlarge has 8; accepted are 1, 2, 4, 8"),
        (
            {"gpus": 4, "models": [{**SMALL, "gpus": 4}]},
            "bert goes over 4 GPUs, which in a g6.12xlarge (l4) have no NVLink: every layer of every token",
        ),
        (
            {**H100, "mig_profile": "1g.10gb", "models": [{**SMALL, "gpus": 4}]},
            "bert goes over 4 GPUs, and the pool's are shared (a 1g.10gb slice of h100-80gb)",
        ),
        (
            {"gpus": 4, "pods_per_gpu": 2, "models": [{**SMALL, "gpus": 4, "over_pcie": True}]},
            "and the pool's are shared (l4, shared by 2 pods)",
        ),
        ({"gpus": 4, "pods_per_gpu": 2}, "gpus is 4; accepted is 1 where a GPU is cut or shared"),
    ],
)
def test_a_model_that_several_gpus_would_serve_badly_is_refused(changes: dict[str, Any], says: str) -> None:
    small = {"models": [SMALL]} if "models" not in changes else {}
    assert says in refused(**{**small, **changes})


# ---- slices


@pytest.mark.parametrize(
    ("base", "machine", "selector"),
    [
        (AWS, "p5.48xlarge", {"nvidia.com/mig.config": "all-1g.10gb"}),
        (GCP, "a3-highgpu-8g", {"cloud.google.com/gke-gpu-partition-size": "1g.10gb"}),
    ],
    ids=["aws", "gcp"],
)
def test_a_pod_on_a_slice_finds_machines_that_are_cut_like_that(
    base: dict[str, Any], machine: str, selector: dict[str, str]
) -> None:
    plan = plan_for(
        base,
        accelerator="h100-80gb",
        machine_type=machine,
        mig_profile="1g.10gb",
        node_pool="slices",
        models=[SMALL],
    )
    found = pod(plan)["nodeSelector"]
    assert selector.items() <= found.items()
    assert found[labels.POOL] == "slices"
    assert (labels.COMPUTE_CLASS in found) == (base is GCP)
    assert triton(plan)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    # A seventh of a GPU's share of the machine, of which there are eight.
    vcpus = {"p5.48xlarge": 192, "a3-highgpu-8g": 208}[machine]
    assert triton(plan)["resources"]["requests"]["cpu"] == f"{round(vcpus / 8 / 7 * 0.7 * 1000)}m"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mig_profile": "1g.10gb"}, "mig_profile is '1g.10gb': l4 has no MIG profile '1g.10gb'; it has none"),
        (
            {**H100, "gpus": 1, "mig_profile": "1g.5gb"},
            "h100-80gb has no MIG profile '1g.5gb'; it has 1g.10gb, 1g.20gb",
        ),
        ({**H100, "gpus": 1, "mig_profile": "1g.10gb", "pods_per_gpu": 4}, "pods_per_gpu is 4, and a GPU cut into"),
        (
            {**H100, "gpus": 1, "mig_profile": "1g.10gb", "models": [{**SMALL, "size_gib": 9.0}]},
            "bert takes 10.8 GiB of a GPU that has 9.0 for models; take a larger one (a 1g.10gb slice of h100-80gb",
        ),
        ({"machine_type": "p5.48xlarge"}, "a p5.48xlarge has h100-80gb; machines with l4 are g6.xlarge"),
        ({"machine_type": "g6.xlarg"}, "no machine type 'g6.xlarg' on aws, did you mean 'g6.xlarge'?"),
    ],
)
def test_a_slice_that_no_gpu_has_is_refused(changes: dict[str, Any], says: str) -> None:
    assert says in refused(**{"models": [SMALL], **changes})
