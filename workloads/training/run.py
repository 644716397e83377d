"""Sets a run up: the output directory, its data, its world; then trains."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from workloads.data import corpus
from workloads.data import errors as data_errors
from workloads.data.dataset import TokenDataset, open_dataset
from workloads.data.loader import LoaderState, TokenLoader
from workloads.data.prepare import prepare
from workloads.data.tokenizer import BytePairTokenizer, Tokenizer
from workloads.telemetry import traces
from workloads.telemetry.errors import TelemetryError
from workloads.training.base import Base, begin_with
from workloads.training.checkpoint import Checkpointer
from workloads.training.checkpoints.layout import CHECKPOINTS
from workloads.training.checkpoints.weights import identity
from workloads.training.config import Config
from workloads.training.display import Display
from workloads.training.errors import ConfigError, DataError, DiskError, UploadError, on_disk
from workloads.training.evaluation import Evaluation
from workloads.training.metrics import Recorder, sinks
from workloads.training.model import Transformer
from workloads.training.parallel import World, join, spread
from workloads.training.preemption import Agreement, Notices
from workloads.training.tracking import publish
from workloads.training.train import Trainer, micro_batches
from workloads.training.watch import StoreBoard, Watch

HELD_OUT = 0.05
"""Of the standard library's files."""


def run(
    config: Config,
    output: Path,
    environment: Mapping[str, str],
    *,
    clock: Callable[[], float] = time.perf_counter,
    now: Callable[[], float] = time.time,
) -> int:
    """Train as configured, or go on where `output` has got to. Raises TrainingError, SystemExit after a notice."""
    with join(config.parallel, environment) as world:
        try:
            started = _open_output(output, world, now())
            source = config.data.source or str(_standard_library(output, world))
            with (
                _dataset(config, source, "train", output) as train,
                _dataset(config, source, "validation", output) as held,
            ):
                _train(_with_vocabulary(config, train), output, world, train, held, started, clock, now)
        except data_errors.DiskFailed as error:
            raise DiskError(str(error)) from error
        except data_errors.DataError as error:
            raise DataError(str(error)) from error
    return 0


def _train(
    config: Config,
    output: Path,
    world: World,
    learnt: TokenDataset,
    held_out: TokenDataset,
    started: float,
    clock: Callable[[], float],
    now: Callable[[], float],
) -> None:
    training = config.training
    share = micro_batches(training.batch_size, world.data_size, training.micro_batch_size)
    tokenizer = identity(learnt.manifest.tokenizer)

    def loader(dataset: TokenDataset, state: LoaderState | None) -> TokenLoader:
        return TokenLoader(
            dataset,
            batch_size=training.batch_size,
            sequence_length=config.data.sequence_length,
            seed=training.seed,
            rank=world.data_rank,
            world_size=world.data_size,
            state=state,
            on_bad_shard=config.data.on_bad_shard,
            agree=world.gather if world.size > 1 else None,
        )

    def begin(model: Transformer) -> None:
        if training.initial:
            begin_with(model, training.initial, output / "base", tokenizer)

    watch = Watch(
        StoreBoard() if world.size > 1 else _OwnBoard(),
        rank=world.rank,
        world_size=world.size,
        hang_s=config.parallel.hang_s,
        # Alone there is nobody who would begin anew.
        leave=world.size > 1,
    )
    notices = Notices(where=watch.where, rescue=lambda: trainer.rescue())
    display = Display(training.steps, training.log_every, shown=world.first)
    upload_s = config.checkpoint.upload_wait_s
    recorders = contextlib.ExitStack()
    if config.tracking.opentelemetry:
        recorders.callback(_traces(config.name))

    def recorder(step: int) -> Recorder:
        made = Recorder(sinks(config, output, step) if world.first else ())
        # Also those of a run that fails.
        recorders.callback(made.close)
        return made

    checkpointer = Checkpointer(output / CHECKPOINTS, remote=config.checkpoint.remote, keep=config.checkpoint.keep)
    try:
        evaluation = Evaluation(
            world,
            lambda: loader(held_out, None),
            training.evaluation_batches,
            share,
            token_bytes(held_out.tokenizer),
            Agreement(notices),
        )
        trainer = Trainer(
            config,
            world,
            spread(config, world),
            lambda state: loader(learnt, state),
            evaluation,
            checkpointer,
            notices,
            display,
            recorder,
            watch,
            started,
            clock,
            now,
            Base(config.lora, output / "base", world, tokenizer) if config.lora.rank else None,
            {"tokenizer": tokenizer},
            begin,
        )
        with notices, watch, display, recorders:
            trainer.train()
        if world.first and config.tracking.mlflow:
            publish(config, output, learnt.manifest, learnt.tokenizer, display.say)
        upload_s, waited_s = 0.0, upload_s
        if not checkpointer.uploaded(waited_s):
            raise UploadError(
                f"the training is done, but {config.checkpoint.remote} has not taken all of it within {waited_s:g} s "
                f"(checkpoint.upload_wait_s): it is whole in {checkpointer.directory}, and the same command sends it"
            )
    finally:
        checkpointer.close(upload_s)


