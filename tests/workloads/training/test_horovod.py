"""Horovod: the curve of one process, also after a kill. Runs where `make horovod` has built it, in out/horovod."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.workloads.training.small import command, finish, make_data, metrics, until
from workloads.training.checkpoints import layout
from workloads.training.config import Parallel
from workloads.training.errors import ConfigError
from workloads.training.parallel import join

BIN = Path(os.environ.get("HOROVOD_ENVIRONMENT", ROOT / "out" / "horovod")) / "bin"


def horovodrun(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [BIN / "horovodrun", "-np", "2", "--gloo", BIN / "python", "-m", "workloads.training", *arguments],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ranks(output: Path) -> list[int]:
    """The processes that train into `output`, and not the shells around them, nor their checkpoint savers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:3] == [str(BIN / "python").encode(), b"-m", b"workloads.training"] and str(output).encode() in words:
            found.append(int(path.parent.name))
    return sorted(found)


def committed(output: Path) -> list[Path]:
    return layout.steps(output / "checkpoints")


@pytest.mark.slow
@pytest.mark.skipif(not (BIN / "horovodrun").exists(), reason="Horovod is not built: `make horovod` does, in minutes")
def test_two_processes_give_the_curve_of_one_also_after_a_kill(tmp_path):
    data = make_data(tmp_path / "data")
    # Pieces of a batch too: gradients are averaged once, after the last.
    training = {"training": {"micro_batch_size": 3}}
    code, _, err = finish(command(data, tmp_path / "one", **training))
    assert code == 0, err

    output = tmp_path / "two"
    running = horovodrun(command(data, output, **training))
    # Once a checkpoint is there: on a busy machine it comes steps after it was begun.
    until(lambda: running.poll() is not None or (len(metrics(output)) > 10 and bool(committed(output))))
    both = ranks(output)
    assert len(both) == 2, running.communicate()[0] if running.poll() is not None else both
    os.kill(both[1], signal.SIGKILL)
    said, _ = running.communicate(timeout=120)
    assert running.returncode != 0
    until(lambda: not ranks(output), 60)
    saved = layout.read_marker(committed(output)[0])
    assert saved.step >= 8
    assert saved.world_size == 2

    running = horovodrun(command(data, output, **training))
    said, _ = running.communicate(timeout=300)
    assert running.returncode == 0, said
    assert "90.5 k parameters on 2 x cpu, horovod, float32" in said
    assert f"continues after step {saved.step}" in said
    curves = [metrics(tmp_path / name) for name in ("one", "two")]
    assert [line["loss"] for line in curves[1]] == pytest.approx([line["loss"] for line in curves[0]], abs=1e-6)
    assert [line["tokens"] for line in curves[1]] == [512 * step for step in range(1, 25)]
    assert curves[1][-1]["held_out_loss"] == pytest.approx(curves[0][-1]["held_out_loss"], abs=1e-5)


UNDER = {"HOROVOD_RANK": "0", "HOROVOD_SIZE": "2", "HOROVOD_LOCAL_RANK": "0"}


@pytest.mark.parametrize(
    ("strategy", "environment", "said"),
    [
        ("horovod", {}, "horovod: under horovodrun, and only there, expected horovod, or auto"),
        # Both would train alone, and write to one directory.
        ("ddp", UNDER, "ddp: under horovodrun, and only there, expected horovod, or auto"),
        ("auto", UNDER, r"needs the package horovod \(No module named 'horovod'\)"),
    ],
)
def test_who_started_it_decides(strategy, environment, said):
    if strategy == "auto":
        try:
            import horovod  # noqa: F401
        except ImportError:
            pass
        else:
            pytest.skip("Horovod is installed here")
    with pytest.raises(ConfigError, match=said), join(Parallel(device="cpu", strategy=strategy), environment):
        pass


def test_the_image_is_pinned_and_not_of_root():
    text = (ROOT / "workloads/training/Dockerfile.horovod").read_text(encoding="utf-8")
    plain = (ROOT / "workloads/training/Dockerfile").read_text(encoding="utf-8")
    copied = [word for line in re.findall(r"^COPY (?!--)(.*)$", text, re.MULTILINE) for word in line.split()[:-1]]
    assert all((ROOT / word).exists() for word in copied)
    # What the other image has of the workload, this one has too.
    assert set(re.findall(r"^COPY (workloads\S*)", plain, re.MULTILINE)) <= set(copied)
    assert all(re.search(r":\d+\.\d+\.\d+-", image) for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    users = re.findall(r"^USER (.+)$", text, re.MULTILINE)
    assert users == ["1000:1000"]


def test_what_horovod_is_built_with_is_what_everything_else_is_built_with():
    script = (ROOT / "workloads/training/build_horovod.sh").read_text(encoding="utf-8")
    known = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split())
    pinned = dict(re.findall(r"(\S+)==(\d\S+)", re.search(r"^pip install --quiet setuptools.*$", script, re.M)[0]))
    assert pinned["setuptools"]
    assert {name: known.get(name.lower(), version) for name, version in pinned.items()} == pinned
    assert re.search(r"^SHA256=[0-9a-f]{64}$", script, re.MULTILINE)
