"""What an image has of `workloads`, laid out without a container engine: as its Dockerfile copies it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT


def laid_out(dockerfile: str, root: Path) -> Path:
    """Copy what the text of a Dockerfile copies of the project's `workloads` into `root`, and return that."""
    lines = re.findall(r"^COPY (workloads\S*(?: workloads\S*)*) \S*?(workloads\S*)$", dockerfile, re.M)
    assert lines, "nothing is copied"
    for names, target in lines:
        for name in names.split():
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, root / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (root / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, root / target)
    return root


def run(root: Path, code: str) -> str:
    """What a program prints that finds our code there alone."""
    found = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=root,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout
