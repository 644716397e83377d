"""TrainingRuntimes and TrainingJob: pods with a fabric and without rights, gangs that outlive what they can outlive."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Any

import kubernetes_validate
import pulumi
import pulumi_kubernetes as k8s
import pytest

from components.accelerators import machine_type
from components.training import TrainingJob, TrainingRuntimes, pod_security
from components.training.blueprints import MENDED_BY_A_PERSON, STOPPED
from components.training.commands import Training, torchrun
from components.training.fabric import TRANSPORTS, needs
from components.training.pod import GRACE_VARIABLE, Worker
from planner.checks import check
from planner.engine import PreviewFailed
from planner.plan import Plan, Resource
from policies import POLICIES
from tests.components.clusters import FLEX, plan_with
from tests.support import plan_of
from workloads.training import errors, preemption, transport

RUNTIME = "kubernetes:trainer.kubeflow.org/v1alpha1:ClusterTrainingRuntime"
JOB = "kubernetes:trainer.kubeflow.org/v1alpha1:TrainJob"

IMAGE = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/training:2@sha256:{'a' * 64}"
AWS: dict[str, Any] = {
    "cloud": "aws",
    "region": "us-east-1",
    "image": IMAGE,
    "accelerator": "h100-80gb",
    "accelerators_per_node": 8,
    "machine_type": "p5.48xlarge",
    "fabric": True,
}
GCP: dict[str, Any] = {**AWS, "cloud": "gcp", "region": "us-central1", "machine_type": "a3-megagpu-8g"}
MACHINES = {"aws": AWS, "gcp": GCP}
CPU = {key: AWS[key] for key in ("cloud", "region", "image")}

RUN: dict[str, Any] = {
    "cluster_name": "ai",
    "namespace": "training",
    "queue": "training",
    "config": "llama_8b",
    "settings": {"training.steps": "2000"},
    "data_prefix": "datasets/books",
    "bucket": "ai-data",
    "encryption_key": "arn:aws:kms:us-east-1:123456789012:key/k",
    "min_nodes": 4,
    "max_nodes": 4,
    "claims": {"warm": "warm", "cold": "cold"},
}


def run_on(machine: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    on_aws = machine["cloud"] == "aws"
    cloud = {
        "workload_identity_pool": "" if on_aws else "sim-project.svc.id.goog",
        "bucket_url": "s3://ai-data" if on_aws else "gs://ai-data",
    }
    return {**machine, **RUN, **cloud, **changes}


def plan_for(machine: Mapping[str, Any] = AWS, *, runtimes: Mapping[str, Any] | None = None, **changes: Any) -> Plan:
    """A cluster's runtimes for a machine, and a job on the one that fits its number of nodes."""
    make: Any = TrainingRuntimes
    start: Any = TrainingJob
    args = run_on(machine, **changes)

    def program() -> None:
        provider = k8s.Provider("cluster", kubeconfig="{}")
        crds = k8s.core.v1.ConfigMap("crds", opts=pulumi.ResourceOptions(provider=provider))
        options = pulumi.ResourceOptions(providers=[provider], depends_on=[crds])
        made = make("h100", {**machine, "mpi_image": IMAGE, **(runtimes or {})}, options)
        fitting = made.torchrun if args["min_nodes"] == args["max_nodes"] else made.elastic
        fitting = made.mpi if args.get("launcher") == "horovodrun" else fitting
        job = start("llama", {"runtime": fitting, **args}, options)
        for output in ("job", "namespace", "checkpoint_url", "metrics_port"):
            pulumi.export(output, getattr(job, output))

    return plan_of(program)


@cache
def gang(cloud: str) -> Plan:
    return plan_for(MACHINES[cloud])


