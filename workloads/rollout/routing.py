"""Which arm answers which request, free of I/O: shares, sticky assignment, and who may change them.

An arm is a version of a model at a server. Requests are spread over the arms by a number in [0, 1) that each has: of
its session's hash where it names one, so that a session stays where it is, else a random one. The arms lie on that
interval in the order in which they are given, so the first and the last only grow into their neighbour when their
shares grow: with the candidate first and its concurrent baseline last, nobody who has seen one of them is moved while
a rollout goes forward.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from workloads.rollout.errors import Fenced, RoutingError

MODELS = "/v2/models/"
OPEN = ("/v2", "/v2/health", "/v2/models")
"""What requests may ask for besides a model; control of models, memory and logs is nobody's."""


@dataclass(frozen=True)
class Arm:
    """Where requests of an arm go. `version`: of the model there; empty for the one that the server chooses."""

    url: str
    version: str = ""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
            raise RoutingError(f"arm at {self.url!r}: expected http://HOST:PORT, a Triton's HTTP endpoint")
        if self.version and not self.version.isdecimal():
            raise RoutingError(f"arm at {self.url!r}: version {self.version!r}: expected a whole number or nothing")

    def path(self, path: str, model: str) -> str:
        """What is asked there when a client asks for `path`, which names no version itself."""
        if not self.version or model_of(path) != model:
            return path
        parts = path.split("/")
        if len(parts) > 4 and parts[4] == "versions":
            return path
        return "/".join([*parts[:4], "versions", self.version, *parts[4:]])


@dataclass(frozen=True, order=True)
class Fence:
    """Orders writers and what they write: an older controller, or an older word of the same one, changes nothing."""

    token: int = 0
    """Of the controller: whoever takes over has a greater one."""
    number: int = 0
    """Of its decision."""


@dataclass(frozen=True)
class Mirror:
    """An arm that gets copies of requests, whose answers nobody sees."""

    arm: str
    ratio: float = 1.0
    """Of the requests that another server answers."""


