"""Measures one thing at a time, each in a process of its own, in CPU seconds; and prints what came of it.

CPU seconds (user and system, all threads) rather than wall time, and ratios within one run rather than seconds: both
hold on a machine that others use too.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CONFIG = {"aws:region": "us-east-1"}


def measure(what: str, **arguments: Any) -> dict[str, Any]:
    """Call a function of this module in a new process: what it returns, with the process's whole CPU as `process`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, __file__, what, json.dumps(arguments)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = json.loads(finished.stdout.splitlines()[-1])
    found["process"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return found


def best(times: int, what: str, **arguments: Any) -> dict[str, Any]:
    """The quickest of several measurements: what others do on the machine only ever adds."""
    return min((measure(what, **arguments) for _ in range(times)), key=lambda found: found["cpu"])


def cpu(who: int = resource.RUSAGE_SELF) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


# ---- what can be measured


def mocks(program: str, count: int, collect: bool = True) -> dict[str, Any]:
    """The SDK under its own mocks, as in a unit test. Imports are not counted."""
    import programs
    import pulumi

    class Mocks(pulumi.runtime.Mocks):
        def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
            return f"{args.name}-id", args.inputs

        def call(self, args: pulumi.runtime.MockCallArgs) -> dict[str, Any]:  # noqa: ARG002
            return {}

    if not collect:
        gc.disable()
    start = cpu()
    pulumi.runtime.set_mocks(Mocks(), preview=True)
    pulumi.runtime.test(lambda: getattr(programs, program)(count))()
    return {"cpu": cpu() - start}


def preview(program: str, count: int, collect: bool = True) -> dict[str, Any]:
    """Our preview, up to the finished plan, every resource checked against its schema. Imports are not counted."""
    import programs

    from planner.engine import preview_program

    if not collect:
        gc.disable()
    start = cpu()
    plan = preview_program(lambda: getattr(programs, program)(count), config=CONFIG)
    return {"cpu": cpu() - start, "resources": len(plan), "errors": [d.message for d in plan.errors[:3]]}


def environment(stack: str, times: int) -> dict[str, Any]:
    """The previews of one of the project's own environments, one after another in one process."""
    from planner.engine import preview
    from planner.engine.project import load

    seconds = []
    for _ in range(times):
        start = cpu()
        plan = preview(load(ROOT, stack))
        seconds.append(cpu() - start)
    return {"cpu": min(seconds), "resources": len(plan), "errors": [d.message for d in plan.errors[:3]]}


def judge(stack: str, times: int, regions: int = 0) -> dict[str, Any]:
    """A preview of an environment, and everything that is said about it. With `regions`: stretched to that many."""
    from datetime import date

    from planner import checks, cost, diagram, diff
    from planner.diff.assess import assess
    from planner.diff.markdown import markdown
    from planner.engine import preview
    from planner.engine.project import load
    from planner.inventory import Inventory
    from planner.rules import Rules

    project = load(ROOT, stack, _stretched(regions) if regions else None)
    today = date(2026, 11, 22)
    found: dict[str, Any] = {"cpu": float("inf")}
    for _ in range(times):
        start = cpu()
        plan = preview(project, simulate_up=True)
        found["cpu"] = min(found["cpu"], cpu() - start)
    gc.freeze()  # as planner.commands.source does
    parts = {
        "checks": lambda: checks.check(plan, today),
        "cost": lambda: cost.estimate(plan),
        "diagram": lambda: diagram.svg(diagram.layout(diagram.picture(Inventory(plan)))),
        # Half of the resources are new: a comment with nothing in it would cost nothing.
        "comment": lambda: markdown(diff.Report("main", "branch", (assess(_half(plan), plan, today),))),
    }
    for name, part in parts.items():
        part()  # imports
        start = cpu()
        part()
        found[name] = cpu() - start
    inventory, found["of_checks"] = Inventory(plan), {}
    asked = Rules.of(plan.config, checks.all_rules(), today)
    for name in checks.CHECKS:
        start = cpu()
        list(checks.findings_of(name, inventory, asked))
        found["of_checks"][name] = cpu() - start
    return {**found, "resources": len(plan), "errors": [d.message for d in plan.errors[:3]]}


def _half(plan: Any) -> Any:
    """Every second resource of a plan, with all components and providers."""
    from dataclasses import replace

    kept = [r for index, r in enumerate(plan) if index % 2 or not r.custom or r.is_provider]
    return replace(plan, resources=tuple(kept))


def _stretched(regions: int) -> dict[str, str]:
    """Configuration of an environment with that many serving regions, half of them in each cloud."""
    from components.machine_types import MACHINES

    offered = {m.cloud: m.regions for m in MACHINES if m.name in ("g6.xlarge", "g2-standard-4")}
    places = [f"{cloud}:{name}" for cloud in ("aws", "gcp") for name in offered[cloud][: regions // 2]]
    described = [
        {"region": place, "cidr": f"10.{index + 1}.0.0/16", "purposes": ["serving"]}
        for index, place in enumerate(places)
    ]
    ladder = [{"kind": "spot", "ceiling": 8}, {"kind": "on-demand", "floor": 2}]
    pools = [
        {"name": "system", "purpose": "system", "min": 2, "max": 4, "ladder": [{"kind": "on-demand"}]},
        {"name": "serving-l4", "purpose": "serving", "accelerator": "l4", "min": 2, "max": 12, "ladder": ladder},
    ]
    door = {"domain": "inference.example.com", "hostedZoneId": "Z0123456789EXAMPLE", "routingPolicy": "weighted"}
    return {
        "ai-cloud:frontDoor": json.dumps(door),
        "ai-cloud:regions": json.dumps(described),
        "ai-cloud:nodePools": json.dumps(pools),
        "ai-cloud:trainingJobs": "[]",
        "gcp:project": "bench",
        "gcp:region": "us-central1",
    }


def over_grpc(root: str, as_it_is: bool) -> dict[str, Any]:
    """A project in its own process over gRPC. Only the program's process counts, imports included.

    `as_it_is` leaves the SDK as `pulumi preview` would run it.
    """
    from planner.engine import isolated, preview
    from planner.engine.project import load

    if as_it_is:
        isolated.LAUNCHER = (str(Path(__file__).with_name("launch_as_it_is.py")),)
    plan = preview(load(root, "dev"), isolate=True)
    return {
        "cpu": cpu(resource.RUSAGE_CHILDREN),
        "resources": len(plan),
        "errors": [d.message for d in plan.errors[:3]],
    }


# ---- printing


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Right-aligned columns; the first is left-aligned."""
    cells = [list(head), *([f"{c:.2f}" if isinstance(c, float) else str(c) for c in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        first, *others = (c.ljust(w) if not i else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        print("  ".join([first, *others]).rstrip())
    print()


def verdict(claim: str, measured: float, target: float, *, at_least: bool = False) -> None:
    """One line: the claim, what was measured, whether it holds."""
    met = measured >= target if at_least else measured <= target
    wanted = f"at {'least' if at_least else 'most'} {target:g}"
    print(f"{'met   ' if met else 'MISSED'} {claim}: {measured:.2f} (target: {wanted})")


if __name__ == "__main__":
    answer = globals()[sys.argv[1]](**json.loads(sys.argv[2]))
    if answer.get("errors"):
        sys.exit(f"{sys.argv[1:]} found errors: {answer['errors']}")
    print(json.dumps(answer), flush=True)
    # Taking a million objects apart one by one, only to end, is nobody's preview.
    os._exit(0)
