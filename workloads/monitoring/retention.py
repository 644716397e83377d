"""Deletes what is older than it may be kept: rows, snapshots, and the files themselves.

pyiceberg 0.12 deletes rows of whole partitions by forgetting their files, and expires snapshots by forgetting those:
not one file is removed from the warehouse. For data about people that is no deletion, so files that nothing refers to
any more are removed here; except young ones, which a writer may be about to commit.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workloads.monitoring.errors import ArgumentError
from workloads.monitoring.lakehouse import Lake
from workloads.monitoring.tables import day_of, moment

if TYPE_CHECKING:
    from pyiceberg.table import Table

DAY_S = 86400.0
GRACE_S = 3600.0
"""Longer than any writer needs from its first file to its commit, and any reader from its plan to its last file."""


@dataclass(frozen=True)
class Retained:
    """What was done to a table."""

    table: str
    before: datetime.date
    """Days before this one are gone."""
    rows: int
    """Deleted."""
    snapshots: int
    """Expired."""
    files: int
    """Removed."""
    bytes: int


def retain(lake: Lake, *, days: int, now_s: float, grace_s: float = GRACE_S) -> list[Retained]:
    """Keep the last `days` days of all tables, today's included. Raises LakeFailed.

    May be killed at any point and run again. Whoever reads an older snapshot has `grace_s` to finish.
    """
    if days < 1:
        raise ArgumentError(f"days {days}: expected a whole number from 1")
    if grace_s < 0:
        raise ArgumentError(f"grace_s {grace_s}: expected from 0")
    oldest = day_of(now_s) - datetime.timedelta(days=days - 1)
    found = []
    for name in lake.tables:
        with lake.failures():
            table = lake.existing(name)
            if table is not None:
                found.append(_retain(table, name, oldest, now_s - grace_s))
    return found


def _retain(table: Table, name: str, oldest: datetime.date, until_s: float) -> Retained:
    from pyiceberg.expressions import LessThan

    old = LessThan("day", oldest.isoformat())
    rows = table.scan(old, selected_fields=("day",)).count()
    if rows:
        # The day is a partition: files are forgotten as they are, none is written anew.
        table.delete(old)
    snapshots = len(table.snapshots())
    # Naive, in UTC: what pyiceberg takes its own timestamps for.
    table.maintenance.expire_snapshots().older_than(moment(until_s).replace(tzinfo=None)).commit()
    table.refresh()
    files = list(_unreferenced(table, until_s))
    for path, _ in files:
        table.io.delete(path)
    return Retained(name, oldest, rows, snapshots - len(table.snapshots()), len(files), sum(size for _, size in files))


def _unreferenced(table: Table, until_s: float) -> Iterator[tuple[str, int]]:
    """Files under the table's place, with their sizes, that are older than `until_s` and that nothing refers to."""
    from pyarrow.fs import FileSelector
    from pyiceberg.io.pyarrow import PyArrowFileIO

    io: Any = table.io
    scheme, netloc, root = PyArrowFileIO.parse_location(table.location(), io.properties)
    known = {PyArrowFileIO.parse_location(location, io.properties)[2] for location in _referenced(table)}
    system = io.fs_by_scheme(scheme, netloc)
    # Listed after what is referred to was read would be too late only for files that are younger than the grace.
    for found in system.get_file_info(FileSelector(root, recursive=True, allow_not_found=True)):
        if found.is_file and found.path not in known and found.mtime_ns is not None and found.mtime_ns / 1e9 < until_s:
            yield f"{scheme}://{found.path}", found.size or 0


def _referenced(table: Table) -> Iterator[str]:
    """Every file that the table's metadata leads to: metadata, manifest lists, manifests, data."""
    yield table.metadata_location
    yield from (entry.metadata_file for entry in table.metadata.metadata_log)
    yield from (statistics.statistics_path for statistics in table.metadata.statistics)
    for snapshot in table.snapshots():
        yield snapshot.manifest_list
        for manifest in snapshot.manifests(table.io):
            yield manifest.manifest_path
            yield from (entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io))