@dataclass(frozen=True)
class Routing:
    """All that decides where a request goes."""

    arms: Mapping[str, Arm]
    weights: Mapping[str, float]
    """Share of each arm; they add up to 1. An arm that is not named has none."""
    mirror: Mirror | None = None
    fence: Fence = field(default_factory=Fence)

    def __post_init__(self) -> None:
        check_weights(self.weights, self.arms)
        if self.mirror is not None:
            if self.mirror.arm not in self.arms:
                raise RoutingError(f"mirror to {self.mirror.arm!r}: expected one of {', '.join(self.arms)}")
            if not 0 < self.mirror.ratio <= 1:
                raise RoutingError(f"mirror of {self.mirror.ratio:g} of the requests: expected more than 0, at most 1")

    def weight(self, arm: str) -> float:
        return self.weights.get(arm, 0.0)

    @property
    def largest(self) -> str:
        """The arm that answers what is nobody's in particular; of several the last."""
        return max(reversed(list(self.arms)), key=self.weight)

    def pick(self, place: float) -> str:
        """The arm at a place in [0, 1)."""
        used = [arm for arm in self.arms if self.weight(arm) > 0]
        below = 0.0
        for arm in used[:-1]:
            below += self.weight(arm)
            if place < below:
                return arm
        return used[-1]

    def other(self, arm: str) -> str | None:
        """Who may answer instead of an arm that cannot be reached: the one with most requests, at another server."""
        found = [name for name in self.arms if self.weight(name) > 0 and self.arms[name].url != self.arms[arm].url]
        return max(found, key=self.weight, default=None)

    # ---- changing it

    def with_weights(self, weights: Mapping[str, float], mirror: Mirror | None, fence: Fence) -> Routing:
        """Raises RoutingError, and Fenced for whoever is late. The same word once more is the same routing."""
        return self._changed(dataclasses.replace(self, weights=dict(weights), mirror=mirror, fence=fence))

    def with_arms(self, arms: Mapping[str, Arm], weights: Mapping[str, float], fence: Fence) -> Routing:
        """Other names for who answers now, and new arms beside them: no request goes elsewhere than before.

        So a version that has all requests as the candidate of one rollout becomes the baseline of the next. Raises
        RoutingError, and Fenced.
        """
        new = dataclasses.replace(self, arms=dict(arms), weights=dict(weights), mirror=None, fence=fence)
        before, after = self._shares(), new._shares()
        for server in dict.fromkeys([*before, *after]):
            if abs(before.get(server, 0.0) - after.get(server, 0.0)) > 1e-9:
                raise RoutingError(
                    f"{server.url} {server.version}".strip()
                    + f" has {before.get(server, 0.0):.1%} of the requests and "
                    f"would have {after.get(server, 0.0):.1%}: arms change their servers only where nobody is moved"
                )
        return self._changed(new)

    def _shares(self) -> dict[Arm, float]:
        shares: dict[Arm, float] = {}
        for name, weight in self.weights.items():
            if weight:
                shares[self.arms[name]] = shares.get(self.arms[name], 0.0) + weight
        return shares

    def _changed(self, new: Routing) -> Routing:
        if new.fence < self.fence or (new.fence == self.fence and new != self):
            raise Fenced(
                f"change {new.fence.token}.{new.fence.number} comes after {self.fence.token}.{self.fence.number}, "
                "which another controller, or a later decision, has made: nothing is changed"
            )
        return new

    # ---- as JSON

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Any) -> Routing:
        try:
            return cls(
                {str(name): Arm(**arm) for name, arm in document["arms"].items()},
                weights_of(document["weights"]),
                mirror_of(document.get("mirror")),
                Fence(**document.get("fence", {})),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise RoutingError(
                f"not a routing: {type(error).__name__}: {error}: {json.dumps(document)[:200]}"
            ) from None


def check_weights(weights: Mapping[str, float], arms: Mapping[str, object]) -> None:
    """Raises RoutingError unless they are shares of these arms that add up to 1."""
    if unknown := sorted(set(weights) - set(arms)):
        raise RoutingError(f"weights of {', '.join(unknown)}: expected arms out of {', '.join(arms)}")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights.values()):
        raise RoutingError(f"weights {dict(weights)}: expected numbers from 0 to 1")
    if abs(sum(weights.values()) - 1) > 1e-6:
        raise RoutingError(f"weights {dict(weights)}: they add up to {sum(weights.values()):g}, expected 1")


def weights_of(document: Any) -> dict[str, float]:
    """Weights as JSON has them. Raises RoutingError."""
    if not isinstance(document, dict) or not all(
        isinstance(weight, int | float) and not isinstance(weight, bool) for weight in document.values()
    ):
        raise RoutingError(f"weights {json.dumps(document)[:200]}: expected an object of arm -> share of the requests")
    return {name: float(weight) for name, weight in document.items()}


def mirror_of(document: Any) -> Mirror | None:
    """A mirror as JSON has it, or null. Raises RoutingError."""
    if document is None:
        return None
    if not isinstance(document, dict) or not isinstance(document.get("arm"), str):
        raise RoutingError(f'mirror {json.dumps(document)[:200]}: expected null or {{"arm": …, "ratio": …}}')
    ratio = document.get("ratio", 1.0)
    if isinstance(ratio, bool) or not isinstance(ratio, int | float):
        raise RoutingError(f"mirror of {ratio!r} of the requests: expected a number")
    return Mirror(document["arm"], float(ratio))


def place(salt: str, session: str) -> float:
    """Where a session lies in [0, 1): the same for the same rollout, anywhere; another in each rollout."""
    digest = hashlib.blake2b(session.encode(errors="surrogateescape"), key=salt.encode()[:64], digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def model_of(path: str) -> str | None:
    """The model that a path, as it was sent, asks for; None where it names none."""
    if not path.startswith(MODELS):
        return None
    return unquote(path[len(MODELS) :].partition("/")[0]) or None


def is_open(path: str) -> bool:
    """Whether a request may ask for this path at all: as through a cluster's InferenceRoute."""
    parts = unquote(path).split("/")
    if ".." in parts or "." in parts:
        return False
    return path == OPEN[0] or any(path == each or path.startswith(f"{each}/") for each in OPEN[1:])