def _traces(name: str) -> Callable[[], None]:
    try:
        return traces.configure(f"training-{name}")
    except TelemetryError as error:
        raise ConfigError(f"tracking.opentelemetry: {error}") from None


class _OwnBoard:
    """For a process that is alone."""

    text: str | None = None

    def post(self, rank: int, text: str) -> None:  # noqa: ARG002
        self.text = text

    def read(self, rank: int) -> str | None:  # noqa: ARG002
        return self.text


def _open_output(output: Path, world: World, now: float) -> float:
    """Make the directory and be sure that it can be written; returns when the run was first started, in Unix time."""
    known = output / "run.json"
    with on_disk(output):
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
        if world.first and not known.exists():
            new = known.with_suffix(".new")
            new.write_text(json.dumps({"started": now}), encoding="utf-8")
            os.replace(new, known)
        started = json.loads(known.read_text(encoding="utf-8"))["started"] if world.first else 0.0
    # Machines may have directories of their own.
    return world.mean(started)[0] * world.size


def _standard_library(output: Path, world: World) -> Path:
    """The tokens of Python's own library, made by the first process in `output/data` unless they are there."""
    directory = output / "data"
    if world.first and not directory.exists():
        part = output / "data.part"
        with on_disk(part):
            # Of a run that was killed here.
            shutil.rmtree(part, ignore_errors=True)
            prepare(corpus.standard_library(HELD_OUT), part)
            os.replace(part, directory)
    world.barrier()
    return directory


def _dataset(config: Config, source: str, part: str, output: Path) -> TokenDataset:
    cache = Path(config.data.cache) if config.data.cache else output / "cache" if "://" in source else None
    limit = max(1, int(config.data.cache_limit_gib * 2**30))
    return open_dataset(f"{source.rstrip('/')}/{part}", cache=cache, cache_limit_bytes=limit)


def _with_vocabulary(config: Config, dataset: TokenDataset) -> Config:
    """The model's vocabulary from the data, if it has none of its own."""
    if not config.model.vocabulary:
        return config.override({"model.vocabulary": dataset.vocabulary})
    if dataset.vocabulary > config.model.vocabulary:
        raise ConfigError(f"model.vocabulary: {config.model.vocabulary}: the data has {dataset.vocabulary} tokens")
    return config


def token_bytes(tokenizer: Tokenizer) -> Tensor:
    """(vocabulary,): how many bytes of text each token stands for; the end of a text for none."""
    ranks = tokenizer.ranks if isinstance(tokenizer, BytePairTokenizer) else [b"."] * 256
    found = torch.zeros(tokenizer.vocabulary, dtype=torch.int64)
    found[: len(ranks)] = torch.tensor([len(token) for token in ranks])
    return found
