"""The DAG of a pipeline, made of the file beside this one: a DAG file of Airflow 3, which needs Airflow and no more.

`python -m workloads.pipelines compile --target airflow --output DIR/retrain.py` puts a copy of this file there, and
retrain.json, which says what the tasks are. Every task starts the command that all runners start: in a pod of its own,
or in a shell of this machine. The gate ends with 99 where the candidate was rejected: what follows is skipped then.
"""

from __future__ import annotations

import json
import shlex
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

RUN = '{{ run_id | replace(":", "") | replace("+", "") }}'
"""As part of a path or key. No single quotes: a shell's are around it."""
OVERRIDES = "{{ (dag_run.conf or {}) | tojson }}"
"""What whoever triggers the DAG wants otherwise: parameters by name, as `begin --overrides` takes them."""
REJECTED = 99


def build(plan: dict[str, Any]) -> DAG:
    dag = DAG(
        plan["name"],
        schedule=plan["schedule"] or None,
        catchup=False,
        # Two at once would take the same number for the version that they make.
        max_active_runs=1,
        default_args={"owner": "ai-cloud", "retry_delay": timedelta(seconds=plan["retry_delay_s"])},
        doc_md=__doc__,
        tags=["ai-cloud"],
    )
    make = {"bash": _shell, "kubernetes": _pod}[plan["operator"]]
    made = {}
    for task in plan["tasks"]:
        command = [word.replace("{run}", RUN) for word in task["command"]]
        made[task["name"]] = make(
            plan,
            task,
            command,
            dag=dag,
            task_id=task["name"],
            retries=task["retries"],
            execution_timeout=timedelta(seconds=task["timeout_s"]),
            skip_on_exit_code=REJECTED,
        )
        for before in task["after"]:
            made[before] >> made[task["name"]]
    return dag


def _shell(plan: dict[str, Any], task: dict[str, Any], command: list[str], **options: Any) -> Any:
    from airflow.providers.standard.operators.bash import BashOperator

    # Quoted before it is rendered; what a trigger brings comes as a variable, and is no part of the command.
    text = shlex.join(command) + (' --overrides "$PIPELINE_OVERRIDES"' if task["overrides"] else "")
    environment = {**plan["environment"], **({"PIPELINE_OVERRIDES": OVERRIDES} if task["overrides"] else {})}
    return BashOperator(
        bash_command=f"exec {text}", env=environment, append_env=True, cwd=plan["directory"] or None, **options
    )


def _pod(plan: dict[str, Any], task: dict[str, Any], command: list[str], **options: Any) -> Any:
    from airflow.providers.cncf.kubernetes.operators.pod import (
        KubernetesPodOperator,
    )
    from kubernetes.client import models as k8s

    resources = task["resources"]
    wanted = {"cpu": str(resources["cpu"]), "memory": f"{resources['memory_gib']:g}Gi"}
    limits = {"memory": wanted["memory"]}
    if resources["accelerators"]:
        wanted["nvidia.com/gpu"] = limits["nvidia.com/gpu"] = str(resources["accelerators"])
        options["node_selector"] = {plan["accelerator_label"]: resources["accelerator"]}
        options["tolerations"] = [k8s.V1Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")]
    volumes = [k8s.V1Volume(name="scratch", empty_dir=k8s.V1EmptyDirVolumeSource())]
    mounts = [k8s.V1VolumeMount(name="scratch", mount_path="/tmp")]
    environment = dict(plan["environment"])
    if task["secret"]:
        secret = k8s.V1SecretVolumeSource(secret_name=plan["signing_secret"], default_mode=0o440)
        volumes.append(k8s.V1Volume(name="signing", secret=secret))
        mounts.append(k8s.V1VolumeMount(name="signing", mount_path=plan["signing_mount"], read_only=True))
    return KubernetesPodOperator(
        name=f"{plan['name']}-{task['name']}",
        namespace=plan["namespace"],
        image=plan["image"],
        cmds=command[:1],
        arguments=command[1:] + (["--overrides", OVERRIDES] if task["overrides"] else []),
        env_vars=environment,
        service_account_name=plan["service_account"],
        container_resources=k8s.V1ResourceRequirements(requests=wanted, limits=limits),
        volumes=volumes,
        volume_mounts=mounts,
        security_context=k8s.V1PodSecurityContext(
            run_as_non_root=True,
            run_as_user=1000,
            run_as_group=1000,
            fs_group=1000,
            seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
        ),
        container_security_context=k8s.V1SecurityContext(
            allow_privilege_escalation=False,
            capabilities=k8s.V1Capabilities(drop=["ALL"]),
            read_only_root_filesystem=True,
        ),
        labels={"app.kubernetes.io/name": plan["name"], "app.kubernetes.io/component": task["name"]},
        on_finish_action="delete_succeeded_pod",
        startup_timeout_seconds=3600,
        **options,
    )


_PLAN = Path(__file__).with_suffix(".json")
if _PLAN.is_file():
    # Not where it is only read, as this module of the package is.
    dag = build(json.loads(_PLAN.read_text(encoding="utf-8")))
