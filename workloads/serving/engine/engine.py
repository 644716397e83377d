"""Continuous batching: requests join and leave between tokens, and memory is bounded from the start.

The shell around scheduler.py, which decides, decoder.py, which computes, and sampling.py, which chooses.
"""

from __future__ import annotations

import itertools
import logging
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from workloads.serving.engine import files, scheduler
from workloads.serving.engine.decoder import Decoder, Part, cache_bytes
from workloads.serving.engine.requests import Event, Finish, Handle, QueueFull, Request, check
from workloads.serving.engine.sampling import choose
from workloads.serving.errors import ArgumentError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metrics:
    """Counters since the engine was made, and how things stand now."""

    slots: int
    running: int
    waiting: int
    cached_tokens: int
    """Tokens whose keys and values are in use now."""
    cache_bytes: int
    """Memory of the cache; it never changes."""
    steps: int
    prompt_tokens: int
    generated_tokens: int
    finished: dict[str, int]
    """Requests by why they ended, a Finish's value; and as "refused" those that found the queue full."""
    queue_seconds: float
    """Of all requests that got a slot, until they did."""
    first_tokens: int
    """Requests with a token."""
    first_token_seconds: float
    """Of these, from submission to the first token."""


class _Sequence:
    """A request, and how far it is."""

    __slots__ = (
        "cached", "deadline", "generated", "id", "last", "most", "random", "request", "stop", "submitted",
    )  # fmt: skip

    def __init__(self, number: int, request: Request, now: float) -> None:
        self.id, self.request, self.submitted = number, request, now
        self.deadline = math.inf if request.deadline_s is None else now + request.deadline_s
        self.stop, self.most = frozenset(request.stop_tokens), request.max_new_tokens
        self.random = random.Random(request.seed).random if request.temperature else None
        self.cached = self.generated = self.last = 0


