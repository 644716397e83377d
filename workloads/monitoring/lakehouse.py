"""Iceberg tables behind a catalog: appends that happen once, reads of a window, columns that are added.

Through pyiceberg: a catalog in SQLite beside a local or an s3:// warehouse on a laptop, Glue or a REST catalog in a
cloud; which one is only properties (https://py.iceberg.apache.org/configuration/). Tables are partitioned by day and
model. The day is a column of its own: pyiceberg 0.12 computes a transform such as day(time) only with pyiceberg-core.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.monitoring.errors import ArgumentError, LakeFailed
from workloads.monitoring.tables import TABLES, Column, Rows, day_of, empty, moment, numeric

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import Table

BATCH = "monitoring.batch"
"""Property of a snapshot: which batch it appended."""
PARTITION = ("day", "model")
PROPERTIES = {
    # Each commit writes the table's metadata anew; only so many of the older ones are kept.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    "write.parquet.compression-codec": "zstd",
    # A batch adds a manifest; a hundred of them become one, so that planning a read stays quick.
    "commit.manifest-merge.enabled": "true",
    # Whoever commits at the same time makes the others try again.
    "commit.retry.num-retries": "10",
}


def local(directory: Path) -> dict[str, str]:
    """Properties of a lake in a local directory: SQLite for the catalog, files for the tables."""
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    return {"type": "sql", "uri": f"sqlite:///{directory}/catalog.db", "warehouse": f"file://{directory}/warehouse"}


class Lake:
    """The tables of a namespace. Raises LakeFailed. Safe for several threads: each call loads its table anew."""

    def __init__(
        self,
        properties: Mapping[str, str],
        *,
        namespace: str = "monitoring",
        tables: Mapping[str, Sequence[Column]] = TABLES,
    ) -> None:
        """`properties` are pyiceberg's, of the catalog and of what reads and writes files. Makes nothing yet."""
        from pyiceberg.catalog import load_catalog
        from sqlalchemy.exc import OperationalError

        self.namespace, self.tables = namespace, tables
        self.place = properties.get("warehouse") or properties.get("uri") or "catalog"
        given = {"py-io-impl": _PYARROW, **properties}
        with self.failures():
            try:
                try:
                    self.catalog = load_catalog("monitoring", **given)
                except OperationalError:
                    # Another process made SQLite's tables just now, between this one's look and its own attempt.
                    self.catalog = load_catalog("monitoring", **given)
            except (ValueError, KeyError) as error:
                raise ArgumentError(f"catalog of {', '.join(sorted(properties))}: {error}") from None

    def append(self, table: str, rows: Sequence[Mapping[str, Any]], batch: str) -> bool:
        """Append rows in one commit; False if a batch of that name is there already.

        So a batch whose commit may or may not have happened is simply appended again.
        """
        import pyarrow as pa

        if not rows:
            return False
        with self.failures():
            found = self._writable(table)
            if any(s.summary and s.summary.get(BATCH) == batch for s in found.snapshots()):
                return False
            wanted = [c.name for c in self.tables[table]]
            schema = found.schema().select(*wanted).as_arrow()
            found.append(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), {BATCH: batch})
            return True

    def read(self, table: str, model: str, start_s: float, end_s: float, columns: Sequence[str] | None = None) -> Rows:
        """Rows of a model whose `time` (a label's `request_time`) is in [start_s, end_s), in order of `time`.

        Each request once, as it was logged last; labels as they came. Columns that are not in the table yet are empty.
        """
        from pyiceberg import expressions as e

        known = self.tables[table]
        wanted = known if columns is None else [c for c in known if c.name in columns or c.required]
        with self.failures():
            found = self.existing(table)
            if found is None:
                return empty(wanted)
            when = "request_time" if table == "labels" else "time"
            within: BooleanExpression = e.And(
                e.GreaterThanOrEqual("day", day_of(start_s).isoformat()),
                e.LessThanOrEqual("day", day_of(end_s).isoformat()),
                e.EqualTo("model", model),
                e.GreaterThanOrEqual(when, moment(start_s).isoformat()),
                e.LessThan(when, moment(end_s).isoformat()),
            )
            there = {field.name for field in found.schema().fields}
            present = tuple(c.name for c in wanted if c.name in there)
            rows = _rows(found.scan(within, present).to_arrow(), wanted)
            rows = rows.select(np.argsort(rows["time"], kind="stable"))
            return rows if table == "labels" else _once(rows)

    def existing(self, table: str) -> Table | None:
        from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

        try:
            return self.catalog.load_table((self.namespace, table))
        except (NoSuchTableError, NoSuchNamespaceError):
            return None

    def _writable(self, table: str) -> Table:
        """The table, made or given its newest columns if need be."""
        from pyiceberg.exceptions import TableAlreadyExistsError
        from pyiceberg.partitioning import PartitionField, PartitionSpec
        from pyiceberg.schema import Schema
        from pyiceberg.transforms import IdentityTransform
        from pyiceberg.types import NestedField

        columns = self.tables[table]
        found = self.existing(table)
        if found is None:
            self.catalog.create_namespace_if_not_exists(self.namespace)
            fields = [NestedField(i, c.name, _iceberg(c), required=c.required) for i, c in enumerate(columns, 1)]
            ids = {field.name: field.field_id for field in fields}
            spec = PartitionSpec(
                *(PartitionField(ids[name], 1000 + i, IdentityTransform(), name) for i, name in enumerate(PARTITION))
            )
            with contextlib.suppress(TableAlreadyExistsError):  # by another process, just now
                return self.catalog.create_table(
                    (self.namespace, table), Schema(*fields), partition_spec=spec, properties=PROPERTIES
                )
            found = self.catalog.load_table((self.namespace, table))
        there = {field.name for field in found.schema().fields}
        missing = [c for c in columns if c.name not in there]
        if missing:
            with found.update_schema() as update:
                for column in missing:
                    update.add_column(column.name, _iceberg(column))
        return found

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """Turn what the catalog and the store say into LakeFailed."""
        from pyiceberg import exceptions
        from sqlalchemy.exc import SQLAlchemyError

        known = (
            exceptions.RESTError,
            exceptions.CommitFailedException,
            exceptions.ValidationException,
            exceptions.WaitingForLockException,
            exceptions.NoSuchTableError,
            exceptions.NoSuchNamespaceError,
            exceptions.NotInstalledError,
            exceptions.SignError,
        )
        try:
            yield
        except (*known, SQLAlchemyError, OSError) as error:
            first = (str(error) or type(error).__name__).splitlines()[0]
            raise LakeFailed(f"{self.place}: {first}") from error

    def close(self) -> None:
        self.catalog.close()


