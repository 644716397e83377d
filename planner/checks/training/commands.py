"""What containers run: their words, the Python modules among them, and the options given to these."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from planner.inventory import Workload
from planner.inventory.objects import maps
from planner.inventory.references import at, items
from planner.plan import UNKNOWN

TRAINING = "workloads.training"
"""The module that trains; what belongs to it is beside it."""
TRAINERS = frozenset({TRAINING, f"{TRAINING}.ray_train"})
"""Those of its modules that take a training configuration and save checkpoints."""

_SHELLS = ("sh", "bash", "/bin/sh", "/bin/bash")


@dataclass(frozen=True)
class Command:
    """The words that a container starts with."""

    container: str
    initial: bool
    """Whether it is an init container."""
    words: tuple[str, ...]
    whole: bool
    """Whether the plan knows every one of them."""

    def modules(self) -> list[str]:
        """Names after `-m`: a launcher's own first, then what it launches."""
        return [after for word, after in zip(self.words, self.words[1:], strict=False) if word == "-m"]

    def option(self, *names: str) -> str | None:
        """The value of an option by any of its names, UNKNOWN where the plan doesn't tell; None where it isn't given.

        The last one counts, as for argparse.
        """
        given = self.options(*names)
        return given[-1] if given else (None if self.whole else UNKNOWN)

    def options(self, *names: str) -> list[str]:
        """Every value of an option that may be given several times."""
        found = []
        for place, word in enumerate(self.words):
            name, equals, value = word.partition("=")
            if name in names:
                found.append(value if equals else self.words[place + 1] if place + 1 < len(self.words) else "")
        return found


def commands(workload: Workload, entrypoint: Any = None) -> list[Command]:
    """What the containers of a pod run; with `entrypoint`, a Ray job's, that is one more of them."""
    found = []
    for key in ("initContainers", "containers"):
        for one in maps(workload.spec, key):
            given = [at(one, part) for part in ("command", "args")]
            words = [str(word) for part in ("command", "args") for word in items(one, part)]
            whole = UNKNOWN not in given and not any(UNKNOWN in word for word in words)
            found.append(Command(str(one.get("name") or ""), key == "initContainers", tuple(_in_shell(words)), whole))
    if isinstance(entrypoint, str) and entrypoint:
        found.append(Command("the job's entrypoint", False, tuple(_split(entrypoint)), UNKNOWN not in entrypoint))
    return found


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    """Variables of a container whose value the plan tells."""
    return {
        str(one.get("name")): str(one["value"])
        for one in maps(container, "env")
        if one.get("value") is not None and UNKNOWN not in str(one["value"])
    }


def named(workload: Workload) -> str:
    """`TrainJob gpt (node)`."""
    return f"{workload.kind} {workload.name}" + (f" ({workload.part})" if workload.part else "")


def _in_shell(words: Sequence[str]) -> list[str]:
    """The words of a script for those of `sh -c script`."""
    for place, word in enumerate(words[:-1]):
        if word in ("-c", "-lc", "-ec", "-exc") and words[0] in _SHELLS:
            return [*words[:place], *_split(words[place + 1]), *words[place + 2 :]]
    return list(words)


def _split(script: str) -> list[str]:
    try:
        return shlex.split(script)
    except ValueError:
        return script.split()
