"""Ranks save and load together: at any world size, with one answer to each question and one error for all."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo  # what sharding imports; here once, and not in each rank
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from tests.workloads.training.checkpointing import blank, opened, same, saved, state
from tests.workloads.training.gang import gang
from workloads.training.checkpoint import Checkpointer
from workloads.training.checkpoints import layout
from workloads.training.errors import CheckpointError, ConfigError, DiskError

SIZES = (1, 2, 4, 8)

# Up to eight processes on two cores, a minute and more in all. That a run goes on with another number of processes is
# in the default suite too (test_train_processes).
pytestmark = pytest.mark.slow


def together(world: int, function: Callable[..., None], *arguments: Any) -> list[Any]:
    """What each rank told last, by rank; the test fails with the first rank that fails."""
    with gang(world, function, *arguments, timeout_s=60.0) as running:
        codes = running.exit_codes(120.0)
        told: dict[int, Any] = {rank: words for rank, *words in running.messages()}
    assert codes == [0] * world
    return [told.get(rank) for rank in range(world)]


# ---- FSDP2


def _sharded(step: int, world: int) -> dict[str, Any]:
    """A model sharded over the ranks, its optimizer's state likewise, neither of whose sizes the ranks divide."""
    torch.manual_seed(1000 + step)
    model = torch.nn.Sequential(torch.nn.Linear(301, 67), torch.nn.Linear(67, 3, bias=False))
    moments = {name: torch.randn_like(parameter) for name, parameter in model.named_parameters()}
    mesh = init_device_mesh("cpu", (world,))
    for layer in model:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    parameters = dict(model.state_dict())
    return {
        "model": parameters,
        "optimizer": {
            "state": {
                name: {
                    "step": torch.tensor(float(step)),
                    "exp_avg": distribute_tensor(moments[name], mesh, parameters[name].placements),
                }
                for name in parameters
            },
            "param_groups": [{"lr": 1 / (step + 1), "params": list(parameters)}],
        },
    }


