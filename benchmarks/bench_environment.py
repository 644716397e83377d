"""`prod` previews warm at 2 CPU milliseconds a resource or less, and cold in at most 4 CPU seconds more.

Warm is the second preview of a process or a later one: the SDKs are imported and their schemas read. Cold is a process
from its start to its end, imports and all. Both are absolute: the SDK's mocks, measured in the same run, tell how fast
the machine was (2.2 ms a resource on an idle one of those these claims were made on).

Run: `make bench`, or `.venv/bin/python benchmarks/bench_environment.py [STACK]` (a minute).
"""

from __future__ import annotations

import sys

from measure import best, measure, table, verdict


def main(stack: str = "prod") -> None:
    warm = measure("environment", stack=stack, times=4)
    cold = min((measure("environment", stack=stack, times=1) for _ in range(3)), key=lambda found: found["process"])
    yardstick = best(2, "mocks", program="wide", count=1_000, collect=False)
    each = 1000 * warm["cpu"] / warm["resources"]
    table(
        ["stack", "resources", "warm CPU s", "ms/resource", "cold CPU s", "mocks, no gc, ms/resource"],
        [[stack, warm["resources"], warm["cpu"], each, cold["process"], yardstick["cpu"]]],
    )
    verdict(f"{stack} warm, CPU ms a resource", each, 2)
    verdict(f"{stack} cold, CPU seconds more than warm", cold["process"] - warm["cpu"], 4)


if __name__ == "__main__":
    main(*sys.argv[1:2])
