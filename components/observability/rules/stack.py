"""Whoever watches the rest: Prometheus, Alertmanager, collectors, certificates. The chart of Prometheus brings further
rules for these, and the Watchdog that always fires."""

from __future__ import annotations

from components.observability.rule import Alert, Group, Scope

SIGNALS = ("spans", "metric_points", "log_records")
"""What collectors handle."""


def groups(_scope: Scope) -> list[Group]:
    return [Group("aicloud-stack", [*_prometheus(), *_collectors(), *_certificates()])]


def _prometheus() -> list[Alert]:
    failed = "rate(prometheus_remote_storage_samples_failed_total[15m])"
    sent = "rate(prometheus_remote_storage_samples_total[15m])"
    notified = "sum by (integration) (rate(alertmanager_notifications_total[15m]))"
    return [
        Alert(
            name="RemoteWriteFailing",
            expr=f"{failed} / ({failed} + {sent} > 0) > 0.01",
            lasts="15m",
            severity="warning",
            team="platform",
            dashboard="fleet",
            summary="{{ $value | humanizePercentage }} of the samples for long-term storage are lost",
            description="Of {{ $labels.instance }}: they are refused, and not tried again.",
        ),
        Alert(
            name="RemoteWriteBehind",
            expr="time() - max by (instance) (prometheus_remote_storage_queue_highest_sent_timestamp_seconds) > 600",
            lasts="15m",
            severity="warning",
            team="platform",
            dashboard="fleet",
            summary="long-term storage is {{ $value | humanizeDuration }} behind",
            description="Of {{ $labels.instance }}: after two hours of that, samples are lost.",
        ),
        Alert(
            name="RuleFailing",
            expr="sum by (rule_group) (increase(prometheus_rule_evaluation_failures_total[15m])) > 0",
            lasts="15m",
            severity="warning",
            team="platform",
            dashboard="fleet",
            summary="rules of {{ $labels.rule_group }} fail",
            description="{{ $value | humanize }} times in a quarter of an hour: their alerts cannot fire.",
        ),
        Alert(
            name="TargetDown",
            expr="count by (job) (up == 0) / count by (job) (up) > 0.1",
            lasts="15m",
            severity="warning",
            team="platform",
            dashboard="fleet",
            summary="{{ $value | humanizePercentage }} of the targets of {{ $labels.job }} cannot be read",
            description="What they would tell is missing, from alerts too.",
        ),
        Alert(
            name="NotificationsDropped",
            expr="sum by (instance) (rate(prometheus_notifications_dropped_total[15m])) > 0",
            lasts="15m",
            severity="critical",
            team="platform",
            dashboard="fleet",
            summary="alerts of {{ $labels.instance }} don't reach Alertmanager",
            description="Nobody is told of anything.",
        ),
        Alert(
            name="NotificationsFailing",
            expr=f"sum by (integration) (rate(alertmanager_notifications_failed_total[15m])) / ({notified} > 0) > 0.05",
            lasts="10m",
            severity="critical",
            team="platform",
            dashboard="fleet",
            summary="Alertmanager cannot tell anybody by {{ $labels.integration }}",
            description="{{ $value | humanizePercentage }} of its notifications fail.",
        ),
    ]


def _collectors() -> list[Alert]:
    def lost(kind: str) -> str:
        return " or ".join(
            f'label_replace(sum by (job) (rate(otelcol_{kind}_{signal}[5m])), "signal", "{signal}", "", "")'
            for signal in SIGNALS
        )

    return [
        Alert(
            name="CollectorRefusing",
            expr=f"({lost('receiver_refused')}) > 0",
            lasts="10m",
            severity="warning",
            team="platform",
            dashboard="fleet",
            summary="collectors of {{ $labels.job }} refuse {{ $labels.signal }}",
            description="{{ $value | humanize }} a second: they are short of memory, and clients have to try again.",
        ),
        Alert(
            name="CollectorDropping",
            expr=f"({lost('exporter_send_failed')} or {lost('exporter_enqueue_failed')}) > 0",
            lasts="10m",
            severity="warning",
            team="platform",
            dashboard="fleet",
            summary="collectors of {{ $labels.job }} lose {{ $labels.signal }}",
            description="{{ $value | humanize }} a second cannot be handed on, and are gone.",
        ),
        Alert(
            name="CollectorQueueFull",
            expr="max by (job, exporter) (otelcol_exporter_queue_size / otelcol_exporter_queue_capacity) > 0.8",
            lasts="10m",
            severity="warning",
            team="platform",
            dashboard="fleet",
            summary="the queue of {{ $labels.exporter }} in {{ $labels.job }} is nearly full",
            description="{{ $value | humanizePercentage }}: what it sends to is slow or away. Then telemetry is lost.",
        ),
    ]


def _certificates() -> list[Alert]:
    return [
        Alert(
            name="CertificateExpiring",
            expr="max by (name) (certmanager_certificate_expiration_timestamp_seconds) - time() < 10 * 86400",
            lasts="1h",
            severity="warning",
            team="platform",
            dashboard="fleet",
            summary="certificate {{ $labels.name }} is not renewed: {{ $value | humanizeDuration }} are left",
            description="cert-manager renews at two thirds of the life of a certificate; this one it couldn't.",
        ),
    ]
