"""Answers of a language model without a server: what may be asked, text from tokens, and many streams at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.data.tokenizer import BytePairTokenizer, ByteTokenizer
from workloads.serving.engine import Engine
from workloads.serving.engine.requests import BadRequest
from workloads.serving.errors import VerificationFailed
from workloads.serving.models import text
from workloads.serving.models.asking import Asked, Refused, asked
from workloads.serving.models.streams import Failed, Part, Streams
from workloads.serving.models.text import Decoder, Settings, pieces

PAIRS = BytePairTokenizer([*(bytes([b]) for b in range(256)), "é".encode(), "日".encode()[:2], b"th", b"the"])


# ---- text


@given(st.text(), st.lists(st.integers(1, 5)))
def test_text_that_comes_token_by_token_is_the_text(words: str, cuts: list[int]) -> None:
    for tokenizer in (ByteTokenizer(), PAIRS):
        tokens, decoder, found = tokenizer.encode(words).tolist(), Decoder(pieces(tokenizer)), ""
        for cut in cuts:
            found += decoder.add(tokens[:cut])
            tokens = tokens[cut:]
        # A character that is not whole yet is not given.
        assert "\ufffd" not in found or "\ufffd" in words
        assert found + decoder.add(tokens, last=True) == words


def test_half_a_character_at_the_end_and_unknown_tokens_are_no_failure() -> None:
    decoder = Decoder(pieces(ByteTokenizer()))
    assert decoder.add([*"aé".encode()[:2], 256, 5000]) == "a"
    assert decoder.add([], last=True) == "\ufffd"


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = Settings(PAIRS.file()[0], context=32, slots=2)
    text.write(tmp_path, written, PAIRS)
    found, tokenizer = text.read(tmp_path)
    assert found == written
    assert tokenizer.encode("the é").tolist() == PAIRS.encode("the é").tolist()
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(VerificationFailed, match=r"tokenizer\.json: its sha256 is"):
        text.read(tmp_path)
    for content in ("{", "[]", '{"format": 2}', '{"format": 1, "tokenizer": {}}'):
        (tmp_path / text.SETTINGS).write_text(content)
        with pytest.raises(VerificationFailed, match=r"serving\.json"):
            text.read(tmp_path)


# ---- what may be asked


def test_inputs_go_before_parameters() -> None:
    found = asked(b"hi", 10, {"stream": False}, b'{"top_k": 3}', '{"stream": true, "top_k": 5, "seed": 1}')
    assert found == Asked("hi", {"top_k": 3, "seed": 1}, stream=False)
    assert asked(b"hi", 10, {}, None, '{"return_finish_reason": true}').return_finish_reason


@given(st.binary(max_size=40), st.one_of(st.none(), st.text(), st.binary().map(str)))
def test_whatever_is_asked_is_read_or_refused(prompt: bytes, parameters: str | None) -> None:
    try:
        found = asked(prompt, 20, {}, None, parameters)
    except Refused:
        return
    assert found.text.encode() == prompt


# ---- many at once


class Collector:
    """A client that keeps what it gets."""

    def __init__(self, wait: float = 0.0) -> None:
        self.parts: list[Part] = []
        self.done = threading.Event()
        self.left = False
        self._wait = wait

    def send(self, part: Part) -> None:
        time.sleep(self._wait)
        self.parts.append(part)
        if part.finish:
            self.done.set()

    def cancelled(self) -> bool:
        return self.left

    @property
    def words(self) -> str:
        return "".join(part.text for part in self.parts)


@pytest.fixture(scope="module")
def directory(exported: Path) -> Path:
    return exported / "lm" / "1" / "1"


@pytest.fixture
def streams(directory: Path) -> Iterator[Streams]:
    known, tokenizer = text.read(directory)
    made = Streams(Engine(directory, slots=known.slots, context=known.context), tokenizer, known)
    yield made
    made.close()


def begin(streams: Streams, sink: Collector, stream: bool = True, **sampling: object) -> None:
    found = Asked("import", {"max_tokens": 20, "temperature": 0.0, **sampling}, stream=stream)
    request = streams.request(found)
    assert streams.admit(lambda: False)
    streams.start(request, found, sink)


def test_what_is_computed_while_a_client_is_slow_comes_as_one(streams: Streams) -> None:
    quick, slow, whole = Collector(), Collector(0.02), Collector()
    begin(streams, quick, max_tokens=400)
    begin(streams, slow, max_tokens=400)
    begin(streams, whole, stream=False, max_tokens=400)
    for sink in (quick, slow, whole):
        assert sink.done.wait(30)
        assert sum(part.tokens for part in sink.parts) == 400
    assert quick.words == slow.words == whole.words
    assert len(whole.parts) == 1
    assert 1 < len(slow.parts) < 400


def test_a_client_that_left_gives_its_place_to_the_next(streams: Streams) -> None:
    gone = [Collector() for _ in range(4)]
    for sink in gone:
        begin(streams, sink, max_tokens=1000)
        sink.left = True
    # All four places are taken: this one waits until the others are found to be gone.
    stays = Collector()
    begin(streams, stays)
    assert stays.done.wait(30)
    assert all(sink.done.wait(30) for sink in gone)
    assert {sink.parts[-1].finish for sink in gone} <= {"cancelled", "length"}
    assert stays.parts[-1].finish == "length"


def test_whoever_is_cancelled_while_waiting_does_not_get_a_place(streams: Streams) -> None:
    for _ in range(4):
        assert streams.admit(lambda: False)
    assert not streams.admit(lambda: True)


def test_a_client_that_cannot_be_reached_harms_nobody(streams: Streams) -> None:
    class Broken(Collector):
        def send(self, part: Part) -> None:
            if part.finish:
                self.done.set()
            raise OSError("gone")

    broken, other = Broken(), Collector()
    begin(streams, broken, max_tokens=1000)
    begin(streams, other)
    assert other.done.wait(30)
    assert broken.done.wait(30)
    for _ in range(8):
        begin(streams, sink := Collector(), max_tokens=1)
        assert sink.done.wait(30)


def test_a_request_that_is_refused_takes_no_place(streams: Streams) -> None:
    for _ in range(10):
        with pytest.raises(BadRequest, match="temperature: -1"):
            begin(streams, Collector(), temperature=-1)
    begin(streams, sink := Collector())
    assert sink.done.wait(30)


def test_an_engine_that_fails_tells_all_who_wait_and_all_who_come(directory: Path) -> None:
    known, tokenizer = text.read(directory)
    engine = Engine(directory, slots=known.slots, context=known.context)
    streams = Streams(engine, tokenizer, known)
    sinks = [Collector() for _ in range(3)]
    try:
        begun = threading.Event()
        engine.step = lambda: begun.wait() and 1 / 0  # type: ignore[assignment,return-value]
        for sink in sinks:
            begin(streams, sink)
        begun.set()
        for sink in sinks:
            assert sink.done.wait(30)
            assert "the engine has failed: ZeroDivisionError" in sink.parts[-1].error
        with pytest.raises(Failed, match="the engine has failed"):
            begin(streams, Collector())
    finally:
        streams.close()


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 60)), min_size=1, max_size=12))
def test_all_who_ask_get_all_their_tokens(directory: Path, wanted: list[tuple[bool, int]]) -> None:
    known, tokenizer = text.read(directory)
    streams = Streams(Engine(directory, slots=known.slots, context=known.context), tokenizer, known)
    try:
        sinks = []
        for stream, count in wanted:
            sinks.append((Collector(), count))
            begin(streams, sinks[-1][0], stream, max_tokens=count)
        for sink, count in sinks:
            assert sink.done.wait(30)
            assert sum(part.tokens for part in sink.parts) == count
            assert [part.finish for part in sink.parts if part.finish] == ["length"]
        assert streams.under_way == 0
    finally:
        streams.close()
