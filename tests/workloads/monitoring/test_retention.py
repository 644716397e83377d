"""What is too old is gone from the disk, and nothing else is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.workloads.monitoring.test_lakehouse import some
from tests.workloads.monitoring.traffic import MONDAY_S
from workloads.monitoring.errors import ArgumentError
from workloads.monitoring.lakehouse import Lake
from workloads.monitoring.retention import retain
from workloads.monitoring.tables import Label, label_row

DAY_S = 86400.0


@pytest.fixture
def days(lake: Lake) -> Lake:
    """Four days ending today, each with ten requests and a label."""
    today = time.time() // DAY_S * DAY_S
    for back in range(4):
        start = today - back * DAY_S
        lake.append("requests", some(back * 10, 10, start), f"day {back}")
        lake.append("labels", [label_row(Label(f"0-{back * 10}", start, "lm", start, 2.0))], f"day {back}")
    return lake


def files(tmp_path: Path, pattern: str) -> list[Path]:
    return sorted((tmp_path / "lake/warehouse").rglob(pattern))


def test_old_days_are_gone_with_their_files(days: Lake, tmp_path: Path) -> None:
    now = time.time()
    assert len(files(tmp_path, "*.parquet")) == 8
    # A second on: what was just written is older than the grace of none.
    done = {each.table: each for each in retain(days, days=2, now_s=now + 1, grace_s=0)}
    assert {name: each.rows for name, each in done.items()} == {"requests": 20, "labels": 2}
    assert done["requests"].snapshots == 4
    assert done["requests"].files > 2
    left = files(tmp_path, "*.parquet")
    assert len(left) == 4
    assert len({path.parent.parent.name for path in left}) == 2
    assert len(days.read("requests", "lm", 0, now + DAY_S)) == 20
    assert len(days.read("labels", "lm", 0, now + DAY_S)) == 2
    # And again: nothing is left to do.
    for each in retain(days, days=2, now_s=now + 2, grace_s=0):
        assert (each.rows, each.snapshots) == (0, 0)
    days.append("requests", some(90, 5, now), "after")
    assert len(days.read("requests", "lm", 0, now + DAY_S)) == 25


def test_pyiceberg_by_itself_removes_no_file(days: Lake, tmp_path: Path) -> None:
    """If this fails, a newer pyiceberg does what workloads.monitoring.retention does."""
    import datetime

    before = files(tmp_path, "*.parquet") + files(tmp_path, "*.avro")
    table = days.existing("requests")
    assert table is not None
    table.delete(f"day < '{datetime.datetime.now(datetime.UTC).date()}'")
    table.maintenance.expire_snapshots().older_than(datetime.datetime(2100, 1, 1)).commit()
    assert len(table.refresh().snapshots()) == 1
    assert set(before) <= set(files(tmp_path, "*.parquet") + files(tmp_path, "*.avro"))


def test_files_of_a_writer_that_has_not_committed_stay(days: Lake, tmp_path: Path) -> None:
    young = files(tmp_path, "*.parquet")[0].with_name("young.parquet")
    orphan = young.with_name("orphan.parquet")
    for path, age_s in ((young, 60), (orphan, 7200)):
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age_s,) * 2)
    retain(days, days=4, now_s=time.time())
    assert young.exists()
    assert not orphan.exists()
    assert len(days.read("requests", "lm", 0, time.time() + DAY_S)) == 40


def test_a_reader_of_an_older_snapshot_can_finish(days: Lake) -> None:
    table = days.existing("requests")
    assert table is not None
    tasks = table.scan()
    retain(days, days=1, now_s=time.time())
    assert tasks.to_arrow().num_rows == 40


def test_there_is_nothing_yet(lake: Lake) -> None:
    assert retain(lake, days=1, now_s=MONDAY_S) == []
    with pytest.raises(ArgumentError, match="days 0"):
        retain(lake, days=0, now_s=MONDAY_S)
