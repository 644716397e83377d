"""Hands the requests back to the server that has taken over the candidate's version, so that the candidate's can go.

After a promotion the candidate's server has all requests, and the old one none. Once the old one serves the new version
as well there is nothing to compare, and so nothing to decide: its share doubles as long as its replicas are ready, and
is given back at once where they are not. Killed anywhere, it is begun again from what is in force.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from workloads.rollout.controller import AGAIN_S
from workloads.rollout.errors import ShellFailed
from workloads.rollout.routing import Fence
from workloads.rollout.shells import Route, Setting

FIRST = 0.1
"""Share of the requests that a server without any is given first: it may have scaled down to its fewest replicas."""


def hand_over(
    route: Route,
    *,
    ready_replicas: int = 1,
    pause_s: float = 60.0,
    sleep: Callable[[float], None] = time.sleep,
    out: TextIO | None = None,
) -> None:
    """Until `route`'s baseline has all requests. `ready_replicas`: of the baseline, before it gets any.

    It has the word from its first change on: a controller that still runs ends. Raises Fenced where somebody else takes
    it, RoutingError for what time will not mend; waits for what it may.
    """
    token, number = None, 0
    out = out or sys.stdout
    while True:
        try:
            setting, fence = route.current()
            token = fence.token + 1 if token is None else token
            share, ready = 1 - setting.weight, route.replicas()
            if share >= 1 and not setting.mirror:
                print("handed over: the baseline has all requests", file=out, flush=True)
                return
            if ready.baseline >= ready_replicas:
                new = min(1.0, max(FIRST, 2 * share))
            elif ready.candidate:
                new = 0.0
            else:
                new = share  # Nobody is ready: whoever has requests keeps them.
            if new != share or setting.mirror:
                number += 1
                route.set(Setting(1 - new), Fence(token, number))
            why = "" if ready.baseline >= ready_replicas else f": {ready.baseline} of {ready_replicas} replicas ready"
            print(f"{new:.0%} to the baseline{why}", file=out, flush=True)
            pause = pause_s if 0 < new < 1 else 0.0 if new == 1 else AGAIN_S
        except ShellFailed as error:
            print(f"waiting: {error}", file=out, flush=True)
            pause = AGAIN_S
        sleep(pause)
