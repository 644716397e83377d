"""Service level objectives: what is promised, what is left of the error budget, and who is told when it burns too fast.

After the Site Reliability Workbook, chapter 5 ("Alerting on SLOs"), its sixth way: several windows, several burn rates.
A budget that is spent at 14.4 times its rate is gone in two days, of which 2 % in an hour; at 6 times 5 % in six hours;
at its own rate 10 % in three days. The short window, a twelfth of the long one, ends an alert soon after its cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from components.observability import vocabulary
from components.observability.rule import INTERVAL_S, Alert, Group, Record, Scope

PERIOD = "30d"
"""For which a budget is. Prometheus must keep as much, or what is left of it is of the time that it keeps."""

BAD, TOTAL = "aicloud:objective_bad:rate5m", "aicloud:objective_total:rate5m"
"""Recorded series of each objective: what was bad, of how much, in a second. Of objectives that are about time rather
than requests, the part of it that was bad, of 1."""
ERRORS = "aicloud:objective_errors:ratio_rate"
"""Recorded series: this with a window at its end; the part that was bad."""
REMAINING = "aicloud:objective_budget:remaining_ratio"
"""Recorded series: what is left of the budget, of 1; negative when more was spent than there was."""
TARGET = "aicloud:objective_target:ratio"

_LEAST_EVENTS = 10
"""Bad events in the long window below which nobody is told: of five requests in a night, one that failed is 20 %."""
_SLOW_INTERVAL_S = 120
"""Long windows change slowly and cost the most to look at."""


@dataclass(frozen=True)
class Burn:
    """A rate at which a budget is spent, and the windows in which it must be seen."""

    rate: float
    long: str
    short: str
    severity: str


BURNS = (
    Burn(14.4, "1h", "5m", "critical"),
    Burn(6.0, "6h", "30m", "critical"),
    Burn(1.0, "3d", "6h", "warning"),
)
_FAST = ("5m", "30m", "1h")
_SLOW = ("6h", "3d")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One promise."""

    name: str
    alert: str
    """Name of the alert when the budget burns."""
    promise: str
    """What is promised, as users would say it."""
    target: float
    """Part of requests, or of time, for which it holds."""
    bad: str
    total: str
    """PromQL of what was bad and of all, with the same labels: requests a second over five minutes, or, of an objective
    about time, something between 0 and 1."""
    by: Sequence[str]
    """Labels of both."""
    events: bool
    """Whether requests are counted, rather than time."""
    team: str
    dashboard: str

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise ValueError(f"{self.name}: target: {self.target!r}: expected a part between 0 and 1")

    @property
    def budget(self) -> float:
        return round(1 - self.target, 9)

    @property
    def burns(self) -> tuple[Burn, ...]:
        """Those that can happen: nothing is worse than all bad."""
        return tuple(burn for burn in BURNS if burn.rate * self.budget < 1)

    def records(self) -> list[Record]:
        labels = {"objective": self.name}
        # Where nothing was ever bad there may be no such series yet.
        return [
            Record(TOTAL, self.total, labels),
            Record(BAD, f"({self.bad}) or ({self.total}) * 0", labels),
            Record(TARGET, f"vector({self.target})", labels),
        ]

    def alerts(self) -> list[Alert]:
        which = ", ".join(f"{label} {{{{ $labels.{label} }}}}" for label in self.by)
        return [
            Alert(
                name=self.alert,
                expr=self._expr(burn),
                severity=burn.severity,
                team=self.team,
                dashboard=self.dashboard,
                summary=f"{self.name} of {which}: the error budget burns at more than {burn.rate:g} times its rate",
                description=(
                    f"Promised: {self.promise} ({self.target:.4%}). {{{{ $value | humanizePercentage }}}} was bad in "
                    f"the last {burn.long}, and still is in the last {burn.short}."
                ),
                labels={"objective": self.name, "long_window": burn.long},
            )
            for burn in self.burns
        ]

    def _expr(self, burn: Burn) -> str:
        matcher = f'{{objective="{self.name}"}}'
        line = f"{burn.rate * self.budget:.9g}"
        parts = [f"{ERRORS}{window}{matcher} > {line}" for window in (burn.long, burn.short)]
        if self.events:
            parts.append(f"sum_over_time({BAD}{matcher}[{burn.long}]) * {INTERVAL_S} >= {_LEAST_EVENTS}")
        return " and ".join(parts)