def _local(of: dict[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return value.to_local().clone() if isinstance(value, DTensor) else value

    return plain(of)


def _save_sharded(rank: int, tell: Callable[..., None], directory: Path, world: int) -> None:
    with opened(directory) as checkpointer:
        for step in (5, 6):
            checkpointer.save(step, _sharded(step, world), {"step": step, "rank": rank})
        checkpointer.wait()
        torch.manual_seed(rank)
        checkpointer.save(7, _sharded(7, world), {"step": 7, "rank": rank})
        draw = torch.rand(1).item()
        checkpointer.wait()
    tell(draw)


def _load_sharded(_: int, tell: Callable[..., None], directory: Path, world: int) -> None:
    with opened(directory) as checkpointer:
        newest = checkpointer.newest()
        assert newest is not None
        found = _sharded(1, world)
        extra = checkpointer.load(newest, found)
        draw = torch.rand(1).item()
        assert extra == {"step": 7, "rank": 0}
        assert same(_local(found), _local(_sharded(7, world)))
    tell(draw)


def _there_and_back(directory: Path, saving: int, loading: int) -> None:
    drawn = together(saving, _save_sharded, directory, saving)
    # _sharded seeds: what was drawn after the save is drawn after the load, by the ranks that there were.
    again = together(loading, _load_sharded, directory, loading)
    both = min(saving, loading)
    assert again[:both] == drawn[:both]


@pytest.mark.parametrize(("saving", "loading"), [(2, 2), (4, 2)])
def test_sharded_states_at_another_world_size(tmp_path: Path, saving: int, loading: int) -> None:
    _there_and_back(tmp_path, saving, loading)


@pytest.mark.slow
@pytest.mark.parametrize("saving", SIZES)
@pytest.mark.parametrize("loading", SIZES)
def test_sharded_states_at_all_world_sizes(tmp_path: Path, saving: int, loading: int) -> None:
    _there_and_back(tmp_path, saving, loading)


# ---- DDP: everyone has everything


def _save_replicated(_: int, tell: Callable[..., None], directory: Path, steps: tuple[int, ...]) -> None:
    with opened(directory) as checkpointer:
        for step in steps:
            saved(checkpointer, step)
        tell(checkpointer._writer._stager.size, len(checkpointer._writer._plan.names))  # type: ignore[union-attr]


def _load_replicated(_: int, tell: Callable[..., None], directory: Path) -> None:
    with opened(directory) as checkpointer:
        newest = checkpointer.newest()
        if newest is None:
            return tell(None)
        found = blank()
        checkpointer.load(newest, found)
        assert same(found, state(newest.step))
        return tell(newest.step)


def test_replicated_states_are_written_once(tmp_path: Path) -> None:
    told = together(2, _save_replicated, tmp_path, (1, 2, 3))
    written = sum(path.stat().st_size for path in (tmp_path / "step-00000003").glob("*.distcp"))
    assert written < 1.2 * 4 * 50_000 * 3 + 30_000 * 4
    assert sum(names for _, names in told) == 6 + 1 + 4  # tensors, and values
    assert together(1, _load_replicated, tmp_path) == [[3]]
    assert together(3, _load_replicated, tmp_path) == [[3]] * 3


def test_without_a_process_group_and_with_one(tmp_path: Path) -> None:
    with opened(tmp_path) as checkpointer:
        saved(checkpointer, 4)
    assert together(2, _load_replicated, tmp_path) == [[4]] * 2
    together(2, _save_replicated, tmp_path, (5, 6))
    with opened(tmp_path) as checkpointer:
        newest = checkpointer.newest()
        assert newest is not None
        checkpointer.load(newest, found := blank())
        assert same(found, state(6))


def test_what_is_damaged_is_passed_over_by_all(tmp_path: Path) -> None:
    together(2, _save_replicated, tmp_path, (1, 2))
    for file in ("__1_0.distcp", "rank_1.json", layout.MARKER):
        directory = tmp_path.with_name(f"{tmp_path.name}-{file}")
        shutil.copytree(tmp_path, directory)
        path = directory / "step-00000002" / file
        path.write_bytes(path.read_bytes()[:-1])
        assert together(2, _load_replicated, directory) == [[1]] * 2


# ---- errors


def _one_saver_dies(rank: int, tell: Callable[..., None], directory: Path) -> None:
    with opened(directory) as checkpointer:
        saved(checkpointer, 1)
        if rank == 1:
            assert checkpointer.saver_pid
            os.kill(checkpointer.saver_pid, signal.SIGKILL)
        checkpointer.save(2, state(2), {})
        try:
            checkpointer.wait()
        except CheckpointError as error:
            saved(checkpointer, 3)
            tell(str(error))


def test_a_saver_that_dies_fails_the_save_of_all(tmp_path: Path) -> None:
    first, second = together(2, _one_saver_dies, tmp_path)
    assert "rank 1: the process that writes checkpoints" in first[0]
    assert "died of SIGKILL" in second[0]
    assert {path.name for path in layout.steps(tmp_path)} == {"step-00000001", "step-00000003"}
    assert together(2, _load_replicated, tmp_path) == [[3]] * 2


def _one_disk_is_full(rank: int, tell: Callable[..., None], directory: Path) -> None:
    import resource

    with opened(directory) as checkpointer:
        saved(checkpointer, 1)
        if rank == 1:
            assert checkpointer.saver_pid
            resource.prlimit(checkpointer.saver_pid, resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            saved(checkpointer, 2)
        except DiskError as error:
            tell(str(error))
        newest = checkpointer.newest()
        assert newest is not None
        assert newest.step == 1


def test_a_disk_that_is_full_fails_the_save_of_all(tmp_path: Path) -> None:
    told = together(2, _one_disk_is_full, tmp_path)
    assert all("step 2 was not saved" in words[0] and "File too large" in words[0] for words in told)
    assert [path.name for path in layout.steps(tmp_path)] == ["step-00000001"]
    assert not list(tmp_path.glob("*.partial"))


def _another_model(rank: int, tell: Callable[..., None], directory: Path) -> None:
    with opened(directory) as checkpointer:
        newest = checkpointer.newest()
        assert newest is not None
        other = blank()
        if rank == 1:
            other["model"]["weight"] = torch.zeros(7)
        try:
            checkpointer.load(newest, other)
        except CheckpointError as error:
            tell(str(error))


def test_another_model_on_one_rank_is_refused_by_all(tmp_path: Path) -> None:
    together(2, _save_replicated, tmp_path, (1,))
    assert all(
        "checkpoint of another model: model.weight" in words[0] for words in together(2, _another_model, tmp_path)
    )


# ---- a disk each


def _apart(rank: int, tell: Callable[..., None], directory: Path, remote: str, step: int) -> None:
    try:
        checkpointer = opened(directory / f"node-{rank}", remote=remote)
    except ConfigError as error:
        return tell(str(error))
    with checkpointer:
        newest = checkpointer.newest()
        if newest is not None:
            checkpointer.load(newest, found := blank())
            assert same(found, state(newest.step))
        saved(checkpointer, step)
        assert checkpointer.uploaded(30)
        return tell(newest and newest.step)


def test_nodes_with_a_disk_each_share_what_they_have_through_the_store(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    remote = f"file://{tmp_path}/store"
    assert "not the same directory for all ranks" in together(2, _apart, tmp_path, "", 1)[0][0]
    assert together(2, _apart, tmp_path, remote, 1) == [[None]] * 2
    assert {p.name for p in (tmp_path / "node-1" / "step-00000001").iterdir()} >= {"__1_0.distcp", layout.METADATA}
    assert not (tmp_path / "node-1" / "step-00000001" / "__0_0.distcp").exists()
    assert together(2, _apart, tmp_path, remote, 2) == [[1]] * 2
    shutil.rmtree(tmp_path / "node-1")
    assert together(2, _apart, tmp_path, remote, 3) == [[2]] * 2


# ---- kills


def _until_killed(_: int, tell: Callable[..., None], directory: Path) -> None:
    checkpointer: Checkpointer = opened(directory, keep=2)
    newest = checkpointer.newest()
    first = newest.step + 1 if newest else 0
    for step in range(first, first + 10**6):
        saved(checkpointer, step)
        tell(step)


def _killed(directory: Path, count: int) -> None:
    chance = random.Random(3)
    last = -1
    for _ in range(count):
        with gang(2, _until_killed, directory, timeout_s=60.0) as running:
            for _ in range(chance.randrange(2, 6)):
                running.told.get()
            running.processes[0].join(chance.uniform(0, 0.08))
            running.signal(chance.randrange(2), signal.SIGKILL)
            running.processes[0].join(chance.uniform(0, 0.02))
        with opened(directory) as checkpointer:
            newest = checkpointer.newest()
            assert newest is not None
            assert newest.step >= last
            last = newest.step
            checkpointer.load(newest, found := blank())
            assert same(found, state(last))


def test_a_rank_is_killed(tmp_path: Path) -> None:
    _killed(tmp_path, 4)


@pytest.mark.slow
def test_ranks_are_killed_many_times(tmp_path: Path) -> None:
    _killed(tmp_path, 60)


@pytest.fixture(autouse=True)
def _nothing_left_in_memory() -> Iterator[None]:
    before = set(os.listdir("/dev/shm"))
    yield
    assert not {name for name in set(os.listdir("/dev/shm")) - before if "checkpoint" in name}
