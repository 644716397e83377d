"""Finds the newest checkpoint that is whole, here or in the object store, and has it on every node's disk.

Rank 0 decides on the order of candidates; the ranks of a node share the work of verifying one.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from workloads.object_store import Missing, Unreachable
from workloads.training.checkpoints import layout
from workloads.training.checkpoints.layout import Invalid, Marker
from workloads.training.checkpoints.ranks import Ranks
from workloads.training.checkpoints.remote import Remote
from workloads.training.errors import CheckpointError, on_disk

log = logging.getLogger(__name__)


class Search:
    """`peers`: the ranks that share this rank's directory, this one among them; the first of them leads."""

    def __init__(self, directory: Path, ranks: Ranks, peers: tuple[int, ...], remote: Remote | None) -> None:
        self._directory, self._ranks, self._peers, self._remote = directory, ranks, peers, remote
        self._leads = peers[0] == ranks.rank
        self.highest = 0
        """The highest sequence seen, of valid ones and others."""
        self.sent = True
        """Whether the object store, if there is one, has the newest."""

    def newest(self) -> Marker | None:
        """The same on all ranks; its files are on this rank's disk, verified."""
        here = self._here() if self._leads else {}
        there = self._there() if self._ranks.rank == 0 else {}
        remote_ids = self._ranks.of_first(there)
        everywhere = [found for found in self._ranks.all(here if self._leads else None) if found is not None]
        known: dict[str, Marker] = dict(remote_ids)
        for found in everywhere:
            known.update(found)
        self.highest = max((marker.sequence for marker in known.values()), default=0)
        for marker in sorted(known.values(), key=lambda marker: marker.order, reverse=True):
            if self._have(marker, marker.id in here, marker.id in remote_ids):
                self.sent = self._remote is None or marker.id in remote_ids
                return marker
        return None

    def last_sequence(self) -> int:
        """For the first save of a run that looked for nothing: what a new checkpoint has to come after."""
        if self.highest:
            return self.highest
        here = [marker.sequence for marker in self._here(warn=False).values()] if self._leads else []
        there = [marker.sequence for marker in self._there().values()] if self._ranks.rank == 0 else []
        return max(self._ranks.all(max([0, *here, *there])))

    def _here(self, warn: bool = True) -> dict[str, Marker]:
        found: dict[str, Marker] = {}
        for path in layout.steps(self._directory):
            try:
                marker = layout.read_marker(path)
                found[marker.id] = marker
            except Invalid as error:
                if warn:
                    log.warning("%s is skipped: %s", path, error)
        return found

    def _there(self) -> dict[str, Marker]:
        if self._remote is None:
            return {}
        try:
            return {marker.id: marker for marker in self._remote.markers()}
        except (Missing, Unreachable) as error:
            log.warning("%s does not answer, only local checkpoints count: %s", self._remote.url, error)
            return {}

    def _have(self, marker: Marker, is_here: bool, is_there: bool) -> bool:
        """Whether all ranks have all of a checkpoint, after what was missing has been fetched."""
        path = self._directory / layout.name(marker.step)
        mine = sorted(marker.files)[self._peers.index(self._ranks.rank) :: len(self._peers)]
        # Leaders know whether their node has it; the others look for themselves.
        if not self._leads:
            is_here = _is(path, marker)
        faults = {name: layout.fault(path / name, marker.files[name]) if is_here else "absent" for name in mine}
        bad = {name: fault for name, fault in faults.items() if fault}
        lacking = self._ranks.all(bool(bad))
        if not any(lacking):
            return True
        if is_here and bad:
            log.warning("%s is %s: %s", path, "fetched anew" if is_there else "skipped", "; ".join(bad.values()))
        if not is_there:
            return False
        # A node of which one rank misses something puts all of it together.
        on_this_node = any(lacking[peer] for peer in self._peers)
        # The ranks of a node need not agree on a name: it is the checkpoint's own.
        partial = self._directory / f"{path.name}.{marker.id}{layout.PARTIAL}"
        try:
            self._ranks.together(lambda: self._fetch(marker, path, partial, mine, bad) if on_this_node else None)
            self._ranks.together(lambda: self._commit(marker, partial) if on_this_node and self._leads else None)
        except (CheckpointError, Missing, Unreachable) as error:
            log.warning("%s is skipped: %s", path.name, error)
            return False
        finally:
            if self._leads:
                shutil.rmtree(partial, ignore_errors=True)
        return True

    def _fetch(self, marker: Marker, path: Path, partial: Path, mine: Sequence[str], bad: Mapping[str, str]) -> None:
        """Put this rank's share together: what is good here by a second name, the rest from the object store."""
        assert self._remote is not None
        with on_disk(self._directory):
            partial.mkdir(exist_ok=True)
            for name in mine:
                if name not in bad:
                    (partial / name).unlink(missing_ok=True)
                    os.link(path / name, partial / name)
            log.info("fetching %d of %d files of step %d from %s", len(bad), len(mine), marker.step, self._remote.url)
            self._remote.download(marker, bad, partial)

    def _commit(self, marker: Marker, partial: Path) -> None:
        with on_disk(self._directory):
            layout.commit(partial, marker)


def _is(path: Path, marker: Marker) -> bool:
    try:
        return layout.read_marker(path).id == marker.id
    except Invalid:
        return False
