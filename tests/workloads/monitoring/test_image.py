"""The monitoring image copies all of `workloads` that it imports, and nothing heavy comes along."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.support import ROOT

DOCKERFILE = (ROOT / "workloads/monitoring/Dockerfile").read_text()


def test_it_finds_all_that_it_imports(tmp_path: Path) -> None:
    copied = re.findall(r"^COPY (workloads\S*) /opt/ai-cloud/lib/python3.11/site-packages/(\S+)$", DOCKERFILE, re.M)
    assert len(copied) == 3
    for source, target in copied:
        place = tmp_path / target
        place = place / Path(source).name if target.endswith("/") else place
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(ROOT / source)
    (imported,) = re.findall(r'-c "(import workloads[^"]*)"', DOCKERFILE)
    code = f"import sys; {imported}; import workloads.monitoring.lakehouse as m; print(m.__file__); print(*sys.modules)"
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
    assert place.startswith(str(tmp_path))
    packages = {name.partition(".")[0] for name in modules.split()}
    assert {"numpy", "prometheus_client"} <= packages
    assert not packages & {"pulumi", "torch", "boto3", "mlflow", "aiohttp"}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    needed = " ".join(extras["monitoring"] + extras["telemetry"])
    assert all(name in needed for name in ("numpy", "pyiceberg", "scipy", "prometheus-client"))


def test_it_runs_as_nobody_in_particular() -> None:
    assert re.search(r"^USER 1000:1000$", DOCKERFILE, re.M)
