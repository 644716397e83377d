"""The router: every request has one arm and one outcome, changes fail none, and what nobody sees costs nobody."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.rollout.arms import INFER, Setup, refusing
from workloads.rollout.errors import Fenced, RoutingError
from workloads.rollout.router import Exchange
from workloads.rollout.routing import Arm, Fence, Mirror, Routing, is_open, model_of, place
from workloads.rollout.scores import decoded

ARMS = {name: Arm(f"http://{name}:8000") for name in ("candidate", "stable", "baseline")}


def routing(candidate: float, baseline: float = 0.0) -> Routing:
    return Routing(ARMS, {"candidate": candidate, "stable": 1 - candidate - baseline, "baseline": baseline})


# ---- assignment, without I/O


@given(st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 1, exclude_max=True))
def test_a_place_belongs_to_the_arm_whose_share_it_is_in(candidate: float, baseline: float, where: float) -> None:
    found = routing(candidate, baseline).pick(where)
    assert routing(candidate, baseline).weight(found) > 0
    expected = "candidate" if where < candidate else "stable" if where < 1 - baseline else "baseline"
    if min(abs(where - candidate), abs(where - (1 - baseline))) > 1e-9:
        assert found == expected


@given(st.floats(0, 0.5), st.floats(0, 0.5), st.text())
def test_whoever_has_seen_an_arm_stays_with_it_while_its_share_grows(one: float, other: float, session: str) -> None:
    less, more = sorted((one, other))
    before = routing(less, less).pick(place("test", session))
    after = routing(more, more).pick(place("test", session))
    if before != "stable":
        assert after == before


def test_sessions_are_spread_by_share_and_anew_in_each_rollout() -> None:
    shares = routing(0.1, 0.1)
    places = [place("test", f"user-{number}") for number in range(20_000)]
    found = Counter(map(shares.pick, places))
    # Four standard deviations of a binomial.
    assert abs(found["candidate"] - 2000) < 4 * (20_000 * 0.1 * 0.9) ** 0.5
    assert abs(found["baseline"] - 2000) < 4 * (20_000 * 0.1 * 0.9) ** 0.5
    again = [place("next", f"user-{number}") for number in range(20_000)]
    both = sum(a < 0.1 and b < 0.1 for a, b in zip(places, again, strict=True))
    assert abs(both - 200) < 4 * 200**0.5


@given(st.tuples(st.integers(0, 3), st.integers(0, 3)), st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_an_older_word_changes_nothing(first: tuple[int, int], second: tuple[int, int]) -> None:
    start = routing(0.0)
    held = start.with_weights({"candidate": 0.5, "stable": 0.5}, None, Fence(*first)) if first > (0, 0) else start
    weights = {"candidate": 1.0}
    if second > first:
        assert held.with_weights(weights, None, Fence(*second)).weights == weights
    else:
        with pytest.raises(Fenced):
            held.with_weights(weights, None, Fence(*second))
        # The same word once more is no other.
        assert held.with_weights(held.weights, None, held.fence) == held


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({"candidate": 0.5}, "add up to 0.5, expected 1"),
        ({"candidate": -0.5, "stable": 1.5}, "expected numbers from 0 to 1"),
        ({"candidate": float("nan"), "stable": 1.0}, "expected numbers from 0 to 1"),
        ({"canary": 1.0}, "weights of canary: expected arms out of candidate, stable, baseline"),
    ],
)
def test_weights_that_are_no_shares_are_refused(weights: dict[str, float], reason: str) -> None:
    with pytest.raises(RoutingError, match=reason):
        Routing(ARMS, weights)


def test_arms_are_named_anew_only_where_nobody_is_moved() -> None:
    moved = {**ARMS, "candidate": Arm("http://other:8000")}
    with pytest.raises(RoutingError, match=r"http://candidate:8000 has 10\.0% of the requests and would have 0\.0%"):
        routing(0.1).with_arms(moved, routing(0.1).weights, Fence(1, 1))
    assert routing(0.0).with_arms(moved, {"stable": 1.0}, Fence(1, 1)).arms == moved
    # What was the candidate is the next one's baseline.
    names = {"candidate": Arm("http://third:8000"), "stable": ARMS["candidate"], "baseline": ARMS["candidate"]}
    promoted = routing(0.0).with_weights({"candidate": 1.0}, None, Fence(1, 1))
    assert promoted.with_arms(names, {"stable": 1.0}, Fence(1, 2)).pick(0.5) == "stable"
    with pytest.raises(RoutingError, match="arms change their servers only where nobody is moved"):
        promoted.with_arms(names, {"candidate": 1.0}, Fence(1, 2))


@pytest.mark.parametrize(
    "url", ["https://triton:8000", "triton:8000", "http://triton:8000/v2", "http://", "grpc://t:1"]
)
def test_an_arm_is_at_a_server(url: str) -> None:
    with pytest.raises(RoutingError, match="expected http://HOST:PORT"):
        Arm(url)


def test_an_arm_may_be_a_version_at_a_server_that_has_several() -> None:
    arm = Arm("http://triton:8000", "7")
    assert arm.path(INFER, "lm") == "/v2/models/lm/versions/7/infer"
    assert arm.path("/v2/models/lm", "lm") == "/v2/models/lm/versions/7"
    assert arm.path("/v2/models/l%6d/infer", "lm") == "/v2/models/l%6d/versions/7/infer"
    for other in ("/v2/models/lm/versions/3/infer", "/v2/models/lm2/infer", "/v2/health/ready"):
        assert arm.path(other, "lm") == other


@pytest.mark.parametrize(
    ("path", "open_"),
    [
        (INFER, True),
        ("/v2", True),
        ("/v2/health/ready", True),
        ("/v2/repository/index", False),
        ("/v2/models/../repository/index", False),
        ("/v2/models/%2e%2e/repository/index", False),
        ("/v2/models/lm%2f..%2f..%2frepository", False),
        ("/v2/modelsx", False),
        ("/metrics", False),
    ],
)
def test_models_and_health_are_open_and_nothing_else(path: str, open_: bool) -> None:
    assert is_open(path) is open_


def test_a_model_is_named_by_its_path() -> None:
    assert model_of("/v2/models/l%6d/infer") == "lm"
    assert model_of("/v2/health/ready") is None
    assert model_of("/v2/models/") is None


# ---- requests


def run(test: Any) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def outcomes(counts: dict[str, Any], arm: str) -> dict[str, int]:
    found = counts["arms"].get(arm, {"outcomes": {}})["outcomes"]
    return {name: count for name, count in found.items() if count}


def test_an_answer_comes_as_it_was_and_says_whose_it_is() -> None:
    async def test() -> None:
        async with Setup().running() as setup:
            status, arm, body = await setup.ask(b'{"inputs": []}', x_request_id="7")
            assert (status, arm) == (200, "stable")
            assert json.loads(body)["model_name"] == "stable"
            assert setup.stable.calls == [(INFER, b'{"inputs": []}')]
            assert setup.stable.headers[0]["x-request-id"] == "7"
            status, arm, body = await setup.ask(b"stream", "/v2/models/lm/generate_stream?a=b%20c")
            assert body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
            assert setup.stable.calls[-1][0] == "/v2/models/lm/generate_stream?a=b%20c"

    run(test())


def test_a_session_keeps_its_arm_and_a_tester_has_the_one_that_he_wants() -> None:
    async def test() -> None:
        setup = Setup()
        setup.weights = {"candidate": 0.5, "stable": 0.5}
        async with setup.running():
            for user in map(str, range(20)):
                found = {(await setup.ask(x_session_id=user))[1] for _ in range(3)}
                assert found == {setup.router.routing.pick(place("test", user))}
            before = await setup.counts()
            assert (await setup.ask(x_rollout_arm="baseline"))[1] == "baseline"
            assert (await setup.ask(x_rollout_arm="candidate"))[1] == "candidate"
            status, _, body = await setup.ask(x_rollout_arm="canary")
            assert status == 400
            assert b"expected one of candidate, stable, baseline" in body
            # Whoever chooses is no part of a sample.
            assert (await setup.counts())["arms"]["candidate"]["outcomes"] == before["arms"]["candidate"]["outcomes"]
            async with setup.session.get(f"{setup.admin}/metrics") as response:
                text = await response.text()
            assert 'rollout_requests_total{arm="override",outcome="ok",rollout="test"} 2.0' in text
            assert 'rollout_weight_ratio{arm="candidate",rollout="test"} 0.5' in text

    run(test())


def test_other_models_and_health_are_the_largest_arm_s_and_counted_by_nobody() -> None:
    async def test() -> None:
        setup = Setup()
        setup.weights = {"candidate": 0.4, "stable": 0.6}
        async with setup.running():
            for path in ("/v2/models/other/infer", "/v2/health/ready", "/v2"):
                assert (await setup.ask(path=path))[1] == "stable"
            for path in ("/v2/repository/index", "/v2/logging"):
                assert (await setup.ask(path=path))[0] == 404
            assert not outcomes(await setup.counts(), "stable")
            assert len(setup.stable.calls) == 3

    run(test())


def test_weights_change_for_new_requests_and_what_is_under_way_ends_where_it_began() -> None:
    async def test() -> None:
        async with Setup().running() as setup:
            setup.stable.gate = asyncio.Event()
            early = [asyncio.create_task(setup.ask()) for _ in range(5)]
            while len(setup.stable.calls) < 5:
                await asyncio.sleep(0.01)
            status, _ = await setup.put("/weights", {"weights": {"candidate": 1.0}})
            assert status == 200
            assert (await setup.ask())[:2] == (200, "candidate")
            assert (await setup.counts())["in_flight"]["stable"] == 5
            setup.stable.gate.set()
            assert {(await task)[:2] for task in early} == {(200, "stable")}
            counts = await setup.counts()
            assert counts["in_flight"]["stable"] == 0
            # They were assigned by shares that are no more: a look at the new ones has none of them.
            assert counts["era"] == 1
            assert list(counts["arms"]) == ["candidate"]

    run(test())


def test_an_old_controller_cannot_overwrite_a_newer_one(tmp_path: Path) -> None:
    async def test() -> None:
        async with Setup(state=tmp_path / "routing.json").running() as setup:
            new = {"weights": {"candidate": 0.25, "stable": 0.75}}
            assert (await setup.put("/weights", new, Fence(2, 5)))[0] == 200
            status, said = await setup.put("/weights", {"weights": {"candidate": 1.0}}, Fence(1, 99))
            assert status == 409
            assert said["weights"] == new["weights"]
            assert said["fence"] == {"token": 2, "number": 5}
            assert (await setup.put("/weights", new, Fence(2, 5)))[0] == 200
            assert (await setup.put("/weights", {"weights": {"stable": 1.0}}, Fence(2, 5)))[0] == 409
            for wrong in (
                {"weights": {"candidate": "1"}},
                {"weights": {"nobody": 1.0}},
                {"weights": {"stable": 1.0}, "mirror": {"arm": "nobody"}},
                {"weights": {"stable": 1.0}, "mirror": "candidate"},
                {},
            ):
                status, said = await setup.put("/weights", wrong, Fence(3, 1))
                assert status == 400, said
                assert said["error"]
            assert setup.router.routing.weights == new["weights"]
        # A router that is started again goes on where it was.
        async with Setup(state=tmp_path / "routing.json").running() as setup:
            assert setup.router.routing.weights == new["weights"]
            assert setup.router.routing.fence == Fence(2, 5)

    run(test())


def test_an_arm_that_cannot_be_reached_is_blamed_and_another_one_answers() -> None:
    async def test() -> None:
        setup = Setup()
        setup.weights = {"candidate": 0.5, "stable": 0.5}
        async with setup.running(candidate=refusing()):
            found = [await setup.ask() for _ in range(40)]
            assert {status for status, _, _ in found} == {200}
            counts = await setup.counts()
            missed = outcomes(counts, "candidate")["unreachable"]
            assert outcomes(counts, "candidate") == {"unreachable": missed}
            # What is answered instead is no part of stable's own sample.
            assert outcomes(counts, "stable") == {"ok": 40 - missed, "rescued": missed}
            # A tester hears the truth.
            status, _, body = await setup.ask(x_rollout_arm="candidate")
            assert status == 503
            assert b"cannot be reached" in body

    run(test())


def test_an_arm_whose_host_says_nothing_is_as_one_that_refuses() -> None:
    async def test() -> None:
        setup = Setup()
        setup.weights = {"candidate": 0.5, "stable": 0.5}
        with socket.socket() as silent, contextlib.ExitStack() as waiting:
            silent.bind(("127.0.0.1", 0))
            silent.listen(0)
            # Nobody accepts, and there is no room to wait: packets of new connections are dropped.
            for _ in range(4):
                full = waiting.enter_context(socket.socket())
                full.setblocking(False)
                full.connect_ex(silent.getsockname())
            async with setup.running(candidate=f"127.0.0.1:{silent.getsockname()[1]}"):
                found = await asyncio.gather(*(setup.ask(x_session_id=str(number)) for number in range(10)))
                assert {(status, arm) for status, arm, _ in found} == {(200, "stable")}
                counts = await setup.counts()
                missed = outcomes(counts, "candidate")["unreachable"]
                assert outcomes(counts, "stable") == {"ok": 10 - missed, "rescued": missed}

    run(test())


def test_what_a_model_may_have_seen_is_not_sent_twice() -> None:
    async def test() -> None:
        setup = Setup()
        setup.weights = {"candidate": 1.0}
        async with setup.running():
            assert (await setup.ask(b"break"))[0] == 502
            assert len(setup.candidate.calls) == 1
            assert setup.stable.calls == []
            with pytest.raises(aiohttp.ClientError):
                await setup.ask(b"stream", f"{INFER}?cut")
            setup.candidate.status = 503
            assert (await setup.ask())[0] == 503
            setup.candidate.status = 400
            assert (await setup.ask())[0] == 400
            assert setup.stable.calls == []
            expected = {"broken": 2, "server_error": 1, "client_error": 1}
            assert outcomes(await setup.counts(), "candidate") == expected

    run(test())


def test_an_answer_that_does_not_come_is_told_in_time() -> None:
    async def test() -> None:
        async with Setup(request_s=0.2).running() as setup:
            setup.stable.gate = asyncio.Event()
            status, _, body = await setup.ask()
            assert status == 504
            assert b"not answered within 0.2 s" in body
            assert outcomes(await setup.counts(), "stable") == {"timed_out": 1}
            setup.stable.gate.set()

    run(test())


def test_a_client_that_leaves_ends_its_request_at_the_server() -> None:
    async def test() -> None:
        async with Setup().running() as setup:
            setup.stable.gate = asyncio.Event()
            task = asyncio.create_task(setup.ask())
            while not setup.stable.calls:
                await asyncio.sleep(0.01)
            task.cancel()
            while not setup.stable.cancelled:
                await asyncio.sleep(0.01)
            while not outcomes(await setup.counts(), "stable"):
                await asyncio.sleep(0.01)
            assert outcomes(await setup.counts(), "stable") == {"abandoned": 1}
            setup.stable.gate.set()

    run(test())


# ---- copies


@pytest.mark.parametrize("compressed", [None, web.ContentCoding.gzip, web.ContentCoding.deflate])
@pytest.mark.parametrize("binary", [False, True])
def test_both_scores_of_a_mirrored_request_are_a_pair(binary: bool, compressed: web.ContentCoding | None) -> None:
    async def test() -> None:
        setup = Setup()
        setup.mirror = Mirror("candidate")
        setup.stable.binary = setup.candidate.binary = binary
        setup.stable.compressed = setup.candidate.compressed = compressed
        async with setup.running():
            for number in range(5):
                assert (await setup.ask(str(number).encode()))[1] == "stable"
            await setup.router.settled()
            counts = await setup.counts()
            assert counts["pairs"] == [[number, 2.0, 1.5] for number in range(1, 6)]
            assert (await setup.counts(after_pair=3))["pairs"] == [[4, 2.0, 1.5], [5, 2.0, 1.5]]
            # The same bodies, and no part of the candidate's sample.
            assert sorted(setup.candidate.calls) == sorted(setup.stable.calls)
            assert not outcomes(counts, "candidate")

    run(test())


def test_a_shadow_that_hangs_costs_copies_and_no_client() -> None:
    async def test() -> None:
        setup = Setup()
        setup.mirror = Mirror("candidate")
        setup.candidate.gate = asyncio.Event()
        async with setup.running():
            for _ in range(300):
                assert (await setup.ask())[0] == 200
            assert setup.router.registry.get_sample_value(
                "rollout_copies_total", {"rollout": "test", "arm": "candidate", "outcome": "full"}
            )
            setup.candidate.gate.set()
            await setup.router.settled()
            counts = await setup.counts()
            assert counts["in_flight"]["stable"] == 0
            assert sum(counts["copies"]["candidate"]["outcomes"].values()) == 300

    run(test())


def test_an_answer_without_a_score_is_no_pair() -> None:
    async def test() -> None:
        setup = Setup()
        setup.mirror = Mirror("candidate")
        async with setup.running():
            for setup.stable.score, setup.candidate.score in ((float("nan"), 1.0), (1.0, float("inf"))):
                await setup.ask()
                await setup.router.settled()
            setup.stable.score = 1.0
            setup.candidate.status = 500
            await setup.ask()
            await setup.router.settled()
            assert len(setup.candidate.calls) == 3
            assert (await setup.counts())["pairs"] == []

    run(test())


def test_a_share_of_the_requests_is_mirrored() -> None:
    async def test() -> None:
        chances = iter([0.0, 0.1, 0.0, 0.9] * 10)
        setup = Setup(chance=lambda: next(chances))
        setup.mirror = Mirror("candidate", 0.5)
        async with setup.running():
            for _ in range(20):
                await setup.ask()
            await setup.router.settled()
            assert len(setup.candidate.calls) == 10

    run(test())


def test_what_unpacks_to_more_than_is_kept_is_not_kept() -> None:
    headers, packed = {"Content-Encoding": "gzip"}, gzip.compress(b"0" * 1000)
    assert decoded(headers, packed, 1000) == b"0" * 1000
    assert decoded(headers, packed, 999) is None
    assert decoded(headers, packed[:-9], 1000) is None
    assert decoded(headers, b"no gzip", 1000) is None
    assert decoded({"Content-Encoding": "br"}, b"x", 1000) is None
    assert decoded({}, b"x", 1000) == b"x"


# ---- the log


def test_the_log_hears_of_each_exchange_and_never_makes_one_wait() -> None:
    async def test() -> None:
        heard: list[Exchange] = []

        async def log(exchange: Exchange) -> None:
            heard.append(exchange)
            if len(heard) == 2:
                raise OSError("the lake is dry")

        async with Setup(log=log).running() as setup:
            for number in range(3):
                await setup.ask(str(number).encode(), x_session_id="s", x_request_id=str(number))
            await setup.router.settled()
            assert [(one.request_id, one.request, one.arm, one.session) for one in heard] == [
                (str(number), str(number).encode(), "stable", "s") for number in range(3)
            ]
            assert json.loads(heard[0].answer or b"")["outputs"][1]["data"] == [2.0]
            assert setup.router.registry.get_sample_value("rollout_requests_not_logged_total", {"rollout": "test"}) == 1

    run(test())
