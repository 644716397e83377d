"""Money: what the cluster costs by the hour, and what is paid for and not used."""

from __future__ import annotations

from components.observability.rule import Alert, Group, Record, Scope
from components.observability.rules.fleet import ACCELERATORS

HOURS = 730
"""Of a month, as clouds count them."""
COST = "aicloud:nodes_cost:usd_per_hour"
"""Recorded: what all nodes cost an hour."""
GPU_COST = "aicloud:gpu_cost:usd_per_hour"
"""Recorded: what the GPUs cost an hour that a namespace's pods hold, used or not."""


def groups(scope: Scope) -> list[Group]:
    held = "sum by (namespace, node) (container_gpu_allocation)"
    records = [
        Record(COST, "sum(max by (node) (node_total_hourly_cost))"),
        Record(GPU_COST, f"sum by (namespace) ({held} * on (node) group_left () max by (node) (node_gpu_hourly_cost))"),
    ]
    return [Group("aicloud-cost-records", records), Group("aicloud-cost", _alerts(scope))]


def _alerts(scope: Scope) -> list[Alert]:
    has = f'kube_node_status_allocatable{{resource=~"{ACCELERATORS}"}}'
    asked = f'kube_pod_container_resource_requests{{resource=~"{ACCELERATORS}"}}'
    alerts = [
        Alert(
            name="CostJumped",
            expr=f"{COST} > 1.5 * avg_over_time({COST}[1d] offset 1d) and {COST} - {COST} offset 1d > 10",
            lasts="2h",
            severity="warning",
            team="platform",
            dashboard="cost",
            summary="nodes cost {{ $value | humanize }} USD an hour, half as much again as yesterday",
            description="For two hours.",
        ),
        Alert(
            name="GpuIdle",
            expr='avg_over_time(DCGM_FI_DEV_GPU_UTIL{pod!=""}[1h]) < 5 and on (gpu, hostname)'
            ' count_over_time(DCGM_FI_DEV_GPU_UTIL{pod!=""}[1h]) > 100',
            lasts="30m",
            severity="warning",
            team="platform",
            dashboard="cost",
            summary="{{ $labels.namespace }}/{{ $labels.pod }} holds a GPU that it doesn't use",
            description="{{ $value | humanize }} % busy over the last hour, and paid for.",
        ),
        Alert(
            name="AcceleratorNodeUnused",
            expr=f"sum by (node) ({has}) > 0 unless on (node) sum by (node) ({asked}) > 0",
            lasts="1h",
            severity="warning",
            team="platform",
            dashboard="cost",
            summary="node {{ $labels.node }} has {{ $value }} accelerators and nobody asked for one",
            description="For an hour. A pool that scales would have given it back.",
        ),
    ]
    if scope.monthly_budget_usd is None:
        return alerts
    hourly = scope.monthly_budget_usd / HOURS
    return [
        Alert(
            name="CostAboveBudget",
            expr=f"avg_over_time({COST}[6h]) > {hourly:.9g}",
            lasts="1h",
            severity="warning",
            team="platform",
            dashboard="cost",
            summary="nodes cost {{ $value | humanize }} USD an hour, more than the budget allows",
            description=f"The budget is {scope.monthly_budget_usd:,.0f} USD a month, {hourly:,.2f} USD an hour.",
        ),
        *alerts,
    ]
