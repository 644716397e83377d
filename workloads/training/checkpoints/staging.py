"""Copies a state into memory that the saver's process shares, while the forward and backward pass run.

torch's own DefaultStager with shared memory takes a file descriptor and a deep copy in Python for each tensor: a model
with 300 parameters and Adam has 900, near the usual limit of 1,024 open files, and each has a name in /dev/shm for a
moment, which a SIGKILL at that moment leaves behind. Here all tensors lie in one anonymous segment, with no name at
all, and one call copies them (`benchmarks/bench_checkpoint.py` compares the two).
"""

from __future__ import annotations

import mmap
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

ALIGNMENT = 64
"""Bytes; what vectorised copies like, and a multiple of every element's size."""

SMALL = 64 * 1024
"""Bytes. Tensors up to this are copied within the call of `begin`: step counters, random states, and the buffers that
a forward pass changes (batch norm's statistics)."""


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies in the segment. `shape` is that of this rank's part."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    offset: int

    @property
    def bytes(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize

    def view(self, segment: torch.Tensor) -> torch.Tensor:
        return segment[self.offset : self.offset + self.bytes].view(self.dtype).view(self.shape)


def table(tensors: Mapping[str, torch.Tensor]) -> tuple[tuple[Entry, ...], int]:
    """Where each tensor goes, and how many bytes it takes."""
    entries, offset = [], 0
    for name, tensor in tensors.items():
        entry = Entry(name, tuple(tensor.shape), tensor.dtype, offset)
        entries.append(entry)
        offset += -(-entry.bytes // ALIGNMENT) * ALIGNMENT
    return tuple(entries), offset


def map_segment(descriptor: int, size: int) -> torch.Tensor:
    """`size` bytes of shared memory as a tensor of uint8."""
    mapped = mmap.mmap(descriptor, size)
    return torch.frombuffer(mapped, dtype=torch.uint8)


def _anonymous(size: int) -> int:
    """A file descriptor of `size` bytes of memory without a name: it is gone with the last process that has it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("checkpoint", os.MFD_CLOEXEC)
    else:  # not Linux
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


class Stager:
    """One rank's staging memory: as large as what the rank holds of the state, and touched only where it is written.

    The state must not change between `begin` and the end of `finish`.
    """

    def __init__(self) -> None:
        self.entries: tuple[Entry, ...] = ()
        self.descriptor = -1
        self.size = 0
        self._views: list[torch.Tensor] = []
        self._sources: list[torch.Tensor] = []
        self._small: list[int] = []
        self._large: list[int] = []
        self._segment: torch.Tensor | None = None
        self._pinned = 0
        self._stream: torch.cuda.Stream | None = None

    def begin(self, tensors: Mapping[str, torch.Tensor]) -> bool:
        """Copy what is small. Returns whether the layout is new, and with it the segment."""
        self._sources = list(tensors.values())
        # The views know it all; a new table for each save would take longer than this call does.
        new = len(self._views) != len(self._sources) or any(
            entry.name != name or view.shape != tensor.shape or view.dtype != tensor.dtype
            for entry, view, (name, tensor) in zip(self.entries, self._views, tensors.items(), strict=True)
        )
        if new:
            self._allocate(*table(tensors))
            self._sources = list(tensors.values())
        device = next((t.device for t in self._sources if t.is_cuda), None)
        if device is not None:
            # What has been launched until here, an optimizer's step above all, is in the copy.
            self._stream = self._stream or torch.cuda.Stream(device)
            self._stream.wait_stream(torch.cuda.current_stream(device))
        self._copy(self._small)
        if self._stream is not None:
            # The GPU's own order: what the forward pass launches next comes after these.
            torch.cuda.current_stream(device).wait_stream(self._stream)
        return new

    def finish(self, wanted: frozenset[str] | None) -> None:
        """Copy the rest, of that only `wanted`, the names that this rank has to write; return when it is done."""
        self._copy([i for i in self._large if wanted is None or self.entries[i].name in wanted])
        if self._stream is not None:
            self._stream.synchronize()
        self._sources = []

    def _copy(self, chosen: Sequence[int]) -> None:
        pairs = [(self._views[i], self._sources[i]) for i in chosen]
        if not pairs:
            return
        targets, sources = [target for target, _ in pairs], [source.detach() for _, source in pairs]
        with torch.no_grad():
            if self._stream is None:
                torch._foreach_copy_(targets, sources)
                return
            with torch.cuda.stream(self._stream):
                for target, source in zip(targets, sources, strict=True):
                    target.copy_(source, non_blocking=source.is_cuda)
                    if source.is_cuda:
                        source.record_stream(self._stream)

    def _allocate(self, entries: tuple[Entry, ...], size: int) -> None:
        self.close()
        self.size = max(size, 1)
        self.descriptor = _anonymous(self.size)
        self._segment = map_segment(self.descriptor, self.size)
        if torch.cuda.is_available():
            # Only into pinned memory does a GPU copy beside the work that it does.
            code = torch.cuda.cudart().cudaHostRegister(self._segment.data_ptr(), self.size, 0)
            if int(code):
                warnings.warn(f"{self.size} bytes could not be pinned (CUDA error {int(code)}): slower", stacklevel=2)
            else:
                self._pinned = self._segment.data_ptr()
        self.entries = entries
        self._views = [entry.view(self._segment) for entry in entries]
        self._small = [i for i, entry in enumerate(entries) if entry.bytes <= SMALL]
        self._large = [i for i, entry in enumerate(entries) if entry.bytes > SMALL]

    def close(self) -> None:
        """Give the memory back. The saver has its own hold on it, which it lets go with the next segment."""
        if self._pinned:
            torch.cuda.cudart().cudaHostUnregister(self._pinned)
            self._pinned = 0
        self._views, self._segment, self._sources = [], None, []
        self.entries = ()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