@pytest.fixture(params=["aws", "gcp"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return gang(request.param)


def jobs(plan: Plan, kind: str) -> dict[str, dict[str, Any]]:
    """The Jobs of a runtime, by name."""
    spec = plan.one(RUNTIME, f"h100-{kind}").inputs["spec"]["template"]["spec"]
    return {job["name"]: job["template"] for job in spec["replicatedJobs"]}


def pod(plan: Plan, kind: str = "torchrun", job: str = "node") -> dict[str, Any]:
    return jobs(plan, kind)[job]["spec"]["template"]["spec"]


def named(containers: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = (container for container in containers if container["name"] == name)
    return found


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def environment(container: Mapping[str, Any]) -> dict[str, Any]:
    found = {one["name"]: one.get("value") for one in container["env"]}
    assert len(found) == len(container["env"]), "a name twice: the last one counts"
    return found


def changed(plan: Plan) -> dict[str, Any]:
    """What the job changes of the runtime's pods."""
    (patch,) = plan.one(JOB).inputs["spec"]["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert job["name"] == "node"
    return job["template"]["spec"]["template"]


def children(plan: Plan) -> list[Resource]:
    return [r for r in plan if r.package == "kubernetes" and "aicloud:index:" in r.urn]


# ---- what is built


def test_both_clouds_build_the_same_objects_and_outputs() -> None:
    kinds = [sorted(r.type for r in children(gang(cloud))) for cloud in MACHINES]
    assert kinds[0] == kinds[1]
    assert len(kinds[0]) == 6  # three runtimes; the account, the job and its monitor
    outputs = {"job": "llama", "namespace": "training", "metrics_port": 9400}
    assert dict(gang("aws").outputs) == {**outputs, "checkpoint_url": "s3://ai-data/checkpoints/llama"}
    assert dict(gang("gcp").outputs) == {**outputs, "checkpoint_url": "gs://ai-data/checkpoints/llama"}


def test_kubernetes_knows_every_field_of_every_pod(plan: Plan) -> None:
    checked = 0
    for runtime in plan.of_type(RUNTIME):
        for name, job in jobs(plan, runtime.inputs["metadata"]["name"].removeprefix("h100-")).items():
            whole = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": job["spec"]}
            kubernetes_validate.validate(json.loads(json.dumps(whole)), "1.34", strict=True)
            checked += 1
    assert checked == 4


def test_what_the_components_wait_for_their_children_wait_for(plan: Plan) -> None:
    crds = plan.one("kubernetes:core/v1:ConfigMap").urn
    for resource in children(plan):
        assert crds in resource.dependencies, resource.name


def test_a_job_starts_with_its_identity_and_its_runtime(plan: Plan) -> None:
    waited = plan.one(JOB).dependencies
    assert plan.one(RUNTIME, "h100-torchrun").urn in waited
    assert plan.one("kubernetes:core/v1:ServiceAccount").urn in waited
    bound = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
    for grant in plan.of_type(bound, "gcp:storage/bucketIAMMember:BucketIAMMember"):
        assert grant.urn in waited


def test_a_job_that_changes_is_made_anew_once_the_old_one_is_gone(plan: Plan) -> None:
    job = plan.one(JOB)
    assert (job.replace_on_changes, job.delete_before_replace) == (("spec",), True)
    assert job.inputs["metadata"]["annotations"]["pulumi.com/deletionPropagationPolicy"] == "foreground"


def test_the_job_reads_data_and_writes_its_own_checkpoints() -> None:
    policy = json.loads(gang("aws").one("aws:iam/rolePolicy:RolePolicy").inputs["policy"])
    may = {
        (action, statement["Resource"].partition("ai-data/")[2])
        for statement in policy["Statement"]
        if ":::ai-data/" in statement["Resource"]
        for action in statement["Action"]
    }
    assert {path for action, path in may if action == "s3:PutObject"} == {"checkpoints/llama/*"}
    assert {path for action, path in may if action == "s3:GetObject"} == {"checkpoints/llama/*", "datasets/books/*"}
    assert any("key/k" in str(statement["Resource"]) for statement in policy["Statement"])

    grants = gang("gcp").of_type("gcp:storage/bucketIAMMember:BucketIAMMember")
    roles = {grant.inputs["role"]: grant.inputs["condition"]["expression"] for grant in grants}
    assert set(roles) == {"roles/storage.objectUser", "roles/storage.objectViewer"}
    assert "objects/checkpoints/llama/" in roles["roles/storage.objectUser"]
    assert "objects/datasets/books/" in roles["roles/storage.objectViewer"]


def test_kueue_admits_it_by_its_priority() -> None:
    labels = plan_for(priority="high").one(JOB).inputs["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "training"
    assert labels["kueue.x-k8s.io/priority-class"] == "training-high"
    assert "suspend" not in gang("aws").one(JOB).inputs["spec"]  # Kueue's field


def test_a_topology_is_asked_for_where_the_pool_has_one() -> None:
    metadata = changed(plan_for(topology="topology.kubernetes.io/zone"))["metadata"]
    assert metadata["annotations"] == {"kueue.x-k8s.io/podset-preferred-topology": "topology.kubernetes.io/zone"}
    assert "annotations" not in changed(gang("aws"))["metadata"]


# ---- pods


def test_pods_keep_every_rule_of_pods_but_those_that_gpudirect_breaks() -> None:
    of_pods = {policy.name for policy in POLICIES if JOB in policy.types and not policy.name.startswith("images-")}
    assert len(of_pods) > 10
    broken = {}
    for cloud in MACHINES:
        judged = check(gang(cloud), date(2026, 11, 23)).findings
        broken[cloud] = {(one.rule, one.subject.rpartition("/")[2]) for one in judged if one.rule in of_pods}
    assert broken["aws"] == set()
    assert {subject for rule, subject in broken["gcp"] if rule != "no-host-paths"} == {"tcpxo-daemon"}
    assert "no-host-paths" in {rule for rule, _ in broken["gcp"]}


def test_a_pod_goes_to_its_accelerator_and_to_no_pool(plan: Plan) -> None:
    for kind in ("torchrun", "elastic", "mpi"):
        spec = pod(plan, kind)
        assert spec["nodeSelector"] == {"aicloud.dev/accelerator": "h100-80gb"}
        assert [toleration["key"] for toleration in spec["tolerations"]] == ["nvidia.com/gpu"]


def test_the_gate_has_what_training_has(plan: Plan) -> None:
    spec = pod(plan)
    gate, node = named(spec["initContainers"], "health"), named(spec["containers"], "node")
    for key in ("resources", "env", "volumeMounts", "securityContext", "image"):
        assert gate[key] == node[key], key
    assert gate["resources"]["limits"]["nvidia.com/gpu"] == "8"
    # Trainer puts the job's in place of the runtime's: the gate would ask for more or less than training.
    trainer = plan.one(JOB).inputs["spec"]["trainer"]
    assert trainer["resourcesPerNode"] == node["resources"]
    assert environment(trainer) == environment(node)


def test_time_to_leave_is_what_the_workload_is_told() -> None:
    plan = plan_for(grace_s=300)
    assert changed(plan)["spec"]["terminationGracePeriodSeconds"] == 300
    assert environment(plan.one(JOB).inputs["spec"]["trainer"])[GRACE_VARIABLE] == "300"
    assert GRACE_VARIABLE == preemption.GRACE_VARIABLE


def test_tiers_are_mounted_and_the_bucket_cannot_be_written(plan: Plan) -> None:
    spec = changed(plan)["spec"]
    claims = {v["name"]: v["persistentVolumeClaim"]["claimName"] for v in spec["volumes"] if "emptyDir" not in v}
    assert claims == {"warm": "warm", "cold": "cold"}
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in spec["containers"][0]["volumeMounts"]}
    assert mounts == {"/mnt/warm": False, "/mnt/cold": True}
    annotated = changed(plan)["metadata"].get("annotations", {})
    assert ("gke-gcsfuse/volumes" in annotated) is (plan is gang("gcp"))


def test_a_pods_share_of_a_machine_fits_it_and_its_disk_and_memory_add_up() -> None:
    limits = named(pod(gang("aws"))["containers"], "node")["resources"]["limits"]
    memory = int(limits["memory"].removesuffix("Mi"))
    assert memory == pytest.approx(0.7 * 2048 * 1024, abs=1)
    sizes = {volume["name"]: volume["emptyDir"] for volume in pod(gang("aws"))["volumes"]}
    assert int(sizes["shared-memory"]["sizeLimit"].removesuffix("Mi")) <= memory / 2 + 1
    on_disk = sum(int(v["sizeLimit"].removesuffix("Mi")) for v in sizes.values() if v.get("medium") != "Memory")
    assert on_disk < int(limits["ephemeral-storage"].removesuffix("Mi"))


def test_without_accelerators_it_is_small_and_uses_gloo() -> None:
    plan = plan_for({**CPU}, min_nodes=1, max_nodes=1, config="tiny")
    spec = pod(plan)
    assert "nodeSelector" not in spec
    assert "tolerations" not in spec
    gate = named(spec["initContainers"], "health")
    assert option(gate["args"], "--expect-transport") == "gloo"
    assert set(gate["resources"]["limits"]) == {"memory", "ephemeral-storage"}
    assert option(plan.one(JOB).inputs["spec"]["trainer"]["args"], "--nproc-per-node") == "1"


# ---- how a gang starts, and how it ends


def test_a_gang_of_fixed_size_is_tried_together_and_starts_again_together(plan: Plan) -> None:
    runtime = plan.one(RUNTIME, "h100-torchrun").inputs["spec"]
    (target,) = runtime["mlPolicy"]["torch"]["envInjection"]["targets"]
    assert target == {"jobName": "node", "containerNames": ["health"]}
    assert runtime["template"]["spec"]["network"]["publishNotReadyAddresses"] is True
    assert runtime["template"]["spec"]["failurePolicy"]["maxRestarts"] == 10
    assert jobs(plan, "torchrun")["node"]["spec"]["backoffLimit"] == 0
    gate = named(pod(plan)["initContainers"], "health")["args"]
    train = plan.one(JOB).inputs["spec"]["trainer"]["args"]
    # With training's port a pod that came back alone would get into the others' talk.
    assert "--master-port" not in train
    assert option(gate, "--master-port") != "29500"
    assert option(train, "--nnodes") == "4"
    assert option(train, "--max-restarts") == "0"
    expected = {"aws": ("efa", 1600), "gcp": ("gpudirect-tcpxo", 800)}["aws" if plan is gang("aws") else "gcp"]
    asked = [word for name, word in itertools.pairwise(gate) if name == "--expect-transport"]
    assert (asked, float(option(gate, "--minimum-gbps"))) == (["nccl", expected[0]], expected[1])


def test_an_elastic_gangs_gate_waits_for_nobody_and_its_pods_are_replaced_one_by_one(plan: Plan) -> None:
    runtime = plan.one(RUNTIME, "h100-elastic").inputs["spec"]
    assert runtime["mlPolicy"]["torch"] == {}
    gate = named(pod(plan, "elastic")["initContainers"], "health")["args"]
    assert "--standalone" in gate
    assert [word for name, word in itertools.pairwise(gate) if name == "--expect-transport"] == ["nccl"]
    job = jobs(plan, "elastic")["node"]["spec"]
    assert job["backoffLimitPerIndex"] == 10
    assert "backoffLimit" not in job
    assert job["successPolicy"] == {"rules": [{"succeededCount": 1}]}


def test_an_elastic_gang_meets_at_its_first_pod() -> None:
    job = plan_for(min_nodes=2).one(JOB).inputs["spec"]
    assert job["runtimeRef"]["name"] == "h100-elastic"
    assert job["trainer"]["numNodes"] == 4
    words = job["trainer"]["args"]
    assert option(words, "--nnodes") == "2:4"
    # JobSet's names: <job set>-<replicated job>-<job>-<pod>.<job set>
    assert option(words, "--rdzv-endpoint") == "llama-node-0-0.llama:29400"
    assert int(option(words, "--max-restarts")) > 100


def test_what_is_no_failure_and_what_is_final_is_what_the_workload_means(plan: Plan) -> None:
    assert set(STOPPED) == {errors.STOPPED, preemption.PREEMPTED, preemption.UNSAVED}
    final = (errors.ConfigError, errors.DataError, errors.Diverged)
    assert set(MENDED_BY_A_PERSON) == {error.exit_code for error in final}
    for kind in ("torchrun", "elastic"):
        rules = jobs(plan, kind)["node"]["spec"]["podFailurePolicy"]["rules"]
        disrupted, *ended = rules
        assert disrupted["action"] == "Ignore"
        assert disrupted["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
        said = {
            (rule["action"], rule["onExitCodes"]["containerName"]): set(rule["onExitCodes"]["values"]) for rule in ended
        }
        assert said[("Ignore", "node")] == set(STOPPED) == said[("Ignore", "health")]
        assert said[("FailJob", "node")] == set(MENDED_BY_A_PERSON)
        assert said[("FailJob", "health")] == {2}
        spec = plan.one(RUNTIME, f"h100-{kind}").inputs["spec"]["template"]["spec"]
        (rule,) = spec["failurePolicy"]["rules"]
        assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
        assert rule["name"].isalpha()  # JobSet takes no dashes


def test_horovod_is_started_by_a_launcher_that_trains_too() -> None:
    plan = plan_for(launcher="horovodrun", config="tiny", min_nodes=2, max_nodes=2)
    spec = plan.one(RUNTIME, "h100-mpi").inputs["spec"]
    assert spec["mlPolicy"]["mpi"]["runLauncherAsNode"] is True
    assert spec["template"]["spec"]["successPolicy"]["targetReplicatedJobs"] == ["launcher"]
    parts = jobs(plan, "mpi")
    assert parts["launcher"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    assert "metadata" not in parts["node"]
    server = named(pod(plan, "mpi")["containers"], "node")
    trainer = plan.one(JOB).inputs["spec"]["trainer"]
    keys = spec["mlPolicy"]["mpi"]["sshAuthMountPath"]
    assert f"HostKey={keys}/id_rsa" in server["args"]
    assert option(trainer["args"], "--ssh-identity-file").startswith(keys)
    assert f"Port={option(trainer['args'], '--ssh-port')}" in server["args"]
    assert (trainer["command"], option(trainer["args"], "-np")) == (["horovodrun"], "16")
    (patch,) = plan.one(JOB).inputs["spec"]["runtimePatches"]
    patched = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert {job["name"] for job in patched} == {"node", "launcher"}


def test_settings_come_last_and_may_change_what_the_component_sets() -> None:
    training = Training("tiny", {"data.cache_limit_gib": "5"}, "s3://b/c")
    words: list[Any] = torchrun("job", Worker("i", "s", "aws", "us-east-1"), training, (1, 1))[1]
    assert words.count("--data.cache_limit_gib") == 1
    assert option(words, "--data.cache_limit_gib") == "5"
    assert "--data" not in words


# ---- fabric


def test_the_gate_can_tell_every_fabrics_transport() -> None:
    assert set(TRANSPORTS.values()) <= set(transport.NETWORKS)


@pytest.mark.parametrize(
    ("accelerators", "huge_pages", "resources"),
    [
        (8, False, {"vpc.amazonaws.com/efa": "32"}),
        (2, False, {"vpc.amazonaws.com/efa": "8"}),
        (8, True, {"vpc.amazonaws.com/efa": "32", "hugepages-2Mi": "5120Mi"}),
    ],
)
def test_efa_is_asked_for_by_the_share_of_the_machine(
    accelerators: int, huge_pages: bool, resources: dict[str, str]
) -> None:
    found = needs(machine_type("aws", "p5.48xlarge"), accelerators, huge_pages=huge_pages)
    assert found.resources == resources
    assert found.env["FI_PROVIDER"] == "efa"
    assert found.env["FI_EFA_USE_HUGE_PAGE"] == str(int(huge_pages))
    assert not found.volumes
    assert not found.sidecars
    assert pod_security("aws", "efa") == "restricted"


@pytest.mark.parametrize("machine", ["a3-megagpu-8g", "a3-highgpu-8g", "a3-ultragpu-8g"])
def test_gpudirects_networks_are_the_clusters(machine: str) -> None:
    found = machine_type("gcp", machine)
    pool = {**FLEX, "name": "fabric", "accelerator": found.accelerator, "machine_type": machine}
    pool["ladder"] = [{"kind": "spot"}]
    cluster = plan_with("gcp", node_pools=[pool])
    modes = {
        r.inputs["metadata"]["name"]: r.inputs["spec"]["deviceMode"]
        for r in cluster
        if r.inputs.get("kind") == "GKENetworkParamSet"
    }
    networks = {r.inputs["metadata"]["name"] for r in cluster if r.inputs.get("kind") == "Network"}
    asked = json.loads(needs(found, 8).annotations["networking.gke.io/interfaces"])
    first, *others = asked
    assert first == {"interfaceName": "eth0", "network": "default"}
    assert len(others) == found.fabric.interfaces
    assert {one["network"] for one in others} <= networks == set(modes)
    mode = "RDMA" if found.fabric.kind == "gpudirect-rdma" else "NetDevice"
    assert {modes[one["network"]] for one in others} == {mode}
    left = networks - {one["network"] for one in others}
    assert {modes[name] for name in left} == ({"NetDevice"} if mode == "RDMA" else set())  # the second gVNIC
    (attached,) = {
        len(r.inputs["networkConfig"]["additionalNodeNetworkConfigs"])
        for r in cluster.of_type("gcp:container/nodePool:NodePool")
        if "fabric" in r.name
    }
    assert attached == len(networks)
    assert pod_security("gcp", found.fabric.kind) == "privileged"


def test_gpudirects_side_container_has_the_gpus_before_anything_else_starts() -> None:
    spec = pod(gang("gcp"))
    daemon, gate = spec["initContainers"]
    assert (daemon["name"], daemon["restartPolicy"], gate["name"]) == ("tcpxo-daemon", "Always", "health")
    assert daemon["startupProbe"]
    metadata = jobs(gang("gcp"), "torchrun")["node"]["spec"]["template"]["metadata"]
    devices = metadata["annotations"]["devices.gke.io/container.tcpxo-daemon"]
    assert devices.count("/dev/nvidia") == 10
    assert "- path: /dev/nvidia7\n" in devices
    mounted = {mount["name"] for container in (daemon, gate) for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}
    names = environment(gate)["NCCL_FASTRAK_IFNAME"].split(",")
    asked = json.loads(metadata["annotations"]["networking.gke.io/interfaces"])
    assert names == [one["interfaceName"] for one in asked[1:]]


def test_the_bindings_of_cores_are_for_all_of_tcpxs_interfaces() -> None:
    env = needs(machine_type("gcp", "a3-highgpu-8g"), 8).env
    for name in ("NCCL_GPUDIRECTTCPX_TX_BINDINGS", "NCCL_GPUDIRECTTCPX_RX_BINDINGS"):
        bound = [part.partition(":")[0] for part in env[name].split(";")]
        assert bound == env["NCCL_GPUDIRECTTCPX_SOCKET_IFNAME"].split(",")


# ---- arguments


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cloud": "azure"}, "cloud is 'azure'; accepted are 'aws', 'gcp'"),
        ({"image": "training:latest"}, "image is 'training:latest'; 'latest' is another image tomorrow"),
        ({"accelerator": "h100"}, "no accelerator 'h100', did you mean 'h100-80gb'"),
        ({"accelerator": "trainium2", "machine_type": "trn2.48xlarge", "accelerators_per_node": 16}, "NVIDIA GPUs"),
        ({"machine_type": "g6.xlarge"}, "machine_type is 'g6.xlarge'; which has 1 x l4"),
        ({"accelerators_per_node": 0}, "accelerators_per_node is 0; accepted is a whole number from 1"),
        ({"accelerator": ""}, "accepted is an `accelerator` beside it"),
        ({"cpu": -1}, "cpu is -1; accepted is a number above 0"),
        ({"fabrik": True}, "fabrik: unknown argument; did you mean 'fabric'?"),
        ({"machine_type": "g6.xlarge", "accelerator": "l4", "accelerators_per_node": 1}, "a g6.xlarge has none"),
        ({**GCP, "accelerators_per_node": 4}, "goes to one pod, which has all 8 accelerators; got 4"),
        ({**GCP, "huge_pages": True}, "huge_pages is True; accepted with the fabric of AWS, EFA, only"),
    ],
)
def test_a_wrong_machine_is_refused_by_both(changes: dict[str, Any], says: str) -> None:
    makers: tuple[Any, ...] = (TrainingRuntimes, TrainingJob)
    for make in makers:
        args = {**run_on(AWS), "runtime": "r"} if make is TrainingJob else AWS
        with pytest.raises(ValueError, match=f"^{make.__name__} 'llama': ") as refused:
            make("llama", {**args, **changes})
        assert says in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mpi_image": "horovod"}, "mpi_image is 'horovod'; give it a tag"),
        ({"max_restarts": 1.5}, "max_restarts: expected int, got 1.5"),
        ({"max_restarts": -1}, "max_restarts is -1; accepted is a whole number from 0"),
        ({"health_gbps": -1}, "health_gbps is -1; accepted is a number from 0"),
    ],
)
def test_wrong_arguments_of_runtimes_are_refused(changes: dict[str, Any], says: str) -> None:
    make: Any = TrainingRuntimes
    with pytest.raises(ValueError, match=r"^TrainingRuntimes 'h100': ") as refused:
        make("h100", {**AWS, **changes})
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"config": "llama"}, "config is 'llama'; accepted are 'tiny', 'gpt2_124m', 'llama_1b', 'llama_8b'"),
        ({"priority": "urgent"}, "priority is 'urgent'; accepted are 'low', 'normal', 'high'"),
        ({"launcher": "mpirun"}, "launcher is 'mpirun'; accepted are 'torchrun', 'horovodrun'"),
        ({"namespace": "Training"}, "namespace is 'Training'; a Kubernetes name"),
        ({"data_prefix": "/books"}, "data_prefix is '/books'; accepted is a prefix"),
        ({"checkpoint_prefix": "a/"}, "checkpoint_prefix is 'a/'; accepted is a prefix"),
        ({"settings": {"steps": "1"}}, "settings is 'steps'; accepted are names such as 'training.steps'"),
        ({"settings": {"checkpoint.remote": "s3://b"}}, "settings is 'checkpoint.remote'; it is what other arguments"),
        ({"settings": {"training.steps": 1}}, "settings[training.steps] is 1; accepted is text"),
        ({"min_nodes": 0}, "min_nodes is 0; accepted is a whole number from 1"),
        ({"max_nodes": 2}, "max_nodes is 2; accepted is a whole number from min_nodes, 4"),
        ({"min_nodes": 1, "max_nodes": 1}, "fabric is True; it joins machines, and max_nodes is 1"),
        ({"launcher": "horovodrun", "min_nodes": 2}, "min_nodes is 2; horovodrun's gangs have a fixed size"),
    ],
)
def test_wrong_arguments_of_a_job_are_refused(changes: dict[str, Any], says: str) -> None:
    make: Any = TrainingJob
    with pytest.raises(ValueError, match=r"^TrainingJob 'llama': ") as refused:
        make("llama", {**run_on(AWS), "runtime": "r", **changes})
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"runtime": "h100-elastic"}, "runtime is 'h100-elastic'; for 4 to 4 nodes by torchrun take its 'torchrun'"),
        ({"runtime": "h100-torchrun", "min_nodes": 2}, "for 2 to 4 nodes by torchrun take its 'elastic'"),
        ({"runtime": "h100-torchrun", "launcher": "horovodrun"}, "by horovodrun take its 'mpi'"),
        ({"runtime": "", "launcher": "horovodrun"}, "give TrainingRuntimes its mpi_image"),
    ],
)
def test_a_runtime_for_other_jobs_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(PreviewFailed, match=r"TrainingJob 'llama': ") as failed:
        plan_for(**changes)
    assert says in str(failed.value), failed.value


def test_a_pods_name_fits_a_host_name() -> None:
    make: Any = TrainingJob
    longest = "a" * 48  # 48 + len("-node-0-3-abcde") = 63

    def job(name: str) -> Plan:
        def program() -> None:
            options = pulumi.ResourceOptions(providers=[k8s.Provider("cluster", kubeconfig="{}")])
            make(name, {**run_on(AWS), "runtime": "r"}, options)

        return plan_of(program)

    assert job(longest).one(JOB).inputs["metadata"]["name"] == longest
    with pytest.raises(PreviewFailed, match=r"63 characters fit: accepted are 48"):
        job(longest + "a")


def test_a_runtime_of_another_make_is_taken_as_it_is() -> None:
    assert plan_for(runtime="torch-distributed").one(JOB).inputs["spec"]["runtimeRef"]["name"] == "torch-distributed"
