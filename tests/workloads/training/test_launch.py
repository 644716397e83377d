"""A launcher's exit code tells a preemption from a fault, and it waits for its workers as long as they may take."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.workloads.training.gang import alone
from tests.workloads.training.test_metrics import free_port
from workloads.training.launch import code_of, main


def _launch(tell: Callable[..., None], script: str, restarts: int) -> None:
    tell("ready")
    options = ["--nproc-per-node", "2", "--max-restarts", str(restarts), "--monitor-interval", "0.1"]
    sys.exit(main([*options, "--standalone", "--no-python", "sh", "-c", script]))


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("exit 0", 0),
        ("exit 75", 75),
        ("exit $((75 + RANK))", 76),
        ("exit 3", 3),
        ("exit 1", 1),
        ("sh -c 'kill -9 $PPID'; exit 3", 1),
    ],
)
def test_the_workers_code_is_the_launchers(script: str, code: int) -> None:
    with alone(_launch, script, 0) as running:
        assert running.exit_code(30) == code, running.said


def test_after_a_sigterm_workers_are_waited_for(tmp_path: Path) -> None:
    # A worker that needs a second to save.
    script = f"trap 'sleep 1; touch {tmp_path}/saved-$RANK; exit 75' TERM; touch {tmp_path}/up-$RANK; sleep 60 & wait"
    with alone(_launch, script, 3) as running:
        end = time.monotonic() + 20
        while len(list(tmp_path.glob("up-*"))) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(running.pid, signal.SIGTERM)
        assert running.exit_code(20) == 75, running.said
    assert {path.name for path in tmp_path.glob("saved-*")} == {"saved-0", "saved-1"}


def test_a_preempted_world_starts_anew_while_restarts_are_left(tmp_path: Path) -> None:
    script = f"if [ $TORCHELASTIC_RESTART_COUNT = 0 ]; then exit 75; fi; touch {tmp_path}/again-$RANK"
    with alone(_launch, script, 1) as running:
        assert running.exit_code(30) == 0, running.said
    assert len(list(tmp_path.glob("again-*"))) == 2


def _node(tell: Callable[..., None], port: int, hosts: bool, script: str) -> None:
    tell("ready")
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--monitor-interval", "0.1"]
    # On one machine every node could take itself for the one that hosts the store.
    conf = ["--rdzv-conf", f"is_host={hosts},last_call_timeout=1,join_timeout=30,read_timeout=5,keep_alive_interval=1"]
    options = ["--nnodes", "1:2", "--nproc-per-node", "1", "--max-restarts", "9", "--local-addr", "127.0.0.1"]
    sys.exit(main([*options, *meeting, *conf, "--no-python", "sh", "-c", script]))


@pytest.mark.parametrize("lost", ["the first node", "another node"])
def test_a_node_is_lost_and_comes_back_and_the_gang_goes_on(lost: str, tmp_path: Path) -> None:
    # torchrun makes one of two dollars, as string.Template does: this is the shell's process.
    script = f"touch {tmp_path}/$WORLD_SIZE-$$$$; while [ ! -e {tmp_path}/done ]; do sleep 0.05; done"

    port = free_port()

    def worlds(size: int) -> int:
        return len(list(tmp_path.glob(f"{size}-*")))

    def wait_for(met: Callable[[], bool]) -> None:
        end = time.monotonic() + 40
        while not met():
            assert time.monotonic() < end, (first.said, second.said)
            time.sleep(0.02)

    with alone(_node, port, True, script) as first, alone(_node, port, False, script) as second:
        wait_for(lambda: worlds(2) == 2)
        gone, hosts = (first, True) if lost == "the first node" else (second, False)
        stays = second if hosts else first
        os.killpg(gone.pid, signal.SIGKILL)
        if not hosts:
            for path in tmp_path.glob("2-*"):
                with suppress(ProcessLookupError):  # ranks whose peer is lost fail
                    os.kill(int(path.name.partition("-")[2]), signal.SIGKILL)
            wait_for(lambda: worlds(1) >= 1)  # who is left does not wait
        with alone(_node, port, hosts, script) as back:
            # On a busy machine a heartbeat is late now and then, and the gang meets once more.
            wait_for(lambda: worlds(2) >= 4)
            (tmp_path / "done").touch()
            assert [stays.exit_code(30), back.exit_code(30)] == [0, 0], (stays.said, back.said)
            assert ("is away; waiting" in stays.said) is hosts


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ({75}, 75),
        ({75, 76}, 76),
        ({130, 75}, 130),
        ({3, -15}, 3),
        ({1, 5}, 5),
        ({4, 5}, 1),
        ({-9}, 1),
        ({75, 1}, 1),
        (set(), 1),
    ],
)
def test_codes_of_several_workers(codes: set[int], code: int) -> None:
    assert code_of(codes) == code
