"""Four runners, one pipeline: what each is handed are the same commands, and what came out is the same to the byte."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support import ROOT
from tests.workloads.pipelines import small
from workloads.pipelines.cli import main, parser
from workloads.pipelines.definition import BEGIN, GATE, RETRAIN
from workloads.pipelines.errors import REJECTED, ArgumentError
from workloads.pipelines.parameters import Parameters
from workloads.pipelines.run import Run
from workloads.pipelines.runners import airflow, local, sagemaker
from workloads.pipelines.runners.settings import Settings
from workloads.pipelines.status import REGISTERED, status
from workloads.pipelines.steps.sign import KEY

AIRFLOW = Path(os.environ.get("AIRFLOW_ENVIRONMENT", ROOT / "out" / "airflow")) / "bin"
NEEDS_AIRFLOW = pytest.mark.skipif(
    not (AIRFLOW / "airflow").exists(), reason="Airflow is not installed: `make airflow` does that"
)
ROLE = "arn:aws:iam::123456789012:role/pipelines"
CLUSTER = Settings(
    "s3://bucket/runs/{run}",
    Parameters(corpus="s3://bucket/text", mlflow="http://mlflow", repository="s3://bucket/models"),
    image="registry/workloads:1",
    signing_key="signing",
    role=ROLE,
)
EXPECTED = [list(task.command) for task in CLUSTER.tasks(RETRAIN)]


def understood(words: list[str]) -> None:
    """A command line of the workload, whatever stands for the run."""
    assert words[:3] == ["python", "-m", "workloads.pipelines"]
    parser().parse_args(words[3:])


def test_the_command_line_compiles_for_each(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    common = ["--run", "s3://bucket/runs/{run}", "--image", "i:1", "--mlflow", "http://mlflow"]
    output = tmp_path / "dags" / "retrain.py"
    assert main(["compile", "--target", "airflow", "--output", str(output), *common, "--schedule", "0 3 * * *"]) == 0
    assert capsys.readouterr().out.split() == [str(output), str(output.with_suffix(".json"))]
    assert json.loads(output.with_suffix(".json").read_text())["schedule"] == "0 3 * * *"
    for arguments, said in (
        (["--target", "airflow", "--output", "retrain.yaml", *common], "expected a name that ends in .py"),
        (["--target", "airflow", "--output", "r.py", "--run", "s3://bucket/runs"], "expected {run} in it"),
        (
            ["--target", "kubeflow", "--output", "r.yaml", "--run", "s3://b/{run}"],
            "Kubeflow Pipelines starts containers",
        ),
        (["--target", "sagemaker", "--output", "r.json", *common], "expected the ARN of a role"),
        (["--target", "sagemaker", "--output", "r.json", *common, "--role", ROLE], "AWS_DEFAULT_REGION"),
    ):
        assert main(["compile", *arguments]) == 2
        assert said in capsys.readouterr().err


# ---- Airflow


def test_airflow_is_told_every_task():
    plan = airflow.plan(CLUSTER)
    assert [task["command"] for task in plan["tasks"]] == EXPECTED
    for task in plan["tasks"]:
        understood(task["command"])
    assert plan["operator"] == "kubernetes"
    assert [task["name"] for task in plan["tasks"] if task["secret"]] == ["sign"]
    assert [task["name"] for task in plan["tasks"] if task["overrides"]] == [BEGIN]


KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "none",
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
    "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "none", "user": {}}],
}
INSPECT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import retrain
found = {}
for task in retrain.dag.tasks:
    found[task.task_id] = {
        "before": sorted(task.upstream_task_ids), "type": type(task).__name__, "retries": task.retries,
        "skip": list(task.skip_on_exit_code), "timeout_s": task.execution_timeout.total_seconds(),
        "bash": getattr(task, "bash_command", None), "words": getattr(task, "arguments", None),
        "pod": task.build_pod_request_obj().to_dict() if hasattr(task, "build_pod_request_obj") else None,
    }
print(json.dumps(found, default=str))
"""


