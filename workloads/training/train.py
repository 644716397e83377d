"""The training loop, to be read from top to bottom.

A step's bits follow from the weights, the step's number and the position in the data alone: the learning rate, the
seed of dropout and the batch are closed forms of them. So what a run has behind it fits into a page of JSON (Progress),
and a run that continues does what it would have done.
"""

from __future__ import annotations

import gc
import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from workloads.data.loader import LoaderState, TokenLoader
from workloads.telemetry import traces
from workloads.training import divergence, flops
from workloads.training import optimizer as optimizers
from workloads.training.base import Base
from workloads.training.checkpoint import Checkpointer, Saved
from workloads.training.config import Config
from workloads.training.display import Display, thousands
from workloads.training.errors import CheckpointError, ConfigError
from workloads.training.evaluation import Evaluation
from workloads.training.metrics import Recorder
from workloads.training.model import Transformer, initialize
from workloads.training.parallel import Replica, World
from workloads.training.preemption import Agreement, Notices
from workloads.training.watch import Watch

FIRST_STEP_S = 1800.0
"""Seconds that the first step of a process may take before it counts as hung."""


@dataclass
class Progress:
    """What a run has behind it: all that a checkpoint holds besides tensors."""

    started: float
    """Unix time of the run's first start."""
    step: int = 0
    updates: int = 0
    """Steps that the optimizer took: all but those left out for their loss."""
    tokens: int = 0
    useful_s: float = 0.0
    """Seconds of the steps that led here; not of those that were lost, nor of what was done between steps."""
    bad_losses: int = 0
    recent: list[float] = field(default_factory=list)
    """The last losses, that the next one is held against."""
    data: LoaderState | None = None

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "data": self.data.to_json() if self.data else None}

    @staticmethod
    def from_json(found: dict[str, Any]) -> Progress:
        return Progress(**{**found, "data": LoaderState.from_json(found["data"]) if found["data"] else None})


