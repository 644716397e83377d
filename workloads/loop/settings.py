"""How large a run of the loop is: as long as a person likes to watch, or as short as a test bears."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workloads.loop.errors import ArgumentError

NAME = "language"
MODEL = f"{NAME}-scorer"
"""The model whose versions the loop trains, serves and replaces."""
CORE_HOUR_USD = 0.0648
"""A vCPU-hour of Cloud Run in us-central1 (Cloud Billing API, August 2026), as in planner/cost/prices.yaml: what the
stages would cost where a second is paid for. Memory is left out."""


@dataclass(frozen=True)
class Settings:
    """Seconds, counts and shares; the defaults fit into six minutes on two cores."""

    output: Path
    seed: int = 1
    train_steps: int = 160
    retrain_steps: int = 120
    spoil_steps: int = 40
    """Of the training on spoiled texts."""
    batch_size: int = 16
    sequence_length: int = 128
    layers: int = 2
    width: int = 128
    passage_bytes: int = 120
    """Of a text that somebody asks about; the model scores at most `sequence_length` bytes at once."""
    rate: float = 40.0
    """Requests a second."""
    before: float = 0.05
    """Share of English at first."""
    shift_s: float = 8.0
    """In which the traffic goes over to the other kind of text."""
    shifted: float = 0.8
    """Share of English then."""
    window_s: float = 6.0
    """Of requests that are judged together."""
    look_s: float = 2.0
    """Between looks of monitoring, and of a rollout's controller."""
    notice_s: float = 120.0
    """In which monitoring has to find the traffic healthy, and then to notice; longer is a failure of the loop."""
    rollout_s: float = 120.0
    """In which a rollout has to end."""

    def __post_init__(self) -> None:
        if self.passage_bytes > self.sequence_length:
            raise ArgumentError(f"passage_bytes {self.passage_bytes}: expected at most {self.sequence_length}")

    @classmethod
    def short(cls, output: Path, seed: int = 1) -> Settings:
        """For a test: every stage, with less in each."""
        return cls(
            output,
            seed,
            train_steps=90,
            retrain_steps=90,
            spoil_steps=30,
            layers=1,
            width=64,
            shift_s=4.0,
        )
