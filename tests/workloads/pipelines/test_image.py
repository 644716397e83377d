"""The image of the pipeline holds what its tasks import."""

from __future__ import annotations

import re

from tests import images
from tests.support import ROOT
from workloads.pipelines.definition import RETRAIN

DOCKERFILE = (ROOT / "workloads/pipelines/Dockerfile").read_text(encoding="utf-8")


def test_every_step_finds_all_of_workloads_that_it_imports(tmp_path):
    modules = ", ".join(step.module for step in RETRAIN.steps)
    program = f"import sys, workloads.pipelines.cli as cli, {modules}\nprint(cli.__file__)\nprint(*sys.modules)"
    place, imported = images.run(images.laid_out(DOCKERFILE, tmp_path), program).splitlines()
    assert place.startswith(str(tmp_path))
    # Compilers of other runners are no part of a task; what it would cost to import them, every task would pay.
    assert not {name.partition(".")[0] for name in imported.split()} & {"kfp", "sagemaker", "airflow", "pulumi", "ray"}


def test_the_build_tries_every_step_and_the_image_is_pinned_and_not_of_root():
    (tried,) = re.findall(r"for step in ([^;]*);", DOCKERFILE)
    assert tried.split() == [step.name.replace("-", "_") for step in RETRAIN.steps]
    assert all(re.search(r":\d+\.\d+\.\d+-", image) for image in re.findall(r"^FROM (\S+)", DOCKERFILE, re.M))
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.M) == ["1000:1000"]