def inspected(directory: Path) -> dict:
    # A pod is put together with a client, which is asked for nothing.
    (directory / "kubeconfig").write_text(json.dumps(KUBECONFIG))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "AIRFLOW_HOME": str(directory / "home"),
        "KUBECONFIG": str(directory / "kubeconfig"),
    }
    said = subprocess.run(
        [AIRFLOW / "python", "-c", INSPECT, str(directory)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout.splitlines()[-1])


@pytest.mark.slow
@NEEDS_AIRFLOW
@pytest.mark.parametrize("image", ["registry/workloads:1", ""])
def test_airflow_makes_a_dag_of_pods_or_of_shells(tmp_path, image):
    settings = Settings(CLUSTER.place, CLUSTER.parameters, image=image, signing_key="signing", directory="/srv")
    airflow.compile(tmp_path / "retrain.py", settings)
    found = inspected(tmp_path)
    for task in settings.tasks(RETRAIN):
        made = found[task.name]
        assert made["before"] == sorted(task.after)
        assert made["type"] == ("KubernetesPodOperator" if image else "BashOperator")
        assert (made["retries"], made["timeout_s"], made["skip"]) == (task.retries, task.timeout_s, [REJECTED])
    if not image:
        assert found[BEGIN]["bash"].endswith('--overrides "$PIPELINE_OVERRIDES"')
        return
    assert found[BEGIN]["words"][-2:] == ["--overrides", "{{ (dag_run.conf or {}) | tojson }}"]
    pods = {name: made["pod"]["spec"] for name, made in found.items()}
    mounted = {name for name, pod in pods.items() if any(v["name"] == "signing" for v in pod["volumes"])}
    assert mounted == {"sign"}
    assert pods["train"]["node_selector"] == {"aicloud.dev/accelerator": "l4"}
    assert pods["train"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert all(pod["security_context"]["run_as_non_root"] for pod in pods.values())
    assert all(pod["containers"][0]["security_context"]["read_only_root_filesystem"] for pod in pods.values())


def test_airflows_environment_is_pinned_whole():
    lines = (ROOT / "workloads/pipelines/airflow-requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pins["apache-airflow"] == "3.3.2"
    assert {"psutil", "apache-airflow-providers-standard", "apache-airflow-providers-cncf-kubernetes"} <= set(pins)
    assert "workloads/pipelines/airflow-requirements.txt" in (ROOT / "Makefile").read_text(encoding="utf-8")


# ---- Kubeflow Pipelines

COMPILE = """
import sys
from pathlib import Path
from tests.workloads.pipelines.test_runners import CLUSTER
from workloads.pipelines.runners import kubeflow

kubeflow.compile(Path(sys.argv[1]), CLUSTER)
"""


def test_kubeflow_starts_every_task_in_a_container_and_the_gated_ones_on_a_condition(tmp_path):
    # In a process of its own: kfp registers protocols that clients of servers have registered under other names.
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(tmp_path / "retrain.yaml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    spec, platform = yaml.safe_load_all((tmp_path / "retrain.yaml").read_text())
    commands = {}
    for name, executor in spec["deploymentSpec"]["executors"].items():
        container = executor["container"]
        assert container["image"] == "registry/workloads:1"
        commands[name.removeprefix("exec-")] = [*container["command"], *container["args"]]
    for task in CLUSTER.tasks(RETRAIN):
        words = commands[task.name]
        understood(words)
        expected = [word.replace("{run}", "{{$.pipeline_job_uuid}}") for word in task.command]
        assert words[: len(expected)] == expected
    root = spec["root"]["dag"]["tasks"]
    assert root["condition-1"]["triggerPolicy"] == {
        "condition": "inputs.parameter_values['pipelinechannel--gate-answer'] == 'true'"
    }
    (behind,) = [part["dag"]["tasks"] for name, part in spec["components"].items() if "dag" in part]
    assert set(behind) == {"quantize", "export", "sign", "register"}
    assert behind["sign"]["dependentTasks"] == ["export"]
    assert set(root) - {"condition-1"} == {task.name for task in CLUSTER.tasks(RETRAIN) if not task.gated}
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert {name for name, pod in pods.items() if "secretAsVolume" in pod} == {"exec-sign"}
    assert pods["exec-train"]["nodeSelector"] == {"labels": {"aicloud.dev/accelerator": "l4"}}


# ---- SageMaker


@pytest.mark.slow
def test_sagemaker_takes_the_definition_and_starts_it(monkeypatch):
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    try:
        settings = Settings(CLUSTER.place, CLUSTER.parameters, image="i:1", role=ROLE, signing_key="s3://bucket/key")
        text = sagemaker.definition(settings)
        client = boto3.client("sagemaker")
        client.create_pipeline(
            PipelineName="retrain", PipelineDefinition=text, RoleArn=ROLE, ClientRequestToken="t" * 32
        )
        started = client.start_pipeline_execution(
            PipelineName="retrain",
            ClientRequestToken="s" * 32,
            PipelineParameters=[{"Name": "Overrides", "Value": '{"corpus": "s3://bucket/new"}'}],
        )
        found = client.describe_pipeline_execution(PipelineExecutionArn=started["PipelineExecutionArn"])
        kept = client.describe_pipeline(PipelineName="retrain")["PipelineDefinition"]
    finally:
        server.stop()
    assert found["PipelineExecutionStatus"] in ("Executing", "Succeeded")
    document = json.loads(kept)
    assert document == json.loads(text)
    condition = document["Steps"][-1]
    steps = {step["Name"]: step for step in document["Steps"][:-1] + condition["Arguments"]["IfSteps"]}
    assert condition["Type"] == "Condition"
    assert condition["DependsOn"] == [GATE]
    assert condition["Arguments"]["ElseSteps"] == []
    for task in settings.tasks(RETRAIN):
        made = steps[task.name]["Arguments"]
        words = made["AppSpecification"]["ContainerEntrypoint"] + made["AppSpecification"]["ContainerArguments"]
        understood([word if isinstance(word, str) else "s3://bucket/runs/x" for word in words])
        assert [task.command[i] for i in range(5)] == words[:5] or task.name in (BEGIN, GATE)
        assert set(steps[task.name].get("DependsOn", [])) == set(task.after) - ({GATE} if task.gated else set())
    assert steps["train"]["Arguments"]["ProcessingResources"]["ClusterConfig"]["InstanceType"] == "ml.g6.4xlarge"
    assert [name for name, step in steps.items() if "ProcessingInputs" in step["Arguments"]] == ["sign"]
    assert steps[GATE]["PropertyFiles"][0]["FilePath"] == "answer.json"


def test_sagemaker_is_not_asked_for_what_it_does_not_have(monkeypatch):
    from workloads.pipelines.definition import Resources

    assert sagemaker.instance(Resources(4, 32)) == "ml.m5.2xlarge"
    for resources in (Resources(1, 1, "h300", 1), Resources(200, 1)):
        with pytest.raises(ArgumentError, match="no instance of SageMaker is known"):
            sagemaker.instance(resources)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for change, said in (
        ({"place": "gs://bucket/{run}"}, "expected s3://bucket/prefix/{run}"),
        ({"signing_key": "secret"}, "expected an s3:// prefix that has key.pem"),
        ({"image": ""}, "starts containers"),
    ):
        values = {**vars(CLUSTER), "signing_key": "", **change}
        with pytest.raises(ArgumentError, match=said):
            sagemaker.definition(Settings(**values))


# ---- all of them, for real


def settings_of(place, root: Path) -> Settings:
    return Settings(
        f"{root}/{{run}}", small.parameters(place.corpus, root), directory=str(ROOT), signing_key=str(place.key)
    )


def made_by(root: Path, name: str) -> dict[str, str]:
    run = Run.open(str(root / name))
    found = status(run)
    assert found.outcome == REGISTERED, found.lines()
    return found.digests(run)


RUN_LOCALLY = """
import pickle
import sys
from pathlib import Path
from workloads.pipelines.runners import kubeflow

kubeflow.run_locally(pickle.loads(Path(sys.argv[1]).read_bytes()), "one", Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_kubeflows_local_runner_gives_the_artifacts_of_ours(place, tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    local.run(str(ours / "one"), small.parameters(place.corpus, ours))
    (tmp_path / "settings").write_bytes(pickle.dumps(settings_of(place, theirs)))
    # In a process of its own, as above.
    done = subprocess.run(
        [sys.executable, "-c", RUN_LOCALLY, str(tmp_path / "settings"), str(tmp_path / "kfp")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = made_by(theirs, "one")
    assert found == made_by(ours, "one")
    assert len(found) == 12


@pytest.mark.slow
@NEEDS_AIRFLOW
def test_airflow_gives_the_artifacts_of_our_runner_and_skips_what_the_gate_does_not_let_pass(place, tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    expected = local.run(str(ours / "one"), small.parameters(place.corpus, ours))
    assert expected.outcome == REGISTERED
    airflow.compile(tmp_path / "dags" / "retrain.py", settings_of(place, theirs))
    said = dags_test(tmp_path)
    (name,) = [path.name for path in theirs.iterdir() if (path / "pipeline.json").exists()]
    assert ":" not in name
    assert made_by(theirs, name) == made_by(ours, "one")
    order = [line.split("task_id=")[1].split()[0] for line in said.splitlines() if "end task task_id=" in line]
    assert order == [task.name for task in RETRAIN.tasks("x")]

    # Held against what it has just made, and trained too fast.
    worse = {"champion": Run.open(str(theirs / name)).place("model"), "training": {"optimizer.learning_rate": "1.0"}}
    dags_test(tmp_path, "--conf", json.dumps(worse))
    (other,) = [p.name for p in theirs.iterdir() if (p / "pipeline.json").exists() and p.name != name]
    assert status(Run.open(str(theirs / other))).outcome == "rejected"


def dags_test(directory: Path, *more: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {
        "AIRFLOW_HOME": str(directory / "home"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__DAGS_FOLDER": str(directory / "dags"),
        "PATH": f"{AIRFLOW}:{os.environ['PATH']}",
    }
    if not (directory / "home" / "airflow.db").exists():
        subprocess.run([AIRFLOW / "airflow", "db", "migrate"], env=environment, check=True, capture_output=True)
    dag = directory / "dags" / "retrain.py"
    done = subprocess.run(
        [AIRFLOW / "airflow", "dags", "test", "retrain", "--dagfile-path", dag, *more],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


@pytest.mark.slow
def test_every_step_survives_a_kill_in_its_midst(place, tmp_path, capfd):
    """kill -9 while a step writes what it makes; the same command goes on, and all comes out as if nothing had been."""
    ours, killed = tmp_path / "ours", tmp_path / "killed"
    local.run(str(ours / "one"), small.parameters(place.corpus, ours), execute=local.in_process)
    parameters = small.parameters(place.corpus, killed)
    assert main(["begin", "--run", str(killed / "one"), *parameters.words()]) == 0
    environment = {**os.environ, "PYTHONPATH": str(ROOT), KEY: str(place.key)}
    for step in RETRAIN.steps:
        needle = "metrics.jsonl" if step.name == "train" else "/outputs/"
        command = [sys.executable, "-c", KILLER, needle, "step", step.name, "--run", str(killed / "one")]
        died = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert died.returncode == -9, (step.name, died.stderr)
        assert Run.open(str(killed / "one")).done(step) is None
        assert main(command[4:]) == 0, step.name
        if step.name == "train":
            assert "continues after step" in "".join(capfd.readouterr())
    assert made_by(killed, "one") == made_by(ours, "one")


KILLER = """
import os, signal, sys, threading, time
needle = sys.argv.pop(1)

def hook(event, arguments):
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
    if writes and needle in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGKILL)

def watch(run):
    # Training is a process of its own: this one dies once that has saved, and that one with it.
    import pathlib
    while True:
        for path in pathlib.Path(run, "work").glob("train-*/work/run/metrics.jsonl"):
            if len(path.read_text().splitlines()) > 12:
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)

if needle == "metrics.jsonl":
    threading.Thread(target=watch, args=[sys.argv[-1]], daemon=True).start()
else:
    sys.addaudithook(hook)
from workloads.pipelines.cli import main
sys.exit(main(sys.argv[1:]))
"""
