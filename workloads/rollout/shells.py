"""What a controller asks of whoever holds the traffic, and how the local router does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from workloads import json_http
from workloads.rollout.errors import Fenced, RoutingError, ShellFailed
from workloads.rollout.routing import Fence

CANDIDATE, BASELINE, CONTROL = "candidate", "baseline", "control"
"""Arms. `control` is the old version as well: as many requests of it as the candidate has, assigned in the same way, so
that both are samples of one size, of the same clients and at the same time. `baseline` has the rest."""


@dataclass(frozen=True)
class Setting:
    """How the traffic is shared."""

    weight: float = 0.0
    """The candidate's share, 0 to 1."""
    mirror: float = 0.0
    """Share of the requests that the candidate also gets, unheard."""

    @property
    def shares(self) -> dict[str, float]:
        """Of the arms. The control is smaller than the candidate where that has more than half."""
        control = min(self.weight, 1 - self.weight)
        return {CANDIDATE: self.weight, CONTROL: control, BASELINE: max(0.0, 1 - self.weight - control)}


@dataclass(frozen=True)
class Replicas:
    """Ready ones."""

    baseline: int
    candidate: int


class Route(Protocol):
    """Where the traffic is shared. Each method raises ShellFailed, after which it may be called again."""

    def current(self) -> tuple[Setting, Fence]:
        """What is in force, and whose word it is."""

    def set(self, setting: Setting, fence: Fence) -> None:
        """Have it in force when this returns. Raises Fenced if somebody has the word who came later."""

    def replicas(self) -> Replicas:
        """Who is ready to take requests."""

    def scale(self, candidate: int, baseline: int) -> None:
        """How many replicas there shall be (strategy `rolling`); returns before they are ready."""


class LocalRoute:
    """The router of this project, through its admin port. Each arm is one server."""

    def __init__(self, admin: str, *, timeout_s: float = 5.0) -> None:
        """`admin`: http://HOST:PORT."""
        self._http = JsonClient(admin, timeout_s=timeout_s)

    def current(self) -> tuple[Setting, Fence]:
        said = self._http.get("/routing")
        mirror = said["mirror"]
        ratio = float(mirror["ratio"]) if mirror and mirror["arm"] == CANDIDATE else 0.0
        return Setting(float(said["weights"].get(CANDIDATE, 0.0)), ratio), Fence(**said["fence"])

    def set(self, setting: Setting, fence: Fence) -> None:
        mirror = {"arm": CANDIDATE, "ratio": setting.mirror} if setting.mirror else None
        document = {
            "fence": {"token": fence.token, "number": fence.number},
            "weights": setting.shares,
            "mirror": mirror,
        }
        status, said = self._http.ask("PUT", "/weights", document)
        if status == 409:
            raise Fenced(str(said.get("error")))
        if status != 200:
            raise ShellFailed(f"{self._http.url}/weights: {status}: {said.get('error')}")

    def begin(self, arms: Mapping[str, Mapping[str, str]]) -> None:
        """Name the servers (`url`, `version`) of baseline and candidate, before there is a rollout: nobody is moved.

        Raises RoutingError where the baseline does not have all requests, ShellFailed.
        """
        _, fence = self.current()
        document = {
            "fence": {"token": fence.token, "number": fence.number + 1},
            # In this order: what a share grows into is its neighbour.
            "arms": {CANDIDATE: arms[CANDIDATE], BASELINE: arms[BASELINE], CONTROL: arms[BASELINE]},
            "weights": {BASELINE: 1.0},
        }
        status, said = self._http.ask("PUT", "/arms", document)
        if status == 400:
            raise RoutingError(f"{self._http.url}/arms: {said.get('error')}")
        if status != 200:
            raise ShellFailed(f"{self._http.url}/arms: {status}: {said.get('error')}")

    def replicas(self) -> Replicas:
        said = self._http.get("/routing")
        model = quote(said["model"], safe="")
        ready = {}
        for name in (BASELINE, CANDIDATE):
            arm = said["arms"].get(name)
            if arm is None:
                raise RoutingError(f"{self._http.url}: no arm {name!r}; it has {', '.join(said['arms'])}")
            version = f"/versions/{arm['version']}" if arm["version"] else ""
            ready[name] = JsonClient(arm["url"], timeout_s=2.0).says(f"/v2/models/{model}{version}/ready")
        return Replicas(int(ready[BASELINE]), int(ready[CANDIDATE]))

    def scale(self, candidate: int, baseline: int) -> None:
        raise RoutingError(
            f"strategy rolling, {candidate} and {baseline} replicas: a local router's arms are one server each; "
            "expected another strategy, or a cluster"
        )


class JsonClient(json_http.JsonClient):
    """Of the router, of Prometheus, of the versions' servers."""

    wrong, failed = RoutingError, ShellFailed
