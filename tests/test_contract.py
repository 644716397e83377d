"""Where components and workloads meet: what a plan puts into containers is what the workloads understand."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shlex
import socket
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pulumi
import pulumi_kubernetes as k8s
import pytest
from torch.distributed.run import config_from_args

import components
from components.inference import KServeInference, ServerlessInference, TensorFlowServing, TritonInference
from components.inference.serverless_aws import WORDS
from components.training import HyperparameterSweep, RayCluster, RayJob, TrainingJob, TrainingRuntimes
from planner.plan import UNKNOWN, Plan, Resource
from tests.samples import samples
from tests.support import ROOT, plan_of

CLOUD_RUN, SAGEMAKER_MODEL = "gcp:cloudrunv2/service:Service", "aws:sagemaker/model:Model"


@dataclass(frozen=True)
class Command:
    """One command line of a container or probe that starts a workload of this project."""

    resource: str
    place: str
    """Path inside the resource, such as `spec.template.spec.containers[0]`."""
    module: str
    arguments: tuple[str, ...]


def commands(plan: Plan) -> list[Command]:
    """Every `-m workloads.X` in a plan, whoever starts it (python, torchrun), in containers and in probes."""
    return [
        command
        for resource in plan
        if resource.package == "kubernetes" or resource.type in (CLOUD_RUN, SAGEMAKER_MODEL)
        for command in _commands(resource, resource.inputs, "")
    ]


def _commands(resource: Resource, value: Any, place: str) -> Iterator[Command]:
    if isinstance(value, dict):
        words = [*(value.get("command") or ()), *(value.get("args") or ())] if "command" in value else []
        if "entrypoint" in value:  # of a RayJob: a line for a shell
            words, place = shlex.split(value["entrypoint"]), f"{place}.entrypoint"
        if resource.type == CLOUD_RUN and "image" in value:
            # Without `commands` it is the image's entry point that runs these.
            words = [*(value.get("commands") or ()), *(value.get("args") or ())]
        if WORDS in value:  # of a SageMaker model: what the image's `serve` hands on
            words = ["-m", "workloads.serving", *shlex.split(value[WORDS])]
        for index, (option, module) in enumerate(pairwise(words)):
            if option == "-m" and str(module).startswith("workloads."):
                arguments = words[index + 2 :]
                # What only the cloud can tell is some word.
                known = tuple(str(word).replace(UNKNOWN, "unknown") for word in arguments)
                yield Command(resource.name, place, module, known)
        for key, item in sorted(value.items()):
            yield from _commands(resource, item, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _commands(resource, item, f"{place}[{index}]")


def problems(plan: Plan, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Command lines that the workload's own parser refuses, each with its place and the parser's words."""
    found = []
    for command in commands(plan):
        try:
            make, understand = parser_of(command.module)
            understand(make().parse_args(list(command.arguments)))
        except SystemExit as end:
            if end.code == 0:
                continue  # --help
            found.append(f"{command.resource}: {command.place}: {capsys.readouterr().err.strip().splitlines()[-1]}")
        except (LookupError, ValueError, AssertionError) as error:
            found.append(f"{command.resource}: {command.place}: {error}")
    return found


def parser_of(module: str) -> tuple[Callable[[], ArgumentParser], Callable[[Any], Any]]:
    """A workload's parser, and what else it makes of the options before it does anything.

    `parser()` in its module `cli`, or in itself where it is a single file; torchrun's where it is torchrun. What comes
    after is a whole configuration, whose parts may contradict each other, or torchrun's plan of the gang.
    """
    for name in (f"{module}.cli", module):
        try:
            known = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            known = None
        found: Any = importlib.import_module(name) if known else None
        if hasattr(found, "parser"):
            return found.parser, getattr(found, "configuration", lambda options: options)
        if hasattr(found, "get_args_parser"):
            return found.get_args_parser, config_from_args
    raise LookupError(f"no parser() in {module} or {module}.cli")


