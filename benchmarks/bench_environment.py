"""`prod` previews warm at 2 CPU milliseconds a resource or less, and cold in at most 4 CPU seconds more.

Warm is the second preview of a process or a later one: the SDKs are imported and their schemas read. Cold is a process
from its start to its end, imports and all.

Run: `make bench`, or `.venv/bin/python benchmarks/bench_environment.py [STACK]` (a minute).
"""

from __future__ import annotations

import sys

from measure import measure, table, verdict


def main(stack: str = "prod") -> None:
    warm = measure("environment", stack=stack, times=4)
    cold = min((measure("environment", stack=stack, times=1) for _ in range(3)), key=lambda found: found["process"])
    each = 1000 * warm["cpu"] / warm["resources"]
    table(
        ["stack", "resources", "warm CPU s", "ms/resource", "cold CPU s"],
        [[stack, warm["resources"], warm["cpu"], each, cold["process"]]],
    )
    verdict(f"{stack} warm, CPU ms a resource", each, 2)
    verdict(f"{stack} cold, CPU seconds more than warm", cold["process"] - warm["cpu"], 4)


if __name__ == "__main__":
    main(*sys.argv[1:2])
