"""Notices come from every source and reach every rank at the same step; nothing keeps one from leaving in time."""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workloads.training.gang import alone, gang
from tests.workloads.training.metadata_servers import Ec2, Gce, serving
from workloads.training.agreement import SLOWDOWN
from workloads.training.metadata import Ec2Spot, NoService, Notice, gce_maintenance, gce_preempted, sources
from workloads.training.preemption import (
    INTERRUPTED,
    PREEMPTED,
    UNSAVED,
    Agreement,
    Notices,
    agree,
    allowed,
    period,
    spared,
)


def within(seconds: float, condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return found


# ---- metadata services


def test_ec2_marks_the_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Ec2) as server:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://{server.host}")
        source = Ec2Spot(now=lambda: 1_000_000_000.0)  # 2001-09-09T01:46:40Z
        assert source.look() is None
        server.set("events/recommendations/rebalance", '{"noticeTime": "2001-09-09T01:46:00Z"}')
        told = source.look()
        assert isinstance(told, str)
        assert "elevated risk" in told
        assert source.look() is None  # told once
        server.set("spot/instance-action", '{"action": "terminate", "time": "2001-09-09T01:48:40Z"}')
        assert source.look() == Notice("EC2 spot interruption: terminate at 01:48:40 UTC", 120.0)
        assert server.requests.count("PUT /latest/api/token") == 1


def test_ec2_takes_a_new_token_when_the_old_one_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Ec2) as server:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://{server.host}")
        source = Ec2Spot()
        assert source.look() is None
        server.tokens = {"another"}
        assert source.look() is None  # refused
        server.set("spot/instance-action", '{"action": "stop", "time": "2001-09-09T01:48:40Z"}')
        assert source.look() == Notice("EC2 spot interruption: stop at 01:48:40 UTC", 0.0)  # long ago: nothing is left


@pytest.mark.parametrize("body", ["", "{", "[]", '{"action": "terminate"}', '{"action": 3, "time": 4}', "soon"])
def test_ec2_in_words_that_nobody_knows_is_still_a_notice(monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    with serving(Ec2) as server:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://{server.host}")
        server.set("spot/instance-action", body)
        found = Ec2Spot().look()
        assert isinstance(found, Notice)
        assert found.seconds == 120.0


def test_a_hibernating_instance_keeps_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Ec2) as server:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://{server.host}")
        server.set("spot/instance-action", '{"action": "hibernate", "time": "2001-09-09T01:48:40Z"}')
        assert isinstance(Ec2Spot().look(), str)


def test_gce_is_waited_for_and_not_polled(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Gce) as server:
        monkeypatch.setenv("GCE_METADATA_HOST", server.host)
        server.set("preempted", "FALSE")
        source = gce_preempted()
        assert source.look() is None
        threading.Timer(0.2, server.set, ("preempted", "TRUE")).start()
        assert source.look() == Notice("GCE preempts this VM", 30.0)
        assert len(server.requests) == 2
        assert "wait_for_change=true" in server.requests[1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("NONE", None),
        ("MIGRATE_ON_HOST_MAINTENANCE", "GCE maintenance event: MIGRATE_ON_HOST_MAINTENANCE"),
        ("TERMINATE_ON_HOST_MAINTENANCE", Notice("GCE stops this VM for host maintenance", 60.0)),
    ],
)
def test_gce_maintenance(monkeypatch: pytest.MonkeyPatch, value: str, expected: object) -> None:
    with serving(Gce) as server:
        monkeypatch.setenv("GCE_METADATA_HOST", server.host)
        server.set("maintenance-event", value)
        assert gce_maintenance().look() == expected


def test_the_other_cloud_and_nothing_at_all_are_no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Ec2) as ec2, serving(Gce) as gce:
        monkeypatch.setenv("GCE_METADATA_HOST", ec2.host)
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://{gce.host}")
        with pytest.raises(NoService, match="is not GCE"):
            gce_preempted().look()
        with pytest.raises(NoService, match="is not EC2"):
            Ec2Spot().look()
        host = gce.host
        monkeypatch.setenv("GCE_METADATA_HOST", host)
        with pytest.raises(NoService, match="doesn't offer preempted"):
            gce_preempted().look()
    with pytest.raises(NoService, match="no GCE metadata"):
        gce_preempted().look()


