"""Training runs as an environment asks for them: jobs, searches for settings, and runs on Ray."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from stacks import accepted
from stacks.fields import Part, Place, Positive, Text

Image = Annotated[str, AfterValidator(accepted.image)]
Prefix = Annotated[str, AfterValidator(accepted.object_prefix)]
Priority = Literal["low", "normal", "high"]
Values = Annotated[dict[str, str | int | float | bool], AfterValidator(accepted.setting_names)]


class Training(Part):
    """What all training runs have in common."""

    image: Image
    """container image of workloads/training, with a tag or digest; built with Optuna where there are sweeps"""
    ray_image: Image | None = None
    """the same image, built with Ray; needed where there are rayJobs"""
    mpi_image: Image | None = None
    """the same image, built with Horovod; absent: no runtime for MPI"""


class Run(Part):
    """What any training run asks for."""

    name: Annotated[str, AfterValidator(accepted.job_name)]
    """name of the run, such as llama-8b; checkpoints are kept under it"""
    region: Place
    """where it runs; a region that trains"""
    config: Literal["tiny", "gpt2_124m", "llama_1b", "llama_8b"]
    """the config of workloads/training that it starts from"""
    settings: Values = {}
    """settings of the config to override, such as training.steps: 2000"""
    data: Prefix | None = None
    """prefix of prepared tokens in the region's bucket, such as datasets/books; absent: Python's standard library"""
    accelerator: Text
    """key of the catalog, such as h100-80gb"""
    accelerators_per_node: Positive = 1
    """accelerators that it takes of each machine"""
    priority: Priority | None = None
    """low, normal or high: who waits for whom; absent: low for sweeps, else normal"""

    def shared_args(self) -> dict[str, Any]:
        """What the arguments of every component for a run have in common."""
        return {
            "config": self.config,
            "settings": {name: _written(value) for name, value in self.settings.items()},
            "accelerator": self.accelerator,
            "accelerators_per_node": self.accelerators_per_node,
            **({"priority": self.priority} if self.priority else {}),
            **({"data_prefix": self.data} if self.data else {}),
        }


class TrainingJob(Run):
    """A run of a gang of machines, by torchrun."""

    min_nodes: Positive = 1
    """fewest machines it goes on with when some are lost; the same as maxNodes: all or none"""
    max_nodes: Positive = 1
    """machines it starts with"""
    fabric: bool = False
    """use the machines' fabric (EFA, GPUDirect)"""
    compact: bool = False
    """on the machines of static pools, which always stand and lie close together; without it, never on those"""


class Sweep(Run):
    """A search for the best settings: many short runs side by side."""

    search: Annotated[dict[str, Text], Field(min_length=1), AfterValidator(accepted.setting_names)]
    """setting -> where to look, such as optimizer.learning_rate: log:1e-4:1e-2"""
    trials: Positive
    """runs in all"""
    workers: Positive = 1
    """runs at a time"""
    min_workers: Positive = 1
    """runs at a time with which it starts, where there is no room for all"""


class RayJob(Run):
    """A run on a Ray cluster of its own, which goes when the run ends."""

    min_workers: Positive = 1
    """fewest machines"""
    max_workers: Positive = 1
    """most machines"""


def _written(value: str | float | bool) -> str:
    """A value as the command line takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
