"""Runs a program in a process of its own, over gRPC and with a time limit, as `pulumi preview` does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent import futures
from pathlib import Path

import grpc
from pulumi.runtime.proto import engine_pb2_grpc, resource_pb2_grpc

from planner.engine.monitor import Engine

_LARGEST_MESSAGE = 400 << 20
"""As in Pulumi's own engine (rpcutil.MaxRPCMessageSize)."""
_PARALLEL = 16
LAUNCHER = ("-m", "planner.engine.launch")
"""Python's arguments for what runs the program. A benchmark has one of its own, which leaves the SDK as it is."""


def run(engine: Engine, program: Path, *, time_limit: float) -> None:
    """Run the program at `program` to its end, or kill it after `time_limit` seconds."""
    target = engine.target
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=4 * _PARALLEL),
        options=[("grpc.max_receive_message_length", _LARGEST_MESSAGE)],
    )
    resource_pb2_grpc.add_ResourceMonitorServicer_to_server(engine, server)
    engine_pb2_grpc.add_EngineServicer_to_server(engine, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    directory = program if program.is_dir() else program.parent
    flags = {
        "monitor": address,
        "engine": address,
        "project": target.project,
        "stack": target.stack,
        "organization": target.organization,
        "root-directory": str(target.root or directory),
        "pwd": str(directory),
        "dry-run": "true" if engine.preview else "false",
        "parallel": str(_PARALLEL),
    }
    command = [sys.executable, "-u", *LAUNCHER]
    command += [part for flag, value in flags.items() for part in (f"--{flag}", value)] + [str(program)]
    environment = {
        **os.environ,
        "PULUMI_CONFIG": json.dumps(dict(target.config)),
        "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(target.secret_keys)),
    }
    try:
        finished = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=time_limit, check=False
        )
    except subprocess.TimeoutExpired:
        engine.diagnostics.add("error", f"the program was still running after {time_limit:g} s and was killed")
        return
    finally:
        server.stop(grace=None)
    for line in finished.stdout.splitlines():
        engine.diagnostics.add("info", line)
    from planner.engine.launch import FAILED

    if finished.returncode not in (0, FAILED):
        last = "\n".join(finished.stderr.strip().splitlines()[-10:])
        engine.diagnostics.add("error", f"the program's process ended with {finished.returncode}\n{last}")
