"""The command line of the serving workload; deployments and their contract test both read it from `parser()`."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from workloads.serving import commands, manifest, ready
from workloads.serving.commands import model_version
from workloads.serving.errors import ServingError
from workloads.serving.progress import gib

EXIT_CODES = """exit codes: 0 done; 1 not ready; 2 wrong arguments; 3 not in the repository;
4 not what its manifest says; 5 local disk full or not writable; 6 object store unreachable or access denied;
7 no Triton to be had; 8 Triton ended or does not answer; 9 Triton does not load a model;
10 a request was not answered"""


def _modules() -> dict[str, ModuleType]:
    """The subcommands that are modules of `commands`, by name."""
    names = sorted(found.name for found in pkgutil.iter_modules(commands.__path__))
    return {name: importlib.import_module(f"{commands.__name__}.{name}") for name in names}


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("python -m workloads.serving", description=__doc__, epilog=EXIT_CODES)
    subcommands = root.add_subparsers(dest="command", required=True)

    fetch = subcommands.add_parser("fetch", help="copy model versions to local disk and verify them", epilog=EXIT_CODES)
    fetch.add_argument("--source", required=True, metavar="URL", help="the repository: file://, s3://, gs:// or az://")
    fetch.add_argument("--destination", required=True, type=Path, metavar="DIR")
    _add_models(fetch)
    fetch.add_argument("--connections", type=_count, default=16, help="parts read at once (default %(default)s)")
    fetch.add_argument("--part-mib", type=_count, default=16, help="size of a part in MiB (default %(default)s)")
    fetch.add_argument(
        "--trusted-key", type=Path, metavar="PEM", help="the public key by which manifests must have been signed"
    )

    probe = subcommands.add_parser("ready", help="ask Triton whether models are ready", epilog=EXIT_CODES)
    probe.add_argument("--url", default="http://127.0.0.1:8000", help="Triton's HTTP endpoint (default %(default)s)")
    probe.add_argument("--timeout-s", type=float, default=3.0, help="for all models together (default %(default)s)")
    _add_models(probe)

    describe = subcommands.add_parser("manifest", help="write the manifest of a local model version", epilog=EXIT_CODES)
    describe.add_argument("directory", type=Path, help="a Triton model directory with one version in it")
    describe.add_argument("--model", required=True, type=model_version, metavar="NAME:VERSION")

    for name, module in _modules().items():
        module.arguments(subcommands.add_parser(name, help=module.HELP, epilog=EXIT_CODES))
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        own = {"fetch": _fetch, "ready": _ready, "manifest": _manifest}.get(options.command)
        return own(options) if own else _modules()[options.command].run(options)
    except ServingError as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return error.exit_code


def _fetch(options: argparse.Namespace) -> int:
    # Here and not above, for the sake of `ready`, which a kubelet runs every few seconds.
    from workloads.serving.fetch import fetch
    from workloads.serving.signing import public_key

    started = time.monotonic()
    read = fetch(
        options.source,
        options.destination,
        options.model,
        connections=options.connections,
        part_bytes=options.part_mib * 2**20,
        trusted=public_key(options.trusted_key) if options.trusted_key else None,
    )
    names = ", ".join(map(str, sorted(set(options.model))))
    print(f"{names}: verified in {options.destination}; read {gib(read)} in {time.monotonic() - started:.1f} s")
    return 0


def _ready(options: argparse.Namespace) -> int:
    reasons = ready.not_ready(options.url, options.model, options.timeout_s)
    for model, reason in reasons.items():
        print(f"{model}: not ready: {reason}", file=sys.stderr)
    return 1 if reasons else 0


def _manifest(options: argparse.Namespace) -> int:
    written = manifest.write_manifest(options.directory, options.model)
    print(f"{options.directory / manifest.NAME}: {len(written.files)} files, {gib(written.total_bytes)}")
    return 0


def _add_models(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model",
        required=True,
        action="append",
        type=model_version,
        metavar="NAME:VERSION",
        help="may be given several times",
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1")
    return int(text)
