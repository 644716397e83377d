"""The serving image copies all of `workloads` that its models import, and installs what they stand on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.images import laid_out, run
from tests.support import ROOT
from workloads.serving import scorer

DOCKERFILE = (ROOT / "workloads/serving/Dockerfile").read_text()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the image has in /opt/ai-cloud/workloads."""
    return laid_out(DOCKERFILE, tmp_path_factory.mktemp("image"))


def test_a_language_model_finds_all_that_it_imports(image: Path) -> None:
    # Triton brings this one.
    (image / "triton_python_backend_utils.py").touch()
    code = "import sys, workloads.serving.models.language_model as m; print(m.__file__); print(*sys.modules)"
    place, modules = run(image, code).splitlines()
    assert place == str(image / "workloads/serving/models/language_model.py")
    from_here = {name.partition(".")[0] for name in modules.split()}
    installed = set(re.findall(r"(\w+)==", DOCKERFILE))
    assert {"obstore", "torch", "safetensors", "tiktoken"} <= installed
    # Nothing of what only an export, a client or a deployment needs.
    assert not from_here & {"pulumi", "tritonclient", "boto3", "xxhash", "ray"}


def test_the_image_runs_what_is_exported(image: Path, exported: Path, trained: Path, tmp_path: Path) -> None:
    """Loading a model imports more than importing its module does."""
    repository = tmp_path / "repository"
    for runtime in ("eager", "torch-export"):
        scorer.export(trained, str(repository), runtime, runtime=runtime)
    code = f"""
from pathlib import Path
from workloads.serving.engine import Engine
from workloads.serving.models import text
from workloads.serving.models.scoring import Scorer

Engine(Path({str(exported / "lm/1/1/model.safetensors")!r}), slots=1, context=8)
for runtime in ("eager", "torch-export"):
    directory = Path({str(repository)!r}) / runtime / "1" / "1"
    made = Scorer(directory, *text.read(directory))
    (scored,) = made.score([made.tokens(b"x = 1")], [5])
    print(scored.bits_per_byte > 0)
"""
    assert run(image, code).split() == ["True", "True"]


def test_the_protocols_find_all_that_they_import(image: Path) -> None:
    code = "import sys, workloads.serving.protocols.{0} as m; print(m.__file__); print(*sys.modules)"
    for name in ("tensorflow", "kserve"):
        *_, place, modules = run(image, code.format(name)).splitlines()
        assert place == str(image / f"workloads/serving/protocols/{name}.py")
        from_here = {module.partition(".")[0] for module in modules.split()}
        assert ("kserve" in from_here) == (name == "kserve")
        assert not from_here & {"pulumi", "torch", "boto3"}
        # Each of what kserve asks for by itself is none of ours; what we import ourselves is named.
        (named,) = re.findall(r'PROTOCOLS="(kserve[^"]*)"', DOCKERFILE)
        assert {"aiohttp", "uvicorn", "numpy", "tritonclient"} <= set(re.findall(r"([\w-]+)(?:\[\w+\])?==", named))


def test_a_pinned_version_is_the_project_s() -> None:
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    for pin in re.findall(r"\b[\w-]+==[\w.]+", DOCKERFILE):
        assert pin in constraints


def test_the_image_is_nobody_s() -> None:
    assert re.search(r"^USER 1000:1000$", DOCKERFILE, re.M)
    assert re.search(r"^FROM \S+:\d\d\.\d\d-py3$", DOCKERFILE, re.M)


def test_sagemaker_starts_our_server_and_not_triton_s_own_script() -> None:
    script = ROOT / "workloads/serving/sagemaker-serve.sh"
    assert f"COPY {script.relative_to(ROOT)} /usr/bin/serve\n" in DOCKERFILE
    # COPY keeps the mode, and SageMaker executes it.
    assert script.stat().st_mode & 0o111 == 0o111