def test_a_source_that_nobody_knows() -> None:
    assert [source.name for source in sources("auto")] == ["ec2", "gce", "gce"]
    assert sources("none") == []
    with pytest.raises(ValueError, match="'azure' is none; expected auto, none, ec2, gce"):
        sources("ec2,azure")


def test_notices_hear_of_a_preemption_from_whichever_service_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Ec2) as ec2, serving(Gce) as gce:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://{gce.host}")  # there is no EC2 here
        monkeypatch.setenv("GCE_METADATA_HOST", gce.host)
        gce.set("preempted", "FALSE")
        out = StringIO()
        with Notices(end=lambda _: None, out=out) as notices:
            within(5, lambda: len(gce.requests) >= 2)
            assert notices.notice is None
            gce.set("preempted", "TRUE")
            assert within(5, lambda: notices.notice) == Notice("GCE preempts this VM", 30.0)
            assert 12 < notices.left() < 13.5
        assert "GCE preempts this VM: 30 s left; leaving within 13.5 s" in out.getvalue()
        assert not ec2.requests


# ---- this process: signals and the deadline


def _leave_when_told(tell: Callable[..., None]) -> None:
    with Notices(grace_s=30, watch="none") as notices:
        tell("ready")
        within(30, lambda: notices.notice)
        assert notices.notice == Notice("SIGTERM", 30.0)
        time.sleep(0.3)
        notices.leave()


def test_sigterm_is_a_notice_and_the_loop_leaves() -> None:
    with alone(_leave_when_told) as running:
        os.kill(running.pid, signal.SIGTERM)
        time.sleep(0.1)
        os.kill(running.pid, signal.SIGTERM)  # torchrun passes on what the pod got already
        assert running.exit_code() == PREEMPTED
        assert "SIGTERM: 30 s left; leaving within 13.5 s" in running.said
        assert "everything is saved" in running.said


def _busy(tell: Callable[..., None], grace_s: float, work: Callable[[], object]) -> None:
    with Notices(grace_s=grace_s, watch="none", where=lambda: "the work"):
        tell("ready")
        work()


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda: time.sleep(60), id="sleeping"),
        pytest.param(lambda: hashlib.pbkdf2_hmac("sha256", b"x", b"y", 10**9), id="in C, without the lock"),
        pytest.param(lambda: subprocess.run(["sleep", "60"]), id="waiting for another process"),
        pytest.param(lambda: [0 for _ in iter(int, 1)], id="in Python"),
    ],
)
def test_what_does_not_come_back_is_left_at_the_deadline(work: Callable[[], object]) -> None:
    with alone(_busy, 4.0, work) as running:
        began = time.monotonic()
        os.kill(running.pid, signal.SIGTERM)
        assert running.exit_code() == UNSAVED
        assert time.monotonic() - began < 2.0  # half of the notice
        assert "out of time in the work: leaving now; the newest committed checkpoint counts" in running.said


def _hold_the_lock(tell: Callable[..., None]) -> None:
    with Notices(grace_s=4.0, watch="none") as notices:
        tell("ready")
        # The thread that takes the notice needs the lock once.
        within(30, lambda: notices.notice)
        time.sleep(0.1)
        pow(3, 10**8)


def test_even_what_holds_the_interpreters_lock_is_left() -> None:
    with alone(_hold_the_lock) as running:
        began = time.monotonic()
        os.kill(running.pid, signal.SIGTERM)
        assert running.exit_code() == 1
        assert time.monotonic() - began < 2.0
        assert "Timeout" in running.said  # faulthandler's word, and the stacks
        assert "_hold_the_lock" in running.said


def test_one_interrupt_stops_in_order_and_the_second_leaves_at_once() -> None:
    with alone(_busy, 30.0, lambda: time.sleep(60)) as running:
        os.kill(running.pid, signal.SIGINT)
        time.sleep(0.1)
        os.kill(running.pid, signal.SIGINT)  # the same key press, passed on by a parent
        assert running.exit_code(0.5) is None
        os.kill(running.pid, signal.SIGINT)
        assert running.exit_code() == INTERRUPTED
        assert "interrupted again" in running.said


def _sleep(told: Any) -> None:
    told.put(os.getpid())
    time.sleep(60)


