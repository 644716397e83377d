"""Machines and who gets them: nodes, GPUs, disks, queues, and what the cloud refuses."""

from __future__ import annotations

from components.observability.rule import Alert, Group, Scope

ACCELERATORS = "nvidia_com_gpu|aws_amazon_com_neuron|google_com_tpu"
"""Resources, as kube-state-metrics writes them."""

HARDWARE_XIDS = (48, 62, 64, 74, 79, 92, 94, 95, 119, 120, 140, 143, 156, 158)
"""XIDs of which NVIDIA's catalog says to reset the GPU, drain the node or report it: memory that can't be mended,
NVLink, a GPU that left the bus, GSP timeouts. Others mostly are a program's own fault.
https://docs.nvidia.com/deploy/xid-errors/ (remembered)"""


def groups(_scope: Scope) -> list[Group]:
    return [Group("aicloud-machines", _machines()), Group("aicloud-queues", _queues())]


def _machines() -> list[Alert]:
    gpu = "GPU {{ $labels.gpu }} of {{ $labels.hostname }}"
    hardware = " or ".join(f"DCGM_FI_DEV_XID_ERRORS == {xid}" for xid in HARDWARE_XIDS)
    disk = 'fstype!~"tmpfs|overlay|squashfs|iso9660|ramfs",mountpoint!~"/(boot|run)(/.*)?"'
    return [
        Alert(
            name="NodeNotReady",
            expr='max by (node) (kube_node_status_condition{condition="Ready",status="true"}) == 0',
            lasts="10m",
            severity="warning",
            team="platform",
            dashboard="fleet",
            summary="node {{ $labels.node }} is not ready",
            description="For ten minutes. Its pods are started elsewhere where there is room; it is still paid for.",
        ),
        Alert(
            name="GpuXidHardware",
            expr=hardware,
            severity="critical",
            team="platform",
            dashboard="fleet",
            summary=f"{gpu} reports XID {{{{ $value }}}}: its hardware is at fault",
            description="What runs on it may hang, crash or compute wrongly. The node must be drained and replaced.",
        ),
        Alert(
            name="GpuRowRemapFailed",
            expr="DCGM_FI_DEV_ROW_REMAP_FAILURE > 0",
            severity="critical",
            team="platform",
            dashboard="fleet",
            summary=f"{gpu} has no spare memory left to replace what is broken",
            description="NVIDIA takes it back. Until then errors in its memory go into what runs on it.",
        ),
        Alert(
            name="GpuMemoryErrors",
            expr="increase(DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS[1h]) > 0",
            severity="warning",
            team="platform",
            dashboard="fleet",
            summary=f"{gpu} had an error in its memory that could not be corrected",
            description="The program that used it was ended. The row is replaced when the GPU is reset.",
        ),
        Alert(
            name="GpuThrottled",
            expr="DCGM_FI_DEV_SM_CLOCK < 0.7 * max_over_time(DCGM_FI_DEV_SM_CLOCK[6h]) and DCGM_FI_DEV_GPU_UTIL > 90",
            lasts="15m",
            severity="warning",
            team="platform",
            dashboard="fleet",
            summary=f"{gpu} runs at {{{{ $value }}}} MHz",
            description="It is busy and below 70 % of the clock that it had: power, heat, or a fault.",
        ),
        Alert(
            name="NodeDiskFull",
            expr=f"node_filesystem_avail_bytes{{{disk}}} / node_filesystem_size_bytes{{{disk}}} < 0.1",
            lasts="15m",
            severity="warning",
            team="platform",
            dashboard="fleet",
            summary="{{ $labels.mountpoint }} of {{ $labels.instance }} is nearly full",
            description="{{ $value | humanizePercentage }} is left. Below that, kubelet evicts pods.",
        ),
        Alert(
            name="VolumeFull",
            expr="max by (namespace, persistentvolumeclaim)"
            " (kubelet_volume_stats_available_bytes / kubelet_volume_stats_capacity_bytes) < 0.1",
            lasts="15m",
            severity="warning",
            team="platform",
            dashboard="fleet",
            summary="volume {{ $labels.namespace }}/{{ $labels.persistentvolumeclaim }} is nearly full",
            description="{{ $value | humanizePercentage }} is left.",
        ),
    ]


def _queues() -> list[Alert]:
    asks = f'sum by (namespace, pod) (kube_pod_container_resource_requests{{resource=~"{ACCELERATORS}"}})'
    pending = 'max by (namespace, pod) (kube_pod_status_phase{phase="Pending"})'
    # Two replicas export the same queues; the one that doesn't lead may lag.
    waiting = "sum by (cluster_queue) (max by (cluster_queue, status) (kueue_pending_workloads))"
    admitted = "sum by (cluster_queue) (increase(kueue_admitted_workloads_total[1h]))"
    return [
        Alert(
            name="AcceleratorPodsPending",
            expr=f"sum by (namespace) (({pending} == 1) * on (namespace, pod) {asks}) > 0",
            lasts="45m",
            severity="warning",
            team="platform",
            dashboard="fleet",
            summary="pods in {{ $labels.namespace }} wait for {{ $value }} accelerators",
            description="For three quarters of an hour, longer than machines take that are to be had.",
        ),
        Alert(
            name="KueueQueueStuck",
            expr=f"{waiting} > 0 and on (cluster_queue) {admitted} == 0",
            lasts="1h",
            severity="warning",
            team="platform",
            dashboard="fleet",
            summary="{{ $value }} jobs wait in {{ $labels.cluster_queue }} and none is let in",
            description="For at least an hour: no quota is free, or a job is asked for that never fits.",
        ),
        Alert(
            name="KueueQueueInactive",
            expr='max by (cluster_queue) (kueue_cluster_queue_status{status="active"}) == 0',
            lasts="10m",
            severity="critical",
            team="platform",
            dashboard="fleet",
            summary="queue {{ $labels.cluster_queue }} lets nobody in",
            description="It is not active: a flavor or an admission check that it names is missing, or it was stopped.",
        ),
        Alert(
            name="KueueEvicting",
            expr="sum by (cluster_queue) "
            '(increase(kueue_evicted_workloads_total{reason="PodsReadyTimeout"}[3h])) > 2.5',
            severity="warning",
            team="platform",
            dashboard="fleet",
            summary="jobs of {{ $labels.cluster_queue }} get quota but not their machines",
            description="{{ $value | humanize }} times in three hours one gave its quota back since its pods never "
            "were all ready.",
        ),
        Alert(
            name="NodePoolAtLimit",
            expr="max by (nodepool, resource_type) (karpenter_nodepools_usage)"
            " / (max by (nodepool, resource_type) (karpenter_nodepools_limit) > 0) > 0.95",
            lasts="30m",
            severity="warning",
            team="platform",
            dashboard="fleet",
            summary="pool {{ $labels.nodepool }} has used up its {{ $labels.resource_type }}",
            description="{{ $value | humanizePercentage }} of its limit. It adds no machine beyond that.",
        ),
        Alert(
            name="CloudRefusesMachines",
            expr='sum by (error) (increase(karpenter_cloudprovider_errors_total{method="Create"}[30m])) > 5',
            lasts="15m",
            severity="warning",
            team="platform",
            dashboard="fleet",
            summary="the cloud doesn't give machines: {{ $labels.error }}",
            description="{{ $value | humanize }} refusals in half an hour.",
        ),
    ]
