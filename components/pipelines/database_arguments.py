"""What components that have a PostgreSQL of their own accept of it."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from components.inference.server_arguments import Refusal
from components.pipelines.database_parts import SIZES, Request

_PREFIX = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
LEAST_GIB, MOST_GIB = 20, 6000
MOST_DAYS = 35
"""What RDS keeps at most. https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_WorkingWithAutomatedBackups.html"""


class DatabaseArgs(TypedDict):
    """Size and safety of a PostgreSQL: RDS or Cloud SQL."""

    size: NotRequired[str]
    """`small` (default), `medium` or `large`: 2, 2 and 8 cores with 2, 8 and 32 GiB; small on GCP 1 with 3.75."""
    storage_gib: NotRequired[int]
    """Storage at first, from 20 to 6000 GiB; it grows up to ten times that. Default 20."""
    zonal_redundancy: NotRequired[bool]
    """A second one in another zone takes over when the first fails; twice the price. Default false."""
    backup_days: NotRequired[int]
    """Days that daily backups are kept, from 1 to 35; default 7. On GCP recovery to any second goes back 7 at most."""


def check_database(refuse: Refusal, network_cidr: str, given: Mapping[str, Any]) -> None:
    """Refuse what neither cloud has."""
    refuse.one_of("database.size", given.get("size", "small"), SIZES["aws"])
    for argument, value, least, most in (
        ("storage_gib", given.get("storage_gib", LEAST_GIB), LEAST_GIB, MOST_GIB),
        ("backup_days", given.get("backup_days", 7), 1, MOST_DAYS),
    ):
        if not least <= value <= most:
            refuse(f"database.{argument}", value, f"accepted is {least} to {most}")
    try:
        ipaddress.ip_network(network_cidr)
    except ValueError as error:
        refuse("network_cidr", network_cidr, f"expected a network such as 10.0.0.0/16: {error}")


def check_prefix(refuse: Refusal, argument: str, prefix: str) -> None:
    """Refuse a prefix of a bucket that would be none."""
    if not _PREFIX.fullmatch(prefix):
        refuse(argument, prefix, "accepted is a path such as 'mlflow' or 'team/mlflow'")


def request(database: str, args: Mapping[str, Any], given: Mapping[str, Any]) -> Request:
    """The database of a component whose arguments have a network, a key and a cluster's nodes."""
    return Request(
        cloud=args["cloud"],
        region=args["region"],
        database=database,
        network_id=args["network_id"],
        private_subnet_ids=args["private_subnet_ids"],
        client_security_group_id=args["node_security_group_id"],
        encryption_key=args["encryption_key"],
        size=given.get("size", "small"),
        storage_gib=int(given.get("storage_gib", LEAST_GIB)),
        zonal_redundancy=bool(given.get("zonal_redundancy")),
        backup_days=int(given.get("backup_days", 7)),
        protect=bool(args.get("protect")),
        tags=args.get("tags") or {},
    )
