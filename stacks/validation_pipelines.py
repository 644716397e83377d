"""What must hold for the closed loop's servers: their region is there, once, and trains where it has to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stacks.problems import Problem, did_you_mean

if TYPE_CHECKING:
    from stacks.pipelines import Pipelines
    from stacks.settings import Region

KEY = "ai-cloud:pipelines"


def problems(parts: Mapping[str, Any], regions: list[Region], complete: bool) -> Iterator[Problem]:
    """Whatever is wrong with the entries that could be read.

    `complete`: whether every region could be read; if not, the one that an entry names may be among the others.
    """
    entries: dict[int, Pipelines] = parts.get("pipelines") or {}
    named = [region.region for region in regions]
    first: dict[str, int] = {}
    for index, entry in entries.items():
        path = f"{KEY}[{index}]"
        if (known := first.setdefault(entry.region, index)) != index:
            yield Problem(f"{path}.region", entry.region, f"each region once: pipelines[{known}] has it already")
        elif entry.region not in named and complete:
            accepted = f"a region of this environment: {did_you_mean(entry.region, named)}"
            yield Problem(f"{path}.region", entry.region, accepted)
        yield from _apart(path, entry)


def _apart(path: str, entry: Pipelines) -> Iterator[Problem]:
    """Namespaces of the servers, each of which is closed to all others."""
    taken = {"training": "training's own"}
    for name, part in (("mlflow", entry.mlflow),):
        if part is None:
            continue
        if part.namespace in taken:
            accepted = f"a namespace of its own: {part.namespace} is {taken[part.namespace]}"
            yield Problem(f"{path}.{name}.namespace", part.namespace, accepted)
        taken.setdefault(part.namespace, f"{name}'s")
