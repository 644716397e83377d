"""Appends happen once, windows are read whole, and tables gain columns under older and newer programs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import numpy as np
import pytest

from tests.workloads.monitoring.traffic import MONDAY_S, request
from workloads.monitoring.errors import ArgumentError, LakeFailed
from workloads.monitoring.features import EMBEDDING
from workloads.monitoring.lakehouse import Lake, local
from workloads.monitoring.retention import retain
from workloads.monitoring.tables import TABLES, Column, Label, label_row, request_row

DAY_S = 86400
KEYS = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}


def some(start: int, count: int, time_s: float = MONDAY_S, model: str = "lm") -> list[dict[str, object]]:
    requests = [request(i, time_s + i, model=model) for i in range(start, start + count)]
    return [request_row(each, rate=1.0, draw=0.0, redact=None) for each in requests]


def test_what_is_appended_is_read(lake: Lake) -> None:
    rows = some(0, 20)
    assert lake.append("requests", rows, "one")
    found = lake.read("requests", "lm", MONDAY_S, MONDAY_S + 20)
    assert found["request_id"].tolist() == [row["request_id"] for row in rows]
    np.testing.assert_allclose(found["time"], MONDAY_S + np.arange(20))
    np.testing.assert_allclose(found["bits_per_byte"], [row["bits_per_byte"] for row in rows])
    np.testing.assert_allclose(found.embeddings(EMBEDDING), [row["embedding"] for row in rows], rtol=1e-6)
    assert found["text"].tolist() == [None] * 20


def test_windows_and_models_are_told_apart(lake: Lake) -> None:
    for day in range(3):
        for model in ("a", "b"):
            lake.append("requests", some(day * 10, 10, MONDAY_S + day * DAY_S, model), f"{day}{model}")
    found = lake.read("requests", "a", MONDAY_S + 15 + DAY_S, MONDAY_S + 22 + 2 * DAY_S, ["text_bytes"])
    assert found["request_id"].tolist() == [f"0-{i}" for i in (15, 16, 17, 18, 19, 20, 21)]
    assert "bits_per_byte" not in found.columns
    assert not len(lake.read("requests", "c", MONDAY_S, MONDAY_S + 9 * DAY_S))


def test_a_batch_is_there_once(lake: Lake, tmp_path: Path) -> None:
    again = Lake(local(tmp_path / "lake"))
    assert lake.append("requests", some(0, 5), "batch")
    assert not again.append("requests", some(0, 5), "batch")
    assert again.append("requests", some(5, 5), "another")
    assert len(lake.read("requests", "lm", MONDAY_S, MONDAY_S + 100)) == 10


def test_a_request_that_was_logged_twice_is_read_once(lake: Lake) -> None:
    lake.append("requests", some(0, 5), "first")
    later = [{**row, "outcome": "timeout"} for row in some(3, 5)]
    lake.append("requests", later, "second")
    found = lake.read("requests", "lm", MONDAY_S, MONDAY_S + 100)
    assert sorted(found["request_id"]) == [f"0-{i}" for i in range(8)]


@pytest.mark.parametrize("shared", [False, True])
def test_writers_at_the_same_time_lose_nothing(tmp_path: Path, shared: bool) -> None:
    """Each with a catalog of its own, as processes have; or all with the same, as threads may."""
    failures: list[LakeFailed] = []
    one = Lake(local(tmp_path)) if shared else None

    def write(which: int) -> None:
        lake = one or Lake(local(tmp_path))
        for batch in range(5):
            while True:
                try:
                    lake.append("requests", some(100 * which + 10 * batch, 10), f"{which}-{batch}")
                    break
                except LakeFailed as error:  # what RequestLog waits for and tries again
                    failures.append(error)

    threads = [threading.Thread(target=write, args=(which,)) for which in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Lake(local(tmp_path)).read("requests", "lm", MONDAY_S, MONDAY_S + 1000)) == 150
    assert len(failures) < 15


def test_an_older_and_a_newer_program_share_a_table(tmp_path: Path) -> None:
    properties = local(tmp_path)
    newer_tables = {**TABLES, "requests": (*TABLES["requests"], Column("mood", "double"), Column("marks", "floats"))}
    older, newer = Lake(properties), Lake(properties, tables=newer_tables)
    older.append("requests", some(0, 3), "old")
    # A newer reader of a table that no newer writer has met.
    assert np.isnan(newer.read("requests", "lm", MONDAY_S, MONDAY_S + 100)["mood"]).all()
    newer.append("requests", [{**row, "mood": 0.5, "marks": [1.0, 2.0]} for row in some(3, 3)], "new")
    older.append("requests", some(6, 3), "old again")
    Lake(properties).append("requests", some(9, 3), "old, begun after")
    found = newer.read("requests", "lm", MONDAY_S, MONDAY_S + 100)
    np.testing.assert_array_equal(found["mood"], [np.nan] * 3 + [0.5] * 3 + [np.nan] * 6)
    assert [None if marks is None else marks.tolist() for marks in found["marks"][2:5]] == [None, [1, 2], [1, 2]]
    seen = older.read("requests", "lm", MONDAY_S, MONDAY_S + 100)
    assert len(seen) == 12
    assert "mood" not in seen.columns


def test_labels_are_read_as_they_came(lake: Lake) -> None:
    first = Label("a", MONDAY_S, "lm", MONDAY_S + 9, 2.0)
    lake.append("labels", [label_row(first), label_row(replace(first, time_s=MONDAY_S + 5, value=3.0))], "1")
    found = lake.read("labels", "lm", MONDAY_S, MONDAY_S + 1)
    assert found["value"].tolist() == [3.0, 2.0]
    with pytest.raises(ArgumentError, match="finite"):
        label_row(replace(first, value=float("nan")))


def test_a_lake_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LakeFailed, match="unable to open database"):
        Lake({"type": "sql", "uri": f"sqlite:///{tmp_path}/file/catalog.db", "warehouse": f"file://{tmp_path}"})
    lake = Lake({**local(tmp_path / "lake"), "warehouse": f"file://{tmp_path}/file"})
    with pytest.raises(LakeFailed, match="file"):
        lake.append("requests", some(0, 1), "x")
    with pytest.raises(ArgumentError, match="catalog"):
        Lake({"type": "nonsense"})


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    """Properties of a warehouse in an S3."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=endpoint, **KEYS).create_bucket(Bucket="lake")
    yield {
        "warehouse": "s3://lake/warehouse",
        "s3.endpoint": endpoint,
        "s3.access-key-id": "x",
        "s3.secret-access-key": "x",
        "s3.region": "us-east-1",
    }
    server.stop()


