"""Who takes part in a run and on which devices, and how the model is spread: DDP, FSDP2, tensor parallel, Horovod."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from workloads.training import horovod_world
from workloads.training.config import Config, Parallel
from workloads.training.errors import ConfigError
from workloads.training.horovod_world import Averaging
from workloads.training.lora import adapt
from workloads.training.model import Transformer

T = TypeVar("T")

FSDP_FROM = 1_000_000_000
"""Parameters from which `strategy auto` shards: with their gradients and optimizer state they take 16 bytes each."""


@dataclass(frozen=True)
class World:
    """The processes of a run. Those with the same `data_rank` share a model (tensor parallel) and see the same data."""

    rank: int
    size: int
    device: torch.device
    dtype: torch.dtype
    mesh: DeviceMesh | None
    """Axes `data` and `tensor`; none in a single process."""
    control: dist.ProcessGroup | None
    """All processes over gloo: for small words among hosts, which need not wait for the GPUs."""
    data_rank: int = 0
    data_size: int = 1
    horovod: bool = False
    """Whether gradients go through Horovod."""

    @property
    def first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    def mean(self, *values: float) -> list[float]:
        """Means over all processes, in float64."""
        if self.control is None:
            return list(values)
        together = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(together, group=self.control)
        return (together / self.size).tolist()

    def gather(self, found: T) -> list[T]:
        """What each process found, by rank."""
        together: list[Any] = [found] * self.size
        if self.control is not None:
            dist.all_gather_object(together, found, group=self.control)
        return together

    def barrier(self) -> None:
        if self.control is not None:
            dist.barrier(group=self.control)


@contextlib.contextmanager
def join(config: Parallel, environment: Mapping[str, str]) -> Iterator[World]:
    """Become part of the world that torchrun describes in `environment`; without torchrun, a world of one.

    Raises ConfigError where the configuration asks for what this machine has not.
    """
    horovod = horovod_world.started_by(environment)
    if horovod != (config.strategy == "horovod") and config.strategy != "auto":
        raise ConfigError(
            f"parallel.strategy: {config.strategy}: under horovodrun, and only there, expected horovod, or auto"
        )
    prefix = "HOROVOD_" if horovod else ""
    local_rank = int(environment.get(f"{prefix}LOCAL_RANK", 0))
    size, rank = (int(environment.get(n, d)) for n, d in (("WORLD_SIZE", 1), ("RANK", 0)))
    device = _device(config, local_rank)
    cuda = device.type == "cuda"
    if size % config.tensor:
        raise ConfigError(f"parallel.tensor: {config.tensor}: expected a divisor of the world size, {size}")
    if config.deterministic:
        # cuBLAS reads it when it starts. See docs.pytorch.org/docs/stable/notes/randomness.html
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        # We read no memory that was never written; filling it costs time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if config.tensor > 1:
        # It warns of norms that are reduced over two axes in turn; the loop reduces once more, over all.
        logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
    if cuda:
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
    precision = {"auto": "bfloat16" if cuda else "float32"}.get(config.precision, config.precision)
    dtype: torch.dtype = getattr(torch, precision)
    if size == 1 and not horovod:
        yield World(0, 1, device, dtype, None, None)
        return
    timeout = timedelta(seconds=config.timeout_s)
    if horovod:
        with horovod_world.joined(environment, timeout) as (rank, size):
            control = dist.new_group(backend="gloo", timeout=timeout)
            yield World(rank, size, device, dtype, None, control, rank, size, horovod=True)
        return
    dist.init_process_group("nccl" if cuda else "gloo", timeout=timeout, device_id=device if cuda else None)
    try:
        mesh = init_device_mesh(device.type, (size // config.tensor, config.tensor), mesh_dim_names=("data", "tensor"))
        control = dist.new_group(backend="gloo", timeout=timeout)
        yield World(rank, size, device, dtype, mesh, control, mesh["data"].get_local_rank(), size // config.tensor)
    finally:
        dist.destroy_process_group()


def _device(config: Parallel, local_rank: int) -> torch.device:
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("parallel.device: cuda: there is no GPU that torch can use here: expected cpu, or auto")
    if config.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise ConfigError(
            f"torchrun --nproc-per-node: process {local_rank + 1} has no GPU of its own: "
            f"expected at most {torch.cuda.device_count()}"
        )
    return torch.device("cuda", local_rank)


class Replica(nn.Module):
    """The model as the loop sees it: spread over the world, in the right precision, told when gradients are summed."""

    def __init__(self, model: Transformer, world: World, strategy: str) -> None:
        super().__init__()
        self.plain, self.world, self.strategy = model, world, strategy
        """`plain` has the parameters under the names that checkpoints know."""
        # FSDP2 casts by itself.
        self.autocast = world.dtype != torch.float32 and strategy != "fsdp"
        self.spread: nn.Module = model
        self.averaging: Averaging | None = None
        if strategy == "ddp":
            assert world.mesh is not None
            group = world.mesh["data"].get_group()
            # Nothing to send: all processes make, or load, the same weights.
            self.spread = DistributedDataParallel(
                model, process_group=group, gradient_as_bucket_view=True, init_sync=False
            )
        elif strategy == "horovod":
            self.averaging = Averaging(model)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(self.world.device.type, self.world.dtype, enabled=self.autocast):
            return self.spread(tokens, targets)

    @contextlib.contextmanager
    def accumulating(self, last: bool) -> Iterator[None]:
        """Around forward and backward: DDP and Horovod sum gradients over processes in the last micro-batch only.

        FSDP2 does so each time: keeping whole gradients until then would take the memory that sharding saves.
        """
        if self.averaging is not None:
            with self.averaging.around(last):
                yield
            return
        waits = isinstance(self.spread, DistributedDataParallel) and not last
        with self.spread.no_sync() if waits else contextlib.nullcontext():  # type: ignore[operator]
            yield


def spread(config: Config, world: World) -> Replica:
    """The model on this process's device, spread as configured; its weights are still whatever the memory held."""
    with torch.device("meta"):
        model = Transformer(
            config.model,
            config.data.sequence_length,
            activation_checkpointing=config.parallel.activation_checkpointing,
        )
    if config.lora.rank:
        adapt(model, config.lora)
    strategy = strategy_of(config, world, sum(parameter.numel() for parameter in model.parameters()))
    if config.parallel.compile:
        # Block by block: they are alike, so one is compiled for all.
        for block in model.blocks:
            block.compile()
    if strategy == "fsdp":
        assert world.mesh is not None
        if config.parallel.tensor > 1:
            _share_matrices(model, world.mesh["tensor"])
        policy = MixedPrecisionPolicy(param_dtype=world.dtype, reduce_dtype=torch.float32)
        for block in model.blocks:
            fully_shard(block, mesh=world.mesh["data"], mp_policy=policy)
        fully_shard(model, mesh=world.mesh["data"], mp_policy=policy)
        assert isinstance(model, FSDPModule)
    # Memory only now, and for this process's part only.
    model.to_empty(device=world.device)
    return Replica(model, world, strategy)


def strategy_of(config: Config, world: World, parameters: int) -> str:
    """`none`, `ddp`, `fsdp` or `horovod`."""
    if world.horovod:
        return "horovod"
    if world.size == 1:
        return "none"
    if config.parallel.strategy != "auto":
        return config.parallel.strategy
    return "fsdp" if config.parallel.tensor > 1 or parameters >= FSDP_FROM else "ddp"


def _share_matrices(model: Transformer, mesh: DeviceMesh) -> None:
    """Split matrices over `mesh`, heads and inner widths first by columns, then by rows (Shoeybi et al. 2019)."""
    for block in model.blocks:
        columns = ["attention.query", "attention.key", "attention.value", "feed_forward.up"]
        columns += ["feed_forward.gate"] if model.config.activation == "swiglu" else []
        plan = {name: ColwiseParallel() for name in columns}
        rows = {name: RowwiseParallel() for name in ("attention.output", "feed_forward.down")}
        parallelize_module(block, mesh, {**plan, **rows})
    outer = {
        "embedding": RowwiseParallel(input_layouts=Replicate()),
        "output": ColwiseParallel(output_layouts=Replicate()),
    }
    parallelize_module(model, mesh, {name: style for name, style in outer.items() if getattr(model, name) is not None})
