"""Arguments of Observability, and what is wrong with them."""

import re
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

import pulumi

from components.observability.alertmanager import SECRETS

DEFAULT_NAMESPACE = "observability"
DEFAULT_MONITORING = "monitoring"

LEAST_DAYS, MOST_DAYS = 1, 1095
"""Days that AMP keeps metrics, at most three years. https://docs.aws.amazon.com/prometheus/latest/userguide/AMP_quotas.html
(as remembered)"""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_EMAIL = re.compile(r"[\w.+-]+@[\w.-]+\.[a-z]{2,63}")
_CHANNEL = re.compile(r"#[a-z0-9_-]{1,80}")
_HOST = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?:\d{2,5}")
_URL = re.compile(r"https://[\w.-]+(/\S*)?")
_SERIES = re.compile(r"[\w:.*|()\[\]?+-]+")


class LongTermArgs(TypedDict):
    """What the cloud's own Prometheus keeps when this cluster's is gone."""

    retention_days: NotRequired[int]
    """AWS: days to keep it, 1 to 1095; default 395, a year and a month. GCP keeps all for 24 months."""
    series: NotRequired[str]
    """Regular expression of the metrics that are sent; default those that dashboards of weeks and years need: recorded
    series, and what is known of rollouts, models, pipelines, GPUs and cost. Each sample costs."""


class EmailArgs(TypedDict):
    """A mail relay, and whom it is to tell."""

    to: str
    """Address that is told of everything."""
    sender: str
    """Address that mails come from."""
    smarthost: str
    """Relay and port, such as `smtp.example.com:587`; it has to speak TLS."""
    username: NotRequired[str]
    """User of the relay, whose password is the secret `smtp_password`; default none: the relay knows the network."""


class TeamArgs(TypedDict):
    """A team that is told of alerts with its label `team`."""

    name: str
    """Value of the label."""
    email: NotRequired[str]
    """Address of the team; default the one that is told of everything."""
    slack_channel: NotRequired[str]
    """Channel of the team, such as `#ml-serving`; default the one that is told of everything."""


class AlertingArgs(TypedDict):
    """Who is told of what. Without any way to tell, alerts are seen in Grafana alone."""

    email: NotRequired[EmailArgs]
    """Mails for critical and warning alerts; default none."""
    slack_channel: NotRequired[str]
    """Channel for critical and warning alerts, such as `#ml-alerts`; it needs the secret `slack_url`. Default none."""
    pagerduty: NotRequired[bool]
    """Page somebody for critical alerts; it needs the secret `pagerduty_routing_key`. Default false."""
    heartbeat: NotRequired[bool]
    """Ask a service outside, whose address is the secret `heartbeat_url`, once a minute to keep quiet: it tells when no
    request came, which is when alerting itself is broken. Default false."""
    teams: NotRequired[list[TeamArgs]]
    """Teams with addresses or channels of their own; default none."""
    secrets: NotRequired[pulumi.Input[dict[str, pulumi.Input[str]]]]
    """Secrets by name: `slack_url`, `pagerduty_routing_key`, `heartbeat_url`, `smtp_password`."""
    secret_names: NotRequired[list[str]]
    """Which of them there are; to be given where `secrets` is an output."""


class OidcArgs(TypedDict):
    """Who may see the dashboards: an OpenID Connect provider."""

    issuer: str
    """URL of the provider, such as `https://login.example.com/realms/main`; its endpoints are `<issuer>/authorize`,
    `<issuer>/token` and `<issuer>/userinfo`."""
    client_id: str
    """Grafana's id at the provider."""
    client_secret: pulumi.Input[str]
    """Grafana's secret there."""
    admin_group: NotRequired[str]
    """Group in the claim `groups` whose members administer Grafana; default nobody. All others look on."""


class TracingArgs(TypedDict):
    """Which traces are kept."""

    sample_ratio: NotRequired[float]
    """Part of the traces that is kept whatever is in them, 0 to 1; default 0.2. Those with an error are all kept."""
    slow_ms: NotRequired[int]
    """Traces that take longer, in milliseconds, are all kept; default 1000."""
    own_destination: NotRequired[bool]
    """AWS: have X-Ray store spans in CloudWatch Logs, which its OTLP endpoint needs: a setting of the whole account in
    that region. Default true; give false where something else has set it."""


