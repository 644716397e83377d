"""The subcommand `kserve`."""

from __future__ import annotations

import argparse
import sys

from workloads.serving.protocols import common

HELP = "answer KServe's protocols, v1 and v2, with the models of a Triton"


def arguments(parser: argparse.ArgumentParser) -> None:
    common.add(parser)
    parser.add_argument("--port", type=int, default=8080, metavar="PORT", help="default %(default)s; 0: a free one")
    parser.add_argument(
        "--grpc-port", type=int, metavar="PORT", help="of v2 over gRPC, KServe's is 8081; 0: a free one; default: none"
    )


def run(options: argparse.Namespace) -> int:
    # kserve reads the command line when it is imported, and would take ours for its own.
    arguments, sys.argv = sys.argv, sys.argv[:1]
    try:
        from workloads.serving.protocols import kserve
    finally:
        sys.argv = arguments

    kserve.run(common.upstream(options), common.listening(options), options.grpc_port)
    return 0
