"""A wide preview costs a fraction of the SDK's own mocks, and as much for the ten-thousandth resource as for the first.

Claims, at 10,000 resources: at most 0.4 times the CPU of the SDK under its own mocks as anyone would run it, and at
most 0.85 times with garbage collection off in both; a resource at 10,000 costs at most 1.3 times one at 1,000. Ours
includes what the mocks don't do: the check against the schema, right URNs, providers, the sorted plan.

Run: `make bench`, or `.venv/bin/python benchmarks/bench_wide.py [LARGEST]` (two minutes; LARGEST, 10000, for less).
"""

from __future__ import annotations

import sys

from measure import best, table, verdict


def main(largest: int = 10_000) -> None:
    counts = sorted({100, 1_000, largest})
    found = {}
    for count in counts:
        # Short runs are repeated: there, one hiccup of the machine is a large part.
        times = 1 if count > 1_000 else 3
        for collect in (True, False):
            for what in ("mocks", "preview"):
                found[what, collect, count] = best(times, what, program="wide", count=count, collect=collect)
    table(
        ["resources", "mocks", "preview", "ratio", "mocks, no gc", "preview, no gc", "ratio", "preview ms/resource"],
        [
            [
                count,
                *(found[what, True, count]["cpu"] for what in ("mocks", "preview")),
                ratio(found, count, collect=True),
                *(found[what, False, count]["cpu"] for what in ("mocks", "preview")),
                ratio(found, count, collect=False),
                each(found, count) * 1000,
            ]
            for count in counts
        ],
    )
    verdict(f"{largest:,} resources against the SDK's mocks", ratio(found, largest, collect=True), 0.4)
    verdict(f"{largest:,} resources, garbage collection off in both", ratio(found, largest, collect=False), 0.85)
    verdict(f"a resource at {largest:,} against one at 1,000", each(found, largest) / each(found, 1_000), 1.3)


def ratio(found: dict, count: int, *, collect: bool) -> float:
    return found["preview", collect, count]["cpu"] / found["mocks", collect, count]["cpu"]


def each(found: dict, count: int) -> float:
    return found["preview", True, count]["cpu"] / found["preview", True, count]["resources"]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
