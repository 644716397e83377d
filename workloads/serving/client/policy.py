"""When a request is sent again, where, and after how long: pure decisions, with time and chance handed in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from workloads.serving.client.failures import Kind


@dataclass(frozen=True)
class Policy:
    """How long and how often. Seconds throughout; None switches a thing off."""

    deadline_s: float = 30.0
    """Of a request with everything that is done for it, unless it has its own."""
    attempt_s: float | None = None
    """Of one attempt, so that a server that hangs leaves time for another. None: all that is left of the deadline."""
    stall_s: float | None = None
    """The longest wait for the next response of a stream, the first included."""
    connect_s: float = 1.0
    """Until a connection counts as refused."""
    attempts: int = 4
    """How often a request may reach a server, so that one that kills servers does not go round them all. An attempt
    that never got a connection does not count."""
    backoff_s: float = 0.05
    """The first pause, doubled each time, once every endpoint has had its turn; the real one is drawn from 0 up to it
    ("full jitter": Brooker, Exponential Backoff And Jitter, AWS 2015)."""
    backoff_limit_s: float = 2.0
    hedge_after_s: float | None = None
    """Send an idempotent request once more, to the next endpoint, when it has waited so long; the first answer wins."""
    hedge_quantile: float | None = None
    """The same, but when it has waited longer than this share of the model's recent requests (Dean, Barroso: The Tail
    at Scale, 2013: 0.95)."""
    extra: float = 0.2
    """Repetitions and hedges per request that cost servers work, in the long run: without a bound, clients that repeat
    keep an overloaded service overloaded."""
    extra_reserve: float = 20.0
    """As many may come at once."""
    aside_s: float = 1.0
    """How long an endpoint is left alone after it failed, doubled each time; then it is asked whether it is ready."""
    aside_limit_s: float = 30.0
    timeouts_until_aside: int = 3
    """In a row. One slow answer says little about a server; a lost connection says enough."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "hedge_quantile":
                good, wanted = value is None or 0 < value < 1, "between 0 and 1"
            elif field.name in ("attempts", "timeouts_until_aside"):
                good, wanted = isinstance(value, int) and value >= 1, "a whole number from 1"
            elif field.name in ("extra", "extra_reserve", "backoff_s", "backoff_limit_s", "hedge_after_s"):
                good, wanted = value is None or (0 <= value < math.inf), "a number from 0"
            else:
                good, wanted = value is None or 0 < value < math.inf, "a number above 0"
            if value is None and field.default is not None:
                good = False
            if not good:
                raise ValueError(f"Policy.{field.name}: {value!r}; expected {wanted}")


# ---- of one request


@dataclass(frozen=True)
class Progress:
    """What has come of a request so far."""

    idempotent: bool
    reached: int = 0
    """Attempts that a server may have seen."""
    rounds: int = 0
    """How often every endpoint has had its turn."""
    absent: frozenset[int] = frozenset()
    """Endpoints that do not serve the model."""
    turn: frozenset[int] = frozenset()
    """Endpoints that have failed in this round."""


@dataclass(frozen=True)
class Again:
    """Ask `endpoint` after `delay_s`. `costs`: it is paid for out of Policy.extra."""

    endpoint: int
    delay_s: float
    costs: bool
    progress: Progress


@dataclass(frozen=True)
class GiveUp:
    reason: str
    """Completes "gave up: …"; empty if the server's own words say it all."""
    late: bool = False