class Engine:
    """Answers requests; one thread calls `step`, any may call `submit`, `cancel`, `metrics` and `wait`."""

    def __init__(
        self,
        model: nn.Module | Path | str,
        *,
        slots: int,
        context: int,
        threads: int = 1,
        waiting: int = 1024,
        prompt_tokens: int = 512,
        cache_limit_bytes: int | None = None,
        device: str = "cpu",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`model`: a Transformer, or the path of an export.

        `context`: the longest prompt and answer together, in tokens. `threads`: of torch, in this whole process.
        `waiting`: requests that may wait for a slot. `prompt_tokens`: what a step reads of prompts at most.
        Raises ArgumentError where these are out of range or the cache is larger than `cache_limit_bytes`; DiskFailed
        and VerificationFailed where the export cannot be read.
        """
        given = {"slots": slots, "context": context, "threads": threads, "prompt_tokens": prompt_tokens}
        for name, value, least in (*((name, value, 1) for name, value in given.items()), ("waiting", waiting, 0)):
            if value < (2 if name == "context" else least):
                raise ArgumentError(f"{name} {value}: expected at least {2 if name == 'context' else least}")
        description, weights = files.described(model) if isinstance(model, nn.Module) else files.load(Path(model))
        size = cache_bytes(description.model, slots, context, description.precision)
        if cache_limit_bytes is not None and size > cache_limit_bytes:
            raise ArgumentError(
                f"slots {slots}, context {context}: their cache takes {size} bytes, the limit is {cache_limit_bytes}; "
                f"at most {cache_limit_bytes * slots // size} slots fit"
            )
        torch.set_num_threads(threads)
        self.description, self.context, self._clock = description, context, clock
        self.vocabulary = description.model.vocabulary
        self._limits = scheduler.Limits(slots, waiting, prompt_tokens)
        self._decoder = Decoder(description, weights, slots=slots, context=context, device=device)
        self._numbers = itertools.count(1)
        self._news = threading.Condition()
        # Shared with other threads, and touched under the condition only:
        self._waiting: dict[int, _Sequence] = {}
        self._known: set[int] = set()
        self._cancelled: set[int] = set()
        self._finished: Counter[str] = Counter()
        self._earliest = math.inf
        """The next deadline of all that are known."""
        # Of the thread that steps: by slot, those that are being answered first.
        self._sequences: list[_Sequence] = []
        self._answering = 0
        self._cache_bytes = size
        self._steps = self._prompt_tokens = self._generated_tokens = self._first_tokens = 0
        self._queue_seconds = self._first_token_seconds = 0.0

    # ---- for any thread

    def submit(self, request: Request) -> Handle:
        """Raises BadRequest if the model can never answer it, QueueFull if too many wait already."""
        check(request, vocabulary=self.vocabulary, context=self.context)
        sequence = _Sequence(next(self._numbers), request, self._clock())
        with self._news:
            free = self._limits.slots - len(self._sequences)
            if len(self._waiting) >= self._limits.waiting + free:
                self._finished["refused"] += 1
                raise QueueFull(f"{len(self._waiting)} requests wait, at most {self._limits.waiting} may")
            self._waiting[sequence.id] = sequence
            self._known.add(sequence.id)
            self._earliest = min(self._earliest, sequence.deadline)
            self._news.notify()
        return Handle(sequence.id)

    def cancel(self, request: Handle | int) -> bool:
        """End a request; its last event is then Finish.CANCELLED. False if it has ended already."""
        number = request.id if isinstance(request, Handle) else request
        with self._news:
            if number not in self._known:
                return False
            self._cancelled.add(number)
            self._news.notify()
            return True

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._sequences or self._waiting or self._cancelled)

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until there is something to do, or for `timeout` seconds. Returns `busy`."""
        with self._news:
            return self._news.wait_for(lambda: self.busy, timeout)

    def metrics(self) -> Metrics:
        with self._news:
            sequences = list(self._sequences)
            return Metrics(
                slots=self._limits.slots,
                running=len(sequences),
                waiting=len(self._waiting),
                cached_tokens=sum(sequence.cached for sequence in sequences),
                cache_bytes=self._cache_bytes,
                steps=self._steps,
                prompt_tokens=self._prompt_tokens,
                generated_tokens=self._generated_tokens,
                finished=dict(self._finished),
                queue_seconds=self._queue_seconds,
                first_tokens=self._first_tokens,
                first_token_seconds=self._first_token_seconds,
            )

    # ---- for the thread that steps

    def step(self) -> list[Event]:
        """Compute one more token of each sequence and the next part of new prompts. Empty when there is nothing to do.

        What fails in the model ends the requests that were computed, each with an event that says so, and no others.
        """
        events: list[Event] = []
        now = self._clock()
        # Nothing of this is looked at between the tokens of a batch that stays as it is.
        free = len(self._sequences) < self._limits.slots
        if self._cancelled or (free and self._waiting) or now >= self._earliest:
            self._let_go(now, events)
            self._admit(now)
        if self._sequences:
            self._steps += 1
            try:
                self._advance(events)
            except RuntimeError as error:  # torch's, also out of memory
                log.exception("a step failed; %d requests end", len(self._sequences))
                for slot in range(len(self._sequences)):
                    self._decoder.clear(slot)
                said = f"the model failed: {error}"
                self._end({sequence.id: (Finish.ERROR, said) for sequence in self._sequences}, events)
        return events

    def run(self, deliver: Callable[[list[Event]], None], until: threading.Event, idle_s: float = 0.1) -> None:
        """Step whenever there is something to do, and hand over what each step gave, until told to end.

        `idle_s`: how long it may take to notice that, in seconds.
        """
        while not until.is_set():
            if self.wait(idle_s) and (events := self.step()):
                deliver(events)

    def _let_go(self, now: float, events: list[Event]) -> None:
        """End what was cancelled or is too late, of those that have a slot and of those that wait."""
        with self._news:
            cancelled, self._cancelled = self._cancelled, set()
            waiting = list(self._waiting.values())
        ended: dict[int, tuple[Finish, str | None]] = {}
        for sequence in (*self._sequences, *waiting):
            if sequence.id in cancelled:
                ended[sequence.id] = (Finish.CANCELLED, None)
            elif sequence.deadline <= now:
                said = f"deadline: {sequence.request.deadline_s:g} s are over, {sequence.generated} tokens were there"
                ended[sequence.id] = (Finish.DEADLINE, said)
        for slot in range(self._answering, len(self._sequences)):
            if self._sequences[slot].id in ended:
                # Nobody has looked yet at what came of its prompt.
                self._decoder.clear(slot)
        self._end(ended, events)

    def _admit(self, now: float) -> None:
        with self._news:
            free = self._limits.slots - len(self._sequences)
            for number in scheduler.admitted(list(itertools.islice(self._waiting, free)), free):
                sequence = self._waiting.pop(number)
                self._queue_seconds += now - sequence.submitted
                self._sequences.append(sequence)
            everyone = (*self._sequences, *self._waiting.values())
            self._earliest = min((sequence.deadline for sequence in everyone), default=math.inf)

    def _advance(self, events: list[Event]) -> None:
        """One pass of the model, and what comes of it."""
        answering, reading = self._sequences[: self._answering], self._sequences[self._answering :]
        tokens = [sequence.last for sequence in answering]
        positions = [sequence.cached for sequence in answering]
        asked, parts, rows = list(answering), [], []
        if reading:
            unread = [len(sequence.request.tokens) - sequence.cached for sequence in reading]
            for index, share in enumerate(scheduler.parts(unread, self._limits)):
                if not share:
                    break
                sequence = reading[index]
                start = sequence.cached
                sequence.cached += share
                tokens += sequence.request.tokens[start : sequence.cached]
                parts.append(Part(self._answering + index, start, sequence.cached))
                self._prompt_tokens += share
                if share == unread[index]:
                    rows.append(len(tokens) - 1)
                    asked.append(sequence)
        logits = self._decoder.forward(tokens, positions, parts, logits=rows)
        uniform = [0.0 if sequence.random is None else sequence.random() for sequence in asked]
        chosen = choose(logits, [sequence.request for sequence in asked], uniform)
        for sequence in answering:
            sequence.cached += 1
        if rows:
            self._answering += len(rows)
            now = self._clock()
            self._first_tokens += len(rows)
            self._first_token_seconds += sum(now - sequence.submitted for sequence in asked[len(answering) :])
        ended: dict[int, tuple[Finish, str | None]] = {}
        for slot, (sequence, token) in enumerate(zip(asked, chosen, strict=True)):
            if token is None:
                self._decoder.clear(slot)
                ended[sequence.id] = (Finish.ERROR, "the model gave what is no number")
            elif token in sequence.stop:
                ended[sequence.id] = (Finish.STOP, None)
            else:
                sequence.last = token
                sequence.generated += 1
                self._generated_tokens += 1
                events.append(Event(sequence.id, token))
                if sequence.generated == sequence.most:
                    ended[sequence.id] = (Finish.LENGTH, None)
        if ended:
            self._end(ended, events)

    def _end(self, ended: Mapping[int, tuple[Finish, str | None]], events: list[Event]) -> None:
        """Tell of requests that end and give their slots away."""
        if not ended:
            return
        stays = [sequence.id not in ended for sequence in self._sequences]
        moves = scheduler.close_gaps(stays[: self._answering], stays[self._answering :])
        sequences = self._sequences.copy()
        for move in moves:
            sequences[move.target] = self._sequences[move.source]
            if sequences[move.target].cached:
                self._decoder.move(move.source, move.target, sequences[move.target].cached)
        with self._news:
            self._answering = sum(stays[: self._answering])
            self._sequences = sequences[: sum(stays)]
            for number, (finish, said) in ended.items():
                self._waiting.pop(number, None)
                self._known.discard(number)
                self._finished[finish.value] += 1
                events.append(Event(number, None, finish, said))
