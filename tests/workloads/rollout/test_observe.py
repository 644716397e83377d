"""What happened since the last look: each request once, whoever was killed or started again in between."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.workloads.rollout.arms import Server, Setup
from tests.workloads.rollout.prometheus import NAMES, Prometheus
from workloads.rollout.envoy import EnvoyObserver
from workloads.rollout.errors import RoutingError, ShellFailed
from workloads.rollout.observation import Arm, bucket_of
from workloads.rollout.observe import LocalObserver, Seen
from workloads.rollout.routing import Arm as Where
from workloads.rollout.routing import Fence, Mirror
from workloads.rollout.shadow import Scored, read_texts
from workloads.rollout.shells import LocalRoute, Replicas, Setting

# ---- the local router's counters


def named(setup: Setup) -> dict[str, Where]:
    """As a rollout names its arms."""
    stable = Where(f"http://{setup.stable.address}")
    return {"candidate": Where(f"http://{setup.candidate.address}"), "baseline": stable, "control": stable}


def begun(setup: Setup, weight: float = 0.25, mirror: float = 0.0) -> None:
    routing = setup.router.routing.with_arms(named(setup), {"baseline": 1.0}, Fence(0, 1))
    setup.router.change(routing.with_weights(Setting(weight).shares, None, Fence(0, 2)))
    if mirror:
        setup.router.change(
            setup.router.routing.with_weights(Setting(weight).shares, Mirror("candidate", mirror), Fence(0, 3))
        )


def requests(*seen: Seen) -> dict[str, int]:
    return {name: sum(getattr(one, name).requests for one in seen) for name in ("baseline", "control", "candidate")}


def test_each_request_is_seen_once() -> None:
    async def test() -> None:
        async with Setup().running() as setup:
            begun(setup)
            observer, cursor, found = LocalObserver(setup.admin), None, []
            for count in (30, 0, 20, 50):
                for _ in range(count):
                    await setup.ask()
                # A look that is not written down is as if it had not been.
                for _ in range(2):
                    seen, after = await asyncio.to_thread(observer.look, cursor, 0.0)
                cursor = json.loads(json.dumps(after))
                found.append(seen)
                assert sum(requests(seen).values()) == count
            setup.candidate.status = 500
            while (await setup.ask())[1] != "candidate":
                pass
            seen, _ = await asyncio.to_thread(observer.look, cursor, 0.0)
            assert (seen.candidate.requests, seen.candidate.errors) == (1, 1)
            assert requests(*found)["control"] > 0
            both = found[0].candidate + found[3].candidate
            assert sum(count for _, count in both.latencies) == both.requests

    asyncio.run(asyncio.wait_for(test(), 60))


def test_shares_that_change_and_routers_that_start_again_begin_anew() -> None:
    async def test() -> None:
        async with Setup().running() as setup:
            begun(setup)
            observer = LocalObserver(setup.admin)
            for _ in range(20):
                await setup.ask()
            _, cursor = await asyncio.to_thread(observer.look, None, 0.0)
            for _ in range(7):
                await setup.ask()
            setup.router.change(setup.router.routing.with_weights(Setting(0.5).shares, None, Fence(1, 1)))
            for _ in range(9):
                await setup.ask()
            seen, cursor = await asyncio.to_thread(observer.look, cursor, 0.0)
            # Of the new shares alone.
            assert sum(requests(seen).values()) == 9
            assert seen.baseline.requests == 0
        async with Setup().running() as setup:
            begun(setup)
            observer = LocalObserver(setup.admin)
            for _ in range(5):
                await setup.ask()
            seen, _ = await asyncio.to_thread(observer.look, cursor, 0.0)
            assert sum(requests(seen).values()) == 5

    asyncio.run(asyncio.wait_for(test(), 60))


def test_copies_and_pairs_are_seen_once_in_their_order() -> None:
    async def test() -> None:
        async with Setup().running() as setup:
            begun(setup, weight=0.0, mirror=1.0)
            observer, cursor, pairs, copies = LocalObserver(setup.admin), None, [], 0
            for number in range(12):
                setup.stable.score = float(number)
                await setup.ask()
                await setup.router.settled()
                if number % 5 == 4:
                    seen, cursor = await asyncio.to_thread(observer.look, cursor, 0.0)
                    pairs += seen.pairs
                    copies += seen.mirrored.requests
            seen, cursor = await asyncio.to_thread(observer.look, cursor, 0.0)
            assert [*pairs, *seen.pairs] == [(float(number), 1.5) for number in range(12)]
            assert copies + seen.mirrored.requests == 12
            seen, _ = await asyncio.to_thread(observer.look, cursor, 0.0)
            assert (seen.pairs, seen.mirrored) == ((), Arm())

    asyncio.run(asyncio.wait_for(test(), 60))


def test_a_local_route_is_begun_set_and_looked_at() -> None:
    async def test() -> None:
        setup = Setup()
        async with setup.running():
            route = LocalRoute(setup.admin)

            def work() -> None:
                arms = {name: {"url": arm.url, "version": ""} for name, arm in named(setup).items()}
                route.begin(arms)
                assert route.replicas() == Replicas(1, 1)
                assert route.current() == (Setting(), Fence(0, 1))
                route.set(Setting(0.3, 0.5), Fence(1, 1))
                assert route.current() == (Setting(0.3, 0.5), Fence(1, 1))
                with pytest.raises(RoutingError, match="arms change their servers only where nobody is moved"):
                    route.begin(arms)
                with pytest.raises(RoutingError, match="strategy rolling"):
                    route.scale(1, 2)

            await asyncio.to_thread(work)
            setup.candidate.status = 503
            assert await asyncio.to_thread(route.replicas) == Replicas(1, 0)
        with pytest.raises(ShellFailed):
            route.current()

    asyncio.run(asyncio.wait_for(test(), 60))


# ---- Envoy's counters in Prometheus


def test_envoy_s_counters_are_subtracted_pod_by_pod() -> None:
    prometheus, now = Prometheus(), [1000.0]
    for pod in ("a", "b"):
        for arm in NAMES:
            prometheus.add(pod, arm, ok=1000, failed=100)
    with prometheus.running() as url:
        observer = EnvoyObserver(url, lambda: NAMES, settle_s=45, clock=lambda: now[0])
        # Until everybody has heard of the weights, counts are nobody's.
        assert observer.look(None, 990.0) == (Seen(), None)
        now[0] = 1040.0
        seen, cursor = observer.look(None, 990.0)
        assert seen == Seen()
        prometheus.add("a", "candidate", ok=10, failed=2, refused=1, ms=50)
        prometheus.add("b", "candidate", ok=5)
        prometheus.add("b", "control", ok=17)
        prometheus.add("a", "baseline", ok=300)
        prometheus.add("a", "mirror", ok=3)
        prometheus.add("new", "candidate", ok=1)
        for _ in range(2):
            seen, after = observer.look(json.loads(json.dumps(cursor)), 990.0)
            assert (seen.candidate.requests, seen.candidate.errors) == (19, 3)
            assert (seen.control, seen.mirrored.requests, seen.baseline.requests) == (
                Arm(17, 0, ((bucket_of(0.00999), 17),)),
                3,
                300,
            )
        # Three answers too many in the buckets, which were no good ones: the fastest are left out.
        assert seen.candidate.latencies == ((bucket_of(0.00999), 3), (bucket_of(0.0999), 13))
        cursor = after
        # A proxy that was started again counts from 0, one that is gone says nothing.
        del prometheus.pods["a"]["candidate"], prometheus.pods["b"]
        prometheus.add("a", "candidate", ok=4)
        seen, cursor = observer.look(cursor, 990.0)
        assert (seen.candidate.requests, seen.candidate.errors) == (4, 0)
        # Other weights, another beginning.
        prometheus.add("a", "candidate", ok=100)
        now[0] = 2000.0
        assert observer.look(cursor, 1900.0)[0] == Seen()
        prometheus.error = "too many samples"
        with pytest.raises(ShellFailed, match="too many samples"):
            observer.look(cursor, 1900.0)


# ---- scores beside the traffic


def test_texts_are_scored_by_both_and_each_once() -> None:
    class Nothing:
        def look(self, cursor: Any, since: float) -> tuple[Seen, Any]:
            del since
            return Seen(candidate=Arm(1)), (cursor or 0) + 1

    async def test() -> None:
        stable, candidate = Server("stable", 2.0), Server("candidate", 1.5)
        async with stable.running(), candidate.running():
            texts = [f"text {number}" for number in range(5)]
            urls = [f"http://{server.address}" for server in (stable, candidate)]
            observer = Scored(Nothing(), texts, "lm", *urls, a_look=2)
            cursor, counts = None, []
            for _ in range(4):
                seen, after = await asyncio.to_thread(observer.look, cursor, 0.0)
                cursor = json.loads(json.dumps(after))
                counts.append(len(seen.pairs))
                assert set(seen.pairs) <= {(2.0, 1.5)}
                assert seen.candidate == Arm(1)
            assert counts == [2, 2, 1, 0]
            assert cursor == {"observer": 4, "next": 5}
            asked = [json.loads(body)["inputs"][0]["data"] for _, body in candidate.calls]
            assert asked == [[text] for text in texts]
            assert asked == [json.loads(body)["inputs"][0]["data"] for _, body in stable.calls]
            # A candidate that fails is compared by its errors; what it has no score of is no pair.
            candidate.status = 500
            seen, _ = await asyncio.to_thread(observer.look, None, 0.0)
            assert seen.pairs == ()
        # One that cannot be reached is asked again.
        seen, cursor = await asyncio.to_thread(observer.look, None, 0.0)
        assert (seen.pairs, cursor) == ((), {"observer": 1, "next": 0})

    asyncio.run(asyncio.wait_for(test(), 60))


def test_texts_are_read_of_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('"one"\n{"text": "two", "time": 3}\n"one"\n')
    assert read_texts(path) == ["one", "two"]
    path.write_text('"one"\n[2]\n')
    with pytest.raises(RoutingError, match="line 2: expected a JSON string, or an object with a text"):
        read_texts(path)
    with pytest.raises(RoutingError, match="0 texts, 20 a look"):
        Scored(None, [], "lm", "http://a:1", "http://b:1")  # type: ignore[arg-type]