class ObservabilityArgs(TypedDict):
    """Arguments of Observability."""

    cloud: str
    """`aws` or `gcp`."""
    region: str
    """The cluster's region, such as `us-east-1` or `europe-west4`."""
    environment: str
    """Environment, such as `prod`: a label of every metric and trace."""
    cluster_name: pulumi.Input[str]
    """The cluster's name in its cloud; its add-ons come without a Prometheus (GpuCluster's `prometheus`)."""
    workload_identity_pool: pulumi.Input[str]
    """`<project>.svc.id.goog` on GCP, empty on AWS: GpuCluster's output of that name."""
    namespace: NotRequired[str]
    """Namespace of Grafana, collectors and OpenCost, which is made; default `observability`."""
    monitoring_namespace: NotRequired[str]
    """Namespace of Prometheus and Alertmanager, that of the operator; default `monitoring`."""
    retention_days: NotRequired[int]
    """Days that the cluster's own Prometheus keeps metrics; default 35: objectives look back 30 days."""
    disk_gib: NotRequired[int]
    """Its disk in GiB; default 100."""
    storage_class: NotRequired[str]
    """StorageClass of the disk; default the add-ons' `encrypted`."""
    long_term: NotRequired[LongTermArgs]
    """Send metrics to the cloud's own Prometheus as well; default none."""
    alerting: NotRequired[AlertingArgs]
    """Who is told of what; default nobody."""
    runbook_url: NotRequired[str]
    """Where runbooks are, such as `https://git.example.com/ai-cloud/blob/main/docs/runbooks`; default
    `docs/runbooks`, which leads somewhere in this repository alone."""
    serving_namespaces: NotRequired[list[str]]
    """Namespaces that serve, as regular expressions of whole names; default `serving`, `gateway`, `kserve-.+` and
    `tensorflow-.+`."""
    training_namespaces: NotRequired[list[str]]
    """Namespaces that train, likewise; default `training`."""
    machine_budget_usd: NotRequired[float]
    """US dollars that the cluster's machines may cost in a month of 730 hours, by OpenCost's prices; more for six hours
    alerts. Default no alert."""
    grafana_domain: NotRequired[str]
    """Domain by which people reach Grafana through a proxy of their own; default none: by port-forward."""
    oidc: NotRequired[OidcArgs]
    """Sign in with an OpenID Connect provider; default none: there is one user, `admin`."""
    tracing: NotRequired[TracingArgs]
    """Which traces are kept; default as of TracingArgs."""
    query_namespaces: NotRequired[list[str]]
    """Namespaces whose pods ask Prometheus, besides KEDA's and this one; default none."""
    protect: NotRequired[bool]
    """Refuse to delete what keeps metrics for the long term; default false."""
    tags: NotRequired[dict[str, str]]
    """Tags of what bears them."""


def check(name: str, args: ObservabilityArgs) -> None:
    """ValueError with the component, the argument, what it got and what it accepts."""
    where = f"Observability {name!r}"
    if args["cloud"] not in ("aws", "gcp"):
        raise ValueError(f"{where}: cloud is {args['cloud']!r}; accepted are 'aws' and 'gcp'")
    _matches(where, args, "environment", _NAME, "up to 63 a-z, 0-9 and -")
    for field in ("namespace", "monitoring_namespace"):
        _matches(where, args, field, _NAME, "a namespace: up to 63 a-z, 0-9 and -")
    if args.get("namespace", DEFAULT_NAMESPACE) == args.get("monitoring_namespace", DEFAULT_MONITORING):
        raise ValueError(f"{where}: namespace is {args.get('namespace')!r}; expected another than monitoring_namespace")
    for index, namespace in enumerate(args.get("query_namespaces") or []):
        _matches(where, {f"query_namespaces[{index}]": namespace}, f"query_namespaces[{index}]", _NAME, "a namespace")
    _between(where, args, "retention_days", 1, 365)
    _between(where, args, "disk_gib", 10, 4096)
    _matches(where, args, "runbook_url", _URL, "an https:// address")
    if not args.get("machine_budget_usd", 1) > 0:
        raise ValueError(f"{where}: machine_budget_usd is {args['machine_budget_usd']}; accepted is more than 0")
    if (long_term := args.get("long_term")) is not None:
        if args["cloud"] == "gcp" and "retention_days" in long_term:
            got = long_term["retention_days"]
            raise ValueError(f"{where}: long_term.retention_days is {got}; expected none on GCP, which keeps 24 months")
        _between(f"{where}: long_term", long_term, "retention_days", LEAST_DAYS, MOST_DAYS, ".")
        _matches(f"{where}: long_term", long_term, "series", _SERIES, "a regular expression of metrics' names", ".")
    tracing = args.get("tracing") or {}
    _between(f"{where}: tracing", tracing, "sample_ratio", 0, 1, ".")
    _between(f"{where}: tracing", tracing, "slow_ms", 1, 600_000, ".")
    if args["cloud"] == "gcp" and "own_destination" in tracing:
        raise ValueError(f"{where}: tracing.own_destination: expected none on GCP, where a project has one already")
    if (oidc := args.get("oidc")) is not None:
        _matches(f"{where}: oidc", oidc, "issuer", _URL, "an https:// address", ".")
    _alerting(where, args.get("alerting") or {})


