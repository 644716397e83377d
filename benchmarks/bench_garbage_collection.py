"""Three lines at the top of a program make `pulumi preview` faster: gc.collect(); gc.freeze(); gc.disable().

Measured on the program's process alone, which talks to the engine over gRPC as under the CLI, with the SDK as it is
(none of the preview's own improvements); and, to tell what is left to gain there, with them.

Run: `make bench`, or `.venv/bin/python benchmarks/bench_garbage_collection.py [COUNT]` (a minute and a half).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from measure import measure, table, verdict

LINES = "import gc\ngc.collect(); gc.freeze(); gc.disable()\n"
PROGRAM = """
import sys
sys.path.append({benchmarks!r})
import programs
{lines}
programs.wide({count})
"""
TARGET = 0.75


def main(count: int = 2_000) -> None:
    found = {}
    for as_it_is in (True, False):
        for lines in ("", LINES):
            with tempfile.TemporaryDirectory() as root:
                write(Path(root), count, lines)
                found[as_it_is, bool(lines)] = measure("over_grpc", root=root, as_it_is=as_it_is)
    rows = []
    for as_it_is, sdk in ((True, "as it is, like `pulumi preview`"), (False, "as `aicloud preview --isolated` has it")):
        without, with_lines = found[as_it_is, False], found[as_it_is, True]
        rows.append([sdk, without["resources"], without["cpu"], with_lines["cpu"], with_lines["cpu"] / without["cpu"]])
    table(["SDK", "resources", "CPU s without the lines", "with them", "ratio"], rows)
    verdict("with the lines against without, SDK as it is", rows[0][-1], TARGET)


def write(root: Path, count: int, lines: str) -> None:
    (root / "Pulumi.yaml").write_text("name: bench\nruntime: python\n")
    (root / "Pulumi.dev.yaml").write_text("config:\n  aws:region: us-east-1\n")
    here = str(Path(__file__).parent)
    (root / "__main__.py").write_text(PROGRAM.format(benchmarks=here, lines=lines, count=count))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
