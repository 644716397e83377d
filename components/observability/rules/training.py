"""Training runs: that they make steps, that these lead somewhere, and that little is lost when a machine is.

A run is told by the label `job`, which the operator of Prometheus sets to `<namespace>/<run>`: a run's PodMonitor is
called as the run. One process of a run speaks for all.
"""

from __future__ import annotations

from components.observability.rule import Alert, Group, Scope

_RUN = "max by (namespace, job)"


def groups(scope: Scope) -> list[Group]:
    return [Group("aicloud-training", _alerts(scope))]


def _alerts(scope: Scope) -> list[Alert]:
    failed = f'kube_job_failed{{{scope.training},condition="true"}}'
    return [
        Alert(
            name="TrainingStalled",
            expr=f"time() - {_RUN} (training_time) > {scope.step_s}",
            lasts="5m",
            severity="critical",
            team="training",
            dashboard="training",
            summary="{{ $labels.job }} makes no steps",
            description="The last step ended {{ $value | humanizeDuration }} ago, and its machines are still paid for.",
        ),
        Alert(
            name="TrainingJobFailed",
            # A Job that failed stays until somebody removes it; a day of telling is enough.
            expr=f"{failed} == 1 unless {failed} offset 1d == 1",
            severity="critical",
            team="training",
            dashboard="training",
            summary="{{ $labels.namespace }}/{{ $labels.job_name }} has failed, and is not tried again",
            description="All retries are used up. Its last checkpoint is in the bucket.",
        ),
        Alert(
            name="TrainingLossNotFinite",
            expr=f"{_RUN} (training_loss != training_loss or abs(training_loss) == Inf)",
            lasts="2m",
            severity="critical",
            team="training",
            dashboard="training",
            summary="the loss of {{ $labels.job }} is {{ $value }}",
            description="Steps no longer teach the model anything, and what is saved now is worthless.",
        ),
        Alert(
            name="TrainingBadLosses",
            expr=f"{_RUN} (training_bad_losses - min_over_time(training_bad_losses[1h])) > 10",
            severity="warning",
            team="training",
            dashboard="training",
            summary="{{ $labels.job }} left out {{ $value }} steps in an hour because of their loss",
            description="Single spikes are passed over; so many mean data, learning rate or a machine that computes "
            "wrongly.",
        ),
        Alert(
            name="TrainingDiverging",
            expr=f"{_RUN} (training_held_out_loss) > 1.05 * {_RUN} (min_over_time(training_held_out_loss[1d]))",
            lasts="30m",
            severity="warning",
            team="training",
            dashboard="training",
            summary="{{ $labels.job }} gets worse on text that it hasn't seen",
            description="Held-out loss is {{ $value | humanize }}, 5 % above its best of the last day.",
        ),
        Alert(
            name="TrainingCheckpointOld",
            expr=f"{_RUN} (training_checkpoint_age_seconds) > {scope.checkpoint_s}",
            lasts="10m",
            severity="warning",
            team="training",
            dashboard="training",
            summary="{{ $labels.job }} would lose {{ $value | humanizeDuration }} of work",
            description="Its newest whole checkpoint is that old. Every machine of it may be taken away at any time.",
        ),
        Alert(
            name="TrainingDataStarved",
            expr=f"{_RUN} (avg_over_time(training_data_wait_seconds[15m]))"
            f" / {_RUN} (avg_over_time(training_step_seconds[15m])) > 0.2",
            lasts="30m",
            severity="warning",
            team="training",
            dashboard="training",
            summary="accelerators of {{ $labels.job }} wait for data {{ $value | humanizePercentage }} of the time",
            description="More than a fifth of each step goes by before its tokens are there.",
        ),
        Alert(
            name="TrainingSlow",
            expr=f"{_RUN} (avg_over_time(training_tokens_per_second[30m]))"
            f" < 0.7 * {_RUN} (quantile_over_time(0.5, training_tokens_per_second[1d]))",
            lasts="30m",
            severity="warning",
            team="training",
            dashboard="training",
            summary="{{ $labels.job }} has become slow: {{ $value | humanize }} tokens a second",
            description="Less than 70 % of its median of the last day: a throttled GPU, a slow link, fewer machines.",
        ),
    ]
