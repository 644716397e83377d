"""What can go wrong with a training run, each with the exit code by which a job's status tells it apart."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from workloads import disk


class TrainingError(ValueError):
    """A failure that is the user's to mend: the message names the place, what was found and what is accepted."""

    exit_code = 1


class ConfigError(TrainingError):
    """A configuration that cannot be trained, or not on this machine; 2 is also what argparse exits with."""

    exit_code = 2


class DataError(TrainingError):
    """The data set is not there, is broken, or is not the one that the run began with."""

    exit_code = 3


class CheckpointError(TrainingError):
    """A checkpoint cannot be saved, or does not fit this model."""

    exit_code = 4


class DiskError(TrainingError):
    """The local disk has no room, or a place on it cannot be read or written."""

    exit_code = 5


class Diverged(TrainingError):
    """The loss was not a number, or leapt, more often than the configuration bears."""

    exit_code = 6


class UploadError(TrainingError):
    """The run is done, and the object store does not have all of it: another try may bring it there."""

    exit_code = 7


STOPPED = 75
"""Left before the last step after a notice, with everything saved: EX_TEMPFAIL of sysexits.h, asking for another run.
A job that counts no such run as a failure (Kubernetes: podFailurePolicy, action Ignore) survives preemptions."""

EXIT_CODES = f"""exit codes: 0 done; 2 wrong arguments; 3 data; 4 checkpoint; 5 local disk full or not writable;
6 diverged; 7 done, but not all of it in the object store, run again to send it;
{STOPPED} stopped by a notice with everything saved, run again to continue"""


def on_disk(place: Path) -> AbstractContextManager[None]:
    """Turn what the operating system says about local files into DiskError, with the place."""
    return disk.failures(place, DiskError)
