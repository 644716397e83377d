"""AdamW with decoupled weight decay, gradient clipping, and the learning rate as a closed form of the step."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from workloads.training.config import Optimizer


def learning_rate(step: int, steps: int, config: Optimizer) -> float:
    """Of step `step`, counted from 1, of `steps`: a straight line up, then half a cosine down to the final fraction.

    A closed form: there is no state of a scheduler to save.
    """
    warmup = min(config.warmup_steps, steps)
    if step <= warmup:
        return config.learning_rate * step / warmup
    progress = min((step - warmup) / max(steps - warmup, 1), 1.0)
    low = config.learning_rate * config.final_fraction
    return low + (config.learning_rate - low) * 0.5 * (1.0 + math.cos(math.pi * progress))


def build(model: nn.Module, config: Optimizer) -> torch.optim.AdamW:
    """AdamW over what is trained; matrices decay, vectors and learned positions do not."""
    groups: dict[tuple[bool, object], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in trained(model):
        decays = parameter.ndim > 1 and not name.startswith("positions.")
        # A fused step takes tensors of one mesh only.
        groups[decays, _mesh(parameter)].append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": config.weight_decay if decays else 0.0}
            for (decays, _), parameters in groups.items()
        ],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        # One kernel for all parameters, also on CPUs.
        fused=True,
    )


def trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """By name: all but what is frozen, as a base under adapters is."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value


@torch.no_grad()
def gradient_norm(parameters: Iterable[nn.Parameter]) -> float:
    """The length of the whole gradient, also of parameters on several meshes (FSDP2 with tensor parallelism)."""
    squares = 0.0
    for same in _by_mesh(parameters):
        length = nn.utils.get_total_norm([p.grad for p in same if p.grad is not None])
        squares += (length.full_tensor() if isinstance(length, DTensor) else length).item() ** 2
    return math.sqrt(squares)


@torch.no_grad()
def clip(parameters: Iterable[nn.Parameter], norm: float, longest: float) -> None:
    """Scale a gradient of length `norm` down to `longest` (0: leave it)."""
    if longest > 0 and math.isfinite(norm):
        for same in _by_mesh(parameters):
            nn.utils.clip_grads_with_norm_(same, longest, torch.tensor(norm, device=same[0].device))


def _by_mesh(parameters: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    meshes: dict[object, list[nn.Parameter]] = defaultdict(list)
    for parameter in parameters:
        if parameter.grad is not None:
            meshes[_mesh(parameter)].append(parameter)
    return list(meshes.values())


def _mesh(tensor: Tensor) -> object:
    return tensor.device_mesh if isinstance(tensor, DTensor) else None


# ---- what a checkpoint holds of model and optimizer


def state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """The tensors that a checkpoint holds, by name, with no copy made: trained weights and both of AdamW's means.

    Before the first step the means are made, of zeros: as a place to load into. Plain names, whatever wraps the model,
    and no groups: both would tie a checkpoint to the world size that it was written at. `restore` sets the rest.
    """
    tensors = {"model": {name: parameter.detach() for name, parameter in trained(model)}}
    tensors["mean"], tensors["square"] = {}, {}
    for name, parameter in trained(model):
        known = optimizer.state[parameter]
        if not known:
            known["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            known["exp_avg"], known["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        tensors["mean"][name], tensors["square"][name] = known["exp_avg"], known["exp_avg_sq"]
    return tensors


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, updates: int) -> None:
    """Set AdamW's own count to `updates`, the steps that were really taken, after `state` was loaded in place."""
    for _, parameter in trained(model):
        optimizer.state[parameter]["step"].fill_(updates)
