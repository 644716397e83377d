"""The subcommand `tensorflow`."""

from __future__ import annotations

import argparse

from workloads.serving.protocols import common

HELP = "answer TensorFlow Serving's REST protocol with the models of a Triton"


def arguments(parser: argparse.ArgumentParser) -> None:
    common.add(parser)
    parser.add_argument("--port", type=int, default=8501, metavar="PORT", help="default %(default)s; 0: a free one")
    parser.add_argument(
        "--label", action="append", default=[], type=_label, metavar="NAME:LABEL=VERSION",
        help="a word that clients may say for a version; may be given several times",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    from workloads.serving.protocols import tensorflow

    tensorflow.run(common.upstream(options), common.listening(options), dict(options.label))
    return 0


def _label(text: str) -> tuple[tuple[str, str], str]:
    place, _, version = text.rpartition("=")
    model, _, label = place.partition(":")
    if not model or not label or not version.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME:LABEL=VERSION, such as resnet:stable=3")
    return (model, label), version
