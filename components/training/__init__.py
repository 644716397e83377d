"""What training runs on: the queue, the runtimes, and the jobs."""

from components.training.fabric import pod_security
from components.training.job import TrainingJob, TrainingJobArgs
from components.training.queue import TrainingQueue, TrainingQueueArgs
from components.training.runtimes import TrainingRuntimes, TrainingRuntimesArgs

__all__ = [
    "TrainingJob",
    "TrainingJobArgs",
    "TrainingQueue",
    "TrainingQueueArgs",
    "TrainingRuntimes",
    "TrainingRuntimesArgs",
    "pod_security",
]
