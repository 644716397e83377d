"""What can go wrong when a model is watched, each with the exit code by which a job's status tells it apart."""

from __future__ import annotations


class MonitoringError(ValueError):
    """A failure that is the user's to mend: the message names the place, what was found and what is accepted."""

    exit_code = 1


class ArgumentError(MonitoringError):
    """An option, policy or record that cannot be used; 2 is also what argparse exits with."""

    exit_code = 2


class LakeFailed(MonitoringError):
    """The catalog or the warehouse refused or did not answer, retries included."""

    exit_code = 3


class FileFailed(MonitoringError):
    """A local file (state, report, records) cannot be read or written, or is not what it should be."""

    exit_code = 4


class HookFailed(MonitoringError):
    """What starts the pipeline could not be run, or said that it failed."""

    exit_code = 5
