"""What ranks tell each other about checkpoints: on CPUs, in a process group of its own, beside training's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist

from workloads.training.errors import CheckpointError, on_disk

T = TypeVar("T")


class Ranks:
    """All ranks of a group, or the one process that there is. Every method is called by all of them, in one order."""

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self.group: dist.ProcessGroup | None = None
        self.rank, self.size = 0, 1
        if dist.is_available() and dist.is_initialized():
            if group is None:
                self.group = dist.new_group(backend="gloo")
            else:
                members = dist.get_process_group_ranks(group)
                self.group = dist.new_group(members, backend="gloo", use_local_synchronization=True)
            self.rank, self.size = dist.get_rank(self.group), dist.get_world_size(self.group)

    def all(self, mine: T) -> list[T]:
        """Everyone's, by rank, to everyone."""
        if self.size == 1:
            return [mine]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, mine, group=self.group)
        return found

    def to_first(self, mine: T) -> list[T]:
        """Everyone's, by rank, to rank 0; the others get an empty list."""
        if self.size == 1:
            return [mine]
        found: list[Any] | None = [None] * self.size if self.rank == 0 else None
        dist.gather_object(mine, found, group=self.group, group_dst=0)
        return found or []

    def of_first(self, value: T) -> T:
        """Rank 0's, to everyone."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, group=self.group, group_src=0)
        return box[0]

    def dealt(self, values: Sequence[T]) -> T:
        """Rank 0 gives each rank its own of `values`; what the others give is not looked at."""
        if self.size == 1:
            return values[0]
        box: list[Any] = [None]
        dist.scatter_object_list(box, list(values) if self.rank == 0 else None, group=self.group, group_src=0)
        return box[0]

    def together(self, work: Callable[[], T]) -> T:
        """Do something on each rank; what fails on one, fails on all, in the same words."""
        result, error = None, None
        try:
            result = work()
        except (ValueError, OSError) as caught:
            error = caught
        errors = self.all(None if error is None else (type(error), str(error)))
        for rank, found in enumerate(errors):
            if found is not None:
                if error is not None:
                    raise error
                kind, text = found
                kind = kind if issubclass(kind, ValueError) else CheckpointError
                raise kind(f"rank {rank}: {text}")
        return result  # type: ignore[return-value]

    def peers(self, directory: Path, token: str) -> tuple[int, ...]:
        """The ranks that see this rank's directory: those of its node, or all where the file system is shared."""
        if self.size == 1:
            return (0,)
        mine = directory / f".rank-{token}-{self.rank}"
        with on_disk(directory):
            mine.touch()
        self.all(None)
        seen = tuple(sorted(int(p.name.rpartition("-")[2]) for p in directory.glob(f".rank-{token}-*")))
        self.all(None)
        mine.unlink()
        return seen

    def close(self) -> None:
        if self.group is not None and dist.is_initialized():
            dist.destroy_process_group(self.group)
        self.group = None
