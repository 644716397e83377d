"""The rollout image copies all of `workloads` that its commands import, and installs what they stand on."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.support import ROOT

DOCKERFILE = (ROOT / "workloads/rollout/Dockerfile").read_text()
PLACE = "/opt/ai-cloud/lib/python3.11/site-packages/"


def test_the_commands_find_all_that_they_import(tmp_path: Path) -> None:
    for names, target in re.findall(rf"^COPY ((?:workloads\S* )+){PLACE}(\S+)$", DOCKERFILE, re.M):
        for name in names.split():
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (tmp_path / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, tmp_path / target)
    code = "import sys, workloads.rollout.cli as m; print(m.__file__); print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    place, modules = found.stdout.splitlines()
    assert place == str(tmp_path / "workloads/rollout/cli.py")
    from_here = {module.partition(".")[0] for module in modules.split()}
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["rollout"]
    installed = {re.split("[=[]", each)[0].replace("-", "_") for each in extra}
    assert {"aiohttp", "numpy", "prometheus_client", "scipy", "yaml"} <= from_here
    assert installed == {"aiohttp", "numpy", "prometheus_client", "PyYAML", "scipy"}
    assert not from_here & {"torch", "pulumi", "tritonclient", "boto3", "pandas", "pyiceberg", "kubernetes"}


def test_the_image_is_nobody_s() -> None:
    assert re.search(r"^USER 1000:1000$", DOCKERFILE, re.M)
