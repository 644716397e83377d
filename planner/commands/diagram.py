"""`aicloud diagram`: an environment as one picture."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from planner.commands import source

FORMATS = ("svg", "png", "mermaid")
_ENDINGS = {".svg": "svg", ".png": "png", ".mmd": "mermaid", ".mermaid": "mermaid", ".md": "mermaid"}

DESCRIPTION = """\
Draws an environment on one page: clouds, regions, networks, clusters with their
node pools and capacity ladders, storage by tier, the front door, and what flows
between them. The same plan gives the same bytes."""


def add(commands) -> None:
    """Add the command to `aicloud`."""
    diagram = commands.add_parser(
        "diagram",
        help="draw an environment on one page",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    diagram.set_defaults(run=run)
    source.add_stack(diagram)
    diagram.add_argument("--format", choices=FORMATS, help="default: as --out ends, else svg")
    diagram.add_argument(
        "--out", type=Path, metavar="FILE", help="default: out/STACK.svg (.png, .mmd); - for standard output"
    )


def run(parsed: argparse.Namespace) -> int:
    """Draw, and say where the picture is."""
    from planner import diagram
    from planner.inventory import Inventory

    ending = parsed.out.suffix.lower() if parsed.out else ""
    kind = parsed.format or _ENDINGS.get(ending, "svg")
    if parsed.format and ending in _ENDINGS and _ENDINGS[ending] != parsed.format:
        raise ValueError(f"--out {parsed.out} ends in {ending}, but --format is {parsed.format}")
    plan = source.read(parsed)
    picture = diagram.picture(Inventory(plan))
    with source.progress("drawing"):
        if kind == "mermaid":
            content = diagram.mermaid(picture).encode()
        else:
            drawing = diagram.layout(picture)
            content = diagram.png(drawing) if kind == "png" else diagram.svg(drawing).encode()
    if str(parsed.out) == "-":
        sys.stdout.buffer.write(content)
        return 0
    out = parsed.out or Path("out") / f"{plan.stack or 'plan'}.{'mmd' if kind == 'mermaid' else kind}"
    out.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: a picture that is cut off must never look like one that is not.
    partial = out.with_name(f".{out.name}.partial")
    partial.write_bytes(content)
    partial.replace(out)
    print(f"{len(picture.boxes)} boxes, {len(picture.flows)} flows, {len(content) / 1000:,.0f} kB in {out}")
    return 0
