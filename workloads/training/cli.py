"""The command line of the training workload; deployments and their contract test both read it from `parser()`."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from workloads.training import config as configs
from workloads.training import section
from workloads.training.config import Config
from workloads.training.errors import EXIT_CODES, ConfigError, TrainingError


class Parser(argparse.ArgumentParser):
    """Says what was probably meant."""

    def error(self, message: str) -> NoReturn:
        known = [option for action in self._actions for option in action.option_strings]
        for word in re.findall(r"--[\w.-]+", message.partition("unrecognized arguments:")[2]):
            # The last part alone as well: `--layers` is meant as `--model.layers`.
            near = difflib.get_close_matches(word, known, 1, 0.6)
            near = [o for o in known if o.rpartition(".")[2] == word.removeprefix("--")] or near
            message += f"; did you mean {near[0]}?" if near else ""
        super().error(message)


def parser() -> argparse.ArgumentParser:
    root = Parser(
        "python -m workloads.training",
        usage="%(prog)s --config NAME --output DIR [--data URL] [--SECTION.SETTING VALUE ...]",
        description=__doc__,
        epilog=EXIT_CODES,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    root.add_argument("--config", type=_named, required=True, metavar="NAME", help=", ".join(configs.NAMED))
    root.add_argument("--output", type=Path, required=True, metavar="DIR", help="checkpoints and logs; continues there")
    root.add_argument(
        "--data",
        dest="data.source",
        metavar="URL",
        help="prepared tokens; default: Python's library, made in DIR/data",
    )
    for name, part in configs.tiny().sections().items():
        group = root.add_argument_group(name, (type(part).__doc__ or "").splitlines()[0])
        for item in dataclasses.fields(part):
            kind = section.kinds(type(part))[item.name]
            group.add_argument(
                f"--{name}.{item.name}",
                type=_value(f"{name}.{item.name}", item, kind),
                metavar=getattr(kind, "__name__", "NAME").upper() if kind in (int, float, str, bool) else "NAME",
                help=f"{item.metadata['help']} ({section.expected(kind, item)})".replace("%", "%%"),
            )
    return root


def configuration(options: argparse.Namespace) -> Config:
    """The named config with what the command line changes. Raises ConfigError."""
    given = {name: value for name, value in vars(options).items() if "." in name}
    return options.config().override(given)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        config = configuration(options)
        # Here and not above: torch takes seconds, and a mistyped option is told at once.
        from workloads.training.run import run

        return run(config, options.output, os.environ)
    except TrainingError as error:
        print(f"training: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        # From the first step on, the loop takes notice of it and saves.
        print("training: interrupted before the first step; nothing was lost", file=sys.stderr, flush=True)
        return 130


def _named(text: str) -> Callable[[], Config]:
    if text not in configs.NAMED:
        near = difflib.get_close_matches(text, configs.NAMED, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise argparse.ArgumentTypeError(f"{text!r}: expected one of {', '.join(configs.NAMED)}{hint}")
    return configs.NAMED[text]


def _value(place: str, item: dataclasses.Field[Any], kind: Any) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return section.parse(text, place, item, kind)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error).removeprefix(f"{place}: ")) from None

    return read
