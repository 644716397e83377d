"""Holds the load test to telling what people would have waited, though the server or the test itself falls behind."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.serving.planted import Planted, fails, streams
from workloads.serving.client import AsyncClient, Kind, Unavailable
from workloads.serving.commands import load
from workloads.serving.errors import ArgumentError
from workloads.serving.load import arrivals, command
from workloads.serving.load.arrivals import Arrival
from workloads.serving.load.run import Outcome, closed_loop, open_loop
from workloads.serving.load.summary import duration, quantile, summarize, table
from workloads.serving.triton import Triton

Respond = Callable[[], None]


def outcome(due: float, latency: float, *, responses: int = 1, failure: str = "") -> Outcome:
    return Outcome(due, due, due + latency / 2, due + latency, responses, failure, failure and "as planted")


# ---- when requests come


def test_arrivals_are_as_many_as_they_should_be() -> None:
    assert [a.at_s for a in arrivals.constant(4, 1)] == [0, 0.25, 0.5, 0.75]
    assert len(list(arrivals.constant(0.5, 3))) == 2
    times = np.array([a.at_s for a in arrivals.poisson(100, 200, seed=1)])
    assert len(times) == pytest.approx(20_000, rel=0.03)
    gaps = np.diff(times)
    # Exponential: the standard deviation is the mean.
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert list(arrivals.poisson(5, 5, seed=1)) == list(arrivals.poisson(5, 5, seed=1))


def test_a_trace_is_replayed_at_its_own_times(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text('{"at_s": 1, "inputs": {"text": "a"}}\n\n{"at_s": 2.5, "parameters": {"max_tokens": 4}}\n')
    assert list(arrivals.trace(file, speed=2)) == [
        Arrival(0.5, {"text": "a"}),
        Arrival(1.25, {}, {"max_tokens": 4}),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "expected a JSON object"),
        ("[1]", "expected an object of"),
        ('{"at": 1}', "expected an object of"),
        ('{"at_s": -1}', "expected seconds from 0"),
        ('{"at_s": true}', "expected seconds from 0"),
        ('{"at_s": NaN}', "expected seconds from 0"),
        ('{"at_s": 0.5}', "expected 1.0 or more"),
        ('{"at_s": 2, "inputs": 3}', "expected an object"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str, words: str) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text('{"at_s": 1}\n' + line + "\n")
    with pytest.raises(ArgumentError, match=rf"trace.jsonl:2: .*{words}"):
        list(arrivals.trace(file))


# ---- what was waited


def test_a_server_that_stalls_is_waited_for_by_everyone_who_came_meanwhile() -> None:
    """50 requests a second for two seconds, of which the server sleeps through half a second once."""

    async def work() -> tuple[list[Outcome], list[Outcome]]:
        def server() -> Callable[[Arrival, Respond], object]:
            count = 0
            free = asyncio.Lock()

            async def ask(_: Arrival, responded: Respond) -> None:
                nonlocal count
                async with free:
                    count += 1
                    await asyncio.sleep(0.5 if count == 20 else 0.001)
                responded()

            return ask

        truth = await open_loop(arrivals.constant(50, 2), server())  # type: ignore[arg-type]
        return truth, await closed_loop(1, 2.0, server())  # type: ignore[arg-type]

    truth, flattering = asyncio.run(work())
    found, flattered = summarize(truth), summarize(flattering)
    assert found.requests == 100
    # About 25 requests were due within that half second: a quarter of all waited.
    assert found.latency_s[0.9] > 0.2
    assert sum(o.latency_s > 0.1 for o in truth) > 15
    # Whoever only asks again once answered sees a single slow request.
    assert flattered.latency_s[0.9] < 0.1


def test_a_generator_that_falls_behind_says_so_and_counts_it() -> None:
    async def work() -> list[Outcome]:
        import time

        async def ask(_: Arrival, responded: Respond) -> None:
            time.sleep(0.005)  # blocks the generator itself
            responded()

        return await open_loop(arrivals.constant(1000, 0.3), ask)

    found = summarize(asyncio.run(work()))
    assert not found.kept_up
    assert found.latency_s[0.99] > 0.5
    assert "The generator was late itself" in table(found)


def test_a_bound_on_requests_under_way_counts_as_waiting() -> None:
    most = now = 0

    async def work() -> list[Outcome]:
        async def ask(_: Arrival, responded: Respond) -> None:
            nonlocal most, now
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.02)
            now -= 1
            responded()

        return await open_loop(arrivals.constant(1000, 0.04), ask, most=2)

    outcomes = asyncio.run(work())
    assert most == 2
    assert len(outcomes) == 40
    assert summarize(outcomes).latency_s[0.9] > 0.2


def test_what_is_at_fault_in_a_request_ends_the_test() -> None:
    async def work() -> None:
        async def ask(*_: object) -> None:
            raise ArgumentError("input 'x': no such dtype")

        await open_loop(arrivals.constant(10, 0.2), ask)

    with pytest.raises(ArgumentError, match="no such dtype"):
        asyncio.run(work())


def test_failures_are_counted_by_kind_and_never_flatter() -> None:
    async def work() -> list[Outcome]:
        number = 0

        async def ask(_: Arrival, responded: Respond) -> None:
            nonlocal number
            number += 1
            if number % 10 == 0:
                raise Unavailable("its queue is full", Kind.BUSY, 1)
            responded()

        return await open_loop(arrivals.constant(1000, 0.1), ask)

    found = summarize(asyncio.run(work()))
    assert (found.requests, found.answered, found.failed) == (100, 90, 10)
    assert found.failures == {"Unavailable: refused for now": 10}
    assert found.latency_s[0.5] < 0.1
    assert found.latency_s[0.95] == math.inf
    assert "never" in table(found)
    assert "10 (10.0%) Unavailable: refused for now; such as its queue is full" in table(found)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99, 0.999]))
def test_a_quantile_is_that_of_the_nearest_rank(values: list[float], q: float) -> None:
    values.sort()
    found = quantile(values, q)
    if len(values) * (1 - q) < 1 - 1e-9:
        assert math.isnan(found), "so few cannot tell"
    else:
        assert found == np.quantile(values, q, method="inverted_cdf")


def test_percentiles_of_a_known_set() -> None:
    found = summarize([outcome(index, (index + 1) / 100) for index in range(100)])
    assert [found.latency_s[q] for q in (0.5, 0.9, 0.95, 0.99)] == pytest.approx([0.5, 0.9, 0.95, 0.99])
    assert math.isnan(found.latency_s[0.999])
    assert found.first_token_s == {}
    assert found.asked_per_second == pytest.approx(1, rel=0.02)


def test_what_came_while_warming_up_is_left_out() -> None:
    found = summarize([outcome(0, 9.0), outcome(1, 9.0), outcome(2, 0.1), outcome(3, 0.1)], warmup_s=2)
    assert (found.requests, found.latency_s[0.5]) == (2, pytest.approx(0.1))


def test_no_request_at_all_is_no_crash() -> None:
    assert "requests   0" in table(summarize([]))


def test_tokens_are_told_apart_from_requests() -> None:
    # Two streams of 11 tokens: the first after half a second, the others in the half second that follows.
    found = summarize([outcome(0, 1.0, responses=11), outcome(0, 1.0, responses=11)])
    assert found.first_token_s[0.5] == pytest.approx(0.5)
    assert found.between_tokens_s[0.5] == pytest.approx(0.05)
    assert found.tokens_per_second == pytest.approx(22)
    assert found.tokens_per_second_of_one == pytest.approx(20)


def test_durations_for_people() -> None:
    assert [duration(s) for s in (2.5, 0.0125, 0.00085, 0.0, math.inf, math.nan)] == [
        "2.5 s",
        "12.5 ms",
        "850 µs",
        "0 µs",
        "never",
        "-",
    ]


# ---- the command


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    load.arguments(parser)
    return parser.parse_args(words)


def test_the_command_asks_a_real_server_and_draws_what_it_found(
    triton: Triton, doubler: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for scheme in ("grpc", "http"):
        words = ["--endpoint", f"{scheme}://{getattr(triton, scheme)}", "--model", doubler, "--rate", "50"]
        words += ["--duration-s", "2", "--arrivals", "constant", "--random-input", "x=float32:1,16"]
        words += ["--plot", str(tmp_path / "a" / f"{scheme}.png"), "--json", str(tmp_path / f"{scheme}.json")]
        assert command.run(options(*words, "--objective", "0.9:20")) == 0
        said = json.loads((tmp_path / f"{scheme}.json").read_text())
        assert (said["requests"], said["answered"], said["failures"]) == (100, 100, {})
        assert 0 < said["latency_s"]["0.5"] <= said["latency_s"]["0.99"]
        assert said["latency_s"]["0.999"] is None
        assert (tmp_path / "a" / f"{scheme}.png").read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    assert "answered   100" in shown
    assert "objective of 20 s met" in shown


def test_an_objective_that_is_missed_is_an_exit_code() -> None:
    async def work() -> tuple[int, int]:
        async with Planted(fails(429, "no"), ready=True) as full, Planted() as good:
            codes = []
            for server in (full, good):
                words = ["--endpoint", server.url, "--model", "m", "--rate", "100", "--duration-s", "0.5"]
                words += ["--input", "x=[1.0, 2.0]", "--arrivals", "constant", "--objective", "0.9:5"]
                codes.append(await asyncio.to_thread(command.run, options(*words)))
            return codes[0], codes[1]

    assert asyncio.run(work()) == (1, 0)


def test_streams_are_counted_by_their_tokens() -> None:
    async def work() -> list[Outcome]:
        async with Planted(streams(["a"] * 10, pause_s=0.01)) as server, AsyncClient([server.url]) as client:
            ask = command.asking(client, "m", inputs={"text": "Once"}, stream=True)
            return await open_loop(arrivals.constant(20, 0.5), ask)

    found = summarize(asyncio.run(work()))
    assert found.answered == 10
    assert found.first_token_s[0.5] < found.latency_s[0.5] / 2
    assert found.tokens_per_second * found.seconds == pytest.approx(100)


@pytest.mark.parametrize(
    "words",
    [
        ["--random-input", "x"],
        ["--random-input", "x=float32"],
        ["--random-input", "x=float32:0"],
        ["--random-input", "x=str:1"],
        ["--input", "x"],
        ["--plot", "picture.bmp"],
        ["--warmup-s", "-1"],
        ["--duration-s", "nan"],
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_sent(words: list[str]) -> None:
    common = ["--endpoint", "http://127.0.0.1:9", "--model", "m", "--rate", "1"]
    with pytest.raises(ArgumentError, match="expected"):
        command.run(options(*common, *words))


@pytest.mark.parametrize("text", ["0.99", "2:1", "0.9:0", "x:y", "0.9:nan"])
def test_an_objective_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SystemExit):
        options("--endpoint", "http://a", "--model", "m", "--rate", "1", "--objective", text)
