"""What stands by for an inference server: machines, images, a copy of the models; and the cold start that is left."""

from __future__ import annotations

import json
import re
from typing import Any

import kubernetes_validate
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import labels
from components.inference import TritonInference, cold_start
from components.inference.cold_start import Help
from planner.plan import Plan, Resource
from tests.components.test_inference import AWS, DEPLOYMENT, GCP, POLICY, children, plan_for, triton
from tests.components.test_inference_groups import OTHER, SMALL, outputs, refused

DAEMONS, JOB = "kubernetes:apps/v1:DaemonSet", "kubernetes:batch/v1:Job"
PRIORITY = "kubernetes:scheduling.k8s.io/v1:PriorityClass"
NEXT = "registry.example/triton:26.10-1"
ALL = {"warm_machines": 2, "prepull_images": [NEXT], "weights_claim": "warm", "node_pool": "l4"}


@pytest.fixture(scope="module", params=[AWS, GCP], ids=["aws", "gcp"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return plan_for(request.param, **ALL)


def the(plan: Plan, type: str, name: str) -> Resource:
    (found,) = (r for r in plan.of_type(type) if r.name == name)
    return found


def spec(plan: Plan, type: str, name: str) -> dict[str, Any]:
    return the(plan, type, name).inputs["spec"]["template"]["spec"]


def test_kubernetes_knows_every_field(plan: Plan) -> None:
    checked = 0
    for resource in children(plan):
        if resource.package == "kubernetes" and not re.search(r"monitoring\.coreos|keda\.sh", resource.type):
            kubernetes_validate.validate(json.loads(json.dumps(resource.inputs)), "1.34", strict=True)
            checked += 1
    assert checked == 7 + 2 + 1 + 2


def test_every_pod_passes_the_restricted_pod_security_standard(plan: Plan) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    found = [r.inputs["spec"]["template"]["spec"] for r in plan if r.type in (DEPLOYMENT, DAEMONS, JOB)]
    assert len(found) == 4
    for pod in found:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for volume in pod.get("volumes", []):
            assert set(volume) - {"name"} <= {"emptyDir", "persistentVolumeClaim"}
        for container in (*pod["containers"], *pod.get("initContainers", [])):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]


# ---- warm machines


def test_placeholders_are_as_large_as_a_server_and_give_way_to_it(plan: Plan) -> None:
    placeholder, server = spec(plan, DEPLOYMENT, "chat-warm-deployment"), spec(plan, DEPLOYMENT, "chat-deployment")
    (container,) = placeholder["containers"]
    assert container["resources"] == server["containers"][0]["resources"]
    assert container["image"] == server["containers"][0]["image"]
    assert container["command"] == ["sleep", "infinity"]
    for key in ("nodeSelector", "tolerations"):
        assert placeholder[key] == server[key]
    priority = the(plan, PRIORITY, "chat-warm-priority").inputs
    assert placeholder["priorityClassName"] == priority["metadata"]["name"]
    # Below every server; not below what a cluster autoscaler still starts a machine for.
    assert -10 <= priority["value"] < 0
    assert priority["preemptionPolicy"] == "Never"
    assert not priority.get("globalDefault")
    assert "priorityClassName" not in server
    assert placeholder["terminationGracePeriodSeconds"] == 1
    assert the(plan, DEPLOYMENT, "chat-warm-deployment").inputs["spec"]["replicas"] == 2


def test_no_service_budget_or_monitor_means_a_placeholder(plan: Plan) -> None:
    own = the(plan, DEPLOYMENT, "chat-warm-deployment").inputs["spec"]["template"]["metadata"]["labels"]
    for resource in children(plan):
        for selector in _selectors(resource.inputs):
            if selector and resource.name not in ("chat-warm-deployment", "chat-prepull-daemons"):
                assert not selector.items() <= own.items(), resource.name


def _selectors(value: Any) -> list[dict[str, str]]:
    if not isinstance(value, dict):
        return []
    found = [value[key] for key in ("matchLabels",) if key in value]
    if isinstance(value.get("selector"), dict) and "matchLabels" not in value["selector"]:
        found.append(value["selector"])
    return [*found, *(selector for item in value.values() for selector in _selectors(item))]


def test_a_machine_of_several_gpus_takes_as_many_placeholders() -> None:
    changes = {"accelerator": "h100-80gb", "machine_type": "p5.48xlarge", "models": [SMALL], "warm_machines": 2}
    counts = {
        gpus: the(plan_for(gpus=gpus, **changes), DEPLOYMENT, "chat-warm-deployment").inputs["spec"]["replicas"]
        for gpus in (1, 4)
    }
    assert counts == {1: 16, 4: 4}
    cut = plan_for(gpus=1, mig_profile="1g.10gb", **changes)
    assert the(cut, DEPLOYMENT, "chat-warm-deployment").inputs["spec"]["replicas"] == 2 * 8 * 7


def test_placeholders_are_sized_after_the_largest_group() -> None:
    large = {"name": "llm", "version": 1, "size_gib": 40.0, "gpus": 4, "over_pcie": True, "group": "llm"}
    plan = plan_for(models=[SMALL, large], groups=[{"name": "llm", "gpus": 4}], warm_machines=1)
    deployment = the(plan, DEPLOYMENT, "chat-warm-deployment").inputs["spec"]
    (container,) = deployment["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert deployment["replicas"] == 1


def test_what_is_lent_is_not_held() -> None:
    said = refused(warm_machines=1, cluster_queue="serving")
    assert "warm_machines is 1 and cluster_queue is given; accepted is one of them" in said
    assert plan_for(warm_machines=0, cluster_queue="serving")
    assert "warm_machines is -1; accepted is a whole number from 0" in refused(warm_machines=-1)


# ---- images


def test_images_are_pulled_by_a_pod_that_asks_for_next_to_nothing(plan: Plan) -> None:
    pod = spec(plan, DAEMONS, "chat-prepull-daemons")
    (pull,) = pod["initContainers"]
    assert (pull["image"], pull["command"]) == (NEXT, ["true"])
    (stay,) = pod["containers"]
    assert stay["image"] == triton_of(plan)["image"]
    server = spec(plan, DEPLOYMENT, "chat-deployment")
    for key in ("nodeSelector", "tolerations"):
        assert pod[key] == server[key]
    for container in (pull, stay):
        assert container["imagePullPolicy"] == "IfNotPresent"
        # No GPU: the pod runs before the machine has one to give.
        assert set(container["resources"]["limits"]) == {"memory", "ephemeral-storage"}
        assert container["resources"]["requests"]["cpu"] == "1m"


def triton_of(plan: Plan) -> dict[str, Any]:
    (container,) = spec(plan, DEPLOYMENT, "chat-deployment")["containers"]
    return container


def test_nothing_is_pulled_ahead_unless_asked_for() -> None:
    assert not plan_for(AWS).of_type(DAEMONS)
    (daemons,) = plan_for(prepull_images=[]).of_type(DAEMONS)
    assert not daemons.inputs["spec"]["template"]["spec"]["initContainers"]
    said = refused(prepull_images=[NEXT, "triton:latest"])
    assert "prepull_images[1] is 'triton:latest'; 'latest' is another image tomorrow" in said


# ---- weights


def test_one_job_reads_the_object_store_and_pods_read_its_copy(plan: Plan) -> None:
    job = the(plan, JOB, "chat-weights-job")
    (container,) = job.inputs["spec"]["template"]["spec"]["containers"]
    source = plan.one("aicloud:index:TritonInference").inputs["repository_url"]
    assert container["command"] == ["python3", "-m", "workloads.serving", "mirror"]
    models = ["--model", "bert:1", "--model", "resnet50:3"]
    assert container["args"] == ["--source", source, "--destination", "/weights", *models]
    assert job.inputs["spec"]["template"]["spec"]["nodeSelector"] == {labels.PURPOSE: "system"}
    assert "nvidia.com/gpu" not in container["resources"]["limits"]

    pod = spec(plan, DEPLOYMENT, "chat-deployment")
    (fetch,) = pod["initContainers"]
    assert fetch["args"][:2] == ["--source", "file:///weights"]
    assert {"name": "weights", "mountPath": "/weights", "readOnly": True} in fetch["volumeMounts"]
    assert pod["volumes"][-1] == {
        "name": "weights",
        "persistentVolumeClaim": {"claimName": "warm", "readOnly": True},
    }
    assert not any(mount["name"] == "weights" for mount in triton_of(plan)["volumeMounts"])
    # Going through every file of a large claim for each pod would take longer than to read them.
    for one in (pod, job.inputs["spec"]["template"]["spec"]):
        assert one["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    assert job.urn in the(plan, DEPLOYMENT, "chat-deployment").dependencies


def test_the_job_may_reach_the_object_store_and_nobody_reaches_it(plan: Plan) -> None:
    job = the(plan, JOB, "chat-weights-job")
    (policy,) = (r.inputs["spec"] for r in plan.of_type(POLICY) if r.name == "chat-weights-traffic")
    assert policy["podSelector"]["matchLabels"] == job.inputs["spec"]["template"]["metadata"]["labels"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy
    assert [port["port"] for port in policy["egress"][-1]["ports"]] == [443]
    assert job.inputs["spec"]["template"]["spec"]["serviceAccountName"] == "chat"


def test_other_models_are_another_job() -> None:
    def name(**changes: Any) -> str:
        return the(plan_for(weights_claim="w", **changes), JOB, "chat-weights-job").inputs["metadata"]["name"]

    first = name(models=[SMALL, OTHER])
    assert first == name(models=[OTHER, SMALL])
    assert len({first, name(models=[SMALL]), name(models=[SMALL, OTHER], image=NEXT)}) == 3
    assert "weights_claim is 'Warm'; expected the name of a claim" in refused(weights_claim="Warm")


# ---- cold starts


def test_a_cold_start_has_every_stage_and_their_sum() -> None:
    found = outputs(models=[SMALL, OTHER]).outputs["coldStarts"]
    assert set(found) == {"chat", "chat-vision"}
    # 2 GiB at 0.25 GiB/s from the store and 0.5 GiB/s to the GPU.
    assert found["chat"] == {
        **{"node": 300.0, "image": 150.0, "weights": 8.0, "load": 4.0, "warm-up": 60.0},
        "total": 522.0,
    }


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({"warm_machines": 1}, {"node": 0, "image": 0, "total": 72}),
        ({"prepull_images": []}, {"node": 300, "image": 30, "total": 402}),
        ({"weights_claim": "w", "claim_bandwidth_gib_s": 1.0}, {"weights": 2, "total": 516}),
        ({"load_bandwidth_gib_s": 2.0}, {"weights": 1}),
        ({"device_bandwidth_gib_s": 2.0}, {"load": 1}),
        ({"cold_start": {"node_s": 100, "image_s": 50.5, "server_s": 10}}, {"node": 100, "image": 50.5, "warm-up": 10}),
        ({"cold_start": {"node_s": 90, "image_s": 100}, "prepull_images": []}, {"node": 90, "image": 10}),
    ],
)
def test_what_stands_by_shortens_a_cold_start(changes: dict[str, Any], stages: dict[str, float]) -> None:
    found = outputs(models=[SMALL], **changes).outputs["coldStarts"]["chat"]
    assert stages.items() <= found.items()


@given(
    models=st.lists(st.tuples(st.floats(0.01, 1000), st.sampled_from([1, 2, 8])), min_size=1, max_size=5),
    warm=st.booleans(),
    pulled=st.booleans(),
    node_s=st.floats(0, 2000),
    image_s=st.floats(0, 2000),
)
def test_a_deployment_is_as_patient_as_without_any_help(
    models: list[tuple[float, int]], warm: bool, pulled: bool, node_s: float, image_s: float
) -> None:
    plain = cold_start.cold_start(models, Help(node_s=node_s, image_s=image_s))
    found = cold_start.cold_start(models, Help(warm=warm, pulled=pulled, node_s=node_s, image_s=image_s))
    # Warm machines run out: the wait is for the longest way. What is expected is the shortest.
    assert (found.deadline_s, found.probe) == (plain.deadline_s, plain.probe)
    assert found.total_s <= plain.total_s <= plain.deadline_s
    assert found.total_s == pytest.approx(sum(stage.seconds for stage in found.stages))
    loading = {stage.name: stage.seconds for stage in plain.stages}
    assert plain.probe.patience_s >= loading["load"] + loading["warm-up"]


def test_a_cold_start_beyond_its_objective_is_refused_with_what_would_shorten_it() -> None:
    said = refused(models=[SMALL], cold_start_objective_s=400)
    assert (
        "cold_start_objective_s is 400; a cold start takes 522 s: node 300 s (not measured), image 150 s (not "
        "measured), weights 8 s (2.0 GiB from the object store at 0.25 GiB/s, not measured), load 4 s (2.0 GiB to each "
        "GPU at 0.5 GiB/s, not measured), warm-up 60 s (not measured). What shortens the longest, node: warm_machines"
    ) in said
    large = [{**SMALL, "group": "large", "size_gib": 17.0}]
    said = refused(models=[*large, SMALL | {"name": "x"}], cold_start_objective_s=150, warm_machines=1)
    assert "group 'large': cold_start_objective_s is 150; a cold start takes 162 s" in said
    assert "the longest, weights: load_bandwidth_gib_s, as measured; weights_claim; fewer models in the group" in said
    assert plan_for(models=[SMALL], cold_start_objective_s=522)
    assert "cold_start_objective_s is 0" in refused(cold_start_objective_s=0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cold_start": {"node_s": -1}}, "cold_start.node_s is -1; accepted is a number of seconds from 0"),
        ({"cold_start": {"pods_s": 1}}, "cold_start.pods_s: unknown argument"),
        ({"claim_bandwidth_gib_s": 0}, "claim_bandwidth_gib_s is 0; accepted is a number above 0"),
    ],
)
def test_a_wrong_measurement_is_named(changes: dict[str, Any], says: str) -> None:
    assert says in refused(**changes)


def test_a_server_that_kueue_would_evict_is_refused_for_its_slowest_group() -> None:
    slow = {"name": "slow", "version": 1, "size_gib": 400.0, "device_memory_gib": 10.0, "group": "slow"}
    with pytest.raises(ValueError, match="Kueue takes it away after"):
        TritonInference("chat", {**AWS, "models": [SMALL, slow], "cluster_queue": "serving"})  # type: ignore[typeddict-item]


def test_a_server_without_any_of_it_is_what_it_was() -> None:
    plan = plan_for(AWS)
    assert not plan.of_type(PRIORITY, JOB, DAEMONS)
    assert len(plan.of_type(DEPLOYMENT)) == 1
    assert "fsGroupChangePolicy" not in str(plan.one(DEPLOYMENT).inputs)
    assert triton(plan)["resources"]