def _with_a_worker(tell: Callable[..., None], method: str) -> None:
    with Notices(grace_s=30, watch="none") as notices:
        context: Any = multiprocessing.get_context(method)
        told = context.SimpleQueue()
        worker = context.Process(target=_sleep, args=(told,), daemon=True)
        with spared():
            worker.start()
        tell(told.get())
        within(30, lambda: notices.notice)
        time.sleep(0.3)
        assert worker.is_alive()
        notices.leave()


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_children_outlive_the_groups_signals_but_not_their_parent(method: str) -> None:
    with alone(_with_a_worker, method) as running:
        os.killpg(running.pid, signal.SIGINT)
        os.killpg(running.pid, signal.SIGTERM)
        assert running.exit_code() == PREEMPTED, running.said
        state = Path(f"/proc/{running.first}/stat")
        assert within(5, lambda: not state.exists() or " Z " in state.read_text())


def test_programs_started_inside_are_spared_too() -> None:
    with spared():
        process = subprocess.Popen(["sleep", "60"])
    process.terminate()
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.kill()
    process.wait()
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_signal_to_a_forked_child_is_not_taken_for_the_parents() -> None:
    with Notices(watch="none", end=lambda _: None, out=StringIO()) as notices:
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
        assert child.pid is not None
        time.sleep(0.1)
        os.kill(child.pid, signal.SIGTERM)
        time.sleep(0.3)
        assert notices.notice is None
        assert child.is_alive()
        child.kill()
        child.join()


def test_the_earliest_deadline_counts_and_the_first_reason_stays() -> None:
    now = [100.0]
    with Notices(watch="none", end=lambda _: None, out=StringIO(), clock=lambda: now[0]) as notices:
        assert notices.left() == math.inf
        notices.give(Notice("EC2", 120.0))
        assert notices.left() == pytest.approx(54.0)
        notices.give(Notice("later", 500.0))
        notices.give(Notice("kubelet", 30.0))
        assert notices.notice == Notice("EC2", 120.0)
        assert notices.left() == pytest.approx(13.5)


@pytest.mark.parametrize(
    ("rescue", "code", "says"),
    [
        (lambda: True, PREEMPTED, "everything is saved"),
        (lambda: False, UNSAVED, "the newest committed checkpoint counts"),
        (lambda: 1 / 0, UNSAVED, "nothing more could be saved: ZeroDivisionError"),
        (lambda: time.sleep(30) or True, UNSAVED, "the newest committed checkpoint counts"),
        # The loop came one step further after it had been asked.
        (iter([True, False]).__next__, UNSAVED, "the newest committed checkpoint counts"),
    ],
)
def test_at_the_deadline_a_save_under_way_is_waited_for(rescue: Callable[[], bool], code: int, says: str) -> None:
    left: list[int] = []
    out = StringIO()
    with Notices(
        watch="none", end=left.append, out=out, rescue=rescue, rescue_s=0.2, where=lambda: "evaluation"
    ) as notices:
        began = time.monotonic()
        notices.give(Notice("test", 2.0))
        assert within(5, lambda: left) == [code]
        assert 0.45 < time.monotonic() - began < 1.3
    assert says in out.getvalue()
    assert "out of time in evaluation" in out.getvalue()


@settings(deadline=None)
@given(st.floats(0, 1e5))
def test_half_of_a_notice_is_never_used_up(seconds: float) -> None:
    assert 0 <= allowed(seconds) <= max(0.0, seconds / 2 - 0.5)
    assert allowed(seconds) >= 0.4 * seconds or seconds < 10


def test_afterwards_signals_do_what_they_did() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    threads = threading.active_count()
    with Notices(watch="none", end=lambda _: None, out=StringIO()):
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] != before
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    assert within(2, lambda: threading.active_count() <= threads)


def test_wrong_grace_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINING_GRACE_S", "a minute")
    with pytest.raises(ValueError, match="a minute"):
        Notices()
    monkeypatch.setenv("TRAINING_GRACE_S", "90")
    assert Notices().grace_s == 90
    with pytest.raises(ValueError, match="expected seconds, more than 0"):
        Notices(grace_s=0)


def test_only_the_main_thread_may_watch() -> None:
    errors: list[Exception] = []

    def enter() -> None:
        try:
            with Notices(watch="none"):
                pass
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])


# ---- agreement


