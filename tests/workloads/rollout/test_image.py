"""The rollout image copies all of `workloads` that its commands import, and installs what they stand on."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tests import images
from tests.support import ROOT

DOCKERFILE = (ROOT / "workloads/rollout/Dockerfile").read_text()


def test_the_commands_find_all_that_they_import(tmp_path: Path) -> None:
    code = "import sys, workloads.rollout.cli as m; print(m.__file__); print(*sys.modules)"
    place, modules = images.run(images.laid_out(DOCKERFILE, tmp_path), code).splitlines()
    assert place == str(tmp_path / "workloads/rollout/cli.py")
    from_here = {module.partition(".")[0] for module in modules.split()}
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["rollout"]
    installed = {re.split("[=[]", each)[0].replace("-", "_") for each in extra}
    assert {"aiohttp", "numpy", "prometheus_client", "scipy", "yaml"} <= from_here
    assert installed == {"aiohttp", "numpy", "prometheus_client", "PyYAML", "scipy"}
    assert not from_here & {"torch", "pulumi", "tritonclient", "boto3", "pandas", "pyiceberg", "kubernetes"}


def test_the_image_is_nobody_s() -> None:
    assert re.search(r"^USER 1000:1000$", DOCKERFILE, re.M)
