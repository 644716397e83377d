"""Real processes of the training command: killed, interrupted, several of them, and always the same curve."""

from __future__ import annotations

import signal

import pytest
from safetensors.torch import load_file

from tests.workloads.training.small import command, finish, interrupted, learnt, make_data, metrics
from workloads.training.checkpoint import export
from workloads.training.errors import STOPPED


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    """The output of a run that nothing happened to."""
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    code, _, err = finish(command(data, output, model={"dropout": 0.1}))
    assert code == 0, err
    return output


def weights(output, tmp_path) -> dict[str, bytes]:
    export(output / "checkpoints", tmp_path / "model.safetensors")
    found = load_file(tmp_path / "model.safetensors")
    return {name: tensor.numpy().tobytes() for name, tensor in found.items()}


def test_a_run_that_is_stopped_and_killed_goes_on_with_the_same_bits(data, undisturbed, tmp_path):
    output = tmp_path / "run"
    again = command(data, output, model={"dropout": 0.1})
    code, out, err = interrupted(again, output, 5, signal.SIGTERM)
    assert code == STOPPED, err
    stopped = metrics(output)[-1]["step"]
    assert out.splitlines()[-1] == (
        f"stopped after step {stopped} of 24 (SIGTERM): everything is saved; the same command continues"
    )

    code, out, _ = interrupted(again, output, 15, signal.SIGKILL)
    assert code == -signal.SIGKILL
    killed = metrics(output)[-1]["step"]

    code, out, err = finish(again)
    assert code == 0, err
    begun = continued(out)
    # None is lost to a notice; to a power cut one interval, and one more if it came during a save.
    assert stopped <= begun <= killed
    assert killed - begun <= 2 * 8
    assert learnt(output) == learnt(undisturbed)
    assert weights(output, tmp_path) == weights(undisturbed, tmp_path)


def continued(out: str) -> int:
    """The step after which a run says that it continues."""
    return int(out.split("continues after step ")[1].split(";")[0])


@pytest.mark.slow
def test_ctrl_c_saves_and_loses_no_step(data, undisturbed, tmp_path):
    again = command(data, tmp_path / "run", model={"dropout": 0.1})
    code, out, err = interrupted(again, tmp_path / "run", 9, signal.SIGINT)
    assert code == STOPPED, err
    assert "(SIGINT): everything is saved; the same command continues" in out.splitlines()[-1]
    reached = metrics(tmp_path / "run")[-1]["step"]
    code, out, err = finish(again)
    assert code == 0, err
    assert continued(out) == reached
    assert learnt(tmp_path / "run") == learnt(undisturbed)


def curve(output):
    return [line["loss"] for line in metrics(output)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "options"),
    [
        (2, {}),
        (4, {}),
        (2, {"parallel": {"strategy": "fsdp"}}),
        (2, {"parallel": {"strategy": "fsdp", "activation_checkpointing": "true"}}),
    ],
    ids=["ddp 2", "ddp 4", "fsdp 2", "fsdp 2 checkpointing"],
)
def test_several_processes_give_the_curve_of_one(data, tmp_path, processes, options):
    for name, count, more in (("one", 1, {}), ("several", processes, options)):
        code, _, err = finish(command(data, tmp_path / name, **more), count, timeout=300)
        assert code == 0, err
    assert curve(tmp_path / "several") == pytest.approx(curve(tmp_path / "one"), abs=1e-6)
    ends = [metrics(tmp_path / name)[-1]["held_out_bits_per_byte"] for name in ("one", "several")]
    assert ends[0] == pytest.approx(ends[1], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_that_share_matrices_give_the_curve_of_one(data, tmp_path, processes):
    more = {"model": {"tied": "false"}}
    shared = {**more, "parallel": {"strategy": "fsdp", "tensor": 2}}
    for name, count, options in (("one", 1, more), ("several", processes, shared)):
        code, _, err = finish(command(data, tmp_path / name, **options), count, timeout=300)
        assert code == 0, err
    assert curve(tmp_path / "several") == pytest.approx(curve(tmp_path / "one"), abs=1e-5)


@pytest.mark.parametrize("sizes", [((2, 10),), pytest.param(((2, 10), (1, 15), (4, 20)), marks=pytest.mark.slow)])
def test_a_run_goes_on_with_another_number_of_processes(sizes, data, tmp_path):
    code, _, err = finish(command(data, tmp_path / "one"))
    assert code == 0, err
    for processes, step in sizes:
        code, _, err = interrupted(command(data, tmp_path / "elastic"), tmp_path / "elastic", step, processes=processes)
        assert code, err
    code, _, err = finish(command(data, tmp_path / "elastic"), len(sizes) - 1 or 1)
    assert code == 0, err
    assert curve(tmp_path / "elastic") == pytest.approx(curve(tmp_path / "one"), abs=1e-6)
    # Every sample of the whole curve was counted once.
    assert [line["tokens"] for line in metrics(tmp_path / "elastic")] == [512 * step for step in range(1, 25)]
