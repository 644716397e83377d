"""What has happened since the last look: from the local router's counters, or from Envoy's in Prometheus.

Each look takes a cursor and gives the next one, plain data that the journal keeps beside the decision: after a kill the
next look begins where the last decision that was written down ended, so each count belongs to exactly one look.

Beside the candidate, at the same time, are two samples of the old version's requests: the control (`shells.CONTROL`),
which is of the candidate's size, and the rest. The local router assigns the control by the same hash or chance as the
candidate; in a cluster it is a second reference to the old version's Service in the same rule, with the candidate's
weight. The tests take arms of known, unequal shares, and find harm about twice as fast with all of the old version's
requests as with the control alone, so all is what a controller gives them, unless it is told otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from workloads.rollout import counts as counted
from workloads.rollout.observation import Arm
from workloads.rollout.shells import BASELINE, CANDIDATE, CONTROL, JsonClient

Pairs = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Seen:
    """Counts since the last look."""

    baseline: Arm = field(default_factory=Arm)
    """Requests of the old version, but for the control's."""
    control: Arm = field(default_factory=Arm)
    candidate: Arm = field(default_factory=Arm)
    mirrored: Arm = field(default_factory=Arm)
    pairs: Pairs = ()


class Observer(Protocol):
    def look(self, cursor: Any, since: float) -> tuple[Seen, Any]:
        """What came after `cursor` (None: nothing was seen yet), and the next cursor.

        `since`: Unix time from when on the present shares are in force; what came before is no part of the answer.
        Raises ShellFailed.
        """


class LocalObserver:
    """The router's own counters. They begin anew when shares change, so `since` is theirs to know."""

    def __init__(self, admin: str, *, timeout_s: float = 5.0) -> None:
        self._http = JsonClient(admin, timeout_s=timeout_s)

    def look(self, cursor: Any, since: float) -> tuple[Seen, Any]:
        del since
        known = cursor or {}
        said = self._http.get(f"/counts?after_pair={known.get('pair', 0)}")
        if known and said["run"] != known["run"]:
            # Another run of the router: it counts from 0, pairs too.
            known = {}
            said = self._http.get("/counts")
        before = known if known.get("era") == said["era"] else {}
        arms = {arm: _difference(said["arms"], before.get("arms", {}), arm) for arm in (BASELINE, CONTROL, CANDIDATE)}
        copies = _difference(said["copies"], known.get("copies", {}), CANDIDATE)
        pairs = tuple((float(baseline), float(candidate)) for _, baseline, candidate in said["pairs"])
        seen = Seen(arms[BASELINE], arms[CONTROL], arms[CANDIDATE], copies, pairs)
        pair = max([known.get("pair", 0), *(number for number, _, _ in said["pairs"])])
        kept = {name: said[name] for name in ("run", "era", "arms", "copies")}
        return seen, {**kept, "pair": pair}


def _difference(now: Mapping[str, Any], before: Mapping[str, Any], arm: str) -> Arm:
    nothing: dict[str, Any] = {"outcomes": {}, "latency": {}}
    new, old = now.get(arm, nothing), before.get(arm, nothing)
    outcomes = _less(new["outcomes"], old["outcomes"])
    latency = _less(new["latency"], old["latency"])
    return Arm(
        sum(outcomes[name] for name in counted.ENDED),
        sum(outcomes[name] for name in counted.FAILURES),
        tuple(sorted((int(bucket), count) for bucket, count in latency.items())),
    )


def _less(new: Mapping[str, int], old: Mapping[str, int]) -> Counter[str]:
    return Counter({name: count - old.get(name, 0) for name, count in new.items() if count > old.get(name, 0)})