@dataclass
class Trainer:
    """A run and what it works with, all of it handed in. `clock` and `now`: seconds, the latter since 1970."""

    config: Config
    world: World
    replica: Replica
    loader: Callable[[LoaderState | None], TokenLoader]
    """Batches from a position on; from the start without one."""
    evaluation: Evaluation
    checkpointer: Checkpointer
    notices: Notices
    display: Display
    recorder: Callable[[int], Recorder]
    """Where metrics go in a run that continues after a step."""
    watch: Watch
    started: float
    clock: Callable[[], float] = time.perf_counter
    now: Callable[[], float] = time.time
    base: Base | None = None
    """What adapters are trained on; none: all weights are trained."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What else checkpoints say of themselves."""
    begin_with: Callable[[Transformer], None] = lambda _: None
    """Gives the weights of a run that begins other values than those that were drawn."""

    def train(self) -> Progress:
        """Train until the last step. Raises SystemExit after a notice, TrainingError for what a person must mend."""
        config, training, model, device = self.config, self.config.training, self.replica.plain, self.world.device
        share = micro_batches(training.batch_size, self.world.data_size, training.micro_batch_size)
        self.optimizer = optimizers.build(model, config.optimizer)
        progress = self._restore(self.checkpointer.newest())
        if progress.step >= training.steps:
            self.display.say(f"already at step {progress.step} of {training.steps}: nothing is left to do")
            return progress
        self.display.say(self._described(progress))

        batches = iter(self.loader(progress.data))
        recorder = self.recorder(progress.step)
        stopping = Agreement(self.notices)
        per_step = training.batch_size * config.data.sequence_length
        adapters = sum(parameter.numel() for _, parameter in optimizers.trained(model)) if self.base else 0
        model_flops = per_step * flops.per_token(config.model, config.data.sequence_length, adapters)
        peak_flops = flops.peak(device, self.world.dtype) * self.world.size
        phases = Phases(self.watch, self.clock)

        while progress.step < training.steps:
            self.step = step = progress.step + 1
            phases.begin(step)
            batch = next(batches)
            tokens = batch.tokens.to(device, non_blocking=True)

            phases.enter("compute")
            self._seed(step)
            loss, forward_s = self._forward_backward(tokens, share)
            self.watch.busy(phases.seconds["data"] + forward_s)

            phases.enter("update")
            # Reduced together, so that all processes judge the same numbers, to the bit.
            loss, norm = self.world.mean(loss, optimizers.gradient_norm(model.parameters()))
            bad = divergence.judge(loss, norm, progress.recent, training.spike_factor)
            if bad:
                progress.bad_losses += 1
                self.display.say(divergence.decide(step, bad, progress.bad_losses, training))
            optimizers.clip(model.parameters(), norm, config.optimizer.clip_norm)
            rate = optimizers.learning_rate(step, training.steps, config.optimizer)
            optimizers.set_learning_rate(self.optimizer, rate)
            phases.enter("checkpoint")
            # One may still be reading what the optimizer is about to change.
            self.checkpointer.staged()
            phases.enter("update")
            if not bad:
                self.optimizer.step()
                progress.updates += 1
                progress.recent = [*progress.recent, loss][-divergence.HISTORY :]
            self.optimizer.zero_grad(set_to_none=True)
            progress.data = batch.state
            if bad and training.on_bad_loss == "roll-back":
                progress = self._roll_back(progress)
                recorder.back(progress.step)
                continue
            progress.step, progress.tokens = step, progress.tokens + per_step
            self.reached = step

            phases.enter("checkpoint")
            progress.useful_s += phases.useful()
            if step % config.checkpoint.every == 0 or step == training.steps:
                self._save(progress)

            phases.enter("logging")
            seconds = phases.total()
            values = {
                "time": self.now(),
                "loss": loss,
                "learning_rate": rate,
                "gradient_norm": norm,
                "step_seconds": seconds,
                "data_wait_seconds": phases.seconds["data"],
                "compute_seconds": phases.seconds["compute"],
                "update_seconds": phases.seconds["update"],
                "checkpoint_stall_seconds": phases.seconds["checkpoint"],
                "checkpoint_age_seconds": self.checkpointer.age_s,
                "tokens_per_second": per_step / seconds,
                "model_flops_utilization": model_flops / seconds / peak_flops,
                "goodput": progress.useful_s / max(self.now() - progress.started, 1e-9),
                "tokens": progress.tokens,
                "bad_losses": progress.bad_losses,
            }
            if device.type == "cuda":
                values["gpu_memory_bytes"] = torch.cuda.max_memory_allocated(device)
            self.display.step(step, values)

            every = training.evaluate_every
            if step == training.steps or (every and step % every == 0):
                phases.enter("evaluation")
                # After the save, which goes on meanwhile: what is saved is not lost to a notice during evaluation.
                values |= self.evaluation.run(self.replica)
                self.display.evaluation(step, values)
            recorder.record(step, values)
            if phases.steps == 1:
                # What exists by now stays: the garbage collector need not look at it again.
                gc.collect()
                gc.freeze()

            phases.enter("leaving")
            if step < training.steps and stopping():
                self._leave(progress, recorder)

        phases.end()
        self.checkpointer.wait()
        recorder.close()
        self.display.say(
            f"done: {training.steps} steps, {thousands(progress.tokens)} tokens, loss {loss:.4f}, "
            f"goodput {values['goodput']:.1%}, {progress.bad_losses} bad losses"
        )
        return progress

    # ---- parts of a step

    def _seed(self, step: int) -> None:
        """Random numbers of a step are a closed form: the same after a restart, others where other data is seen."""
        words = f"{self.config.training.seed} {step} {self.world.data_rank}"
        torch.manual_seed(int.from_bytes(hashlib.sha256(words.encode()).digest()[:7], "big"))

    def _forward_backward(self, tokens: Tensor, share: list[int]) -> tuple[float, float]:
        """Make the gradients of the mean loss of the global batch. Returns that of this process's share, in nats, and
        the seconds of the forward passes, in which nobody waits for others.

        tokens: (sequences of this process, length + 1), taken in micro-batches of `share` sequences.
        """
        total, forward_s = torch.zeros((), device=tokens.device, dtype=torch.float64), 0.0
        for index, micro in enumerate(tokens.split(share)):
            with self.replica.accumulating(last=index == len(share) - 1):
                begun = self.clock()
                loss = self.replica(micro[:, :-1], micro[:, 1:]) * (len(micro) / len(tokens))
                forward_s += self.clock() - begun
                loss.backward()
            total += loss.detach()
        return total.item(), forward_s

    # ---- checkpoints

    def _save(self, progress: Progress) -> None:
        extra = {"progress": progress.to_json(), "config": self.config.to_json(), "world_size": self.world.size}
        extra |= {**self.facts, "lora": self.base.identity if self.base else {}}
        self.checkpointer.save(progress.step, optimizers.state(self.replica.plain, self.optimizer), extra)
        self.saved_at = progress.step

    def _restore(self, saved: Saved | None) -> Progress:
        """Take weights, optimizer and progress from a checkpoint; without one, begin."""
        known = saved.extra.get("lora") or None if saved else None
        if saved is not None and (known is None) != (self.base is None):
            found, missing = ("adapters", "with") if known else ("all weights", "without")
            raise CheckpointError(
                f"{saved.path} is a checkpoint of {found}: continue {missing} lora.rank and lora.base"
            )
        if self.base is not None:
            self.base.load(self.replica.plain, known)
        if saved is None:
            initialize(self.replica.plain, self.config.training.seed)
            self.begin_with(self.replica.plain)
            self.saved_at = self.reached = 0
            return Progress(self.started)
        state = optimizers.state(self.replica.plain, self.optimizer)
        extra = self.checkpointer.load(saved, state)
        progress = Progress.from_json(extra["progress"])
        optimizers.restore(self.replica.plain, self.optimizer, progress.updates)
        self.saved_at = self.reached = progress.step
        return progress

    def _roll_back(self, progress: Progress) -> Progress:
        """Weights and optimizer of the newest checkpoint, the data from here on: the same would do the same again."""
        self.checkpointer.wait()
        self.optimizer.state.clear()
        restored = self._restore(self.checkpointer.newest())
        restored.bad_losses, restored.data = progress.bad_losses, progress.data
        return restored

    def _leave(self, progress: Progress, recorder: Recorder) -> None:
        """Save, if the last checkpoint is older than the weights, and leave. Raises SystemExit."""
        if self.saved_at != progress.step:
            self._save(progress)
        self.checkpointer.wait()
        # This machine's own disk may be gone with it.
        whole = self.checkpointer.uploaded(max(0.0, self.notices.left() - 1.0))
        recorder.close()
        reason = self.notices.notice.reason if self.notices.notice else "a notice"
        self.display.say(
            f"stopped after step {progress.step} of {self.config.training.steps} ({reason}): "
            f"everything is saved{'' if whole else ' here, not yet in the object store'}; the same command continues"
        )
        self.notices.leave(saved=whole)

    def rescue(self) -> bool:
        """For Notices, when time is out within a step: whether no step is lost. Called from another thread."""
        if self.saved_at != self.reached:
            return False
        self.checkpointer.wait()
        return self.checkpointer.uploaded(0.0)

    def _described(self, progress: Progress) -> str:
        world, model = self.world, self.replica.plain
        parameters = f"{thousands(sum(p.numel() for p in model.parameters()))} parameters"
        if self.base is not None:
            parameters += f", {thousands(sum(p.numel() for _, p in optimizers.trained(model)))} of them in adapters,"
        where = f"{world.size} x {world.device.type}" if world.size > 1 else world.device.type
        begun = f"continues after step {progress.step}" if progress.step else "begins"
        return (
            f"{self.config.name}: {begun}; {parameters} on {where}, {self.replica.strategy}, "
            f"{str(world.dtype).removeprefix('torch.')}"
        )


