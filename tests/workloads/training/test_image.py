"""The training image holds what its code imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib

from tests import images
from tests.support import ROOT

WHERE_ASKED_FOR = {"horovod", "mlflow", "opentelemetry"}
"""Imported only if the configuration asks for them, with an error that names the package."""
VARIANTS = {"optuna": "sweep", "ray": "ray"}
"""Package -> the extra that its variant of the image is built with; no other run imports it."""
COMES_WITH = {"regex": "tiktoken"}


def imports() -> set[str]:
    """The packages that the workload's modules import, wherever in them."""
    found = set()
    for path in [
        ROOT / "workloads/object_store.py",
        *(p for r in ("data", "training") for p in (ROOT / "workloads" / r).rglob("*.py")),
    ]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"workloads"}


def test_every_import_is_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = {re.split(r"[=<>\[]", line)[0].replace("-", "_") for line in project["optional-dependencies"]["training"]}
    # The image adds rich by name.
    installed = extra | {"rich"}
    assert "rich" in (ROOT / "workloads/training/Dockerfile").read_text(encoding="utf-8")
    assert {COMES_WITH.get(name, name) for name in imports() - WHERE_ASKED_FOR - set(VARIANTS)} <= installed


def test_what_a_variant_imports_comes_with_its_extra_and_with_no_other_run():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for package, extra in VARIANTS.items():
        assert package in {re.split(r"[=<>\[]", line)[0] for line in extras[extra]}
        assert f"{extra}) module=" in (ROOT / "workloads/training/Dockerfile").read_text(encoding="utf-8")
    script = (
        "import sys, workloads.training.run, workloads.training.sweep, workloads.training.ray_train, "
        "workloads.training.ray_stop;"
        f"sys.exit(str(set(sys.modules) & {set(VARIANTS)}) if set(sys.modules) & {set(VARIANTS)} else 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_the_image_has_the_extras_that_its_build_asks_for():
    """The words of the Dockerfile, run here: one line for each requirement."""
    text = (ROOT / "workloads/training/Dockerfile").read_text(encoding="utf-8")
    (program,) = re.findall(r"python -c '(import sys, tomllib[^']*)'", text)
    program = program.replace("/tmp/pyproject.toml", str(ROOT / "pyproject.toml"))

    def asked(*extras: str) -> set[str]:
        words = [sys.executable, "-c", program, *extras]
        return set(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split())

    assert re.search(r'^ARG EXTRAS="sweep telemetry"$', text, re.MULTILINE)
    plain = asked("training")
    assert any(line.startswith("torch==") for line in plain)
    assert asked("training", "sweep", "ray") - plain == {"optuna==5.0.0", "ray[default,train]==2.60.0"}


def test_what_is_copied_is_there_and_is_all_that_is_imported(tmp_path):
    text = (ROOT / "workloads/training/Dockerfile").read_text(encoding="utf-8")
    copied = [word for line in re.findall(r"^COPY (?!--)(.*)$", text, re.MULTILINE) for word in line.split()[:-1]]
    assert all((ROOT / word).exists() for word in copied)
    assert {"workloads/data", "workloads/training", "workloads/object_store.py", "workloads/__init__.py"} <= set(copied)
    code = "import workloads.training.run as m, workloads.training.sweep; print(m.__file__)"
    assert images.run(images.laid_out(text, tmp_path), code).strip() == str(tmp_path / "workloads/training/run.py")
    assert re.search(r"^USER \d+", text, re.MULTILINE), "runs as root"