def after(
    kind: Kind,
    endpoint: int,
    progress: Progress,
    order: Sequence[int],
    *,
    policy: Policy,
    left_s: float,
    affordable: bool,
    chance: float,
) -> Again | GiveUp:
    """What to do after an attempt at `endpoint` failed. `order`: all endpoints, best first. `chance`: 0 up to 1."""
    if kind is Kind.WRONG:
        return GiveUp("")
    if kind in (Kind.LOST, Kind.TIMED_OUT) and not progress.idempotent:
        return GiveUp("it may have been run, and it is not idempotent", late=kind is Kind.TIMED_OUT)
    progress = replace(progress, turn=progress.turn | {endpoint})
    if kind is Kind.NOT_HERE:
        progress = replace(progress, absent=progress.absent | {endpoint})
    elif kind is not Kind.UNSENT:
        progress = replace(progress, reached=progress.reached + 1)
    if progress.reached >= policy.attempts:
        return GiveUp(f"after {progress.reached} attempts", late=kind is Kind.TIMED_OUT)
    serving = [index for index in order if index not in progress.absent]
    if not serving:
        return GiveUp("" if len(order) == 1 else "nor does any other endpoint serve it")
    # These come of too much work, of which repeating makes more. A server that is gone has left its work to the others.
    costs = kind in (Kind.BUSY, Kind.TIMED_OUT)
    if costs and not affordable:
        return GiveUp("too many requests are being repeated", late=kind is Kind.TIMED_OUT)
    fresh = [index for index in serving if index not in progress.turn]
    if fresh:
        delay = 0.0
    else:
        fresh = serving
        delay = chance * min(policy.backoff_limit_s, policy.backoff_s * 2.0 ** min(progress.rounds, 30))
        progress = replace(progress, rounds=progress.rounds + 1, turn=frozenset())
    if delay >= left_s:
        return GiveUp("the deadline is too near to try again", late=True)
    return Again(fresh[0], delay, costs, progress)


# ---- of an endpoint


@dataclass(frozen=True)
class Health:
    """What is known of an endpoint."""

    timeouts: int = 0
    """In a row."""
    times_aside: int = 0
    """In a row."""
    aside_until: float | None = None
    """On the client's clock; None while it is in use. Past that time it is asked whether it is ready."""


def heard(health: Health, kind: Kind | None, now: float, policy: Policy, chance: float) -> Health:
    """What is known after an attempt; `kind` None: it was answered."""
    if kind is Kind.TIMED_OUT:
        health = replace(health, timeouts=health.timeouts + 1)
        if health.timeouts < policy.timeouts_until_aside:
            return health
    elif kind not in (Kind.UNSENT, Kind.LOST):
        # Any answer shows that the server is alive. That it answers does not make it ready again if it was put aside.
        return replace(health, timeouts=0) if health.aside_until is not None and kind else Health()
    if health.aside_until is not None and now < health.aside_until:
        return health  # one of many that were under way when it broke
    span = min(policy.aside_limit_s, policy.aside_s * 2.0 ** min(health.times_aside, 30))
    # Spread, so that a thousand clients do not come back at once.
    return Health(0, health.times_aside + 1, now + span * (0.75 + 0.5 * chance))


def order(healths: Sequence[Health]) -> list[int]:
    """Endpoints, best first: those in use as they were given, then the others by when they may be back."""
    return sorted(
        range(len(healths)),
        key=lambda index: (healths[index].aside_until is not None, healths[index].aside_until or 0.0, index),
    )


def due(healths: Sequence[Health], now: float) -> list[int]:
    """Endpoints that were put aside long enough ago to be asked whether they are ready."""
    return [
        index for index, health in enumerate(healths) if health.aside_until is not None and health.aside_until <= now
    ]


# ---- of all requests


@dataclass(frozen=True)
class Allowance:
    """How many repetitions may be paid for now: a bucket that each request fills a little."""

    left: float

    def earned(self, policy: Policy) -> Allowance:
        return Allowance(min(policy.extra_reserve, self.left + policy.extra))

    @property
    def affordable(self) -> bool:
        return self.left >= 1.0

    def spent(self) -> Allowance:
        return Allowance(self.left - 1.0)


def hedge_delay(policy: Policy, recent: Mapping[str, Sequence[float]], model: str) -> float | None:
    """Seconds until a request is sent a second time; None: it is not. `recent`: sorted seconds of answers, by model."""
    delays = [] if policy.hedge_after_s is None else [policy.hedge_after_s]
    taken = recent.get(model, ())
    # Fewer say nothing about the 20th part of them.
    if policy.hedge_quantile is not None and len(taken) >= 50:
        delays.append(taken[min(len(taken) - 1, int(policy.hedge_quantile * len(taken)))])
    return min(delays, default=None)
