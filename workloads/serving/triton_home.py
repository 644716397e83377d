"""Where Triton is on this machine; and where it is nowhere, one from a wheel, whose checksum is known, in a cache.

Looked for in this order: `$TRITON_HOME`, `/opt/tritonserver` (NVIDIA's images), the cache, PyPI. The wheel
nvidia-pytriton carries the server itself with its Python backend and response cache, and runs without a GPU. That
backend knows NumPy 1 alone: of NumPy 2 it takes every array that a model answers for empty. So models that it runs get
NumPy 1, in a Python environment of the cache that otherwise has the packages of this one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workloads.serving.errors import ServingError, VerificationFailed, on_disk

IMAGES_HOME = Path("/opt/tritonserver")

WHEEL = "nvidia-pytriton==0.7.0"
NUMPY = "numpy==1.26.4"
SHA256 = {
    "nvidia_pytriton-0.7.0-py3-none-manylinux_2_35_x86_64.whl": (
        "21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df"
    ),
    "numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl": (
        "666dbfb6ec68962c033a450943ded891bed2d54e6755e35e5835d63f4f6931d5"
    ),
    "numpy-1.26.4-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl": (
        "675d61ffbfa78604709862923189bad94014bef562cc35cf61d3a07bba02a7ed"
    ),
}
"""On PyPI, read 2026-11: Triton 2.51.0, 55 MB, and NumPy, 18 MB."""

PACKAGES = "AICLOUD_MODEL_PACKAGES"
"""Variable with the directories of packages for Python models, which the environment of the cache reads."""

_INNER = "pytriton/tritonserver"
_TAKEN = (f"{_INNER}/bin/", f"{_INNER}/backends/", f"{_INNER}/caches/", "nvidia_pytriton.libs/")
_LICENSES = ".dist-info/licenses/"
_PYTHON = "python"
_PTH = (
    # One line, and no comprehension: site executes it in a function, whose names a comprehension would not see.
    f"import os, site; list(map(site.addsitedir, filter(None, os.environ.get({PACKAGES!r}, '').split(os.pathsep))))\n"
)


class NoTriton(ServingError):
    """There is no server here, and none can be had; the message says what was tried."""

    exit_code = 7


@dataclass(frozen=True)
class Home:
    """An installed Triton, in the layout of NVIDIA's images."""

    directory: Path
    python: Path | None = None
    """Prefix of the Python environment for its models; None: the one that this runs in."""

    @property
    def server(self) -> Path:
        return self.directory / "bin" / "tritonserver"

    @property
    def backends(self) -> Path:
        return self.directory / "backends"

    @property
    def caches(self) -> Path:
        return self.directory / "caches"


