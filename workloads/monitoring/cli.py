"""The command line of monitoring; jobs and their contract test both read it from `parser()`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from workloads.monitoring.errors import ArgumentError, FileFailed, MonitoringError
from workloads.monitoring.files import read_json, write_json

if TYPE_CHECKING:
    from workloads.monitoring.lakehouse import Lake
    from workloads.monitoring.metrics import Metrics
    from workloads.monitoring.policy import WatchPolicy

EXIT_CODES = """exit codes: 0 done; 1 failed; 2 wrong arguments; 3 the lake refused or does not answer;
4 a local file cannot be read or written; 5 what starts the pipeline failed"""


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("python -m workloads.monitoring", description=__doc__, epilog=EXIT_CODES)
    subcommands = root.add_subparsers(dest="command", required=True)

    log = subcommands.add_parser("log", help="append requests or labels, JSON objects a line", epilog=EXIT_CODES)
    _add_lake(log)
    log.add_argument("input", help="a file, or - for standard input")
    log.add_argument("--table", choices=("requests", "labels"), default="requests")
    log.add_argument("--rate", type=float, default=1.0, help="share of requests to log (default %(default)s)")
    log.add_argument("--keep-text", action="store_true", help="also texts and answers, redacted")
    log.add_argument("--batch", type=_count, default=5000, help="rows in a commit (default %(default)s)")

    watch = subcommands.add_parser("watch", help="judge windows, decide whether to train again", epilog=EXIT_CODES)
    _add_lake(watch)
    watch.add_argument("--model", required=True, type=_model)
    watch.add_argument("--policy", type=Path, metavar="FILE", help="JSON; what it leaves out has a default")
    watch.add_argument("--state", required=True, type=Path, metavar="FILE", help="what decisions leave for the next")
    watch.add_argument("--output", required=True, type=Path, metavar="DIR", help="where reports are written")
    watch.add_argument("--end-s", type=float, metavar="UNIX", help="judge the window that ends here (default: newest)")
    watch.add_argument("--hook", metavar="COMMAND", help="starts the pipeline; MONITORING_REPORT names the report")
    watch.add_argument("--every-s", type=float, metavar="S", help="go on, looking for a new window so often")
    watch.add_argument("--metrics-port", type=_count, metavar="PORT", help="serve Prometheus metrics")

    report = subcommands.add_parser("report", help="print reports for a person", epilog=EXIT_CODES)
    report.add_argument("place", type=Path, help="a report, or a directory of which the newest is printed")

    ended = subcommands.add_parser("ended", help="tell that a run that watch started has ended", epilog=EXIT_CODES)
    ended.add_argument("--state", required=True, type=Path, metavar="FILE")
    ended.add_argument("--policy", type=Path, metavar="FILE")
    ended.add_argument("--cost-usd", type=float, metavar="USD", help="what it cost (default: what the policy expected)")

    retain = subcommands.add_parser("retain", help="delete what is too old, files included", epilog=EXIT_CODES)
    _add_lake(retain)
    retain.add_argument("--days", required=True, type=_count, help="to keep, today's included")
    retain.add_argument("--grace-s", type=float, default=3600.0, help="for files in use (default %(default)s)")
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    run = {"log": _log, "watch": _watch, "report": _report, "ended": _ended, "retain": _retain}[options.command]
    try:
        run(options)
    except MonitoringError as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _log(options: argparse.Namespace) -> None:
    from workloads.monitoring.request_log import RequestLog
    from workloads.monitoring.tables import Label, Request, label_row

    lake = _lake(options)
    if options.table == "labels":
        labels = [label_row(label) for label in _records(options.input, Label)]
        # The batch is named after what is in it: logging the same file again adds nothing.
        for start in range(0, len(labels), options.batch):
            part = labels[start : start + options.batch]
            lake.append("labels", part, _name_of(part))
        print(f"{len(labels)} labels")
        return
    with RequestLog(
        lake, rate=options.rate, keep_text=options.keep_text, batch=options.batch, queue=options.batch
    ) as log:
        read = taken = 0
        for request in _records(options.input, Request):
            # Whoever reads a file can wait, unlike whoever serves.
            if read % options.batch == 0:
                log.flush(None)
            read, taken = read + 1, taken + log.record(request)
        log.close(None)
    print(f"{read} requests, {taken} of them sampled, {sum(log.dropped.values())} dropped {dict(log.dropped)}")
    if log.dropped:
        raise MonitoringError(f"{sum(log.dropped.values())} requests were dropped: {dict(log.dropped)}")


def _watch(options: argparse.Namespace) -> None:
    from workloads.monitoring import watch
    from workloads.monitoring.baseline import Window
    from workloads.monitoring.report import summary

    policy, lake = _policy(options), _lake(options)
    metrics = _serve(options.metrics_port)
    hook = watch.command(options.hook) if options.hook else None
    done = None
    while True:
        now = time.time()
        # Windows are aligned, so that each is looked at once however often this wakes up.
        end = options.end_s or (now - policy.settle_s) // policy.window_s * policy.window_s
        if end != done:
            window = Window(end - policy.window_s, end)
            found = watch.watch(
                lake,
                policy,
                options.model,
                window,
                max(now, end),
                state_file=options.state,
                output=options.output,
                hook=hook,
                metrics=metrics,
            )
            print(summary(found.as_json()), flush=True)
            done = end
        if not options.every_s:
            return
        time.sleep(options.every_s)


def _report(options: argparse.Namespace) -> None:
    from workloads.monitoring.report import summary

    path = options.place
    if path.is_dir():
        path = max(path.glob("*.json"), key=lambda each: each.stat().st_mtime, default=None)
    found = path and read_json(path)
    if not isinstance(found, dict) or found.get("format") != 1:
        raise FileFailed(f"{options.place}: no report")
    print(summary(found))


def _ended(options: argparse.Namespace) -> None:
    from workloads.monitoring.trigger import State, ended

    found = read_json(options.state)
    if found is not None:
        write_json(options.state, ended(_policy(options).retrain, State.from_json(found), options.cost_usd).as_json())


def _retain(options: argparse.Namespace) -> None:
    from workloads.monitoring.retention import retain

    for table in retain(_lake(options), days=options.days, now_s=time.time(), grace_s=options.grace_s):
        print(
            f"{table.table}: before {table.before}: {table.rows} rows deleted, {table.snapshots} snapshots expired, "
            f"{table.files} files of {table.bytes / 2**20:.1f} MiB removed"
        )


# ---- options


def _add_lake(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--lake", required=True, metavar="PLACE", help="a local directory, or a warehouse such as s3://bucket/prefix"
    )
    command.add_argument(
        "--catalog",
        action="append",
        default=[],
        type=_property,
        metavar="NAME=VALUE",
        help="property of pyiceberg's catalog, such as type=glue, uri=https://… or s3.region=…; may be given often",
    )
    command.add_argument("--namespace", default="monitoring", help="of the tables (default %(default)s)")


def _lake(options: argparse.Namespace) -> Lake:
    from workloads.monitoring.lakehouse import Lake, local

    properties = dict(options.catalog)
    if "://" not in options.lake:
        properties = {**local(Path(options.lake)), **properties}
    elif not {"type", "uri"} & set(properties):
        raise ArgumentError(f"--lake {options.lake}: needs a catalog, such as --catalog type=glue")
    else:
        properties["warehouse"] = options.lake
    return Lake(properties, namespace=options.namespace)


def _policy(options: argparse.Namespace) -> WatchPolicy:
    from workloads.monitoring.policy import WatchPolicy

    if options.policy is None:
        return WatchPolicy()
    found = read_json(options.policy)
    if found is None:
        raise FileFailed(f"{options.policy}: there is no such file")
    try:
        return WatchPolicy.from_json(found)
    except ArgumentError as error:
        raise ArgumentError(f"{options.policy}: {error}") from None


def _serve(port: int | None) -> Metrics:
    from prometheus_client import start_http_server

    from workloads.monitoring.metrics import Metrics

    metrics = Metrics()
    if port:
        try:
            start_http_server(port, registry=metrics.registry)
        except OSError as error:
            raise ArgumentError(f"--metrics-port {port}: {error.strerror or error}") from error
    return metrics


_T = TypeVar("_T")


def _records(place: str, kind: Callable[..., _T]) -> Iterator[_T]:
    """Objects of a file of JSON Lines, with the fields of a dataclass. Raises FileFailed with the line's number."""
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    try:
        with sys.stdin if place == "-" else open(place, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    found: Any = json.loads(line)
                    if set(found) - set(known):
                        raise ValueError(f"unknown {sorted(set(found) - set(known))}; expected {', '.join(known)}")
                    yield kind(**found)
                except (ValueError, TypeError) as error:
                    raise FileFailed(f"{place}: line {number}: {error}") from None
    except OSError as error:
        raise FileFailed(f"{place}: {error.strerror or error}") from error


def _name_of(rows: Sequence[Any]) -> str:
    import hashlib

    return hashlib.sha256(repr(rows).encode()).hexdigest()[:32]


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1")
    return int(text)


def _model(text: str) -> str:
    # It is part of a report's file name.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected letters, digits, '.', '_' and '-'")
    return text


def _property(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=VALUE")
    return name, value
