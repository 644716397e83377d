"""Subcommands of `python -m workloads.serving`: each module here is one, of the same name.

It has `HELP`, `arguments(parser)` and `run(options)`, which returns an exit code or raises a ServingError. It imports
nothing heavy before it runs: the same program is a kubelet's probe, every few seconds.
"""

import argparse

from workloads.serving.errors import ArgumentError
from workloads.serving.manifest import ModelVersion


def model_version(text: str) -> ModelVersion:
    """NAME:VERSION, as the type of an argument."""
    try:
        return ModelVersion.parse(text)
    except ArgumentError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
