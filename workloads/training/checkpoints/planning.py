"""What of a state is a tensor, who writes it, and the way into torch.distributed.checkpoint's files and back.

The files are what `torch.distributed.checkpoint.save` writes and `load` reads, at any world size. Only the order of
things differs: a plan is made once and kept until the state's structure changes, and it is carried out elsewhere
(`saver`). All through the documented interfaces of planners, writers and readers.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint import DefaultLoadPlanner, DefaultSavePlanner, FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint import load as dcp_load
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.planner import SavePlan, WriteItem, WriteItemType
from torch.distributed.checkpoint.stateful import Stateful
from torch.distributed.tensor import DTensor

from workloads.training.errors import CheckpointError

NAMED = 5
"""How many differences an error names."""


@dataclass
class Flat:
    """A state with dotted names. `tensors`: this rank's part of each; `values`: everything else."""

    tensors: dict[str, torch.Tensor]
    values: dict[str, Any]
    signature: tuple[Any, ...]
    _planner: DefaultSavePlanner

    def local_plan(self) -> bytes:
        """What this rank could write; the ranks together decide who does (`globally`)."""
        return pickle.dumps(self._planner.create_local_plan())


def flatten(state: Mapping[str, Any]) -> Flat:
    """Names as torch.distributed.checkpoint makes them: `model.blocks.0.weight`."""
    # Sharded tensors of the old kind would take a second pass; FSDP2 has DTensors.
    planner = DefaultSavePlanner(flatten_sharded_tensors=False)
    planner.set_up_planner(_plain(state), is_coordinator=True)
    tensors: dict[str, torch.Tensor] = {}
    values: dict[str, Any] = {}
    signature: list[Any] = []
    for name, value in planner.state_dict.items():
        if isinstance(value, DTensor):
            mesh = value.device_mesh
            signature.append((name, value.shape, value.dtype, value.placements, mesh.shape, mesh.get_coordinate()))
            if mesh.get_coordinate() is not None:
                tensors[name] = value.to_local()
        elif isinstance(value, torch.Tensor):
            signature.append((name, value.shape, value.dtype))
            tensors[name] = value
        else:
            signature.append(name)
            values[name] = value
    return Flat(tensors, values, tuple(signature), planner)


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.state_dict() if isinstance(value, Stateful) else value for key, value in state.items()}


# ---- saving: in the saver


def globally(plans: list[bytes]) -> tuple[list[bytes], bytes]:
    """Final plans of all ranks, what several hold given to one of them, and the checkpoint's metadata."""
    planner = DefaultSavePlanner()
    writer = FileSystemWriter("unused")
    final, metadata = planner.create_global_plan([pickle.loads(plan) for plan in plans])
    return [pickle.dumps(plan) for plan in writer.prepare_global_plan(final)], pickle.dumps(metadata)


def names_in(plan: bytes) -> frozenset[str]:
    """What a final plan writes."""
    return frozenset(item.index.fqn for item in pickle.loads(plan).items)


def bytes_of(plan: SavePlan) -> int:
    return sum(item.tensor_storage_size() or 0 for item in plan.items)


class _Staged(DefaultSavePlanner):
    """Takes what to write from the staging memory."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
        super().__init__()
        self._tensors, self._values = tensors, values

    def resolve_data(self, write_item: WriteItem) -> torch.Tensor | io.BytesIO:
        if write_item.type == WriteItemType.BYTE_IO:
            data = io.BytesIO()
            torch.save(self._values[write_item.index.fqn], data)
            return data
        return self._tensors[write_item.index.fqn]


def write(directory: Path, plan: SavePlan, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> bytes:
    writer = FileSystemWriter(directory, sync_files=True)
    return pickle.dumps(writer.write_data(plan, _Staged(tensors, values)).wait())


def finish(directory: Path, metadata: bytes, results: list[bytes]) -> None:
    writer = FileSystemWriter(directory, sync_files=True)
    writer.finish(pickle.loads(metadata), [pickle.loads(result) for result in results])


# ---- loading


def read_metadata(directory: Path) -> Metadata:
    return FileSystemReader(directory).read_metadata()


def differences(metadata: Metadata, state: Mapping[str, Any]) -> str:
    """What of this state the checkpoint has not, or has otherwise; empty if it can be loaded."""
    planner = DefaultLoadPlanner()
    planner.set_up_planner(_plain(state))
    here = planner.state_dict
    there = metadata.state_dict_metadata
    found = []
    for name, value in here.items():
        saved = there.get(name)
        if saved is None:
            found.append(f"{name} is only here")
        elif isinstance(value, torch.Tensor) != isinstance(saved, TensorStorageMetadata):
            found.append(f"{name} is a tensor only {'here' if isinstance(value, torch.Tensor) else 'there'}")
        elif isinstance(saved, TensorStorageMetadata):
            shape, dtype = tuple(saved.size), saved.properties.dtype
            if (shape, dtype) != (tuple(value.shape), value.dtype):
                found.append(f"{name} is {_kind(shape, dtype)} there, {_kind(tuple(value.shape), value.dtype)} here")
    found += [f"{n} is only there" for n, m in there.items() if n not in here and isinstance(m, TensorStorageMetadata)]
    if not found:
        return ""
    more = f", and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"{'; '.join(found[:NAMED])}{more}"


def _kind(shape: tuple[int, ...], dtype: torch.dtype) -> str:
    return f"{str(dtype).removeprefix('torch.')}{list(shape)}"


def load(directory: Path, state: dict[str, Any], group: dist.ProcessGroup | None) -> None:
    """Read a checkpoint into a state, in place. Values that are no tensors are unpickled: load only what you trust."""
    with _quiet():
        dcp_load(state, storage_reader=FileSystemReader(directory), process_group=group, no_dist=group is None)


def read_tensors(directory: Path, prefix: str) -> dict[str, torch.Tensor]:
    """All tensors whose names begin with `prefix`, whole, on the CPU, named without it. Raises CheckpointError."""
    described = {
        name: value
        for name, value in read_metadata(directory).state_dict_metadata.items()
        if isinstance(value, TensorStorageMetadata)
    }
    wanted: dict[str, Any] = {
        name: torch.empty(value.size, dtype=value.properties.dtype)
        for name, value in described.items()
        if name.startswith(prefix)
    }
    if not wanted:
        tops = sorted({name.partition(".")[0] for name in described})
        raise CheckpointError(f"{directory}: no tensor begins with {prefix!r}; expected one of {', '.join(tops)}")
    load(directory, wanted, None)
    return {name.removeprefix(prefix): tensor for name, tensor in wanted.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch warns of when it is asked to load in a single process, as it is on purpose."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
