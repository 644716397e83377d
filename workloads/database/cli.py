"""The command line by which a side container keeps a pod's database password fresh."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from workloads.database.errors import DatabaseError
from workloads.database.login import Login, keep, of_google, of_secret


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("python -m workloads.database", description=__doc__)
    subcommands = root.add_subparsers(dest="command", required=True)
    login = subcommands.add_parser("login", help="keep libpq's password file fresh")
    login.add_argument("--passfile", required=True, type=Path, help="the file that PGPASSFILE names")
    login.add_argument("--host", required=True)
    login.add_argument("--port", default="5432", help="default %(default)s")
    login.add_argument("--database", default="*", help="default any")
    login.add_argument("--user", required=True)
    source = login.add_mutually_exclusive_group(required=True)
    source.add_argument("--secret", metavar="ARN", help="secret of AWS Secrets Manager, as RDS keeps it")
    source.add_argument("--google-token", action="store_true", help="token of the Google account that the pod acts as")
    login.add_argument("--region", default="", help="AWS region of the secret (default: that of the environment)")
    login.add_argument("--every-s", type=_seconds, default=30.0, help="seconds between two looks (default %(default)s)")
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    login = Login(options.host, options.port, options.database, options.user)
    password = of_google() if options.google_token else of_secret(options.secret, options.region)
    try:
        keep(options.passfile, login, password, options.every_s, ended, lambda text: print(text, flush=True))
    except (DatabaseError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 600:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected 1 to 600 seconds")
    return seconds
