"""What training runs on: the queue, the runtimes, and the jobs."""

from components.training.fabric import pod_security
from components.training.job import TrainingJob, TrainingJobArgs
from components.training.queue import TrainingQueue, TrainingQueueArgs
from components.training.ray_cluster import RayCluster, RayClusterArgs
from components.training.ray_job import RayJob, RayJobArgs
from components.training.runtimes import TrainingRuntimes, TrainingRuntimesArgs
from components.training.sweep import HyperparameterSweep, HyperparameterSweepArgs

__all__ = [
    "HyperparameterSweep",
    "HyperparameterSweepArgs",
    "RayCluster",
    "RayClusterArgs",
    "RayJob",
    "RayJobArgs",
    "TrainingJob",
    "TrainingJobArgs",
    "TrainingQueue",
    "TrainingQueueArgs",
    "TrainingRuntimes",
    "TrainingRuntimesArgs",
    "pod_security",
]
