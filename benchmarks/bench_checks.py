"""All checks, policies, cost and the pull request's comment cost at most half of the preview that they judge.

And they grow with the environment, not faster: of ten times the resources they take at most 13 times as long. The
environments for that are made of serving regions, two and twenty, half of them in each cloud. Everything is measured in
CPU seconds within one process, once everything is imported; the preview is the quickest of several, warm.

Run: `make bench`, or `.venv/bin/python benchmarks/bench_checks.py [STACK]` (a minute).
"""

from __future__ import annotations

import sys

from measure import measure, table, verdict

PARTS = ("checks", "cost", "comment")


def main(stack: str = "prod") -> None:
    found = measure("judge", stack=stack, times=3)
    total = sum(found[part] for part in PARTS)
    table(
        ["stack", "resources", "preview CPU s", *PARTS, "all of them", "diagram"],
        [[stack, found["resources"], found["cpu"], *(found[part] for part in PARTS), total, found["diagram"]]],
    )
    slowest = sorted(found["of_checks"].items(), key=lambda item: -item[1])[:6]
    table(["check", "CPU ms"], [[name, round(1000 * seconds)] for name, seconds in slowest])
    small, large = (measure("judge", stack="dev", times=1, regions=count) for count in (2, 20))
    sizes = [sum(one[part] for part in PARTS) for one in (small, large)]
    table(
        ["regions", "resources", "preview CPU s", *PARTS, "diagram"],
        [
            [count, one["resources"], one["cpu"], *(one[part] for part in PARTS), one["diagram"]]
            for count, one in ((2, small), (20, large))
        ],
    )
    verdict(f"all of them / preview of {stack}", total / found["cpu"], 0.5)
    times = large["resources"] / small["resources"]
    verdict(f"time for {times:.1f} times the resources, scaled to 10 times", sizes[1] / sizes[0] * 10 / times, 13)


if __name__ == "__main__":
    main(*sys.argv[1:2])
