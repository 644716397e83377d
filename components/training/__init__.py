"""What training runs on: the queue, the runtimes, and the jobs."""

from components.training.queue import TrainingQueue, TrainingQueueArgs

__all__ = ["TrainingQueue", "TrainingQueueArgs"]