@pytest.fixture(scope="module")
def inference() -> Plan:
    def program() -> None:
        TritonInference(
            "chat",
            {
                "cloud": "aws",
                "region": "us-east-1",
                "cluster_name": "ai",
                "workload_identity_pool": "",
                "namespace": "inference",
                "image": "registry.example/triton:26.09-1",
                "models": [
                    {"name": "resnet50", "version": 3, "size_gib": 2.0},
                    {"name": "bert", "version": 1, "size_gib": 1.0},
                ],
                # Known only to the cloud, as a bucket's is in an environment.
                "repository_url": pulumi.Output.concat("s3://", _bucket().bucket, "/models"),
                "bucket": "ai-models",
                "accelerator": "l4",
                "gpus": 1,
                "min_replicas": 1,
                "max_replicas": 2,
                "client_cidrs": ["10.1.0.0/16"],
            },
            opts=pulumi.ResourceOptions(providers=[k8s.Provider("cluster", kubeconfig="{}")]),
        )

    return plan_of(program)


def _bucket(name: str = "models") -> Any:
    import pulumi_aws as aws

    return aws.s3.Bucket(name, region="us-east-1")


def test_containers_and_probes_start_workloads_in_words_that_they_understand(
    inference: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    found = commands(inference)
    assert [(command.place.rpartition("spec.")[2], command.arguments[0]) for command in found] == [
        ("containers[0].readinessProbe.exec", "ready"),
        ("containers[0].startupProbe.exec", "ready"),
        ("initContainers[0]", "fetch"),
    ]
    (fetch,) = (command for command in found if command.arguments[0] == "fetch")
    assert "unknown" in fetch.arguments  # a value that a preview cannot know is in the way of nothing
    assert problems(inference, capsys) == []


@pytest.fixture(scope="module")
def several() -> Plan:
    """A model over four GPUs beside a group of small ones, started from the region's copy of the repository."""

    def program() -> None:
        TritonInference(
            "chat",
            {
                "cloud": "aws",
                "region": "us-east-1",
                "cluster_name": "ai",
                "workload_identity_pool": "",
                "namespace": "inference",
                "image": "registry.example/triton:26.09-1",
                "models": [
                    {"name": "llama", "version": 1, "size_gib": 130.0, "gpus": 4},
                    {"name": "bert", "version": 1, "size_gib": 1.0, "group": "small"},
                ],
                "groups": [{"name": "small", "gpus": 1}],
                "repository_url": "s3://ai-models/models",
                "bucket": "ai-models",
                "accelerator": "h100-80gb",
                "gpus": 4,
                "min_replicas": 1,
                "max_replicas": 2,
                "client_cidrs": ["10.1.0.0/16"],
                "weights_claim": "warm",
            },
            opts=pulumi.ResourceOptions(providers=[k8s.Provider("cluster", kubeconfig="{}")]),
        )

    return plan_of(program)


@pytest.fixture(scope="module")
def serverless() -> Plan:
    """The three ways in which a model is served without a cluster."""
    on_cpus = {"mode": "synchronous"}

    def program() -> None:
        made = cast(Any, ServerlessInference)
        for cloud, scheme in (("gcp", "gs"), ("aws", "s3")):
            args = samples(cloud)["ServerlessInference"]
            url = pulumi.Output.concat(f"{scheme}://", _bucket(f"{cloud}-models").bucket, "/models")
            made(f"{cloud}-gpu", {**args, "repository_url": url})
        left = ("accelerator", "network_id", "private_subnet_ids")
        made("aws-cpu", {**{k: v for k, v in args.items() if k not in left}, **on_cpus, "repository_url": url})

    return plan_of(program)


def test_a_copy_of_the_repository_is_made_and_read_in_words_that_are_understood(
    several: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    started = sorted((command.resource, command.arguments[0]) for command in commands(several))
    fetch_and_probes = ("fetch", "ready", "ready")
    assert started == sorted(
        [("chat-weights-job", "mirror")]
        + [(f"chat-{group}deployment", command) for group in ("", "small-") for command in fetch_and_probes]
    )
    assert problems(several, capsys) == []
    # What the Job writes is where pods read.
    words = {command.resource: command.arguments for command in commands(several) if command.arguments[0] != "ready"}
    (target,) = (after for word, after in pairwise(words["chat-weights-job"]) if word == "--destination")
    (source,) = (after for word, after in pairwise(words["chat-deployment"]) if word == "--source")
    assert source == f"file://{target}"


def test_a_model_over_several_gpus_is_exported_for_as_many_as_its_pods_have(several: Plan, tmp_path: Path) -> None:
    """The version says over how many GPUs it goes, the pod has so many: both are one number, `gpus` of ModelArgs."""
    server = several.one("aicloud:index:TritonInference").inputs
    (model,) = (one for one in server["models"] if one["name"] == "llama")
    weights = tmp_path / "weights"
    weights.mkdir()
    for name in ("config.json", "tokenizer_config.json", "model.safetensors"):
        (weights / name).write_text("{}")
    make, _ = parser_of("workloads.serving")
    words = ["--weights", str(weights), "--repository", str(tmp_path / "repository"), "--name", "llama"]
    options = make().parse_args(["vllm", *words, "--gpus", f"{model['gpus']:g}"])
    assert importlib.import_module("workloads.serving.commands.vllm").run(options) == 0

    version = tmp_path / "repository" / "llama" / "1"
    engine = json.loads((version / "1" / "model.json").read_text())
    manifest = json.loads((version / "manifest.json").read_text())
    deployment = several.one("kubernetes:apps/v1:Deployment", "chat-deployment").inputs
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    gpus = int(container["resources"]["limits"]["nvidia.com/gpu"])
    assert engine["tensor_parallel_size"] == manifest["provenance"]["gpus"] == gpus
    # ... and finds its weights where the pod has its repository.
    (repository,) = (word for word in container["args"] if word.startswith("--model-repository="))
    assert engine["model"].startswith(f"{repository.partition('=')[2]}/llama/1/")


@pytest.mark.parametrize(
    ("component", "modules"),
    [
        ("MlflowServer", ["workloads.database"]),
        ("AirflowDeployment", ["workloads.database"]),
        ("RetrainingTrigger", ["workloads.launch", "workloads.monitoring", "workloads.pipelines"]),
        ("ModelRollout", ["workloads.rollout"]),
    ],
)
def test_the_loops_servers_are_started_in_words_that_are_understood(
    component: str, modules: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for cloud in ("aws", "gcp"):

        def program(cloud: str = cloud) -> None:
            options = pulumi.ResourceOptions(providers=[k8s.Provider("cluster", kubeconfig="{}")])
            getattr(components, component)("loop", samples(cloud)[component], options)

        plan = plan_of(program)
        assert sorted({command.module for command in commands(plan)}) == modules
        assert problems(plan, capsys) == []


def test_services_without_a_cluster_are_started_in_words_that_are_understood(
    serverless: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {command.resource: command for command in commands(serverless)}
    assert {name: command.arguments[0] for name, command in found.items()} == {
        "gcp-gpu": "serve", "aws-gpu": "sagemaker", "aws-cpu": "sagemaker",
    }  # fmt: skip
    assert {command.module for command in found.values()} == {"workloads.serving"}
    # A value that a preview cannot know is in the way of nothing.
    assert any("unknown" in word for word in found["gcp-gpu"].arguments)
    assert problems(serverless, capsys) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("--address", "--adress", "unrecognized arguments: --adress"),
        ("--version-directory", "--version-folder", "unrecognized arguments: --version-folder"),
        ("resnet50:3", "resnet50", "NAME:VERSION"),
        ("--threads 1", "--threads one", "invalid int value: 'one'"),
    ],
)
def test_what_a_service_does_not_understand_is_found(
    serverless: Plan, capsys: pytest.CaptureFixture[str], old: str, new: str, says: str
) -> None:
    text = [json.dumps(resource.inputs) for resource in serverless]
    assert any(old in one for one in text)
    planted = [replace(r, inputs=json.loads(one.replace(old, new))) for r, one in zip(serverless, text, strict=True)]
    found = problems(Plan.of(serverless.project, serverless.stack, planted), capsys)
    assert any(says in problem for problem in found), found


def test_the_image_s_serve_hands_on_the_words_of_the_variable(tmp_path: Path) -> None:
    """The script that SageMaker starts, with a `python3` that tells what it was given."""
    told = tmp_path / "python3"
    told.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    told.chmod(0o755)
    script = ROOT / "workloads/serving/sagemaker-serve.sh"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    words = "sagemaker --model chat:1 --version-directory /opt/ml/model"
    run = subprocess.run([script], env={**environment, WORDS: words}, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["-m", "workloads.serving", *words.split()]
    assert subprocess.run([script], env=environment, capture_output=True, check=False).returncode != 0


@pytest.fixture(scope="module")
def others() -> Plan:
    """Models behind KServe, in both of its modes, and SavedModels behind TensorFlow Serving."""
    kserve, tensorflow = cast(Any, KServeInference), cast(Any, TensorFlowServing)
    place = {"cloud": "aws", "region": "us-east-1", "cluster_name": "ai", "workload_identity_pool": ""}
    image = "registry.example/triton:26.09-1"

    def program() -> None:
        options = pulumi.ResourceOptions(providers=[k8s.Provider("cluster", kubeconfig="{}")])
        where = {"repository_url": pulumi.Output.concat("s3://", _bucket().bucket, "/models"), "bucket": "ai-models"}
        models = [{"name": "bert", "version": version, "size_gib": 1.0} for version in (1, 2)]
        shared = {**place, **where, "models": models, "max_replicas": 2, "client_cidrs": ["10.1.0.0/16"]}
        triton = {**shared, "image": image, "accelerator": "l4", "gpus": 1}
        kserve("raw", {**triton, "namespace": "a", "min_replicas": 1}, options)
        kserve("zero", {**triton, "namespace": "b", "mode": "serverless", "min_replicas": 0}, options)
        server = {"image": "registry.example/tensorflow-serving:2.20.0", "fetch_image": image, "min_replicas": 1}
        tensorflow("saved", {**shared, **server, "namespace": "c"}, options)

    return plan_of(program)


def test_other_servers_fetch_and_ask_in_words_that_they_understand(
    others: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    started = sorted((command.resource, command.arguments[0]) for command in commands(others))
    assert started == [
        ("raw-runtime", "ready"), ("raw-runtime", "ready"), ("raw-service", "fetch"), ("saved-deployment", "fetch"),
        ("zero-runtime", "ready"), ("zero-runtime", "ready"), ("zero-service", "fetch"),
    ]  # fmt: skip
    assert problems(others, capsys) == []


@pytest.fixture(scope="module")
def training() -> Plan:
    """Runtimes with and without a fabric, and a job for each way to start one."""
    machine = {"cloud": "aws", "region": "us-east-1", "image": "registry.example/training:1"}
    h100s = {**machine, "accelerator": "h100-80gb", "accelerators_per_node": 8, "fabric": True}
    whose = {"cluster_name": "ai", "workload_identity_pool": "", "namespace": "training", "queue": "training"}
    settings = {"training.steps": "2000", "parallel.tensor": "8", "tracking.mlflow": "http://mlflow:5000"}

    # Arguments that the jobs share are spread over their dicts, which a checker of types cannot follow.
    runtimes: Any = TrainingRuntimes
    job: Any = TrainingJob

    def program() -> None:
        options = pulumi.ResourceOptions(providers=[k8s.Provider("cluster", kubeconfig="{}")])
        large = runtimes("large", {**h100s, "mpi_image": "registry.example/horovod:1"}, options)
        small = runtimes("small", machine, options)
        # Known only to the cloud, as a bucket's is in an environment.
        where = {"bucket": "ai-data", "bucket_url": pulumi.Output.concat("s3://", _bucket().bucket)}
        shared = {**h100s, **whose, **where, "data_prefix": "datasets/books", "config": "llama_8b"}
        job("gang", {**shared, "settings": settings, "runtime": large.torchrun, **_nodes(16, 16)}, options)
        job("elastic", {**shared, "runtime": large.elastic, **_nodes(2, 4)}, options)
        rings = {"launcher": "horovodrun", "runtime": large.mpi, "config": "tiny"}
        job("rings", {**shared, **rings, **_nodes(2, 2)}, options)
        job("one", {**machine, **whose, **where, "config": "tiny", "runtime": small.torchrun, **_nodes(1, 1)}, options)

    return plan_of(program)


def _nodes(fewest: int, most: int) -> dict[str, Any]:
    return {"min_nodes": fewest, "max_nodes": most}


def test_training_is_started_in_words_that_it_understands(training: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    started = {(command.resource, command.module) for command in commands(training)}
    launch, train, gate = (f"workloads.training{part}" for part in (".launch", "", ".health"))
    assert started == {
        *((f"{job}-job", module) for job in ("gang", "elastic", "one") for module in (launch, train)),
        ("rings-job", train),
        *((f"{runtime}-{kind}", module) for runtime in ("large", "small") for kind in ("torchrun", "elastic")
          for module in (launch, gate, train)),
        ("large-mpi", launch), ("large-mpi", train),
    }  # fmt: skip
    assert problems(training, capsys) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("--training.steps", "--training.stepps", "did you mean --training.steps?"),
        ("2000", "many", "expected a whole number"),
        ("--parallel.tensor", "--model.heads", "model.width: 4096: expected a multiple of model.heads, 7"),
        ("2:4", "4:2", "min_nodes"),
        ("timeout=1800", "timeout", "timeout"),
        ("efa", "eva", "invalid choice: 'eva'"),
        ("workloads.training.health", "workloads.training.wealth", "no parser() in workloads.training.wealth"),
    ],
)
def test_what_training_does_not_understand_is_found(
    training: Plan, capsys: pytest.CaptureFixture[str], old: str, new: str, says: str
) -> None:
    inputs = {"gang-job", "elastic-job", "large-torchrun"}
    # A number of heads by which the width cannot be divided.
    swapped = [("8", "7")] if new == "--model.heads" else []
    changed = [r for r in training if r.name in inputs]
    for before, after in [(old, new), *swapped]:
        changed = [replace(r, inputs=_planted(r.inputs, before, after)) for r in changed]
    found = problems(Plan.of(training.project, training.stack, changed), capsys)
    assert any(says in problem for problem in found), found


@pytest.mark.slow
def test_the_gate_of_a_gang_runs_as_its_pods_run_it(training: Plan, tmp_path: Path) -> None:
    """The init container's own command, in two pods' environments: Trainer's (PET_*) and the downward API's."""
    runtime = training.one("kubernetes:trainer.kubeflow.org/v1alpha1:ClusterTrainingRuntime", "small-torchrun")
    (job,) = runtime.inputs["spec"]["template"]["spec"]["replicatedJobs"]
    (gate,) = job["template"]["spec"]["template"]["spec"]["initContainers"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = [port if before == "--master-port" else word for before, word in pairwise(["", *gate["args"]])]
    trainers = {"PET_NNODES": "2", "PET_MASTER_ADDR": "localhost", "PET_MASTER_PORT": "29500", "OMP_NUM_THREADS": "1"}
    pods = [
        subprocess.Popen(
            [sys.executable, *gate["command"][1:], *words],
            env={**os.environ, **trainers, "PET_NODE_RANK": str(index), "NODE_NAME": f"machine-{index}"},
            cwd=ROOT,
            stdout=(tmp_path / str(index)).open("w"),
        )
        for index in range(2)
    ]
    assert [pod.wait(120) for pod in pods] == [0, 0]
    table = (tmp_path / "0").read_text()
    assert "machine-0" in table
    assert "machine-1" in table
    assert table.rstrip().endswith("healthy")


def test_what_is_scraped_is_where_training_serves_it(training: Plan) -> None:
    node = training.one("kubernetes:trainer.kubeflow.org/v1alpha1:ClusterTrainingRuntime", "large-torchrun")
    (job,) = node.inputs["spec"]["template"]["spec"]["replicatedJobs"]
    (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    arguments = training.one("kubernetes:trainer.kubeflow.org/v1alpha1:TrainJob", "gang-job").inputs["spec"]["trainer"]
    served = int(arguments["args"][arguments["args"].index("--tracking.prometheus_port") + 1])
    monitors = [r for r in training if r.type.endswith(":PodMonitor")]
    scraped = {e["port"] for r in monitors for e in r.inputs["spec"]["podMetricsEndpoints"]}
    assert len(monitors) == 4
    assert {ports[name] for name in scraped} == {served}


@pytest.fixture(scope="module")
def many() -> Plan:
    """Ray and a sweep."""
    whose = {"cluster_name": "ai", "workload_identity_pool": "", "namespace": "training", "queue": "training"}
    machine = {"cloud": "aws", "region": "us-east-1", "image": "registry.example/training:1", "accelerator": "l4"}
    search = {"optimizer.learning_rate": "log:1e-4:1e-2", "model.norm": "choice:rms,layer"}
    size = {"min_workers": 1, "max_workers": 4}
    sweep, cluster, job = (cast(Any, made) for made in (HyperparameterSweep, RayCluster, RayJob))

    def program() -> None:
        options = pulumi.ResourceOptions(providers=[k8s.Provider("cluster", kubeconfig="{}")])
        where = {"bucket": "ai-data", "bucket_url": pulumi.Output.concat("s3://", _bucket().bucket)}
        run = {**machine, **whose, **where, "config": "gpt2_124m", "data_prefix": "datasets/books"}
        cluster("ray", {**machine, **whose, **size, "bucket": "ai-data"}, options)
        job("run", {**run, **size, "settings": {"training.steps": "2000"}}, options)
        sweep("find", {**run, "search": search, "trials": 8, "workers": 4, "claims": {"warm": "warm"}}, options)

    return plan_of(program)


def test_ray_and_sweeps_are_started_in_words_that_they_understand(
    many: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    stop, train, sweep = (f"workloads.training.{name}" for name in ("ray_stop", "ray_train", "sweep"))
    started = sorted((command.resource, command.module) for command in commands(many))
    assert started == [("find-job", sweep), ("ray-cluster", stop), ("run-job", stop), ("run-job", train)]
    assert problems(many, capsys) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("--workers 1:4", "--workers 4:1", "expected a number from 1, or the least and the most"),
        ("--workers 1:4", "--workers 3:4", "training.batch_size: 512: expected a multiple of the least workers, 3"),
        ("--training.steps", "--training.stepps", "did you mean --training.steps?"),
        ("ray_train", "ray_tune", "no parser() in workloads.training.ray_tune"),
        ("log:1e-4:1e-2", "log:1e-2:1e-4", "1e-2 is not below 1e-4"),
        ("optimizer.learning_rate=", "optimizer.lr=", "'optimizer.lr' is no setting"),
        ("--within", "--without", "unrecognized arguments: --without"),
    ],
)
def test_what_ray_and_sweeps_do_not_understand_is_found(
    many: Plan, capsys: pytest.CaptureFixture[str], old: str, new: str, says: str
) -> None:
    text = [json.dumps(resource.inputs) for resource in many]
    assert any(old in one for one in text)
    planted = [replace(r, inputs=json.loads(one.replace(old, new))) for r, one in zip(many, text, strict=True)]
    found = problems(Plan.of(many.project, many.stack, planted), capsys)
    assert any(says in problem for problem in found), found


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_environments_start_workloads_in_words_that_they_understand(
    name: str, environment_plan: Callable[[str], Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = environment_plan(name)
    deployments = {r.name for r in plan.of_type("kubernetes:apps/v1:Deployment") if "tritonserver" in str(r.inputs)}
    assert deployments
    servers = deployments | {r.name for r in plan.of_type(CLOUD_RUN, SAGEMAKER_MODEL)}
    assert {command.resource for command in commands(plan)} >= servers
    assert problems(plan, capsys) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("--source", "--from", "the following arguments are required: --source"),
        ("resnet50:3", "resnet50", "NAME:VERSION"),
        ("workloads.serving", "workloads.surfing", "no parser() in workloads.surfing"),
    ],
)
def test_a_word_that_a_workload_does_not_understand_is_found(
    inference: Plan, capsys: pytest.CaptureFixture[str], old: str, new: str, says: str
) -> None:
    planted = Plan.of(
        inference.project, inference.stack, [replace(r, inputs=_planted(r.inputs, old, new)) for r in inference]
    )
    found = problems(planted, capsys)
    assert any(says in problem and "spec.template.spec.initContainers[0]" in problem for problem in found), found


def _planted(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {key: _planted(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_planted(item, old, new) for item in value]
    return new if value == old else value
