"""What the workers of a sweep know of each other: Optuna's journal, and a lease for each trial that is under way.

A trial is `running` in the journal from the moment it is asked for until its result is told. Who runs it stands in its
lease, a small file beside the journal that its worker writes anew all the time. A trial without a lease, since its
worker left in order, is continued at once by whoever comes first; one whose lease stays as it is for `lease_s` seconds
is continued too, and counted as lost. Nobody compares clocks: each worker goes by its own, from when it first saw a
lease. Processes of the same machine are looked at directly.

All of it is files, so any directory that the workers share will do, NFS included: locks are made with O_EXCL, and
files are replaced, never changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from workloads.training.errors import ConfigError, on_disk
from workloads.training.search import Dimension

LOST = "lost"
"""User attribute of a trial: how often its worker vanished or its training broke."""


class LeaseLost(Exception):
    """Somebody else has taken the trial, since this worker was not heard of for too long."""


class _Lock(JournalFileOpenLock):
    """Optuna's lock, which also removes half a line: what a machine left that lost its power while it wrote.

    Optuna 5 would append to it, and could read nothing of the journal from then on.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._journal = path

    def acquire(self) -> bool:
        super().acquire()
        with self._journal.open("rb+") as file:
            size = file.seek(0, os.SEEK_END)
            end = size
            while end:
                file.seek(start := max(0, end - 65_536))
                newline = file.read(end - start).rfind(b"\n")
                if newline >= 0:
                    end = start + newline + 1
                    break
                end = start
            if end < size:
                file.truncate(end)
        return True


@dataclass
class Claim:
    """A trial that this worker runs."""

    trial: optuna.Trial
    values: dict[str, Any]
    """By the dotted names of the settings."""
    continued: bool

    @property
    def number(self) -> int:
        return self.trial.number