def test_a_warehouse_in_a_bucket(bucket: dict[str, str], tmp_path: Path) -> None:
    lake = Lake({**bucket, "type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db"})
    lake.append("requests", some(0, 10), "one")
    lake.append("requests", some(10, 10, MONDAY_S + DAY_S), "two")
    assert len(lake.read("requests", "lm", MONDAY_S, MONDAY_S + 2 * DAY_S)) == 20
    (done,) = retain(lake, days=1, now_s=MONDAY_S + DAY_S)
    assert (done.rows, done.files) == (10, 0)
    assert len(lake.read("requests", "lm", MONDAY_S, MONDAY_S + 2 * DAY_S)) == 10
    # All of it is old by now, files included.
    (done,) = retain(lake, days=1, now_s=time.time() + 60, grace_s=0)
    assert done.rows == 10
    assert done.files > 2
    assert not len(lake.read("requests", "lm", MONDAY_S, MONDAY_S + 2 * DAY_S))
    left = boto3.client("s3", endpoint_url=bucket["s3.endpoint"], **KEYS).list_objects_v2(Bucket="lake")["Contents"]
    assert not [each["Key"] for each in left if each["Key"].endswith(".parquet")]


def test_glue_is_only_properties(bucket: dict[str, str]) -> None:
    """moto's Glue keeps the tables, its S3 the files."""
    keys = {"glue.endpoint": bucket["s3.endpoint"], "glue.region": "us-east-1"}
    keys |= {"glue.access-key-id": "x", "glue.secret-access-key": "x"}
    lake = Lake({**bucket, **keys, "type": "glue"})
    lake.append("requests", some(0, 10), "one")
    assert not lake.append("requests", some(0, 10), "one")
    assert len(lake.read("requests", "lm", MONDAY_S, MONDAY_S + 100)) == 10
