"""Options that both protocols' commands have. Imports nothing heavy: a probe parses them every few seconds."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from workloads.serving.errors import ArgumentError

if TYPE_CHECKING:
    from workloads.serving.protocols.listening import Listening
    from workloads.serving.protocols.triton import Upstream


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--triton", default="http://127.0.0.1:8000", metavar="URL", help="its HTTP endpoint (default %(default)s)"
    )
    parser.add_argument("--model", required=True, action="append", metavar="NAME", help="may be given several times")
    parser.add_argument("--address", default="127.0.0.1", help="to listen on (default %(default)s)")
    parser.add_argument(
        "--deadline-s", type=float, default=60.0, metavar="S",
        help="of a request, unless its gateway waits less long (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--max-body-mib", type=int, default=64, metavar="N", help="of a request (default %(default)s)")
    parser.add_argument(
        "--drain-s", type=float, default=0.0, metavar="S",
        help="seconds to go on serving after SIGTERM, until balancers have heard of it (default 0)",
    )  # fmt: skip
    parser.add_argument(
        "--exit-timeout-s", type=int, default=60, metavar="S",
        help="seconds that requests under way then have (default %(default)s)",
    )  # fmt: skip


def upstream(options: argparse.Namespace) -> Upstream:
    """Raises ArgumentError."""
    from workloads.serving.protocols.triton import Upstream

    if not 0 < options.deadline_s < float("inf"):
        raise ArgumentError(f"--deadline-s {options.deadline_s}: expected seconds above 0")
    return Upstream(options.triton, options.model, deadline_s=options.deadline_s)


def listening(options: argparse.Namespace) -> Listening:
    """Raises ArgumentError."""
    from workloads.serving.protocols.listening import Listening

    if options.max_body_mib < 1 or options.exit_timeout_s < 1:
        raise ArgumentError("--max-body-mib and --exit-timeout-s: expected 1 or more")
    if not 0 <= options.drain_s < float("inf"):
        raise ArgumentError(f"--drain-s {options.drain_s}: expected 0 or more")
    return Listening(
        options.address, options.port, options.max_body_mib * 2**20, options.drain_s, options.exit_timeout_s
    )
