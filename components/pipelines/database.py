"""A PostgreSQL of one application's own, in the region's private network, and the login of its pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi

from components.pipelines import database_aws, database_gcp
from components.pipelines.database_parts import PORT, Parts, Request
from components.security import WorkloadIdentity


@dataclass(frozen=True, kw_only=True)
class Login:
    """How pods log in: no password is in any of it."""

    host: pulumi.Output[str]
    user: pulumi.Output[str]
    database: str
    arguments: list[pulumi.Input[str]]
    """Of `python -m workloads.database login`, without the file."""
    made: list[pulumi.Resource] = field(default_factory=list)
    """For pods to depend on."""

    def uri(self, driver: str = "postgresql") -> pulumi.Output[str]:
        """As SQLAlchemy takes it. The password comes from the file that PGPASSFILE names."""
        user = self.user.apply(lambda name: name.replace("@", "%40"))
        return pulumi.Output.concat(f"{driver}://", user, "@", self.host, f":{PORT}/{self.database}?sslmode=require")


class PostgresDatabase(pulumi.ComponentResource):
    """A PostgreSQL server that nobody reaches but the cluster's pods, and no person knows the password of.

    - AWS: RDS in the private subnets, open to the cluster's nodes and pods alone. RDS makes the password, keeps it in a
      secret of Secrets Manager and turns it every week; the application's role may read that secret.
    - GCP: Cloud SQL with an address in the region's range for private services, and a login for the Google account of
      the application's pods, whose tokens are its password.

    On both: encrypted with the key given, TLS or nothing (PostgreSQL's own certificate is not looked at: the way leads
    through the region's network alone), daily backups with recovery to any second between them, minor versions by
    themselves in a window on Sunday, storage that grows.
    """

    def __init__(self, name: str, request: Request, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("aicloud:pipelines:PostgresDatabase", name, {}, opts)
        self._name, self._request = name, request
        build = {"aws": database_aws.build, "gcp": database_gcp.build}[request.cloud]
        self._parts: Parts = build(self, name, request)
        self.register_outputs({})

    @property
    def identity(self) -> Mapping[str, object]:
        """What the WorkloadIdentity of the application is told, beside its buckets."""
        return self._parts.identity

    def login(self, identity: WorkloadIdentity) -> Login:
        """The login of whoever has the identity."""
        grant = {"aws": database_aws.grant, "gcp": database_gcp.grant}[self._request.cloud]
        user, source, made = grant(self, self._name, self._request, self._parts, identity)
        arguments: list[pulumi.Input[str]] = [
            *("--host", self._parts.host, "--port", str(PORT), "--database", self._request.database),
            *("--user", user, *source),
        ]
        return Login(host=self._parts.host, user=user, database=self._request.database, arguments=arguments, made=made)
