"""Keeps an engine going for many answers at once: one thread computes, one sends what has been computed.

The threads are two so that sending, which takes longer than a token of a small model does, delays no computing. What
has been computed while an earlier part was being sent goes out as one: under load answers come in larger parts, not
later.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from workloads.data.tokenizer import Tokenizer
from workloads.serving.engine import Engine, Event, Finish, Handle, Request
from workloads.serving.errors import ServingError
from workloads.serving.models.asking import Asked
from workloads.serving.models.text import Decoder, Settings, pieces

log = logging.getLogger(__name__)

POLL_S = 0.1
"""How often clients that left are looked for: asking takes a message to the server for each answer under way."""


@dataclass(frozen=True)
class Part:
    """Some of an answer."""

    text: str
    tokens: int
    finish: str = ""
    """Why it ended, in the last part: a value of Finish."""
    error: str = ""


class Sink(Protocol):
    """Where one answer goes. Called by one thread at a time."""

    def send(self, part: Part) -> None: ...

    def cancelled(self) -> bool:
        """Whether nobody waits for it any more."""


class Failed(ServingError):
    """The engine has failed, and answers nothing any more."""


@dataclass
class _Stream:
    sink: Sink
    asked: Asked
    decoder: Decoder
    tokens: list[int] = field(default_factory=list)
    """Computed and not sent yet."""
    finish: Finish | None = None
    error: str = ""
    handle: Handle | None = None


class Streams:
    """Answers under way, at most as many as the engine has slots."""

    def __init__(
        self, engine: Engine, tokenizer: Tokenizer, settings: Settings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine, self._tokenizer, self._settings, self._clock = engine, tokenizer, settings, clock
        self._pieces = pieces(tokenizer)
        # A token has at most so many bytes: a longer text has more tokens than there is room for.
        self.longest_text = (settings.context - 1) * max(map(len, self._pieces))
        self._slots = threading.BoundedSemaphore(settings.slots)
        self._news = threading.Condition()
        self._active: dict[int, _Stream] = {}
        self._ready: dict[int, _Stream] = {}
        self._failure = ""
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=target, name=target.__name__, daemon=True) for target in (self._compute, self._send)
        ]
        for thread in self._threads:
            thread.start()

    # ---- for the server's thread

    def request(self, asked: Asked, timeout_s: float | None = None) -> Request:
        """What the engine is asked. Its `submit` checks the values."""
        sampling = asked.sampling
        tokens = self._tokenizer.encode(asked.text).tolist()
        room = max(self._settings.context - len(tokens), 1)
        stop = sampling.get("stop_token_ids", [])
        return Request(
            tokens,
            max_new_tokens=sampling.get("max_tokens", min(self._settings.max_tokens, room)),
            temperature=sampling.get("temperature", 1.0),
            top_k=sampling.get("top_k", 0),
            top_p=sampling.get("top_p", 1.0),
            seed=sampling.get("seed", secrets.randbits(63)),
            stop_tokens=[*(stop if isinstance(stop, list) else [stop]), self._tokenizer.end_of_text],
            deadline_s=timeout_s,
        )

    def admit(self, cancelled: Callable[[], bool]) -> bool:
        """Wait until there is room for one more answer; False if it was cancelled meanwhile.

        Waiting here, rather than in the engine, keeps what waits in the server's own queue: its metrics, its limit and
        its cancellations then hold for a language model as for any other.
        """
        while not self._slots.acquire(timeout=POLL_S):
            if cancelled():
                return False
        return True

    def start(self, request: Request, asked: Asked, sink: Sink) -> None:
        """Begin to answer, once `admit` has said so. Raises BadRequest or Failed; the room is then free again."""
        stream = _Stream(sink, asked, Decoder(self._pieces))
        try:
            with self._news:
                if self._failure:
                    raise Failed(self._failure)
                # Within the lock, so that the first token finds its stream.
                stream.handle = self._engine.submit(request)
                self._active[stream.handle.id] = stream
        except ServingError:
            self._slots.release()
            raise

    @property
    def under_way(self) -> int:
        return len(self._active)

    def close(self) -> None:
        """End both threads. What is under way is dropped: the server closes when nothing is."""
        self._stop.set()
        with self._news:
            self._news.notify_all()
        for thread in self._threads:
            thread.join()

    # ---- the thread that computes

    def _compute(self) -> None:
        try:
            self._engine.run(self._deliver, self._stop)
        except Exception as error:
            # Whatever it is, those who wait must hear of it.
            log.exception("the engine has failed")
            with self._news:
                self._failure = f"the engine has failed: {type(error).__name__}: {error}"
                for number, stream in self._active.items():
                    stream.finish, stream.error = Finish.ERROR, self._failure
                    self._ready[number] = stream
                self._news.notify()

    def _deliver(self, events: Sequence[Event]) -> None:
        with self._news:
            for event in events:
                stream = self._active[event.request_id]
                if event.token is not None:
                    stream.tokens.append(event.token)
                if event.finished is not None:
                    stream.finish, stream.error = event.finished, event.error or ""
                if event.finished is not None or stream.asked.stream:
                    self._ready[event.request_id] = stream
            if self._ready:
                self._news.notify()

    # ---- the thread that sends

    def _send(self) -> None:
        look = self._clock() + POLL_S
        while not self._stop.is_set():
            with self._news:
                self._news.wait_for(lambda: self._ready or self._stop.is_set(), POLL_S if self._active else None)
                ready, self._ready = self._ready, {}
                taken = [(number, stream, stream.tokens, stream.finish) for number, stream in ready.items()]
                for number, stream, _, finish in taken:
                    stream.tokens = []
                    if finish is not None:
                        del self._active[number]
            for _, stream, tokens, finish in taken:
                self._pass_on(stream, tokens, finish)
            if (now := self._clock()) >= look:
                look = now + POLL_S
                self._let_go()

    def _pass_on(self, stream: _Stream, tokens: list[int], finish: Finish | None) -> None:
        text = stream.decoder.add(tokens, last=finish is not None)
        error = stream.error if finish is Finish.ERROR else ""
        try:
            stream.sink.send(Part(text, len(tokens), finish.value if finish else "", error))
        except Exception:
            # One client's trouble is no other's.
            log.exception("a part of an answer could not be sent")
            if finish is None and stream.handle is not None:
                self._engine.cancel(stream.handle)
        finally:
            if finish is not None:
                self._slots.release()

    def _let_go(self) -> None:
        """End the answers that nobody waits for any more."""
        with self._news:
            active = list(self._active.values())
        for stream in active:
            if stream.handle is not None and stream.sink.cancelled():
                self._engine.cancel(stream.handle)
