"""Training: which runs make steps, where these lead, what they spend their time on, and what would be lost."""

from __future__ import annotations

from typing import Any

from components.observability.dashboards.panels import (
    RED,
    WHERE,
    YELLOW,
    Query,
    alerts,
    bars,
    dashboard,
    lines,
    number,
)
from components.observability.objectives import REMAINING

_IN = f'{WHERE},namespace=~"$namespace"'
_RUN = f'{_IN},job=~"$run"'


def build(runbooks: str) -> dict[str, Any]:
    def of(metric: str) -> str:
        return f"max by (cluster, job) (training_{metric}{{{_RUN}}})"

    def part(metric: str, name: str) -> Query:
        return Query(of(metric), f"{{{{job}}}} {name}")

    waiting = f"max by (cluster, cluster_queue, status) (kueue_pending_workloads{{{WHERE}}})"
    return dashboard(
        "training",
        "Training runs. A run is called as its PodMonitor: namespace/run.",
        {
            "namespace": f"training_step{{{WHERE}}}, namespace",
            "run": f'training_step{{{WHERE},namespace=~"$namespace"}}, job',
        },
        {
            "Now": [
                [
                    number("Runs", "Runs that tell of themselves.", "short", f"count({of('step')}) or vector(0)"),
                    number(
                        "Longest since a step",
                        "Of all runs. Alert: TrainingStalled.",
                        "s",
                        f"time() - min({of('time')})",
                        lines={300: YELLOW, 900: RED},
                    ),
                    number(
                        "Least goodput",
                        "Of all runs: part of the time since the start that went into steps that count. "
                        "Alert: TrainingGoodputBurn.",
                        "percentunit",
                        f"min({of('goodput')})",
                        lines={0.8: YELLOW, 0.9: "green"},
                        good=RED,
                    ),
                    number(
                        "Oldest checkpoint",
                        "Of all runs: work that would be lost with a machine now. Alert: TrainingCheckpointOld.",
                        "s",
                        f"max({of('checkpoint_age_seconds')})",
                        lines={1800: YELLOW, 3600: RED},
                    ),
                    number(
                        "Bad losses, last hour",
                        "Steps left out, or gone back, because of their loss. Alert: TrainingBadLosses.",
                        "short",
                        f"sum(max by (cluster, job) (training_bad_losses{{{_RUN}}}"
                        f" - min_over_time(training_bad_losses{{{_RUN}}}[1h])))",
                        lines={1: YELLOW, 10: RED},
                    ),
                    number(
                        "Jobs waiting",
                        "In all queues. Alert: KueueQueueStuck; more on the dashboard Fleet.",
                        "short",
                        f"sum({waiting}) or vector(0)",
                    ),
                ],
                [alerts("training", runbooks)],
            ],
            "What it learns": [
                [
                    lines(
                        "Loss",
                        "Mean cross entropy of a step's tokens, in nats. Alert: TrainingLossNotFinite.",
                        "none",
                        Query(of("loss"), "{{job}}"),
                        width=10,
                    ),
                    lines(
                        "Held-out bits per byte",
                        "On text that it has not seen; lower is better. Alert: TrainingDiverging.",
                        "none",
                        Query(of("held_out_bits_per_byte"), "{{job}}"),
                        width=6,
                    ),
                    lines(
                        "Gradient norm",
                        "Before clipping. It jumps before the loss does.",
                        "none",
                        Query(of("gradient_norm"), "{{job}}"),
                        width=4,
                    ),
                    lines("Learning rate", "Of the step.", "none", Query(of("learning_rate"), "{{job}}"), width=4),
                ],
            ],
            "How fast": [
                [
                    lines(
                        "Tokens a second",
                        "Of all processes of a run. Alert: TrainingSlow.",
                        "short",
                        Query(of("tokens_per_second"), "{{job}}"),
                    ),
                    lines(
                        "Model FLOPs utilization",
                        "Operations that the model needs, of those that its devices could do.",
                        "percentunit",
                        Query(of("model_flops_utilization"), "{{job}}"),
                        top=1,
                    ),
                    lines(
                        "Where a step's time goes",
                        "Waiting for tokens, forward and backward, optimizer, checkpoint. Choose one run. "
                        "Alert: TrainingDataStarved.",
                        "s",
                        part("data_wait_seconds", "data"),
                        part("compute_seconds", "compute"),
                        part("update_seconds", "update"),
                        part("checkpoint_stall_seconds", "checkpoint"),
                        stacked=True,
                    ),
                ],
                [
                    lines(
                        "Goodput",
                        "Part of the time since the start that went into steps that count; waiting, restarts and steps "
                        "done twice don't.",
                        "percentunit",
                        Query(of("goodput"), "{{job}}"),
                        lines={0.9: YELLOW},
                        top=1,
                    ),
                    lines(
                        "Steps",
                        "So far. It falls where a run went back to a checkpoint.",
                        "short",
                        Query(of("step"), "{{job}}"),
                    ),
                    lines(
                        "Work at risk",
                        "Time since the newest checkpoint that is whole.",
                        "s",
                        Query(of("checkpoint_age_seconds"), "{{job}}"),
                        lines={3600: RED},
                    ),
                    bars(
                        "Goodput budget left",
                        "Of what the objective allows to be lost in 30 days; below 0 it is spent.",
                        "percentunit",
                        Query(
                            f'min by (cluster, job) ({REMAINING}{{{_IN},objective="training-goodput",job=~"$run"}})',
                            "{{job}}",
                        ),
                        lines={0: YELLOW, 0.5: "green"},
                        good=RED,
                        top=1,
                    ),
                ],
            ],
            "On what": [
                [
                    lines(
                        "GPUs busy",
                        "Each line is a pod: one that differs holds up the others.",
                        "percent",
                        Query(f"avg by (cluster, pod) (DCGM_FI_DEV_GPU_UTIL{{{_IN}}})", "{{pod}}"),
                        top=100,
                    ),
                    lines(
                        "Tensor cores active",
                        "By pod: part of cycles.",
                        "percentunit",
                        Query(f"avg by (cluster, pod) (DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{{{_IN}}})", "{{pod}}"),
                        top=1,
                    ),
                    lines(
                        "GPU memory",
                        "Most that torch has held, of the process that speaks for the run.",
                        "bytes",
                        Query(of("gpu_memory_bytes"), "{{job}}"),
                    ),
                    lines(
                        "Power",
                        "Of the GPUs, by pod. It tells an idle gang at once.",
                        "watt",
                        Query(f"sum by (cluster, pod) (DCGM_FI_DEV_POWER_USAGE{{{_IN}}})", "{{pod}}"),
                    ),
                ],
            ],
        },
        window="now-24h",
    )
