"""The monitoring image copies all of `workloads` that it imports, and nothing heavy comes along."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tests import images
from tests.support import ROOT

DOCKERFILE = (ROOT / "workloads/monitoring/Dockerfile").read_text()


def test_it_finds_all_that_it_imports(tmp_path: Path) -> None:
    assert len(re.findall(r"^COPY workloads", DOCKERFILE, re.M)) == 3
    (imported,) = re.findall(r'-c "(import workloads[^"]*)"', DOCKERFILE)
    code = f"import sys; {imported}; import workloads.monitoring.lakehouse as m; print(m.__file__); print(*sys.modules)"
    place, modules = images.run(images.laid_out(DOCKERFILE, tmp_path), code).splitlines()
    assert place.startswith(str(tmp_path))
    packages = {name.partition(".")[0] for name in modules.split()}
    assert {"numpy", "prometheus_client"} <= packages
    assert not packages & {"pulumi", "torch", "boto3", "mlflow", "aiohttp"}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    needed = " ".join(extras["monitoring"] + extras["telemetry"])
    assert all(name in needed for name in ("numpy", "pyiceberg", "scipy", "prometheus-client"))


def test_it_runs_as_nobody_in_particular() -> None:
    assert re.search(r"^USER 1000:1000$", DOCKERFILE, re.M)