class Phases:
    """Where a step's time goes, phase by phase; the watch is told of each, for the case that one never ends.

    A step is also a trace, with a span for each phase of it.
    """

    def __init__(self, watch: Watch, clock: Callable[[], float]) -> None:
        self.watch, self.clock, self.steps = watch, clock, 0
        self._warming = self._since = 0.0
        self._whole = self._part = traces.Span()

    def begin(self, step: int) -> None:
        self.end()
        self.step, self.seconds, self._phase = step, defaultdict[str, float](float), ""
        self._whole = traces.begin("training step", step=step, rank=self.watch.rank)
        self.enter("data")

    def enter(self, phase: str) -> None:
        """The phase before ends, this one begins."""
        now = self.clock()
        if self._phase:
            self.seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now
        self._part.end()
        self._part = traces.begin(phase, parent=self._whole)
        # The first step also compiles and allocates.
        self.watch.at(self.step, phase, allow_s=FIRST_STEP_S if self.steps == 0 else None)

    def end(self) -> None:
        """The step has ended; once more does nothing."""
        self._part.end()
        self._whole.end()
        self._whole = self._part = traces.Span()

    def total(self) -> float:
        return sum(self.seconds.values())

    def useful(self) -> float:
        """Seconds of the step to be counted as useful: without the wait for checkpoints, and without a warm-up.

        The first step of a process counts as much as the second one takes, and together with it.
        """
        self.steps += 1
        seconds = self.total() - self.seconds["checkpoint"]
        if self.steps == 1:
            self._warming = seconds
            return 0.0
        useful, self._warming = seconds + min(self._warming, seconds), 0.0
        return useful


def micro_batches(batch_size: int, processes: int, most: int) -> list[int]:
    """How many sequences a process takes at once: its share of the global batch in pieces of at most `most` (0: any).

    Raises ConfigError where the batch cannot be shared evenly.
    """
    if batch_size % processes:
        raise ConfigError(
            f"training.batch_size: {batch_size}: expected a multiple of the {processes} processes with data"
        )
    share = batch_size // processes
    most = min(most or share, share)
    return [most] * (share // most) + ([share % most] if share % most else [])
