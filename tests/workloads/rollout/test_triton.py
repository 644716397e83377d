"""Rollout and rollback under load, with real Tritons: nobody's request fails because of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.workloads.rollout import tritons
from tests.workloads.rollout.tritons import NAME, World, spec, write_model
from workloads.rollout.journal import read, replay
from workloads.rollout.state import Phase

pytestmark = pytest.mark.slow


def test_a_good_version_is_promoted_and_a_bad_one_rolled_back_without_a_failed_request(tmp_path: Path) -> None:
    with tritons.servers(tmp_path) as (first, second):
        write_model(first.repository, 1)
        first.load(NAME)

        async def test() -> World:
            async with World(tmp_path, [first, second]).running(clients=8) as world:
                write_model(second.repository, 2)
                await asyncio.to_thread(second.load, NAME)
                promoted = await world.roll_out(spec(2), first, second)
                assert promoted.phase is Phase.PROMOTED, promoted
                assert world.router.routing.weights["candidate"] == 1.0
                # Nobody asks the old one any more: its server takes the next version, in its place.
                while world.router.counts.in_flight["baseline"] + world.router.counts.in_flight["control"]:
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(first.unload, NAME)
                write_model(first.repository, 3, worse=0.2)
                await asyncio.to_thread(first.load, NAME)
                back = await world.roll_out(spec(3), second, first)
                assert (back.phase, back.reason) == (Phase.ROLLED_BACK, "quality-worse")
                assert world.router.routing.weights["baseline"] == 1.0
                await asyncio.sleep(0.5)
            return world

        world = asyncio.run(asyncio.wait_for(test(), 280))
    assert world.load.failed == []
    assert world.load.requests > 500
    assert min(world.load.answered[arm] for arm in ("baseline", "control", "candidate")) > 0
    for name in ("lm-2", "lm-3"):
        count, different = replay(read(tmp_path / f"{name}.jsonl"), name)
        assert count > 0
        assert different == []


def test_a_version_that_dies_is_rolled_back_and_nobody_notices(tmp_path: Path) -> None:
    """Killed in the middle of a step: requests on their way there are lost, those that come later are answered."""
    with tritons.servers(tmp_path) as (first, second):
        for server, version in ((first, 1), (second, 2)):
            write_model(server.repository, version)
            server.load(NAME)

        async def test() -> tuple[World, int]:
            async with World(tmp_path, [first, second]).running(clients=4) as world:
                patient = spec(2, steps=[{"percent": 20, "looks": 1000}])
                rolling = asyncio.create_task(world.roll_out(patient, first, second))
                while world.load.answered["candidate"] < 20:
                    await asyncio.sleep(0.01)
                second.kill()
                await asyncio.sleep(0.2)
                lost = len(world.load.failed)
                # Without replicas it waits, with no requests at the candidate; a person ends it.
                while world.router.routing.weights["candidate"]:
                    await asyncio.sleep(0.05)
                before = world.load.requests
                while world.load.requests < before + 50:
                    await asyncio.sleep(0.01)
                world.back.set()
                assert (await rolling).phase is Phase.ROLLED_BACK
                assert len(world.load.failed) == lost
            return world, lost

        world, lost = asyncio.run(asyncio.wait_for(test(), 200))
    # At most what each client was waiting for.
    assert lost <= 4
    assert world.load.answered["baseline"] > 0
