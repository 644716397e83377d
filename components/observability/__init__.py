"""What is known of the platform while it runs: metrics, dashboards, alerts, traces and cost, of each cluster."""

from components.observability.arguments import (
    AlertingArgs,
    EmailArgs,
    LongTermArgs,
    ObservabilityArgs,
    OidcArgs,
    TeamArgs,
    TracingArgs,
)
from components.observability.observability import Observability

__all__ = [
    "AlertingArgs",
    "EmailArgs",
    "LongTermArgs",
    "Observability",
    "ObservabilityArgs",
    "OidcArgs",
    "TeamArgs",
    "TracingArgs",
]