@settings(deadline=None)
@given(st.floats(0, 10), st.floats(1e-6, 1e3), st.floats(1e-4, 0.5), st.floats(1e-3, 100))
def test_asking_is_cheap_unless_that_were_too_late(cost: float, step: float, share: float, within_s: float) -> None:
    every = period(cost, step, share, within_s)
    assert every >= 1
    late = every * step * SLOWDOWN > within_s * (1 + 1e-9)
    dear = cost > share * every * step * (1 + 1e-9)
    assert not late or every == 1
    assert not dear or (every + 1) * step * SLOWDOWN > within_s or every == 10**9


def test_alone_there_is_nobody_to_ask() -> None:
    assert agree(True)
    assert not agree(False)
    with Notices(watch="none", end=lambda _: None, out=StringIO()) as notices:
        stopping = Agreement(notices)
        assert not stopping()
        notices.give(Notice("test", 30))
        assert stopping()


def _agree_often(rank: int, told: Callable[..., None], seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(50):
        wanted = [chance.random() < 0.2 for _ in range(dist.get_world_size())]
        told(agree(wanted[rank]) == any(wanted))


def test_one_rank_is_enough() -> None:
    with gang(3, _agree_often, 1) as ranks:
        assert ranks.exit_codes() == [0, 0, 0]
        assert all(right for _, right in ranks.messages())


def _train(rank: int, told: Callable[..., None], step_s: float, seed: int) -> None:
    """Steps of random length until a notice; the deadline would end it otherwise."""
    chance = random.Random(seed * 100 + rank)
    with Notices(grace_s=20, watch="none", out=StringIO()) as notices:
        stopping = Agreement(notices, within_s=0.2)
        told("began")
        for step in range(100_000):
            time.sleep(step_s * chance.random())
            if stopping():
                told("left", step, notices.left(), stopping.every)
                notices.leave()


@pytest.mark.parametrize("seed", range(4))
def test_all_ranks_leave_at_the_same_step_whoever_had_the_notice(seed: int) -> None:
    chance = random.Random(seed)
    world = chance.choice([2, 3, 4])
    with gang(world, _train, chance.choice([0.0, 0.001, 0.05]), seed) as ranks:
        began = [ranks.told.get() for _ in range(world)]
        assert {rank for rank, _ in began} == set(range(world))
        time.sleep(chance.uniform(0, 0.7))
        for rank in chance.sample(range(world), chance.choice([1, 1, 2])):
            ranks.signal(rank, chance.choice([signal.SIGTERM, signal.SIGINT]))
        began_at = time.monotonic()
        assert ranks.exit_codes(10) == [PREEMPTED] * world
        assert time.monotonic() - began_at < 3
        left = ranks.messages()
    assert len({step for _, _, step, _, _ in left}) == 1
    # Every rank knows how long it may still take, also those that had no notice.
    assert all(6 < remaining <= allowed(20) for _, _, _, remaining, _ in left)


@pytest.mark.parametrize(
    ("cost_s", "step_s", "every"),
    [(0.0001, 0.001, 10), (0.0001, 0.1, 1), (0.01, 0.02, 1), (0.01, 0.0001, 200), (0.0, 0.001, 1), (0.001, 0.0, 1)],
)
def test_only_very_short_steps_are_asked_about_seldom(cost_s: float, step_s: float, every: int) -> None:
    assert period(cost_s, step_s, 0.01, 2.0) == every


def _slower(rank: int, told: Callable[..., None]) -> None:
    """Steps of 2 ms that suddenly take a hundred times as long, as where a checkpoint writer starts; then a notice."""
    with Notices(grace_s=10, watch="none", out=StringIO()) as notices:
        stopping = Agreement(notices, share=1e-6)
        for step in range(100_000):
            if step == 300:
                told(stopping.every)
                notices.give(Notice("test", 10)) if rank == 0 else None
            time.sleep(0.002 if step < 300 else 0.2)
            if stopping():
                notices.leave()


def test_steps_that_suddenly_take_a_hundred_times_as_long_are_left_in_time() -> None:
    with gang(2, _slower) as ranks:
        (_, every), _ = ranks.told.get(), ranks.told.get()
        began = time.monotonic()
        assert every > 1
        assert ranks.exit_codes(10) == [PREEMPTED] * 2
        assert time.monotonic() - began < 4.5
