"""What adapters are trained on: weights that stay as they are to the bit, found again and verified.

Only what is trained is in a run's optimizer and checkpoints. These say where the base was and what its sha256 is, so
that a run never goes on, and is never exported, on another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from workloads.training.checkpoints.weights import Digest, Weights, in_order, open_weights
from workloads.training.config import Lora
from workloads.training.errors import CheckpointError, ConfigError
from workloads.training.model import Transformer, fill
from workloads.training.parallel import World

NAMED = 5
"""How many differences an error names."""


class Base:
    """The weights under a run's adapters. `tokenizer`: that of the run's data, as weights.identity says it."""

    def __init__(self, config: Lora, directory: Path, world: World, tokenizer: str) -> None:
        """`directory`: for a copy of what is in an object store."""
        self._config, self._directory, self._world, self._tokenizer = config, directory, world, tokenizer
        self.identity: dict[str, Any] = {}
        """What a checkpoint says of it."""

    def load(self, model: Transformer, known: Mapping[str, Any] | None) -> None:
        """Give all that is frozen its values. `known`: what the run's checkpoint says of its base; none: it begins.

        Raises CheckpointError if it cannot be had or is not that one, ConfigError if it does not fit the model.
        """
        if self.identity:
            # Loaded already, and nothing has changed it since.
            return
        config, source = self._config, self._config.base
        if known is not None:
            if known["alpha"] != config.alpha:
                raise ConfigError(f"lora.alpha: {config.alpha:g}: the run began with {known['alpha']:g}")
            if known["base"] == source:
                # A run that is still going on has newer ones by now.
                source = known["location"]
        weights = open_weights(source, self._directory)
        frozen = {name: parameter for name, parameter in model.named_parameters() if not parameter.requires_grad}
        if found := _differences({name: tuple(p.shape) for name, p in frozen.items()}, weights):
            raise ConfigError(f"lora.base: {weights.location} does not fit this model and data: {found}")
        if weights.tokenizer and weights.tokenizer != self._tokenizer:
            raise ConfigError(
                f"lora.base: {weights.location} was trained on tokens of another tokenizer ({weights.tokenizer}) than "
                f"the data's ({self._tokenizer}): prepare the data with the base's"
            )
        digest = Digest()
        for name, tensor in in_order(weights):
            if self._world.first:
                digest.add(name, tensor)
            fill(frozen[name], tensor)
        sha256 = self._world.gather(digest.text())[0]
        if known is not None and known["sha256"] != sha256:
            raise CheckpointError(_another(weights.location, sha256, known))
        self.identity = {
            "base": config.base,
            "location": weights.location,
            "sha256": sha256,
            "rank": config.rank,
            "alpha": config.alpha,
        }


def begin_with(model: Transformer, source: str, directory: Path, tokenizer: str) -> None:
    """Give all of a model's parameters the values that they have at `source`, once, before its first step.

    `directory`: for a copy of what is in an object store. `tokenizer`: that of the run's data, as weights.identity says
    it. Raises CheckpointError if the weights cannot be had, ConfigError if they do not fit.
    """
    weights = open_weights(source, directory)
    parameters = dict(model.named_parameters())
    if found := _differences({name: tuple(p.shape) for name, p in parameters.items()}, weights):
        raise ConfigError(f"training.initial: {weights.location} does not fit this model and data: {found}")
    if weights.tokenizer and weights.tokenizer != tokenizer:
        raise ConfigError(
            f"training.initial: {weights.location} was trained on tokens of another tokenizer ({weights.tokenizer}) "
            f"than the data's ({tokenizer})"
        )
    for name, tensor in in_order(weights):
        fill(parameters[name], tensor)


def merged(adapters: Mapping[str, Tensor], known: Mapping[str, Any], base: str, directory: Path) -> dict[str, Tensor]:
    """The whole model, in float32: each matrix of the base with its adapter added.

    `known`: what the adapters' checkpoint says of the base, which is looked for there, or at `base`. `directory`: for
    what is fetched. Raises CheckpointError.
    """
    weights, digest = open_weights(base or known["location"], directory), Digest()

    def whole() -> Iterator[tuple[str, Tensor]]:
        for name, tensor in in_order(weights):
            digest.add(name, tensor)
            stem = name.removesuffix(".weight")
            if f"{stem}.lora_a" in adapters:
                product = adapters[f"{stem}.lora_b"].float() @ adapters[f"{stem}.lora_a"].float()
                yield name, tensor.float() + known["alpha"] / known["rank"] * product
            else:
                yield name, tensor.float()

    found = dict(whole())
    if digest.text() != known["sha256"]:
        raise CheckpointError(_another(weights.location, digest.text(), known))
    return found


def _another(location: str, sha256: str, known: Mapping[str, Any]) -> str:
    return (
        f"lora.base: {location} has other weights (sha256 {sha256[:16]}…) than those under the adapters "
        f"(sha256 {known['sha256'][:16]}…, from {known['location']})"
    )


def _differences(here: Mapping[str, tuple[int, ...]], weights: Weights) -> str:
    there = weights.shapes
    found = []
    for name, shape in here.items():
        if name not in there:
            found.append(f"it has no {name}")
        elif there[name] != shape:
            more = ""
            if name == "embedding.weight" and there[name][1] == shape[1]:
                more = f" (it knows {there[name][0]} tokens, not {shape[0]})"
            found.append(f"{name} is {list(there[name])} there, {list(shape)} here{more}")
    found += [f"{name} is only there" for name in there if name not in here]
    return "; ".join(found[:NAMED]) + (f"; and {len(found) - NAMED} more" if len(found) > NAMED else "")
