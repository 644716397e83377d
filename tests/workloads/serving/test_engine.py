"""The engine: whoever else is being answered, a request gets what the model alone would say, and harms no other."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from dataclasses import dataclass

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.workloads.serving import tiny
from workloads.serving.engine import BadRequest, Engine, Event, Finish, QueueFull, Request
from workloads.serving.engine.requests import Handle
from workloads.serving.errors import ArgumentError

MODELS = {name: tiny.model(**changes) for name, changes in tiny.VARIANTS.items()}


@dataclass(frozen=True)
class Arrival:
    at: int
    """Step before which the request comes."""
    prompt: tuple[int, ...]
    count: int
    leaves: int | None
    """Step before which it is cancelled."""


ARRIVALS = st.lists(
    st.builds(
        Arrival,
        at=st.integers(0, 12),
        prompt=st.lists(st.integers(0, tiny.VOCABULARY - 1), min_size=1, max_size=20).map(tuple),
        count=st.integers(1, 12),
        leaves=st.none() | st.integers(0, 20),
    ),
    min_size=1,
    max_size=8,
)


def drained(engine: Engine) -> dict[int, list[Event]]:
    events: dict[int, list[Event]] = {}
    for _ in range(10_000):
        if not engine.busy:
            return events
        for event in engine.step():
            events.setdefault(event.request_id, []).append(event)
    raise AssertionError("it never ends")


def tokens(events: list[Event]) -> list[int]:
    return [event.token for event in events if event.token is not None]


def answered(engine: Engine, request: Request) -> list[int]:
    handle = engine.submit(request)
    return tokens(drained(engine)[handle.id])


def assert_likeliest(model: torch.nn.Module, prompt: list[int], answer: list[int]) -> None:
    """Each token is the one that the model without a cache finds likeliest; rounding may decide between equals."""
    seen = tiny.logits(model, [*prompt, *answer])[len(prompt) - 1 : -1]
    chosen = seen.gather(1, torch.tensor(answer, dtype=torch.long)[:, None])[:, 0]
    assert (seen.amax(dim=1) - chosen).max() < 1e-5


@pytest.mark.parametrize("variant", MODELS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(arrivals=ARRIVALS, slots=st.integers(1, 4), prompt_tokens=st.sampled_from([1, 5, 64]))
@example(arrivals=[Arrival(0, (1, 2, 3), 12, None)] * 5, slots=3, prompt_tokens=64)
def test_whenever_requests_come_and_go_each_gets_what_the_model_says_to_it_alone(
    variant, arrivals, slots, prompt_tokens
):
    model = MODELS[variant]
    engine = Engine(model, slots=slots, context=tiny.CONTEXT, prompt_tokens=prompt_tokens)
    events: dict[int, list[Event]] = {}
    asked: dict[int, Arrival] = {}
    for step in itertools.count():
        for arrival in arrivals:
            if arrival.at == step:
                number = engine.submit(Request(arrival.prompt, arrival.count)).id
                asked[number], events[number] = arrival, []
        for number, arrival in asked.items():
            if arrival.leaves == step:
                engine.cancel(number)
        for event in engine.step():
            events[event.request_id].append(event)
        if len(asked) == len(arrivals) and not engine.busy:
            break
    for number, arrival in asked.items():
        answer, last = tokens(events[number]), events[number][-1]
        assert [event.finished for event in events[number][:-1]] == [None] * (len(events[number]) - 1)
        if last.finished is Finish.CANCELLED:
            assert arrival.leaves is not None
        else:
            assert (last.finished, len(answer)) == (Finish.LENGTH, arrival.count)
        if answer:
            assert_likeliest(model, list(arrival.prompt), answer)
    after = engine.metrics()
    assert (after.running, after.waiting, after.cached_tokens) == (0, 0, 0)
    assert sum(after.finished.values()) == len(arrivals)


def test_a_batch_takes_as_many_steps_as_its_longest_answer_and_not_as_all_of_them():
    engine = Engine(MODELS["llama"], slots=8, context=tiny.CONTEXT)
    for _ in range(8):
        engine.submit(Request([1, 2, 3], 20))
    drained(engine)
    assert (engine.metrics().steps, engine.metrics().generated_tokens) == (20, 160)


def test_a_long_prompt_delays_others_by_a_part_of_it_at_a_time():
    engine = Engine(MODELS["llama"], slots=2, context=tiny.CONTEXT, prompt_tokens=4)
    first = engine.submit(Request([5], 30))
    engine.step()
    second = engine.submit(Request([7] * 16, 5))
    seen = [engine.step() for _ in range(4)]
    assert [[event.request_id for event in events] for events in seen] == [
        [first.id],
        [first.id],
        [first.id],
        [first.id, second.id],
    ]


def test_the_same_seed_draws_the_same_answer_in_any_company():
    model = MODELS["llama"]
    request = Request([3, 1, 4], 30, temperature=1.0, seed=11)
    alone = answered(Engine(model, slots=1, context=tiny.CONTEXT), request)
    engine = Engine(model, slots=4, context=tiny.CONTEXT)
    for seed in range(6):
        engine.submit(Request([seed + 1] * (seed + 2), 9, temperature=1.5, top_p=0.9, seed=seed))
    again = engine.submit(request)
    assert tokens(drained(engine)[again.id]) == alone
    assert answered(engine, dataclasses.replace(request, seed=12)) != alone


def test_an_answer_ends_at_a_stop_token_which_is_not_part_of_it():
    model = MODELS["llama"]
    whole = tiny.alone(model, [9, 8], 20)
    stop = next(token for index, token in enumerate(whole) if index >= 3 and token not in whole[:index])
    engine = Engine(model, slots=1, context=tiny.CONTEXT)
    handle = engine.submit(Request([9, 8], 20, stop_tokens=[stop]))
    events = drained(engine)[handle.id]
    assert tokens(events) == whole[: whole.index(stop)]
    assert events[-1] == Event(handle.id, None, Finish.STOP)


def test_a_deadline_ends_requests_that_wait_that_are_read_and_that_are_answered():
    now = [100.0]
    engine = Engine(MODELS["gpt"], slots=2, context=tiny.CONTEXT, prompt_tokens=2, clock=lambda: now[0])
    answering = engine.submit(Request([1], 40, deadline_s=5))
    reading = engine.submit(Request([2] * 30, 5, deadline_s=5))
    waiting = engine.submit(Request([3], 5, deadline_s=4))
    patient = engine.submit(Request([4], 3))
    before = [*engine.step(), *engine.step()]
    now[0] += 4.5
    assert [e for e in engine.step() if e.finished] == [
        Event(waiting.id, None, Finish.DEADLINE, "deadline: 4 s are over, 0 tokens were there")
    ]
    now[0] += 1
    ended = {e.request_id: e for e in engine.step() if e.finished}
    assert ended[answering.id].error == "deadline: 5 s are over, 3 tokens were there"
    assert ended[reading.id].finished is Finish.DEADLINE
    assert tokens(before) == tiny.alone(MODELS["gpt"], [1], 2)
    drained(engine)
    assert engine.metrics().finished == {"deadline": 3, "length": 1}
    assert not engine.cancel(patient)


def test_cancelling_twice_or_too_late_does_nothing():
    engine = Engine(MODELS["llama"], slots=1, context=tiny.CONTEXT)
    first, second = engine.submit(Request([1], 5)), engine.submit(Request([1], 5))
    assert engine.cancel(second)
    assert engine.cancel(second.id)
    events = drained(engine)
    assert events[second.id] == [Event(second.id, None, Finish.CANCELLED)]
    assert len(tokens(events[first.id])) == 5
    assert not engine.cancel(first)
    assert not engine.cancel(Handle(999))
    assert not engine.busy


def test_a_full_queue_refuses_and_takes_requests_again_later():
    engine = Engine(MODELS["llama"], slots=2, context=tiny.CONTEXT, waiting=1)
    for _ in range(3):
        engine.submit(Request([1], 5))
    with pytest.raises(QueueFull, match="3 requests wait"):
        engine.submit(Request([1], 5))
    assert len(drained(engine)) == 3
    engine.submit(Request([1], 5))
    assert engine.metrics().finished == {"length": 3, "refused": 1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tokens": []}, "tokens: 0 of them; expected 1 to 47"),
        ({"tokens": [1] * 48}, "tokens: 48 of them"),
        ({"tokens": [1, 61]}, "tokens: 61: expected 0 to 60"),
        ({"tokens": [-1]}, "tokens: -1"),
        ({"tokens": [1.0]}, "tokens: 1.0: expected whole numbers"),
        ({"tokens": [True]}, "tokens: True"),
        ({"max_new_tokens": 0}, "max_new_tokens: 0: expected a whole number from 1 to 46"),
        ({"max_new_tokens": 47}, "max_new_tokens: 47"),
        ({"temperature": -0.1}, "temperature: -0.1"),
        ({"temperature": float("nan")}, "temperature: nan"),
        ({"temperature": 1e-9}, "temperature: 1e-09"),
        ({"temperature": "hot"}, "temperature: 'hot'"),
        ({"top_k": -1}, "top_k: -1"),
        ({"top_p": 0.0}, "top_p: 0.0"),
        ({"top_p": 1.1}, "top_p: 1.1"),
        ({"seed": 2**64}, "seed: 18446744073709551616"),
        ({"stop_tokens": [61]}, "stop_tokens: 61"),
        ({"deadline_s": 0}, "deadline_s: 0"),
    ],
)
def test_what_can_never_be_answered_is_refused_with_what_is_accepted(changes, said):
    engine = Engine(MODELS["llama"], slots=1, context=tiny.CONTEXT)
    with pytest.raises(BadRequest) as caught:
        engine.submit(dataclasses.replace(Request([1, 2], 3), **changes))
    assert str(caught.value).startswith(said)
    assert not engine.busy


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"slots": 0}, "slots 0"),
        ({"context": 1}, "context 1: expected at least 2"),
        ({"threads": 0}, "threads 0"),
        ({"waiting": -1}, "waiting -1"),
        ({"context": 49}, "context 49: the model has positions for 48 tokens"),
        ({"slots": 8, "cache_limit_bytes": 100_000}, "at most 4 slots fit"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(changes, said):
    with pytest.raises(ArgumentError, match=said):
        Engine(MODELS["gpt"], **{"slots": 1, "context": tiny.CONTEXT} | changes)


def test_the_cache_takes_what_was_promised_and_never_grows():
    engine = Engine(MODELS["gpt"], slots=4, context=tiny.CONTEXT, cache_limit_bytes=98_304)
    cache = engine._decoder.cache
    assert cache.numel() * cache.element_size() == engine.metrics().cache_bytes == 98_304
    for _ in range(20):
        engine.submit(Request([1] * 10, 10))
    drained(engine)
    assert engine._decoder.cache is cache


def test_a_request_whose_numbers_are_none_ends_with_an_error_and_harms_no_other_now_or_later():
    model = tiny.model(tied=False)
    with torch.no_grad():
        model.embedding.weight[7] = float("nan")
        model.output.weight[7] = 0.0  # Nothing that the model says itself is harmful.
    engine = Engine(model, slots=3, context=tiny.CONTEXT, prompt_tokens=4)
    prompts = [[1, 2], [3, 7, 5], [4], [7], [7] * 9, [6, 1]]
    handles = [engine.submit(Request(prompt, 8)) for prompt in prompts]
    events: dict[int, list[Event]] = {handle.id: [] for handle in handles}
    for step in itertools.count():
        if step == 2:
            # While its prompt is being read.
            engine.cancel(handles[4])
        for event in engine.step():
            events[event.request_id].append(event)
        if not engine.busy:
            break
    for handle, prompt in zip(handles, prompts, strict=True):
        answer = tokens(events[handle.id])
        if handle is handles[4]:
            assert [event.finished for event in events[handle.id]] == [Finish.CANCELLED]
        elif 7 in prompt:
            assert [event.finished for event in events[handle.id]] == [Finish.ERROR]
        else:
            assert len(answer) == 8
            assert 7 not in answer
            assert_likeliest(model, prompt, answer)
    later = [engine.submit(Request([9, n], 20)) for n in (1, 2, 3)]
    events = drained(engine)
    for handle, n in zip(later, (1, 2, 3), strict=True):
        assert_likeliest(model, [9, n], tokens(events[handle.id]))
        assert len(tokens(events[handle.id])) == 20


def test_a_step_that_fails_ends_the_requests_in_it_and_the_engine_goes_on(monkeypatch):
    engine = Engine(MODELS["llama"], slots=2, context=tiny.CONTEXT)
    handles = [engine.submit(Request([n], 5)) for n in (1, 2, 3)]
    engine.step()
    with monkeypatch.context() as patch:

        def fails(*_, **__):
            raise RuntimeError("out of memory")

        patch.setattr(engine._decoder, "forward", fails)
        failed = engine.step()
    assert {e.request_id for e in failed} == {handles[0].id, handles[1].id}
    assert all(e.finished is Finish.ERROR and "out of memory" in e.error for e in failed)
    assert tokens(drained(engine)[handles[2].id]) == tiny.alone(MODELS["llama"], [3], 5)


def test_many_threads_ask_while_one_answers():
    engine = Engine(MODELS["llama"], slots=4, context=tiny.CONTEXT)
    events: dict[int, list[Event]] = {}
    ended, stop = threading.Semaphore(0), threading.Event()

    def deliver(news: list[Event]) -> None:
        for event in news:
            events.setdefault(event.request_id, []).append(event)
            if event.finished:
                ended.release()

    asked: dict[int, int] = {}

    def ask(first: int) -> None:
        for token in range(first, first + 5):
            asked[engine.submit(Request([token], 6)).id] = token

    loop = threading.Thread(target=engine.run, args=(deliver, stop))
    askers = [threading.Thread(target=ask, args=(first,)) for first in (0, 10, 20, 30)]
    for thread in (loop, *askers):
        thread.start()
    for _ in range(20):
        assert ended.acquire(timeout=30)
    stop.set()
    for thread in (loop, *askers):
        thread.join(timeout=30)
        assert not thread.is_alive()
    assert len(asked) == 20
    for number, token in asked.items():
        assert_likeliest(MODELS["llama"], [token], tokens(events[number]))