def objectives(scope: Scope) -> tuple[Objective, ...]:
    """Everything that is promised."""
    failed = 'sum by (namespace, model) (rate(nv_inference_request_failure{reason!="CANCELED"}[5m]))'
    answered = "sum by (namespace, model) (rate(nv_inference_request_success[5m]))"
    # Of what comes from outside: the proxies' own listeners, for probes and metrics, are called otherwise.
    served = (
        'sum by (namespace) (rate(envoy_http_downstream_rq_xx{envoy_http_conn_manager_prefix=~"https?-.+",%s}[5m]))'
    )
    within = "sum by (namespace, envoy_cluster_name) (rate(envoy_cluster_upstream_rq_time_bucket{%s}[5m]))"
    route = 'envoy_cluster_name=~"(http|grpc)route/.+"'
    every = within % f'{route},le="+Inf"'
    in_time = within % f'{route},le="{scope.latency_ms}"'
    arms = "sum by (rollout) (rate(rollout_requests_total{outcome%s}[5m]))"
    broken = arms % f'=~"{"|".join(vocabulary.FAILURES)}"'
    # Not reached, but another arm answered: users have not noticed.
    rescued = arms % f'="{vocabulary.RESCUED}"'
    queue = "aicloud:inference_queue:milliseconds"
    runs = "max by (namespace, job) (training_goodput)"
    success = "max by (pipeline) (pipeline_last_success_timestamp_seconds)"
    return (
        Objective(
            name="route-availability",
            alert="RouteAvailabilityBurn",
            promise="requests are not answered with an error of the server",
            target=0.999,
            bad=served % 'envoy_response_code_class="5"',
            total=served % 'envoy_response_code_class=~"[1-5]"',
            by=("namespace",),
            events=True,
            team="serving",
            dashboard="serving",
        ),
        Objective(
            name="route-latency",
            alert="RouteLatencyBurn",
            promise=f"requests are answered within {scope.latency_ms} ms",
            target=0.99,
            bad=f"{every} - {in_time}",
            total=every,
            by=("namespace", "envoy_cluster_name"),
            events=True,
            team="serving",
            dashboard="serving",
        ),
        Objective(
            name="inference-availability",
            alert="InferenceAvailabilityBurn",
            promise="a model answers what it is asked",
            target=0.999,
            bad=failed,
            total=f"{answered} + {failed}",
            by=("namespace", "model"),
            events=True,
            team="serving",
            dashboard="serving",
        ),
        Objective(
            name="inference-queue",
            alert="InferenceQueueBurn",
            promise=f"requests wait at most {scope.queue_ms:g} ms for a model, on average over five minutes",
            target=0.99,
            bad=f"{queue} > bool {scope.queue_ms:g}",
            total=f"{queue} * 0 + 1",
            by=("namespace", "model"),
            events=False,
            team="serving",
            dashboard="serving",
        ),
        Objective(
            name="training-goodput",
            alert="TrainingGoodputBurn",
            promise="the time of a training run goes into steps that count",
            target=0.9,
            bad=f"clamp_min(1 - {runs}, 0)",
            total=f"{runs} * 0 + 1",
            by=("namespace", "job"),
            events=False,
            team="training",
            dashboard="training",
        ),
        Objective(
            name="pipeline-freshness",
            alert="PipelineFreshnessBurn",
            promise=f"a pipeline has succeeded within the last {scope.pipeline_s / 86_400:g} days",
            target=0.99,
            bad=f"time() - {success} > bool {scope.pipeline_s}",
            total=f"{success} * 0 + 1",
            by=("pipeline",),
            events=False,
            team="models",
            dashboard="quality",
        ),
        Objective(
            name="rollout-availability",
            alert="RolloutAvailabilityBurn",
            promise="users don't notice that a version is being rolled out",
            target=0.999,
            bad=f"clamp_min({broken} - ({rescued} or {broken} * 0), 0)",
            total=arms % f'!="{vocabulary.RESCUED}"',
            by=("rollout",),
            events=True,
            team="models",
            dashboard="rollout",
        ),
    )


def groups(scope: Scope) -> list[Group]:
    """Recordings, then alerts, of all objectives."""
    all_of_them = objectives(scope)
    return [
        Group(
            "aicloud-objectives",
            [
                *(record for objective in all_of_them for record in objective.records()),
                *(_errors(window) for window in _FAST),
            ],
        ),
        Group(
            "aicloud-objectives-slow",
            [
                *(_errors(window) for window in _SLOW),
                # Of the period, not of a rolling mean of ratios: each request counts the same, whenever it came.
                Record(
                    REMAINING,
                    f"1 - sum_over_time({BAD}[{PERIOD}]) / (sum_over_time({TOTAL}[{PERIOD}]) > 0)"
                    f" / on (objective) group_left () (1 - {TARGET})",
                ),
            ],
            _SLOW_INTERVAL_S,
        ),
        Group("aicloud-burn", [alert for objective in all_of_them for alert in objective.alerts()]),
    ]


def _errors(window: str) -> Record:
    if window == "5m":
        return Record(f"{ERRORS}5m", f"{BAD} / ({TOTAL} > 0)")
    return Record(f"{ERRORS}{window}", f"sum_over_time({BAD}[{window}]) / (sum_over_time({TOTAL}[{window}]) > 0)")
