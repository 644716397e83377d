"""Holds the client to its promises where servers hang, break, refuse and come back; the faults are planted."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from aiohttp import web

from tests.workloads.serving.planted import Planted, breaks, fails, hangs, streams
from workloads.serving.client import (
    Answer,
    AsyncClient,
    Client,
    DeadlineExceeded,
    Kind,
    Policy,
    Refused,
    RequestFailed,
    StreamBroken,
    Unavailable,
)
from workloads.serving.errors import ArgumentError

X = np.arange(4, dtype=np.float32).reshape(1, 4)
NO_WAIT = Policy(deadline_s=5.0, backoff_s=0.001)


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 30.0))  # type: ignore[arg-type]


def nobody() -> str:
    """A port that refuses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


async def check(client: AsyncClient, **options: object) -> Answer:
    answer = await client.infer("m", {"x": X}, **options)  # type: ignore[arg-type]
    np.testing.assert_array_equal(answer["y"], X)
    return answer


# ---- failover


def test_a_server_that_is_gone_costs_a_request_nothing_but_time() -> None:
    async def work() -> None:
        async with Planted() as alive, AsyncClient([nobody(), alive.url], NO_WAIT) as client:
            assert (await check(client, idempotent=False)).attempts == 2
            assert (await check(client)).attempts == 1, "the dead one is left alone"
            assert (await check(client)).endpoint == alive.url

    run(work)


def test_a_connection_that_breaks_is_survived_by_idempotent_requests_only() -> None:
    async def work() -> None:
        async with Planted(breaks()) as broken, Planted() as alive:
            async with AsyncClient([broken.url, alive.url], NO_WAIT) as client:
                await check(client)
            async with AsyncClient([broken.url, alive.url], NO_WAIT) as client:
                with pytest.raises(Unavailable, match="may have been run") as caught:
                    await check(client, idempotent=False)
            assert caught.value.kind is Kind.LOST
            assert (broken.seen, alive.seen) == (2, 1)

    run(work)


def test_what_the_server_says_is_wrong_is_not_sent_again() -> None:
    async def work() -> None:
        async with Planted(fails(400, "unexpected shape for input 'x'")) as strict, Planted() as other:
            async with AsyncClient([strict.url, other.url], NO_WAIT) as client:
                with pytest.raises(Refused, match="unexpected shape for input 'x'") as caught:
                    await check(client)
            assert (caught.value.attempts, strict.seen, other.seen) == (1, 1, 0)

    run(work)


def test_a_full_queue_is_tried_again_and_elsewhere() -> None:
    async def work() -> None:
        full = fails(503, "Exceeds maximum queue size", times=1)
        async with Planted(full) as first, Planted(full) as second:
            async with AsyncClient([first.url, second.url], NO_WAIT) as client:
                assert (await check(client, idempotent=False)).attempts == 3
            assert (first.seen, second.seen) == (2, 1)

    run(work)


def test_a_request_that_kills_servers_does_not_go_round_them_all() -> None:
    async def work() -> None:
        async with Planted(breaks()) as a, Planted(breaks()) as b, AsyncClient([a.url, b.url], NO_WAIT) as client:
            with pytest.raises(Unavailable, match="after 4 attempts"):
                await check(client)
            assert a.seen + b.seen == 4

    run(work)


def test_repetitions_are_bounded_over_all_requests() -> None:
    async def work() -> None:
        policy = Policy(deadline_s=5, backoff_s=0.001, extra=0.1, extra_reserve=5)
        async with Planted(fails(429, "too many")) as full, AsyncClient([full.url], policy) as client:
            for _ in range(100):
                with pytest.raises(Unavailable):
                    await check(client)
            # 100 requests, 5 in reserve and a tenth of a repetition each.
            assert 100 < full.seen <= 100 + 5 + 10

    run(work)


def test_an_endpoint_comes_back_once_it_is_ready_and_no_request_has_to_find_out() -> None:
    async def work() -> None:
        policy = Policy(aside_s=0.05, aside_limit_s=0.05, backoff_s=0.001)
        async with Planted() as near, Planted() as far, AsyncClient([near.url, far.url], policy) as client:
            await near.stop()
            assert (await check(client)).endpoint == far.url
            near.is_ready = False
            await near.start()
            seen = near.seen
            for _ in range(20):
                assert (await check(client)).attempts == 1
                await asyncio.sleep(0.02)
            assert near.probes
            assert near.seen == seen
            near.is_ready = True
            for _ in range(100):
                await asyncio.sleep(0.02)
                answer = await check(client)
                assert answer.attempts == 1
                if answer.endpoint == near.url:
                    return
            pytest.fail("the nearer endpoint never came back")

    run(work)


