"""A checkpoint is whole or it is none: what is saved comes back to the bit, and what is damaged is passed over."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy
import pytest
import torch

from tests.workloads.training.checkpointing import blank, forked, opened, same, saved, state, tensors
from workloads.training.checkpoint import Checkpointer, export
from workloads.training.checkpoints import layout
from workloads.training.checkpoints.exporting import main
from workloads.training.errors import CheckpointError, ConfigError, DiskError

ROOT = Path(__file__).parents[3]


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if not path.name.startswith(".")}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


# ---- there and back


def test_what_was_saved_comes_back_to_the_bit(directory: Path) -> None:
    with opened(directory) as checkpointer:
        assert checkpointer.newest() is None
        saved(checkpointer, 3, position={"seed": 7, "position": 10**9})

    with opened(directory) as checkpointer:
        newest = checkpointer.newest()
        assert newest is not None
        assert (newest.step, newest.world_size, newest.path) == (3, 1, directory / "step-00000003")
        found = blank()
        extra = checkpointer.load(newest, found)
    assert extra == {"step": 3, "position": {"seed": 7, "position": 10**9}}
    assert same(found, state(3))


def test_loading_is_in_place(directory: Path) -> None:
    with opened(directory) as checkpointer:
        saved(checkpointer, 1)
        newest = checkpointer.newest()
        found = blank()
        before = [tensor.data_ptr() for tensor in tensors(found)]
        assert newest is not None
        checkpointer.load(newest, found)
    assert [tensor.data_ptr() for tensor in tensors(found)] == before


def test_a_module_and_an_optimizer_can_be_given_as_they_are(directory: Path) -> None:
    def build() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        model = torch.nn.Linear(5, 3)
        optimizer = torch.optim.AdamW(model.parameters())
        model(torch.ones(2, 5)).sum().backward()
        optimizer.step()
        return model, optimizer

    model, optimizer = build()
    other, other_optimizer = build()
    with opened(directory) as checkpointer:
        checkpointer.save(1, {"model": model, "optimizer": optimizer}, {})
        newest = checkpointer.newest()
        assert newest is not None
        checkpointer.load(newest, {"model": other, "optimizer": other_optimizer})
    assert same(dict(model.state_dict()), dict(other.state_dict()))
    assert same(optimizer.state_dict(), other_optimizer.state_dict())


def test_once_staged_the_state_may_change(directory: Path) -> None:
    here = state(1)
    with opened(directory) as checkpointer:
        for step in (1, 2, 3):
            for target, source in zip(tensors(here), tensors(state(step)), strict=True):
                target.copy_(source)
            here["optimizer"]["param_groups"] = state(step)["optimizer"]["param_groups"]
            checkpointer.save(step, here, {})
            # What is small, or no tensor, has been copied already: buffers change in the forward pass.
            here["model"]["half"].fill_(-1)
            here["optimizer"]["param_groups"][0]["lr"] = -1.0
            checkpointer.staged()
            for tensor in tensors(here):
                tensor.fill_(-1)
        checkpointer.wait()
        for step in (1, 2, 3):
            found = blank()
            checkpointer.load(_at(checkpointer, step), found)
            assert same(found, state(step))


def _at(checkpointer: Checkpointer, step: int):
    """The checkpoint of a step, by taking the newer ones out of sight."""
    hidden = [path for path in layout.steps(checkpointer.directory) if (layout.step_of(path.name) or 0) > step]
    for path in hidden:
        path.rename(path.with_name(f"hidden-{path.name}"))
    newest = checkpointer.newest()
    for path in hidden:
        path.with_name(f"hidden-{path.name}").rename(path)
    assert newest is not None
    assert newest.step == step
    return newest


def test_random_draws_go_on_where_they_were(directory: Path) -> None:
    def draws() -> list[float]:
        return [random.random(), torch.rand(1).item(), float(numpy.random.rand()), random.gauss(), numpy.random.randn()]

    draws()
    with opened(directory) as checkpointer:
        saved(checkpointer, 1)
        expected = draws()
        torch.manual_seed(0)
        random.seed(0)
        numpy.random.seed(0)
        newest = checkpointer.newest()
        assert newest is not None
        checkpointer.load(newest, blank())
        assert draws() == expected


def test_a_state_that_grows_is_laid_out_anew(directory: Path) -> None:
    small, large = {"model": {"a": torch.arange(5)}}, {"model": {"a": torch.arange(70_000), "b": torch.ones(3)}}
    with opened(directory) as checkpointer:
        checkpointer.save(1, small, {})
        checkpointer.save(2, large, {})
        found = {"model": {"a": torch.zeros(70_000, dtype=torch.int64), "b": torch.zeros(3)}}
        checkpointer.load(_at(checkpointer, 2), found)
    assert same(found, large)


def test_the_files_are_what_torch_itself_reads(directory: Path) -> None:
    import torch.distributed.checkpoint as dcp

    with opened(directory) as checkpointer:
        saved(checkpointer, 4)
    found = blank()
    dcp.load(found, checkpoint_id=directory / "step-00000004", no_dist=True)
    assert same(found, state(4))


# ---- damage


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGE = {"flip": _flip, "truncate": _truncate, "half": _half, "empty": _empty, "delete": Path.unlink}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("two")
    with opened(directory) as checkpointer:
        saved(checkpointer, 1)
        saved(checkpointer, 2)
    return directory


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", [layout.MARKER, layout.METADATA, "__0_0.distcp", "rank_0.json"])
def test_what_is_damaged_is_passed_over(
    two: Path, directory: Path, file: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(two, directory)
    DAMAGE[damage](directory / "step-00000002" / file)
    with opened(directory) as checkpointer:
        newest = checkpointer.newest()
        assert newest is not None
        assert newest.step == 1
        found = blank()
        checkpointer.load(newest, found)
        assert same(found, state(1))
    [warning] = [record.getMessage() for record in caplog.records if record.name.startswith("workloads")]
    assert "step-00000002 is skipped" in warning
    assert file in warning


def test_every_byte_of_the_marker_counts(two: Path) -> None:
    marker = (two / "step-00000002" / layout.MARKER).read_bytes()
    whole = layout.Marker.from_json(marker)
    for place in range(len(marker)):
        flipped = bytes([*marker[:place], marker[place] ^ 1, *marker[place + 1 :]])
        try:
            found = layout.Marker.from_json(flipped)
        except layout.Invalid:
            continue
        assert found == whole  # white space


def test_nothing_whole_is_nothing(two: Path, directory: Path) -> None:
    shutil.copytree(two, directory)
    for path in layout.steps(directory):
        (path / layout.MARKER).unlink()
    with opened(directory) as checkpointer:
        assert checkpointer.newest() is None


def test_what_a_killed_run_left_is_taken_away(two: Path, directory: Path) -> None:
    shutil.copytree(two, directory)
    for leftover in ("step-00000003.ab12.partial", "step-00000001.deleted", "step-00000002.replaced"):
        (directory / leftover).mkdir()
        (directory / leftover / "x").touch()
    # Killed between the two renames of a step that was saved once more.
    (directory / "step-00000001").rename(directory / "step-00000001.replaced")
    (directory / "mine.partial").mkdir()
    with opened(directory) as checkpointer:
        assert names(directory) == {"step-00000001", "step-00000002", "mine.partial"}
        assert checkpointer.newest() is not None


# ---- retention


def test_the_newest_are_kept(directory: Path) -> None:
    with opened(directory, keep=2) as checkpointer:
        for step in (10, 20, 30):
            saved(checkpointer, step)
        assert names(directory) == {"step-00000020", "step-00000030"}


def test_a_run_that_is_killed_again_and_again_before_it_deletes_does_not_fill_the_disk(directory: Path) -> None:
    with opened(directory, keep=9) as checkpointer:
        for step in range(5):
            saved(checkpointer, step)
    # All but one are damaged in a way that only reading them shows: the one that is whole is not deleted for them.
    for step in (1, 2, 3, 4):
        _flip(directory / layout.name(step) / "__0_0.distcp")
    with opened(directory, keep=2) as checkpointer:
        newest = checkpointer.newest()
        assert newest is not None
        assert newest.step == 0
        assert names(directory) == {"step-00000000", "step-00000003", "step-00000004"}


def test_what_is_broken_does_not_count_as_kept(directory: Path) -> None:
    with opened(directory, keep=2) as checkpointer:
        for step in (10, 20):
            saved(checkpointer, step)
        _truncate(directory / "step-00000020" / "__0_0.distcp")
        saved(checkpointer, 30)
        assert names(directory) == {"step-00000010", "step-00000030"}


def test_what_is_being_loaded_stays(directory: Path) -> None:
    """Another process reads it: an evaluation, an export."""
    with opened(directory, keep=1) as checkpointer:
        saved(checkpointer, 10)
        code = (
            f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
            "from pathlib import Path; from workloads.training.checkpoints import layout\n"
            f"with layout.in_use(Path({str(directory / 'step-00000010')!r})):\n"
            "    print('reading', flush=True); sys.stdin.read()"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == b"reading\n"
            saved(checkpointer, 20)
            assert names(directory) == {"step-00000010", "step-00000020"}
            reader.communicate(b"")
        saved(checkpointer, 30)
        assert names(directory) == {"step-00000030"}


def test_after_a_roll_back_the_newest_is_what_was_saved_last(directory: Path) -> None:
    with opened(directory, keep=2) as checkpointer:
        for step in (10, 20, 30):
            saved(checkpointer, step)
        checkpointer.load(_at(checkpointer, 20), blank())
        saved(checkpointer, 25)
        newest = checkpointer.newest()
        assert newest is not None
        assert newest.step == 25
    with opened(directory, keep=2) as checkpointer:
        saved(checkpointer, 26)  # without having looked
        assert names(directory) == {"step-00000025", "step-00000026"}


def test_a_step_can_be_saved_once_more(directory: Path) -> None:
    with opened(directory) as checkpointer:
        saved(checkpointer, 10)
        checkpointer.save(10, state(11), {"again": True})
        newest = checkpointer.newest()
        assert newest is not None
        assert newest.extra == {"again": True}
        found = blank()
        checkpointer.load(newest, found)
        assert same(found, state(11))
        assert names(directory) == {"step-00000010"}


# ---- what goes wrong


def test_a_saver_that_dies_fails_one_save(directory: Path) -> None:
    with opened(directory) as checkpointer:
        saved(checkpointer, 1)
        assert checkpointer.saver_pid
        os.kill(checkpointer.saver_pid, 9)
        checkpointer.save(2, state(2), {})
        checkpointer.staged()  # training goes on
        with pytest.raises(CheckpointError, match=r"step 2 was not saved.*died of SIGKILL.*1 older checkpoints"):
            checkpointer.save(3, state(3), {})
        assert names(directory) == {"step-00000001"}
        saved(checkpointer, 3)
        checkpointer.load(_at(checkpointer, 3), found := blank())
        assert same(found, state(3))


def test_a_saver_that_dies_at_any_moment_leaves_nothing(directory: Path) -> None:
    with opened(directory) as checkpointer:
        for step in range(0, 40, 4):
            saved(checkpointer, step)  # has a saver, or a new one
            assert checkpointer.saver_pid
            killer = threading.Timer(0.001 * step, os.kill, (checkpointer.saver_pid, 9))
            killer.start()
            with pytest.raises(CheckpointError, match=f"step {step + 1} was not saved"):
                _again_and_again(checkpointer, step + 1)
            killer.join()
            assert all(layout.verify(directory / name).step in range(step + 2) for name in names(directory))


def _again_and_again(checkpointer: Checkpointer, step: int) -> None:
    while True:
        saved(checkpointer, step)


def test_an_error_is_told_once(directory: Path) -> None:
    with opened(directory) as checkpointer:
        assert checkpointer.saver_pid
        os.kill(checkpointer.saver_pid, 9)
        checkpointer.save(1, state(1), {})
        with pytest.raises(CheckpointError):
            checkpointer.wait()
        checkpointer.wait()


def test_a_full_disk_is_told_and_the_older_ones_stay(directory: Path) -> None:
    """A file size limit, which the kernel reports as it does a full disk."""
    import resource

    with opened(directory) as checkpointer:
        saved(checkpointer, 1)
        assert checkpointer.saver_pid
        resource.prlimit(checkpointer.saver_pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        checkpointer.save(2, state(2), {})
        with pytest.raises(DiskError, match=r"step 2 was not saved: .*File too large; 1 older checkpoints are intact"):
            checkpointer.wait()
        assert names(directory) == {"step-00000001"}
        resource.prlimit(checkpointer.saver_pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        saved(checkpointer, 3)
        assert names(directory) == {"step-00000001", "step-00000003"}


def test_too_little_room_is_told_before_anything_is_written(directory: Path) -> None:
    def cramped():
        found = forked
        usage = shutil.disk_usage
        shutil.disk_usage = lambda _: usage("/")._replace(free=1000)  # type: ignore[assignment]
        try:
            return found()  # forked with it
        finally:
            shutil.disk_usage = usage

    with opened(directory, new_saver=cramped) as checkpointer:
        checkpointer.save(1, state(1), {})
        with pytest.raises(DiskError, match=r"\d+ bytes are needed, 1000 are free"):
            checkpointer.wait()
        assert names(directory) == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_a_really_full_disk(directory: Path) -> None:
    directory.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(directory)], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with opened(directory) as checkpointer:
            saved(checkpointer, 1)
            (directory / "other").write_bytes(bytes(100_000))
            checkpointer.save(2, state(2), {})
            with pytest.raises(DiskError, match="step 2 was not saved"):
                checkpointer.wait()
            assert names(directory) == {"step-00000001", "other"}
            newest = checkpointer.newest()
            assert newest is not None
            assert newest.step == 1
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda s: s["model"].update(weight=torch.zeros(7)),
            r"model.weight is float32\[50000\] there, float32\[7\] here",
        ),
        (lambda s: s["model"].update(half=torch.zeros(3, 5)), r"model.half is bfloat16\[3, 5\] there, float32\[3, 5\]"),
        (lambda s: s["model"].update(bias=torch.zeros(7)), "model.bias is only here"),
        (lambda s: s["model"].pop("across"), "model.across is only there"),
        (lambda s: s["model"].update(weight="text"), "model.weight is a tensor only there"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(two: Path, directory: Path, change, said: str) -> None:
    shutil.copytree(two, directory)
    other = blank()
    change(other)
    with opened(directory) as checkpointer:
        newest = checkpointer.newest()
        assert newest is not None
        with pytest.raises(CheckpointError, match=rf"step-00000002 is a checkpoint of another model: {said}"):
            checkpointer.load(newest, other)
    assert all(not tensor.any() for tensor in tensors(other))


def test_what_cannot_be_saved_is_told_at_once(directory: Path) -> None:
    with opened(directory) as checkpointer:
        with pytest.raises(ValueError, match="expected what JSON has"):
            checkpointer.save(1, state(1), {"path": Path("x")})
        with pytest.raises(ValueError, match="expected what JSON has"):
            checkpointer.save(1, state(1), {"loss": float("nan")})
        with pytest.raises(ValueError, match=r"state: model.hook cannot be pickled"):
            checkpointer.save(1, {"model": {"hook": lambda: 0, "fine": 3}}, {})
        with pytest.raises(ValueError, match="step -1: expected 0 or more"):
            checkpointer.save(-1, state(1), {})
        saved(checkpointer, 1)


def test_a_directory_that_cannot_be_used_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="file"):
        opened(tmp_path / "file" / "checkpoints")
    with pytest.raises(DiskError, match="/proc"):
        opened(Path("/proc/checkpoints"))
    with pytest.raises(ConfigError, match="keep 0: expected at least 1"):
        opened(tmp_path / "x", keep=0)


def test_two_runs_do_not_share_a_directory(directory: Path) -> None:
    with opened(directory):
        code = (
            f"import sys; sys.path.insert(0, {str(ROOT)!r}); import fcntl\n"
            f"file = open({str(directory / '.lock')!r}, 'a'); fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)"
        )
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 1
    holder = subprocess.Popen(
        [sys.executable, "-c", code.replace("| fcntl.LOCK_NB)", ")") + "\nprint(1, flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(CheckpointError, match=r"another run \(process \d+\) saves its checkpoints there"):
            opened(directory, lock_wait_s=0.2)
        holder.kill()
    with opened(directory):
        pass


def test_a_closed_one_saves_nothing(directory: Path) -> None:
    checkpointer = opened(directory)
    checkpointer.save(1, state(1), {})
    checkpointer.close()
    checkpointer.close()
    assert names(directory) == {"step-00000001"}
    with pytest.raises(CheckpointError, match="closed"):
        checkpointer.save(2, state(2), {})


def test_stalls_are_counted(directory: Path) -> None:
    with opened(directory) as checkpointer:
        saved(checkpointer, 1)
        checkpointer.save(2, state(2), {})
        checkpointer.staged()
    assert checkpointer.stalls.saves == 2
    assert 0 < checkpointer.stalls.total_s < 60
    assert checkpointer.stalls.waiting_s <= checkpointer.stalls.save_s


def test_the_work_that_could_be_lost_is_what_came_after_the_last_commit(directory: Path) -> None:
    now = 100.0
    with Checkpointer(directory, clock=lambda: now) as checkpointer:
        now = 160.0
        assert checkpointer.age_s == 60
        checkpointer.save(1, state(1), {})
        checkpointer.wait()
        assert checkpointer.age_s == 0
        now = 175.0
        assert checkpointer.age_s == 15


# ---- as one file


def test_a_model_is_exported_as_one_file(two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file

    assert main(["export", str(two), str(tmp_path / "model.safetensors")]) == 0
    assert "5 tensors" in capsys.readouterr().out
    assert same(load_file(tmp_path / "model.safetensors"), state(2)["model"])
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "step": "2"}
    assert export(two / "step-00000001", tmp_path / "one.safetensors") == 5
    assert same(load_file(tmp_path / "one.safetensors"), state(1)["model"])
    assert names(tmp_path) == {"model.safetensors", "one.safetensors"}


def test_a_run_is_named_by_its_output_as_well(two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / layout.CHECKPOINTS).symlink_to(two)
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "model.safetensors")]) == 0
    assert main(["list", str(tmp_path / "run")]) == 0
    assert "step-00000002  valid" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    assert main(["list", str(tmp_path / "empty")]) == CheckpointError.exit_code
    assert "empty: no checkpoint" in capsys.readouterr().err


def test_an_export_passes_over_what_is_damaged(
    two: Path, directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors import safe_open

    shutil.copytree(two, directory)
    _flip(directory / "step-00000002" / "__0_0.distcp")
    assert main(["list", str(directory)]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert "step-00000001  valid" in listed[0]
    assert "step-00000002  INVALID: __0_0.distcp has another checksum" in listed[1]
    assert main(["export", str(directory), str(tmp_path / "out")]) == 0
    assert "step-00000002 is skipped" in capsys.readouterr().err
    with safe_open(tmp_path / "out", "pt") as file:
        assert file.metadata()["step"] == "1"
    assert main(["export", str(directory / "step-00000002"), str(tmp_path / "out")]) == CheckpointError.exit_code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "out"], "no such directory"),
        ([".", "out"], "no valid checkpoint"),
        (["{two}", "out", "--prefix", "net."], "no tensor begins with 'net.'; expected one of model, optimizer"),
        (["{two}", "/proc/out"], "/proc"),
    ],
)
def test_an_export_that_cannot_be_says_why(
    two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", *(argument.format(two=two) for argument in arguments)]) != 0
    assert said in capsys.readouterr().err


def test_the_saver_is_a_process_of_its_own(directory: Path) -> None:
    """As training starts it: from a directory that is not the repository's, deaf to Ctrl-C, gone with its parent."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import torch, os, signal, json; from pathlib import Path\n"
        "from workloads.training.checkpoint import Checkpointer\n"
        f"checkpointer = Checkpointer(Path({str(directory)!r}))\n"
        "checkpointer.save(1, {'model': {'a': torch.ones(100_000)}}, {}); checkpointer.wait()\n"
        "os.kill(checkpointer.saver_pid, signal.SIGINT); os.kill(checkpointer.saver_pid, signal.SIGTERM)\n"
        "checkpointer.save(2, {'model': {'a': torch.ones(100_000)}}, {}); checkpointer.wait()\n"
        "print(json.dumps([checkpointer.saver_pid, open(f'/proc/{checkpointer.saver_pid}/stat').read().split()[18]]))\n"
        "sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    pid, nice = json.loads(done.stdout)
    assert int(nice) > 0
    assert _gone(pid)
    assert names(directory) == {"step-00000001", "step-00000002"}
    assert done.stderr == ""


def _gone(pid: int, within_s: float = 5.0) -> bool:
    import time

    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False