def _alerting(where: str, alerting: Mapping[str, Any]) -> None:
    path = f"{where}: alerting"
    _matches(path, alerting, "slack_channel", _CHANNEL, "a channel such as '#ml-alerts'", ".")
    if email := alerting.get("email"):
        _matches(f"{path}.email", email, "to", _EMAIL, "an email address", ".")
        _matches(f"{path}.email", email, "sender", _EMAIL, "an email address", ".")
        _matches(f"{path}.email", email, "smarthost", _HOST, "a host and its port, such as 'smtp.example.com:587'", ".")
    teams = alerting.get("teams") or []
    for index, team in enumerate(teams):
        at = f"{path}.teams[{index}]"
        _matches(at, team, "name", _NAME, "up to 63 a-z, 0-9 and -", ".")
        _matches(at, team, "email", _EMAIL, "an email address", ".")
        _matches(at, team, "slack_channel", _CHANNEL, "a channel such as '#ml-alerts'", ".")
        if team["name"] in [other["name"] for other in teams[:index]]:
            raise ValueError(f"{at}.name is {team['name']!r}; expected each name once")
        if "email" in team and not email:
            raise ValueError(f"{at}.email is {team['email']!r}; expected none without alerting.email, the relay")
    there = secret_names(alerting)
    for name in there:
        if name not in SECRETS:
            raise ValueError(f"{path}.secrets has {name!r}; accepted are {', '.join(map(repr, SECRETS))}")
    for name, asked in _needed(alerting).items():
        if asked and name not in there:
            raise ValueError(f"{path}.secrets: has no {name!r}, which {asked} needs")


def _needed(alerting: Mapping[str, Any]) -> dict[str, str]:
    """Secret -> the argument that needs it; empty where none does."""
    slack = "slack_channel" if alerting.get("slack_channel") else ""
    slack = slack or next(
        ("teams.slack_channel" for team in alerting.get("teams") or [] if "slack_channel" in team), ""
    )
    return {
        "slack_url": slack,
        "pagerduty_routing_key": "pagerduty" if alerting.get("pagerduty") else "",
        "heartbeat_url": "heartbeat" if alerting.get("heartbeat") else "",
        "smtp_password": "email.username" if (alerting.get("email") or {}).get("username") else "",
    }


def secret_names(alerting: Mapping[str, Any]) -> list[str]:
    """The secrets that there are, known although their values may not be."""
    secrets = alerting.get("secrets")
    named = list(alerting.get("secret_names") or [])
    return named or (sorted(secrets) if isinstance(secrets, Mapping) else [])


def _matches(
    where: str, args: Mapping[str, Any], field: str, pattern: re.Pattern[str], accepted: str, joint: str = ": "
) -> None:
    value = args.get(field)
    if isinstance(value, str) and not pattern.fullmatch(value):
        raise ValueError(f"{where}{joint}{field} is {value!r}; accepted is {accepted}")


def _between(where: str, args: Mapping[str, Any], field: str, least: float, most: float, joint: str = ": ") -> None:
    value = args.get(field)
    if value is not None and not least <= value <= most:
        raise ValueError(f"{where}{joint}{field} is {value!r}; accepted are {least} to {most}")