def test_the_only_endpoint_is_waited_for_until_the_deadline() -> None:
    async def work() -> None:
        server = Planted()
        await server.start()
        await server.stop()
        async with AsyncClient([server.url], Policy(deadline_s=10, backoff_s=0.01, backoff_limit_s=0.05)) as client:
            asked = asyncio.ensure_future(check(client, idempotent=False))
            await asyncio.sleep(0.3)
            assert not asked.done()
            await server.start()
            assert (await asked).attempts > 4, "what never reached a server does not count against the bound"
        await server.stop()

    run(work)


def test_a_model_that_no_endpoint_has_is_said_once_each_has_been_asked() -> None:
    async def work() -> None:
        unknown = fails(404, "Request for unknown model: 'm' is not found")
        async with Planted(unknown) as a, Planted(unknown) as b, AsyncClient([a.url, b.url]) as client:
            with pytest.raises(Refused, match=r"unknown model.*nor does any other endpoint") as caught:
                await check(client)
            assert caught.value.kind is Kind.NOT_HERE
            assert (a.seen, b.seen) == (1, 1)

    run(work)


# ---- deadlines and hedging


def test_a_deadline_holds_while_a_server_hangs_and_its_request_is_cancelled() -> None:
    async def work() -> None:
        async with Planted(hangs) as server, AsyncClient([server.url]) as client:
            started = time.monotonic()
            with pytest.raises(DeadlineExceeded, match="no answer in time"):
                await check(client, deadline_s=0.2)
            assert 0.15 < time.monotonic() - started < 2.0
            while server.under_way:
                await asyncio.sleep(0.01)
            assert server.cancelled == 1

    run(work)


def test_one_attempt_may_have_less_than_the_deadline() -> None:
    async def work() -> None:
        policy = Policy(deadline_s=10, attempt_s=0.1)
        async with Planted(hangs) as hung, Planted() as alive, AsyncClient([hung.url, alive.url], policy) as client:
            assert (await check(client)).attempts == 2
            with pytest.raises(DeadlineExceeded, match="may have been run"):
                await check(client, idempotent=False)
            assert hung.seen == 2
            await check(client)
            await check(client)
            # After three in a row it is left alone.
            assert hung.seen == 3

    run(work)


def test_a_hedge_answers_for_a_server_that_hangs_and_the_loser_is_cancelled() -> None:
    async def work() -> None:
        policy = Policy(hedge_after_s=0.05)
        async with Planted(hangs) as hung, Planted() as alive, AsyncClient([hung.url, alive.url], policy) as client:
            answer = await check(client)
            assert (answer.endpoint, answer.attempts) == (alive.url, 2)
            assert client.counts.hedged == 1
            while hung.under_way:
                await asyncio.sleep(0.01)
            assert hung.cancelled == 1
            with pytest.raises(DeadlineExceeded):
                await check(client, idempotent=False, deadline_s=0.2)
            assert alive.seen == 1, "what may not run twice is not hedged"

    run(work)


def test_hedges_are_bounded() -> None:
    async def work() -> None:
        async def slow(_: web.Request, __: int) -> None:
            await asyncio.sleep(0.02)

        policy = Policy(hedge_after_s=0.005, extra=0.05, extra_reserve=2)
        async with Planted(slow) as a, Planted(slow) as b, AsyncClient([a.url, b.url], policy) as client:
            for _ in range(40):
                await check(client)
            assert 2 <= client.counts.hedged <= 4

    run(work)


def test_a_request_that_is_cancelled_leaves_nothing_behind() -> None:
    async def work() -> None:
        policy = Policy(hedge_after_s=0.02)
        async with Planted(hangs) as a, Planted(hangs) as b, AsyncClient([a.url, b.url], policy) as client:
            asked = asyncio.ensure_future(check(client))
            while a.seen + b.seen < 2:
                await asyncio.sleep(0.01)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            while a.under_way or b.under_way:
                await asyncio.sleep(0.01)
            assert (a.cancelled, b.cancelled) == (1, 1)

    run(work)


# ---- streams


async def texts(client: AsyncClient, **options: object) -> list[str]:
    return [part.text("text") async for part in client.stream("m", {"text": "Once"}, **options)]  # type: ignore[arg-type]


def test_a_stream_that_breaks_is_taken_up_elsewhere_without_a_word_twice() -> None:
    async def work() -> None:
        words = ["Once", " upon", " a", " time"]
        async with Planted(streams(words, break_after=2)) as broken, Planted(streams(words)) as alive:
            async with AsyncClient([broken.url, alive.url]) as client:
                assert await texts(client) == words
            async with AsyncClient([broken.url, alive.url]) as client:
                with pytest.raises(StreamBroken, match=r"may have been run.*2 responses had come") as caught:
                    await texts(client, idempotent=False)
            assert caught.value.received == 2

    run(work)


