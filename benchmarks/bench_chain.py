"""A chain of 3,000 dependent resources previews without error, whether by an input or by `depends_on`.

The SDK walks the whole graph of dependencies for each new one, recursively: 1,000 in a row are a RecursionError there.
The cost of a resource may not grow with the chain either.

Run: `make bench`, or `.venv/bin/python benchmarks/bench_chain.py [LENGTH]` (half a minute).
"""

from __future__ import annotations

import sys

from measure import best, table, verdict


def main(length: int = 3_000) -> None:
    rows = []
    for program in ("chain", "depends_on_chain"):
        # An error ends the benchmark.
        short, long = (best(2, "preview", program=program, count=count) for count in (length // 10, length))
        rows.append(
            [program, long["resources"], long["cpu"], *(1000 * f["cpu"] / f["resources"] for f in (short, long))]
        )
    table(["program", "resources", "CPU s", f"ms/resource at {length // 10:,}", f"at {length:,}"], rows)
    for program, resources, _, at_tenth, at_all in rows:
        verdict(f"{program} previewed without error, resources", resources, length, at_least=True)
        verdict(f"{program}: a resource against one of a chain a tenth as long", at_all / at_tenth, 2)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
