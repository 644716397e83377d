"""What managed databases cost: machines and storage, twice where a second one stands by, and what backups add."""

from __future__ import annotations

import re
from collections.abc import Iterator

from planner.cost.model import HOURS_PER_MONTH, Amount, Line, Unpriced
from planner.cost.reader import Reader, number, text
from planner.inventory.references import at
from planner.plan import Resource

Found = Iterator[Line | Unpriced]

HOURS = float(HOURS_PER_MONTH)
RDS = "aws:rds/instance:Instance"
CLOUD_SQL = "gcp:sql/databaseInstance:DatabaseInstance"
_CUSTOM = re.compile(r"db-custom-(\d+)-(\d+)")


def rds(reader: Reader, resource: Resource) -> Found:
    """An instance of RDS on gp3. Backups up to the size of the storage are free, and more than that few have."""
    inputs = resource.inputs
    if inputs.get("engine") not in ("postgres", "mysql", "mariadb"):
        yield reader.unpriced(resource, "prices of this engine are not in the book")
        return
    times = 2 if inputs.get("multiAz") is True else 1
    machine = text(inputs.get("instanceClass"))
    yield from reader.line(resource, f"rds/{machine}", times * HOURS, machine, kind="service")
    if inputs.get("manageMasterUserPassword") is True:
        yield from reader.line(resource, "secret", 1.0, "secret", kind="service")
    first, most = inputs.get("allocatedStorage"), inputs.get("maxAllocatedStorage")
    yield from _storage(reader, resource, "rds-gp3", first, most, times)


def cloud_sql(reader: Reader, resource: Resource) -> Found:
    """An instance of Cloud SQL, edition Enterprise; backups of the storage that is used."""
    settings = at(resource.inputs, "settings")
    found = _CUSTOM.fullmatch(text(at(settings, "tier")))
    if found is None or at(settings, "edition") not in (None, "ENTERPRISE"):
        yield reader.unpriced(resource, "prices of this tier are not in the book")
        return
    times = 2 if at(settings, "availabilityType") == "REGIONAL" else 1
    cores, gib = int(found.group(1)), int(found.group(2)) / 1024
    yield from reader.line(resource, "cloud-sql-cpu", times * cores * HOURS, "database, cores", kind="service")
    yield from reader.line(resource, "cloud-sql-memory", times * gib * HOURS, "database, memory", kind="service")
    first, most = at(settings, "diskSize"), at(settings, "diskAutoresizeLimit")
    yield from _storage(reader, resource, "cloud-sql-ssd", first, most, times)
    if at(settings, "backupConfiguration.enabled") is True:
        yield from _storage(reader, resource, "cloud-sql-backup", first, most, 1, "backups")


def _storage(
    reader: Reader, resource: Resource, service: str, first: object, most: object, times: int, what: str = "storage"
) -> Found:
    """As large as at first, at most as large as it may grow."""
    least = number(first)
    largest = number(most, least) or least
    gib = None if least is None or largest is None else Amount(least, least, max(least, largest)).times(times)
    yield from reader.line(resource, service, gib, f"database, {what}", kind="storage", tier="database")


HANDLERS = {RDS: rds, CLOUD_SQL: cloud_sql}