def test_a_stream_that_is_begun_anew_must_say_the_same() -> None:
    async def work() -> None:
        broken, other = streams(["Once", " upon", " a"], break_after=2), streams(["Once", " more", " a"])
        async with Planted(broken) as a, Planted(other) as b, AsyncClient([a.url, b.url]) as client:
            with pytest.raises(StreamBroken, match="differs from response 2 of 2"):
                await texts(client)

    run(work)


def test_a_stream_that_stalls_is_taken_up_elsewhere() -> None:
    async def work() -> None:
        words = ["a", "b", "c"]
        async with Planted(streams(words, pause_s=3600)) as stalls, Planted(streams(words)) as alive:
            async with AsyncClient([stalls.url, alive.url], Policy(stall_s=0.1)) as client:
                assert await texts(client) == words
            assert stalls.seen == 1

    run(work)


def test_leaving_a_stream_cancels_the_rest_of_it() -> None:
    async def work() -> None:
        async with Planted(streams(["a"] * 10_000, pause_s=0.01)) as server, AsyncClient([server.url]) as client:
            responses = client.stream("m", {"text": "Once"})
            assert (await anext(responses)).text("text") == "a"
            await responses.aclose()
            while server.under_way:
                await asyncio.sleep(0.01)

    run(work)


def test_an_error_within_a_stream_is_said() -> None:
    async def work() -> None:
        async with Planted(streams(["a", "b"], end="out of pages")) as server, AsyncClient([server.url]) as client:
            with pytest.raises(StreamBroken, match="out of pages; 2 responses had come"):
                await texts(client)
            assert server.seen == 1

    run(work)


# ---- without asyncio


def test_the_synchronous_client_is_the_same_and_threads_share_it() -> None:
    serving = _InThread(Planted(streams(["a", "b", "c"], pause_s=0.01)), Planted())
    with serving as (stream, plain), Client([nobody(), plain.url], NO_WAIT) as client:
        answers = [client.submit("m", {"x": X + number}) for number in range(50)]
        for number, future in enumerate(answers):
            np.testing.assert_array_equal(future.result(10)["y"], X + number)
        np.testing.assert_array_equal(client.infer("m", {"x": X})["y"], X)
        with Client([stream.url]) as streaming:
            assert [part.text("text") for part in streaming.stream("m", {"text": "x"})] == ["a", "b", "c"]
            for part in streaming.stream("m", {"text": "x"}):
                assert part.text("text") == "a"
                break
            assert streaming.ready() == {stream.url: True}
        with pytest.raises(RequestFailed):
            Client([nobody()]).infer("m", {"x": X}, deadline_s=0.1)


class _InThread:
    """Servers on a loop of their own."""

    def __init__(self, *servers: Planted) -> None:
        import threading

        self.servers, self.loop = servers, asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> tuple[Planted, ...]:
        self.thread.start()
        for server in self.servers:
            asyncio.run_coroutine_threadsafe(server.start(), self.loop).result(10)
        return self.servers

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            asyncio.run_coroutine_threadsafe(server.stop(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


# ---- what is refused before anything is sent


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://a", "http://", "http://a:x", "http://a/path", "grpc://u@a"]
)
def test_an_endpoint_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ArgumentError, match="expected grpc://HOST:PORT"):
        AsyncClient([url])


def test_endpoints_are_some_and_each_once() -> None:
    for endpoints in ([], ["http://a", "http://a:8000"]):
        with pytest.raises(ArgumentError, match="at least one, each once"):
            AsyncClient(endpoints)


@pytest.mark.parametrize("deadline_s", [0, -1, float("nan"), float("inf")])
def test_a_deadline_that_is_none_is_refused(deadline_s: float) -> None:
    async def work() -> None:
        async with Planted() as server, AsyncClient([server.url]) as client:
            with pytest.raises(ArgumentError, match="deadline_s"):
                await check(client, deadline_s=deadline_s)
            assert server.seen == 0

    run(work)


def test_inputs_that_triton_has_no_type_for_are_refused() -> None:
    async def work() -> None:
        async with Planted() as server, AsyncClient([server.url]) as client:
            for value in (np.zeros(2, np.complex64), np.array(["2026-01-01"], "datetime64[D]"), {"a": 1}):
                with pytest.raises(ArgumentError, match="input 'x'"):
                    await client.infer("m", {"x": value})
            assert server.seen == 0

    run(work)


def test_an_answer_that_is_no_answer_is_said() -> None:
    async def nonsense(request: web.Request, _: int) -> web.Response:
        await request.read()
        return web.Response(text="<html>welcome</html>")

    async def work() -> None:
        async with Planted(nonsense) as server, AsyncClient([server.url]) as client:
            with pytest.raises(Refused, match="not an answer of the inference protocol"):
                await check(client)

    run(work)
