"""Where Triton comes from: named, found, or fetched and verified; whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from workloads.serving import triton_home
from workloads.serving.errors import VerificationFailed
from workloads.serving.triton_home import Home, NoTriton, find_or_fetch, python_environment

WHEEL = "nvidia_pytriton-0.7.0-py3-none-manylinux_2_35_x86_64.whl"


def test_a_triton_that_is_named_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(NoTriton, match=f"TRITON_HOME: {tmp_path}: there is no .*bin/tritonserver"):
        find_or_fetch({"TRITON_HOME": str(tmp_path)})
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tritonserver").touch()
    (tmp_path / "backends" / "python").mkdir(parents=True)
    assert find_or_fetch({"TRITON_HOME": str(tmp_path)}) == Home(tmp_path)


def test_what_is_in_the_cache_is_not_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    home = find_or_fetch(os.environ)
    monkeypatch.setattr(triton_home, "_install", lambda _: pytest.fail("it was fetched again"))
    assert find_or_fetch(os.environ) == home


@pytest.mark.parametrize(("name", "says"), [(WHEEL, "its sha256 is"), ("other.whl", "expected one of nvidia_pytriton")])
def test_another_wheel_than_the_expected_one_is_refused(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(VerificationFailed, match=says):
        triton_home.verify(tmp_path / name)


def test_a_server_that_cannot_be_fetched_says_so_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
        "PIP_RETRIES": "0",
        "PIP_CONFIG_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NoTriton, match=r"nvidia-pytriton==0.7.0 cannot be fetched: .*set TRITON_HOME"):
        find_or_fetch({"XDG_CACHE_HOME": str(tmp_path)})
    assert [path.name for path in (tmp_path / "ai-cloud").iterdir() if path.is_dir()] == []


def test_what_is_fetched_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An install that fails half way is no install, and the next one succeeds."""
    inner = "pytriton/tritonserver"
    stub = f"{inner}/python_backend_stubs/{sys.version_info.major}.{sys.version_info.minor}/triton_python_backend_stub"
    with zipfile.ZipFile(tmp_path / "server.whl", "w") as archive:
        for name in (
            f"{inner}/bin/tritonserver",
            f"{inner}/backends/python/libtriton_python.so",
            stub,
            "pytriton/x.py",
        ):
            archive.writestr(name, name)
    with zipfile.ZipFile(tmp_path / "numpy.whl", "w") as archive:
        archive.writestr("numpy/__init__.py", "__version__ = 'one'\n")
    wheels = {triton_home.WHEEL: tmp_path / "server.whl"}
    monkeypatch.setattr(triton_home, "_download", lambda requirement, _: wheels[requirement])
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    with pytest.raises(KeyError):
        find_or_fetch(environment)
    assert not triton_home.cache_directory(environment).exists()
    wheels[triton_home.NUMPY] = tmp_path / "numpy.whl"
    home = find_or_fetch(environment)
    assert os.access(home.server, os.X_OK)
    assert os.access(home.backends / "python" / "triton_python_backend_stub", os.X_OK)
    assert not (home.directory.parent / "x.py").exists()
    # Its Python has this NumPy, and behind it everything that this one has.
    assert home.python is not None
    code = "import numpy, pytest, workloads; print(numpy.__version__)"
    done = subprocess.run(
        [home.python / "bin" / "python3", "-I", "-c", code],
        env=python_environment(home, dict(os.environ)),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "one"


def test_models_find_what_pythonpath_says(tmp_path: Path) -> None:
    found = python_environment(Home(tmp_path, tmp_path / "python"), {"PYTHONPATH": "/opt/code", "PATH": "/usr/bin"})
    assert found["PATH"] == f"{tmp_path}/python/bin{os.pathsep}/usr/bin"
    assert found[triton_home.PACKAGES].split(os.pathsep)[0] == "/opt/code"
