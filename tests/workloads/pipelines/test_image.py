"""The image of the pipeline holds what its tasks import."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

from tests.support import ROOT
from workloads.pipelines.definition import RETRAIN

DOCKERFILE = (ROOT / "workloads/pipelines/Dockerfile").read_text(encoding="utf-8")


def test_every_step_finds_all_of_workloads_that_it_imports(tmp_path):
    for names, target in re.findall(r"^COPY (workloads\S*(?: workloads\S*)*) \S*(workloads\S*)$", DOCKERFILE, re.M):
        for name in names.split():
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (tmp_path / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, tmp_path / target)
    modules = ", ".join(step.module for step in RETRAIN.steps)
    program = f"import sys, workloads.pipelines.cli as cli, {modules}\nprint(cli.__file__)\nprint(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    place, imported = found.stdout.splitlines()
    assert place.startswith(str(tmp_path))
    # Compilers of other runners are no part of a task; what it would cost to import them, every task would pay.
    assert not {name.partition(".")[0] for name in imported.split()} & {"kfp", "sagemaker", "airflow", "pulumi", "ray"}


def test_the_build_tries_every_step_and_the_image_is_pinned_and_not_of_root():
    (tried,) = re.findall(r"for step in ([^;]*);", DOCKERFILE)
    assert tried.split() == [step.name.replace("-", "_") for step in RETRAIN.steps]
    assert all(re.search(r":\d+\.\d+\.\d+-", image) for image in re.findall(r"^FROM (\S+)", DOCKERFILE, re.M))
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.M) == ["1000:1000"]
