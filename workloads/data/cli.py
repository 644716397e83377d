"""The command line of datasets."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from workloads.data.errors import BadShard, DataError

FIRST_LINE_S, EVERY_S = 2.0, 5.0
Show = Callable[[str, int], Callable[[int], None]]
EXIT_CODES = """exit codes: 0 done; 2 wrong arguments; 3 not a dataset; 4 a shard is not what its manifest says;
5 local disk full or not writable; 6 object store unreachable or access denied"""


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("python -m workloads.data", description=__doc__, epilog=EXIT_CODES)
    commands = root.add_subparsers(dest="command", required=True)

    prepare = commands.add_parser("prepare", help="tokenize a corpus into train/ and validation/", epilog=EXIT_CODES)
    prepare.add_argument("--corpus", default="stdlib", metavar="stdlib|DIR", help="text (default %(default)s)")
    prepare.add_argument("--output", required=True, type=Path, metavar="DIR")
    prepare.add_argument("--tokenizer", choices=("bytes", "bpe"), default="bytes", help="(default %(default)s)")
    prepare.add_argument("--vocabulary", type=_count, default=4096, help="tokens of a bpe (default %(default)s)")
    prepare.add_argument("--held-out", type=float, default=0.05, help="part of the files (default %(default)s)")
    prepare.add_argument("--shard-tokens", type=_count, default=2**23, help="(default %(default)s)")
    prepare.add_argument("--suffix", action="append", help="of a DIR's files; may be given several times")

    verify = commands.add_parser("verify", help="read every shard of a dataset against its manifest", epilog=EXIT_CODES)
    verify.add_argument("url", help="a directory, or file://, s3://, gs://, az://")
    verify.add_argument("--cache", type=Path, metavar="DIR", help="where shards of an object store are kept")
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return {"prepare": _prepare, "verify": _verify}[options.command](options)
    except DataError as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return error.exit_code


def _prepare(options: argparse.Namespace) -> int:
    from workloads.data import corpus as corpora
    from workloads.data.prepare import prepare

    if options.corpus == "stdlib":
        corpus = corpora.standard_library(options.held_out)
    else:
        suffixes = options.suffix or corpora.SUFFIXES
        corpus = corpora.directory(Path(options.corpus), options.held_out, suffixes)
    vocabulary = options.vocabulary if options.tokenizer == "bpe" else 0
    if vocabulary and vocabulary < 258:
        raise corpora.ArgumentError(f"--vocabulary {vocabulary}: expected at least 258: all bytes, a merge, the end")
    started = time.monotonic()
    with _bars() as show:
        made = prepare(corpus, options.output, vocabulary=vocabulary, shard_tokens=options.shard_tokens, show=show)
    print(
        f"{corpus.name}: left out {corpus.repeated} files that repeat another and {corpus.not_text} that are "
        f"empty or not UTF-8; {time.monotonic() - started:.1f} s"
    )
    for part, manifest in made.items():
        print(
            f"{options.output / part}: {manifest.tokens:,} tokens of {manifest.tokenizer.vocabulary:,}, "
            f"{manifest.source['documents']:,} files, {len(manifest.shards)} shards, {manifest.fingerprint[:16]}"
        )
    return 0


def _verify(options: argparse.Namespace) -> int:
    from workloads.data.dataset import open_dataset

    bad = 0
    with open_dataset(options.url, cache=options.cache) as dataset, _bars() as show:
        count = show("verifying", len(dataset.manifest.shards))
        for index in range(len(dataset.manifest.shards)):
            try:
                dataset.acquire(index)
            except BadShard as error:
                print(f"verify: {error}", file=sys.stderr)
                bad += 1
            else:
                dataset.release(index)
            count(1)
    if bad:
        print(f"verify: {dataset.url}: {bad} of {len(dataset.manifest.shards)} shards are bad", file=sys.stderr)
        return BadShard.exit_code
    print(f"{dataset.url}: {len(dataset):,} tokens, all as the manifest says, {dataset.fingerprint[:16]}")
    return 0


@contextlib.contextmanager
def _bars() -> Iterator[Show]:
    """Progress bars on a terminal, a line every few seconds in a log. What is quick leaves no trace."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    next_line = time.monotonic() + FIRST_LINE_S
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def show(what: str, total: int) -> Callable[[int], None]:
            task = bars.add_task(what, total=total)
            done = 0

            def count(more: int) -> None:
                nonlocal done, next_line
                done += more
                bars.advance(task, more)
                if not console.is_terminal and time.monotonic() > next_line:
                    next_line = time.monotonic() + EVERY_S
                    print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)

            return count

        yield show


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1")
    return int(text)
