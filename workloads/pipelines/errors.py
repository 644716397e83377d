"""What can go wrong with a pipeline, each with the exit code by which a task's status tells it apart."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from workloads import disk


class PipelineError(ValueError):
    """A failure that is the user's to mend: the message names the place, what was found and what is accepted."""

    exit_code = 1
    again = True
    """Whether another try may end otherwise."""


class ArgumentError(PipelineError):
    """A parameter, path or URL that cannot be used; 2 is also what argparse exits with."""

    exit_code = 2
    again = False


class DataRefused(PipelineError):
    """The data is not fit to train on; the report says why."""

    exit_code = 3
    again = False


class NotReady(PipelineError):
    """A step was asked for whose inputs are not there."""

    exit_code = 4
    again = False


class DiskFailed(PipelineError):
    """The local disk has no room, or a place on it cannot be read or written."""

    exit_code = 5


class StoreFailed(PipelineError):
    """The object store refused or did not answer, retries included."""

    exit_code = 6


class TrainingFailed(PipelineError):
    """The training did not reach its last step."""

    exit_code = 7


class QualityLost(PipelineError):
    """Fewer bits cost more quality than they may."""

    exit_code = 8
    again = False


class RegistryFailed(PipelineError):
    """The model registry refused or did not answer, or has something else under that name."""

    exit_code = 9


REJECTED = 99
"""What `gate` exits with where the candidate is not to be rolled out. Airflow's operators can be told to skip what
follows such a task, rather than to fail (`skip_on_exit_code`)."""

EXIT_CODES = f"""exit codes: 0 done; 2 wrong arguments; 3 the data was refused; 4 a step's inputs are not there;
5 local disk full or not writable; 6 object store unreachable or access denied; 7 the training failed; 8 fewer bits lost
too much quality; 9 the model registry failed; {REJECTED} (gate) the candidate was rejected"""


def on_disk(place: Path) -> AbstractContextManager[None]:
    """Turn what the operating system says about local files into DiskFailed, with the place."""
    return disk.failures(place, DiskFailed)
