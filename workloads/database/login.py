"""The password of a PostgreSQL login, kept in libpq's own file, which it reads anew for each connection it opens.

So a password may turn (Secrets Manager's do every week, Google's tokens every hour) while programs run that know
nothing of it: connections that are open stay open, the next one finds the new password.
https://www.postgresql.org/docs/current/libpq-pgpass.html
"""

from __future__ import annotations

import json
import os
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workloads.database.errors import DatabaseError

TOKEN_URL = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
"""Where a pod on GKE gets a token of the Google account that it acts as; Cloud SQL takes it as that account's password.
https://cloud.google.com/sql/docs/postgres/iam-logins#manual_iam_authentication, as remembered."""
TIMEOUT_S = 10.0

Password = Callable[[], str]


@dataclass(frozen=True)
class Login:
    """Who logs in where. `port` and `database` may be `*`, any."""

    host: str
    port: str
    database: str
    user: str

    def line(self, password: str) -> str:
        """The line of the password file: fields between colons, of which those within are escaped."""
        fields = (self.host, self.port, self.database, self.user, password)
        if any("\n" in field or "\0" in field for field in fields):
            raise DatabaseError(f"the login of {self.user} at {self.host} has a line break; libpq's file takes none")
        return ":".join(field.replace("\\", "\\\\").replace(":", "\\:") for field in fields) + "\n"


def of_secret(arn: str, region: str = "") -> Password:
    """The password in a secret of AWS Secrets Manager that RDS keeps: JSON with `username` and `password`."""

    def ask() -> str:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            # Made anew: the pod's own credentials turn as well.
            client = boto3.client("secretsmanager", region_name=region or None)
            text = client.get_secret_value(SecretId=arn)["SecretString"]
        except (BotoCoreError, ClientError, KeyError) as error:
            raise DatabaseError(f"secret {arn}: {error}") from error
        try:
            return str(json.loads(text)["password"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DatabaseError(f"secret {arn}: expected a JSON object with `password`, as RDS writes it") from error

    return ask


def of_google(url: str = TOKEN_URL) -> Password:
    """A token of the Google account that the pod acts as."""

    def ask() -> str:
        request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                return str(json.load(answer)["access_token"])
        except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise DatabaseError(f"{url}: no token: {error}") from error

    return ask


def write(passfile: Path, text: str) -> bool:
    """Put the file there as a whole, for its owner's eyes, without which libpq ignores it; whether it has changed."""
    if passfile.exists() and passfile.read_text() == text:
        return False
    temporary = passfile.with_name(f".{passfile.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, passfile)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def keep(
    passfile: Path,
    login: Login,
    password: Password,
    every_s: float,
    ended: threading.Event,
    say: Callable[[str], None],
) -> None:
    """Write the password, and again whenever it has turned, until `ended`.

    The first failure is raised: without a password nothing works. A later one is told, and the file stays as it is.
    """
    write(passfile, login.line(password()))
    say(f"{login.user}@{login.host}: password written")
    while not ended.wait(every_s):
        try:
            if write(passfile, login.line(password())):
                say(f"{login.user}@{login.host}: password has turned")
        except (DatabaseError, OSError) as error:
            say(f"{login.user}@{login.host}: {error}; the password stays as it was")
