"""Token datasets: shards, the cache that they are fetched into, the order of samples, and the loader."""

from workloads.data.batches import Batch, LoaderState
from workloads.data.dataset import TokenDataset, open_dataset
from workloads.data.loader import TokenLoader

__all__ = ["Batch", "LoaderState", "TokenDataset", "TokenLoader", "open_dataset"]
