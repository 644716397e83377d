"""Managed databases: encrypted, out of the internet's reach, and to be had back."""

from __future__ import annotations

from collections.abc import Iterator

from planner.plan import Resource
from policies import kinds
from policies.declare import Parameters, at, off, on, resource_policy

_DATABASES = (kinds.RDS, kinds.CLOUD_SQL)


@resource_policy(
    "databases-under-own-key",
    "Every database encrypts with a key of one's own",
    types=_DATABASES,
    risk="high",
    why="https://cloud.google.com/sql/docs/postgres/cmek",
    fix="Name the key: storageEncrypted with kmsKeyId (RDS), encryptionKeyName (Cloud SQL).",
)
def databases_under_own_key(database: Resource, _: Parameters) -> Iterator[str]:
    if database.type == kinds.RDS and off(at(database, "storageEncrypted")):
        yield "is not encrypted; expected storageEncrypted with a kmsKeyId"
    elif off(at(database, "kmsKeyId" if database.type == kinds.RDS else "encryptionKeyName")):
        yield "is under the cloud's key; expected a key of one's own"


@resource_policy(
    "databases-are-private",
    "No database has an address in the internet",
    types=_DATABASES,
    risk="critical",
    why="https://docs.aws.amazon.com/securityhub/latest/userguide/rds-controls.html#rds-2",
    fix="Switch publiclyAccessible off (RDS); ipv4Enabled off, with a privateNetwork (Cloud SQL).",
)
def databases_are_private(database: Resource, _: Parameters) -> Iterator[str]:
    if database.type == kinds.RDS:
        if on(at(database, "publiclyAccessible")):
            yield "has an address in the internet; expected publiclyAccessible off"
    # Google's provider gives an instance a public address unless it is told not to.
    elif at(database, "settings") is None or on(at(database, "settings.ipConfiguration.ipv4Enabled", True)):
        yield "has an address in the internet; expected ipv4Enabled off"


@resource_policy(
    "databases-have-backups",
    "Every database has backups of some days",
    types=_DATABASES,
    risk="high",
    why="https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_WorkingWithAutomatedBackups.html",
    fix="Set backupRetentionPeriod (RDS), or enable backupConfiguration (Cloud SQL).",
    parameters={"days": 7},
)
def databases_have_backups(database: Resource, parameters: Parameters) -> Iterator[str]:
    if database.type == kinds.RDS:
        # Terraform's provider, and so Pulumi's, asks for none unless it is told how many days.
        days = at(database, "backupRetentionPeriod", 0)
    elif off(at(database, "settings.backupConfiguration.enabled")):
        days = 0
    else:
        days = at(database, "settings.backupConfiguration.backupRetentionSettings.retainedBackups", 7)
    if isinstance(days, int | float) and days < parameters["days"]:
        yield f"keeps backups for {days:g} days; expected {parameters['days']} at least"


@resource_policy(
    "database-passwords-are-nobodys",
    "No program knows the password of a database: the cloud makes it and keeps it, or there is none",
    types=(kinds.RDS, kinds.CLOUD_SQL_USER),
    risk="high",
    why="https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-secrets-manager.html",
    fix="Set manageMasterUserPassword (RDS), or a type of IAM user (Cloud SQL).",
)
def database_passwords_are_nobodys(resource: Resource, _: Parameters) -> Iterator[str]:
    given = [name for name in ("password", "passwordWo") if not off(at(resource, name))]
    if given:
        yield f"has its {given[0]} from the program, and so in its state; expected " + (
            "manageMasterUserPassword" if resource.type == kinds.RDS else "a type CLOUD_IAM_…"
        )