def find_or_fetch(environment: Mapping[str, str]) -> Home:
    """An installed Triton; fetched into the cache where there is none yet, with a line that says so.

    Raises NoTriton, VerificationFailed or DiskFailed.
    """
    if named := environment.get("TRITON_HOME"):
        return _checked(Home(Path(named)), "TRITON_HOME")
    if (IMAGES_HOME / "bin" / "tritonserver").exists():
        return _checked(Home(IMAGES_HOME), "the image")
    directory = cache_directory(environment)
    home = Home(directory / _INNER, directory / _PYTHON)
    if home.server.exists():
        return home
    with on_disk(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        with (directory.parent / f".{directory.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Somebody else may have fetched it while we waited.
            if not home.server.exists():
                _install(directory)
    return home


def cache_directory(environment: Mapping[str, str]) -> Path:
    """A directory for this wheel and this Python: the backend starts Python by a program that is built for one."""
    root = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".cache")
    return (
        Path(root) / "ai-cloud" / "-".join((WHEEL.replace("==", "-"), NUMPY.replace("==", "-"), f"python{_python()}"))
    )


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _checked(home: Home, place: str) -> Home:
    for path in (home.server, home.backends / "python"):
        if not path.exists():
            raise NoTriton(f"{place}: {home.directory}: there is no {path}; expected an installed Triton")
    return home


def _install(directory: Path) -> None:
    """Download, verify, unpack, rename into place: another process sees all of it or nothing."""
    machine = f"{platform.system()} {platform.machine()}"
    if machine != "Linux x86_64" or sys.version_info >= (3, 13):
        raise NoTriton(
            f"{WHEEL} is for Linux on x86_64 with Python 3.11 or 3.12, this is {machine} with {_python()}: "
            "install Triton and set TRITON_HOME"
        )
    started = time.monotonic()
    print(f"no Triton on this machine: fetching {WHEEL} and {NUMPY} (73 MB, once)", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".fetching-") as temporary:
        unpacked = Path(temporary) / "unpacked"
        unpack_server(_download(WHEEL, Path(temporary)), unpacked)
        make_python(_download(NUMPY, Path(temporary)), unpacked / _PYTHON)
        shutil.rmtree(directory, ignore_errors=True)
        unpacked.rename(directory)
    print(f"Triton is in {directory}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _download(requirement: str, directory: Path) -> Path:
    """A wheel, by pip, which knows this machine's index, proxy and certificates; verified."""
    place = directory / requirement.partition("==")[0]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(place), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(place.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"pip ended with {done.returncode}"
        raise NoTriton(f"{requirement} cannot be fetched: {reason}; or install Triton and set TRITON_HOME")
    verify(wheels[0])
    return wheels[0]


def verify(wheel: Path) -> None:
    """Raises VerificationFailed unless it is one of the very wheels that are expected."""
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if wheel.name not in SHA256:
        raise VerificationFailed(f"{wheel.name}: expected one of {', '.join(SHA256)}")
    if found != SHA256[wheel.name]:
        raise VerificationFailed(f"{wheel.name}: its sha256 is {found}, expected {SHA256[wheel.name]}")


def unpack_server(wheel: Path, directory: Path) -> None:
    """Take the server out of its wheel, with the program that starts models under this Python."""
    stub = f"{_INNER}/python_backend_stubs/{_python()}/triton_python_backend_stub"
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(_TAKEN) or _LICENSES in name:
                archive.extract(name, directory)
        inner = directory / _INNER
        (inner / "backends" / "python" / "triton_python_backend_stub").write_bytes(archive.read(stub))
    # zipfile drops the modes.
    for program in (inner / "bin" / "tritonserver", inner / "backends" / "python" / "triton_python_backend_stub"):
        program.chmod(0o755)


def make_python(numpy: Path, prefix: Path) -> None:
    """A virtual environment with this NumPy, and behind it what is in the directories that `PACKAGES` names."""
    venv.create(prefix, symlinks=True)
    packages = prefix / "lib" / f"python{_python()}" / "site-packages"
    with zipfile.ZipFile(numpy) as archive:
        archive.extractall(packages)
    (packages / "behind.pth").write_text(_PTH, encoding="utf-8")


def python_environment(home: Home, environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` for a server whose Python models are to find the packages of this interpreter.

    The backend's program embeds a Python that looks for its prefix beside the first `python3` on PATH, and for
    libpython where the linker looks. It ignores PYTHONPATH.
    """
    # Not resolved: a virtual environment's python is a link, and its packages are beside the link.
    program = home.python / "bin" if home.python else Path(sys.executable).parent
    libraries = [str(sysconfig.get_config_var("LIBDIR") or ""), environment.get("LD_LIBRARY_PATH", "")]
    packages = dict.fromkeys([*environment.get("PYTHONPATH", "").split(os.pathsep), *map(sysconfig.get_path, _PATHS)])
    return {
        **environment,
        "PATH": os.pathsep.join((str(program), environment.get("PATH", os.defpath))),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
        **({"VIRTUAL_ENV": str(program.parent)} if home.python or sys.prefix != sys.base_prefix else {}),
        PACKAGES: os.pathsep.join(filter(None, packages)),
    }


_PATHS = ("purelib", "platlib")
