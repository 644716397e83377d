"""Who asks what and when: users with habits, a traffic that shifts from code to English. All of it from a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from workloads.loop.texts import CODE, PROSE

USERS = 400


@dataclass(frozen=True)
class Question:
    """One request."""

    number: int
    user: str
    kind: str
    text: str


@dataclass(frozen=True)
class Shift:
    """From `start_s` on, over `seconds`, the share of English grows from `before` to `after`."""

    start_s: float
    seconds: float
    before: float
    after: float

    def share(self, at_s: float) -> float:
        done = min(1.0, max(0.0, (at_s - self.start_s) / self.seconds)) if self.seconds else float(at_s >= self.start_s)
        return self.before + done * (self.after - self.before)


class World:
    """Users, some of whom ask far more often than others, and what they ask about."""

    def __init__(self, passages: Mapping[str, Sequence[str]], seed: int, users: int = USERS) -> None:
        """`passages` by kind."""
        assert all(passages[kind] for kind in (CODE, PROSE)), "nothing to ask about"
        self._passages, self._random, self._next = passages, random.Random(seed), 0
        self._users = [f"user-{number:03d}" for number in range(users)]
        # Zipf: the few who ask most are what makes samples of requests unlike samples of users.
        self._often = list(accumulate(1 / rank for rank in range(1, users + 1)))

    def question(self, prose: float) -> Question:
        """The next one. `prose`: share of English now."""
        draw = self._random
        kind = PROSE if draw.random() < prose else CODE
        user = draw.choices(self._users, cum_weights=self._often)[0]
        self._next += 1
        return Question(self._next, user, kind, draw.choice(self._passages[kind]))

    def pause_s(self, rate: float) -> float:
        """Until the next one: they come as independent users come (Poisson), `rate` a second in the mean."""
        return self._random.expovariate(rate)