class Journal:
    """A sweep as its workers see it. `trials`: how many there will be, of all workers together."""

    def __init__(
        self,
        path: Path,
        dimensions: Sequence[Dimension],
        pruner: BasePruner,
        description: Mapping[str, Any],
        *,
        trials: int,
        seed: int,
        lease_s: float,
        retries: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`description`: what all workers must agree on. Raises ConfigError where the journal has another sweep."""
        # Each trial is told in words of our own.
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.path, self.dimensions, self.trials, self.seed = path, dimensions, trials, seed
        self.lease_s, self.retries, self.clock = lease_s, retries, clock
        self.worker = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self._leases = path.with_name(path.name + ".leases")
        self._seen: dict[int, tuple[str, float]] = {}
        self._beats = 0
        with on_disk(path):
            self._leases.mkdir(parents=True, exist_ok=True)
            self._claiming = JournalFileOpenLock(str(self._leases / "claim"))
            storage = JournalStorage(JournalFileBackend(str(path), _Lock(path)))
            with self._alone():
                self.study = optuna.create_study(
                    storage=storage, study_name="sweep", direction="minimize", pruner=pruner, load_if_exists=True
                )
                known = self.study.user_attrs.get("sweep")
                if known is None:
                    self.study.set_user_attr("sweep", dict(description))
                elif different := _differences(known, json.loads(json.dumps(description))):
                    raise ConfigError(
                        f"--journal {path}: has another sweep: {'; '.join(different)}: "
                        "expected the same command on all workers, or a journal of its own"
                    )

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one worker at a time looks for a trial."""
        self._claiming.acquire()
        try:
            yield
        finally:
            self._claiming.release()

    # ---- trials

    def claim(self) -> Claim | None:
        """A trial to run: one that nobody runs any more, else a new one; none where all are done or being run."""
        with self._alone():
            found = self.study.get_trials(deepcopy=False)
            for one in found:
                if one.state == TrialState.RUNNING and self._taken_over(one):
                    return self._claimed(optuna.Trial(self.study, one._trial_id), continued=True)
            if len(found) >= self.trials:
                return None
            # The same trials whenever one worker alone repeats the sweep.
            self.study.sampler = TPESampler(seed=self.seed + len(found), constant_liar=True)
            return self._claimed(self.study.ask(), continued=False)

    def _claimed(self, trial: optuna.Trial, continued: bool) -> Claim:
        self._write_lease(trial.number, ())
        # A worker may have been killed before all of them were chosen: those that are there stay.
        return Claim(trial, {one.name: suggest(trial, one) for one in self.dimensions}, continued)

    def _taken_over(self, trial: FrozenTrial) -> bool:
        """Whether nobody runs a trial any more, and it is to be run again."""
        lease = self._read_lease(trial.number)
        if lease is None:
            return True
        if not self._dead(trial.number, lease):
            return False
        if self.lost(optuna.Trial(self.study, trial._trial_id)):
            return True
        self.release(trial.number)
        return False

    def lost(self, trial: optuna.Trial) -> bool:
        """Count that a trial's training broke; whether it is to be tried again. If not, it has failed."""
        count = trial.user_attrs.get(LOST, 0) + 1
        trial.set_user_attr(LOST, count)
        if count > self.retries:
            self.study.tell(trial.number, state=TrialState.FAIL)
        return count <= self.retries

    def under_way(self) -> int:
        """Trials that some worker runs, or is to run."""
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)))

    # ---- leases

    def beat(self, number: int, processes: Sequence[int]) -> None:
        """Say that a trial is still run here, by these processes. Raises LeaseLost."""
        lease = self._read_lease(number)
        if lease is None or json.loads(lease)["worker"] != self.worker:
            raise LeaseLost(f"trial {number}")
        self._write_lease(number, processes)

    def release(self, number: int) -> None:
        """Leave a trial: finished, or for others to continue."""
        self._lease(number).unlink(missing_ok=True)
        self._seen.pop(number, None)

    def _lease(self, number: int) -> Path:
        return self._leases / f"{number:05}"

    def _read_lease(self, number: int) -> str | None:
        with contextlib.suppress(FileNotFoundError):
            return self._lease(number).read_text(encoding="utf-8")
        return None

    def _write_lease(self, number: int, processes: Sequence[int]) -> None:
        self._beats += 1
        lease = {
            "worker": self.worker,
            "beat": self._beats,
            "host": this_host(),
            "processes": [[pid, started(pid)] for pid in (os.getpid(), *processes)],
        }
        new = self._leases / f"{number:05}.{self.worker}"
        with on_disk(new):
            new.write_text(json.dumps(lease), encoding="utf-8")
            os.replace(new, self._lease(number))

    def _dead(self, number: int, lease: str) -> bool:
        known = json.loads(lease)
        if known["host"] == this_host():
            # Its children too: they may still be saving.
            return all(start is None or started(pid) != start for pid, start in known["processes"])
        text, since = self._seen.get(number, ("", 0.0))
        if text != lease:
            self._seen[number] = (lease, self.clock())
            return False
        return self.clock() - since > self.lease_s


def suggest(trial: optuna.Trial, dimension: Dimension) -> Any:
    """The value of a dimension in a trial: chosen now, unless it was before."""
    name = dimension.name
    if dimension.kind == "choice":
        return trial.suggest_categorical(name, list(dimension.values))
    if dimension.kind == "int":
        return trial.suggest_int(name, int(dimension.low), int(dimension.high))
    return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.kind == "log")


def this_host() -> str:
    """Where numbers of processes mean the same: since when the machine runs, and in which container."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return f"{socket.gethostname()} {uuid.getnode()}"


def started(pid: int) -> str | None:
    """When a process of this machine was started; None if there is none. With its number it names it for good."""
    with contextlib.suppress(OSError, IndexError):
        # Field 22 of proc_pid_stat(5); the name in the second one may have any character.
        state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    return None


def discard_checkpoints(directory: Path) -> None:
    """Of a trial that nobody will continue."""
    shutil.rmtree(directory / "checkpoints", ignore_errors=True)


def _differences(one: Mapping[str, Any], other: Mapping[str, Any], place: str = "") -> list[str]:
    found: list[str] = []
    for key in sorted({*one, *other}):
        left, right = one.get(key), other.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += _differences(left, right, f"{place}{key}.")
        elif left != right:
            found.append(f"{place}{key} is {left!r} there and {right!r} here")
    return found