_PYARROW = "pyiceberg.io.pyarrow.PyArrowFileIO"


def _iceberg(column: Column) -> Any:
    from pyiceberg import types

    if column.type == "floats":
        # Elements are numbered when the table is made or changed.
        return types.ListType(_element_id(column), types.FloatType(), element_required=False)
    return {
        "string": types.StringType,
        "long": types.LongType,
        "double": types.DoubleType,
        "date": types.DateType,
        "timestamptz": types.TimestamptzType,
    }[column.type]()


def _element_id(column: Column) -> int:
    """Any that no field has: catalogs number anew what is created."""
    return 10000 + sum(column.name.encode())


def _rows(found: pa.Table, wanted: Sequence[Column]) -> Rows:
    import pyarrow as pa

    columns = {}
    for column in wanted:
        if column.name not in found.column_names:
            values = np.full(len(found), np.nan if numeric(column) else None, float if numeric(column) else object)
        elif column.type == "timestamptz":
            whole = found[column.name].cast(pa.int64()).to_numpy()
            values = np.asarray(whole, float) / 1e6
        elif numeric(column):
            values = found[column.name].cast(pa.float64()).to_numpy()
        elif column.type == "floats":
            lists = found[column.name].to_pylist()
            values = np.empty(len(lists), object)
            values[:] = [None if each is None else np.asarray(each, np.float32) for each in lists]
        else:
            values = np.array(found[column.name].to_pylist(), object)
        columns[column.name] = values
    return Rows(columns)


def _once(rows: Rows) -> Rows:
    """The last row of each request."""
    _, first = np.unique(rows["request_id"][::-1].astype(str), return_index=True)
    return rows.select(np.sort(len(rows) - 1 - first))
