"""Cost: what it comes to by the hour and the month, who causes it, what it buys, and what is paid for nothing."""

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
    rows,
)
from components.observability.rules.cost import COST, GPU_COST, HOURS
from components.observability.rules.fleet import ACCELERATORS
from components.observability.rules.serving import REQUESTS

_NODES = 'environment=~"$environment",cluster=~"$cluster"'
"""OpenCost's metrics have a label `region` of their own, which says it as the cloud does."""
_IN = f'{WHERE},namespace=~"$namespace"'


def build(runbooks: str) -> dict[str, Any]:
    nodes = f"max by (cluster, node, instance_type) (node_total_hourly_cost{{{_NODES}}})"
    # By the label of each pool's nodes: with prices from a list OpenCost doesn't know which are spot.
    spot = f'max by (cluster, node) (kube_node_labels{{{_NODES},label_aicloud_dev_capacity="spot"}})'
    price = f"max by (cluster, node) (node_gpu_hourly_cost{{{_NODES}}})"
    held = f"sum by (cluster, namespace, node) (container_gpu_allocation{{{_IN}}})"
    gpu = f'sum by (cluster, node) (kube_node_status_allocatable{{{WHERE},resource=~"{ACCELERATORS}"}})'
    asked = f'sum by (cluster, node) (kube_pod_container_resource_requests{{{WHERE},resource=~"{ACCELERATORS}"}})'
    unused = f"{nodes} and on (cluster, node) ({gpu} > 0 unless on (cluster, node) {asked} > 0)"
    idle = f'avg by (cluster, namespace, pod, hostname) (avg_over_time(DCGM_FI_DEV_GPU_UTIL{{{_IN},pod!=""}}[1h]))'
    return dashboard(
        "cost",
        "What nodes cost, by OpenCost's prices (list prices unless it was given others). Storage, load balancers and "
        "traffic are in `aicloud cost` and in the clouds' bills.",
        {"namespace": f"container_gpu_allocation{{{WHERE}}}, namespace"},
        {
            "Now": [
                [
                    number(
                        "An hour",
                        "All nodes. Alerts: CostAboveBudget, CostJumped.",
                        "currencyUSD",
                        f"sum({COST}{{{WHERE}}})",
                    ),
                    number(
                        "A month at this rate",
                        "730 hours of the last hour's mean.",
                        "currencyUSD",
                        f"sum(avg_over_time({COST}{{{WHERE}}}[1h])) * {HOURS}",
                    ),
                    number(
                        "Against yesterday",
                        "Change of the hourly cost. Alert: CostJumped.",
                        "percentunit",
                        f"sum({COST}{{{WHERE}}}) / sum({COST}{{{WHERE}}} offset 1d) - 1",
                        lines={0.2: YELLOW, 0.5: RED},
                    ),
                    number(
                        "Of it, spot",
                        "Part of the hourly cost that goes into spot machines.",
                        "percentunit",
                        f"(sum({nodes} and on (cluster, node) {spot} == 1) or vector(0)) / sum({nodes})",
                    ),
                    number(
                        "Nobody asked for",
                        "What nodes cost an hour whose accelerators no pod wants. Alert: AcceleratorNodeUnused.",
                        "currencyUSD",
                        f"sum({unused}) or vector(0)",
                        lines={5: YELLOW, 50: RED},
                    ),
                    number(
                        "GPUs idle",
                        "Held by a pod, and under 5 % busy in the last hour. Alert: GpuIdle.",
                        "short",
                        f"count({idle} < 5) or vector(0)",
                        lines={1: YELLOW, 8: RED},
                    ),
                ],
                [alerts("platform", runbooks)],
            ],
            "Over time": [
                [
                    lines(
                        "An hour, by cluster",
                        "What all of its nodes cost.",
                        "currencyUSD",
                        Query(
                            f"sum by (environment, region, cluster) ({COST}{{{WHERE}}})",
                            "{{environment}} {{region}} {{cluster}}",
                        ),
                        stacked=True,
                    ),
                    lines(
                        "GPUs an hour, by namespace",
                        "What the GPUs cost that its pods hold, used or not.",
                        "currencyUSD",
                        Query(f"sum by (namespace) ({GPU_COST}{{{_IN}}})", "{{namespace}}"),
                        stacked=True,
                    ),
                    lines(
                        "An hour, by machine",
                        "The eight types that cost the most.",
                        "currencyUSD",
                        Query(f"topk(8, sum by (instance_type) ({nodes}))", "{{instance_type}}"),
                        stacked=True,
                    ),
                ],
            ],
            "What it buys": [
                [
                    lines(
                        "1,000 requests",
                        "What the GPUs of a namespace cost that it held, by the requests that it answered.",
                        "currencyUSD",
                        Query(
                            f"1000 * sum by (cluster, namespace) ({GPU_COST}{{{_IN}}})"
                            f" / (3600 * sum by (cluster, namespace) ({REQUESTS}{{{_IN}}}) > 0)",
                            "{{namespace}}",
                        ),
                    ),
                    lines(
                        "A million trained tokens",
                        "What the GPUs of a namespace cost that trains, by the tokens that its runs learnt from.",
                        "currencyUSD",
                        Query(
                            f"1e6 * sum by (cluster, namespace) ({GPU_COST}{{{_IN}}})"
                            f" / (3600 * sum by (cluster, namespace)"
                            f" (max by (cluster, namespace, job) (training_tokens_per_second{{{_IN}}})) > 0)",
                            "{{namespace}}",
                        ),
                    ),
                    bars(
                        "The last run of a pipeline, by step",
                        "As the pipeline itself has reckoned.",
                        "currencyUSD",
                        Query(
                            f"max by (pipeline, step) (pipeline_step_cost_usd{{{WHERE}}})",
                            "{{pipeline}} {{step}}",
                        ),
                    ),
                ],
            ],
            "Paid for nothing": [
                [
                    rows(
                        "GPUs held and idle",
                        "Pods whose GPUs were less than 5 % busy in the last hour. Alert: GpuIdle.",
                        "percent",
                        f"sort({idle} < 5)",
                        ("cluster", "namespace", "pod", "hostname"),
                        empty="none",
                    ),
                    rows(
                        "Nodes with accelerators that nobody asked for",
                        "And what each costs an hour. Alert: AcceleratorNodeUnused.",
                        "currencyUSD",
                        f"sort_desc({unused})",
                        ("cluster", "node", "instance_type"),
                        empty="none",
                    ),
                ],
                [
                    rows(
                        "Who holds GPUs",
                        "GPUs, and by their price what they cost an hour.",
                        "currencyUSD",
                        f"sort_desc(sum by (cluster, namespace) ({held} * on (cluster, node) group_left () {price}))",
                        ("cluster", "namespace"),
                        empty="nobody",
                    ),
                    lines(
                        "Price of a GPU",
                        "An hour, mean over the nodes, by type of machine.",
                        "currencyUSD",
                        Query(
                            f"avg by (instance_type) (max by (cluster, node, instance_type)"
                            f" (node_gpu_hourly_cost{{{_NODES}}}) > 0)",
                            "{{instance_type}}",
                        ),
                    ),
                ],
            ],
        },
        window="now-7d",
    )
