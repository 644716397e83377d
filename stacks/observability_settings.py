"""What is watched, for how long, and who is told: the settings of observability."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from stacks import accepted
from stacks.fields import Part, Place, Positive, Text

Email = Annotated[str, AfterValidator(accepted.email)]
Channel = Annotated[str, AfterValidator(accepted.channel)]
Address = Annotated[str, AfterValidator(accepted.address)]
Name = Annotated[str, AfterValidator(accepted.dns_label)]


class LongTerm(Part):
    """What the cloud's own Prometheus keeps: Amazon's or Google Cloud's Managed Service for Prometheus."""

    retention_days: Annotated[int, Field(ge=1, le=1095)] = 395
    """days to keep it on AWS, 1 to 1095; Google keeps everything for 24 months"""
    series: Text | None = None
    """regular expression of the metrics to send; absent: recorded series, rollouts, models, pipelines, GPUs and cost"""


class MailRelay(Part):
    """A mail relay, and whom it is to tell."""

    to: Email
    """address that is told of everything"""
    sender: Email
    """address that mails come from"""
    smarthost: Annotated[str, AfterValidator(accepted.host_and_port)]
    """relay and port, such as smtp.example.com:587"""
    username: Text | None = None
    """user of the relay, whose password is observabilitySecrets.smtpPassword; absent: it knows the network"""


class Team(Part):
    """A team that is told of its own alerts."""

    name: Name
    """value of the alerts' label team: serving, training, platform or models"""
    email: Email | None = None
    """address of the team; absent: the one that is told of everything"""
    slack_channel: Channel | None = None
    """channel of the team; absent: the one that is told of everything"""


class Alerting(Part):
    """Who is told of what."""

    email: MailRelay | None = None
    """mails for critical and warning alerts; absent: none"""
    slack_channel: Channel | None = None
    """channel such as #ml-alerts, with observabilitySecrets.slackUrl; absent: none"""
    pagerduty: bool = False
    """page somebody for critical alerts, with observabilitySecrets.pagerdutyRoutingKey"""
    heartbeat: bool = False
    """tell a service outside each minute that alerting works, at observabilitySecrets.heartbeatUrl"""
    teams: tuple[Team, ...] = ()
    """teams with addresses or channels of their own"""


class Oidc(Part):
    """Who may look at Grafana, with observabilitySecrets.oidcClientSecret."""

    issuer: Address
    """URL of the OpenID Connect provider"""
    client_id: Text
    """Grafana's id there"""
    admin_group: Text | None = None
    """group whose members administer Grafana; absent: nobody"""


class Tracing(Part):
    """Which traces are kept, besides those with an error."""

    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 0.2
    """part of all traces that is kept, 0 to 1; servers trace one request in a hundred"""
    slow_ms: Positive = 1000
    """milliseconds beyond which a trace is kept"""
    own_destination: bool = True
    """on AWS, set the account's destination of traces in each region; false where something else has set it"""


class Observability(Part):
    """What each cluster has to be known by."""

    retention_days: Annotated[int, Field(ge=1, le=365)] = 35
    """days that the cluster's own Prometheus keeps; objectives look back 30"""
    disk_gib: Annotated[int, Field(ge=10, le=4096)] = 100
    """its disk in GiB"""
    long_term: LongTerm | None = None
    """send metrics to the cloud's own Prometheus as well; absent: no"""
    alerting: Alerting = Alerting()
    """who is told of what"""
    runbook_url: Address | None = None
    """where docs/runbooks is shown, such as https://git.example.com/ai-cloud/blob/main/docs/runbooks"""
    machine_budgets: dict[Place, Annotated[float, Field(gt=0)]] = {}
    """region -> US dollars that its machines may cost in a month; more for six hours alerts; absent: any"""
    grafana_domain: Annotated[str, AfterValidator(accepted.domain)] | None = None
    """domain of a proxy of your own before Grafana; absent: by kubectl port-forward"""
    oidc: Oidc | None = None
    """sign in with an OpenID Connect provider; absent: as admin"""
    tracing: Tracing = Tracing()
    """which traces are kept"""
    query_namespaces: tuple[Name, ...] = ()
    """namespaces whose pods ask Prometheus, besides KEDA's"""


class ObservabilitySecrets(Part):
    """`pulumi config set --secret --path ai-cloud:observabilitySecrets.slackUrl https://hooks.slack.com/...`"""

    slack_url: SecretStr | None = None
    """address of Slack's incoming webhook"""
    pagerduty_routing_key: SecretStr | None = None
    """integration key of PagerDuty's Events API v2"""
    heartbeat_url: SecretStr | None = None
    """address of the service that tells when it has heard nothing"""
    smtp_password: SecretStr | None = None
    """password of the mail relay's user"""
    oidc_client_secret: SecretStr | None = None
    """Grafana's secret at the OpenID Connect provider"""

    def given(self) -> dict[str, str]:
        """Name -> value, of those that there are."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value.get_secret_value() for name, value in found.items() if value is not None}
