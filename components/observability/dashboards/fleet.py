"""The fleet: machines, accelerators, and who waits for them; and whether we would know."""

from __future__ import annotations

from typing import Any

from components.observability.dashboards.panels import (
    RED,
    WHERE,
    WINDOW,
    YELLOW,
    Query,
    alerts,
    bars,
    dashboard,
    lines,
    number,
    rows,
)
from components.observability.rules.fleet import ACCELERATORS

_IN = f'{WHERE},namespace=~"$namespace"'
_ANY = f'{WHERE},resource=~"{ACCELERATORS}"'


def build(runbooks: str) -> dict[str, Any]:
    ready = f'kube_node_status_condition{{{WHERE},condition="Ready",status="true"}}'
    has = f"sum(max by (cluster, node, resource) (kube_node_status_allocatable{{{_ANY}}}))"
    asked = f"kube_pod_container_resource_requests{{{_ANY}}}"
    runs = f'max by (cluster, namespace, pod) (kube_pod_status_phase{{{WHERE},phase="%s"}} == 1)'
    held = f"sum(sum by (cluster, namespace, pod) ({asked}) * on (cluster, namespace, pod) {runs % 'Running'})"
    waiting = f"sum(sum by (cluster, namespace, pod) ({asked}) * on (cluster, namespace, pod) {runs % 'Pending'})"
    pending = f"max by (cluster, cluster_queue, status) (kueue_pending_workloads{{{WHERE}}})"
    admission = f"sum by (le, cluster_queue) (rate(kueue_admission_wait_time_seconds_bucket{{{WHERE}}}[{WINDOW}]))"
    usage = f"max by (cluster, nodepool, resource_type) (karpenter_nodepools_usage{{{WHERE}}})"
    limit = f"max by (cluster, nodepool, resource_type) (karpenter_nodepools_limit{{{WHERE}}})"
    disk = f'{WHERE},fstype!~"tmpfs|overlay|squashfs|iso9660|ramfs"'
    told = "sum by (cluster, integration) (rate(alertmanager_notifications_%s{" + WHERE + f"}}[{WINDOW}]))"
    lost = "sum by (cluster) (rate(otelcol_%s_%s{" + WHERE + f"}}[{WINDOW}]))"
    return dashboard(
        "fleet",
        "Machines, accelerators and queues of all clusters, and the health of what watches them.",
        {"namespace": f"DCGM_FI_DEV_GPU_UTIL{{{WHERE}}}, namespace"},
        {
            "Now": [
                [
                    number("Nodes ready", "Nodes that take pods.", "short", f"sum({ready})"),
                    number(
                        "Nodes not ready",
                        "Paid for, and of no use. Alert: NodeNotReady.",
                        "short",
                        f"count({ready} == 0) or vector(0)",
                        lines={1: RED},
                    ),
                    number("Accelerators", "GPUs, TPU chips and Neuron devices that pods can have.", "short", has),
                    number(
                        "In use",
                        "Part of them that running pods have asked for.",
                        "percentunit",
                        f"{held} / {has}",
                        lines={0.3: YELLOW, 0.6: "green"},
                        good=RED,
                    ),
                    number(
                        "GPUs busy",
                        "Mean part of time in which a GPU that a pod holds computes anything.",
                        "percent",
                        f'avg(DCGM_FI_DEV_GPU_UTIL{{{_IN},pod!=""}})',
                        lines={20: YELLOW, 50: "green"},
                        good=RED,
                    ),
                    number(
                        "Waited for",
                        "Accelerators that pods ask for and don't get. Alert: AcceleratorPodsPending.",
                        "short",
                        f"{waiting} or vector(0)",
                        lines={1: YELLOW, 16: RED},
                    ),
                ],
                [alerts("platform", runbooks)],
            ],
            "Accelerators": [
                [
                    lines(
                        "Busy, by namespace",
                        "Part of time in which GPUs compute anything; says nothing of how well.",
                        "percent",
                        Query(f'avg by (namespace) (DCGM_FI_DEV_GPU_UTIL{{{_IN},pod!=""}})', "{{namespace}}"),
                        top=100,
                    ),
                    lines(
                        "Tensor cores active, by namespace",
                        "Part of cycles in which tensor cores work: how well GPUs are used.",
                        "percentunit",
                        Query(
                            f'avg by (namespace) (DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{{{_IN},pod!=""}})', "{{namespace}}"
                        ),
                        top=1,
                    ),
                    lines(
                        "Memory used, by namespace",
                        "Of the GPUs' own memory, mean over those that pods hold.",
                        "percentunit",
                        Query(
                            f'avg by (namespace) (DCGM_FI_DEV_FB_USED{{{_IN},pod!=""}}'
                            f' / (DCGM_FI_DEV_FB_USED{{{_IN},pod!=""}} + DCGM_FI_DEV_FB_FREE{{{_IN},pod!=""}}))',
                            "{{namespace}}",
                        ),
                        top=1,
                    ),
                ],
                [
                    lines(
                        "Hottest GPUs",
                        "The five hottest. From about 87 degrees on they slow themselves down.",
                        "celsius",
                        Query(f"topk(5, DCGM_FI_DEV_GPU_TEMP{{{WHERE}}})", "{{hostname}} {{gpu}}"),
                        lines={87: RED},
                    ),
                    lines(
                        "Clock, slowest busy GPUs",
                        "The five busy GPUs with the lowest clock: one slow GPU slows its whole gang. "
                        "Alert: GpuThrottled.",
                        "rotmhz",
                        Query(
                            f"bottomk(5, DCGM_FI_DEV_SM_CLOCK{{{WHERE}}} and DCGM_FI_DEV_GPU_UTIL{{{WHERE}}} > 90)",
                            "{{hostname}} {{gpu}}",
                        ),
                    ),
                    rows(
                        "Hardware that reported an error",
                        "The last XID of each GPU that has one. Which mean the hardware: GpuXidHardware.",
                        "none",
                        f"max by (hostname, gpu, modelName) (DCGM_FI_DEV_XID_ERRORS{{{WHERE}}} > 0)",
                        ("hostname", "gpu", "modelName"),
                        empty="none did",
                    ),
                ],
            ],
            "Queues": [
                [
                    lines(
                        "Jobs that wait",
                        "Kueue's workloads that were not let in yet, by queue. Alert: KueueQueueStuck.",
                        "short",
                        Query(f"sum by (cluster_queue) ({pending})", "{{cluster_queue}}"),
                    ),
                    lines(
                        "Wait for admission",
                        "From a job's arrival in its queue to its quota: half of them, and 95 of 100, wait no longer.",
                        "s",
                        Query(f"histogram_quantile(0.5, {admission})", "{{cluster_queue}} half"),
                        Query(f"histogram_quantile(0.95, {admission})", "{{cluster_queue}} 95 %"),
                    ),
                    lines(
                        "Quota used",
                        "Of the nominal quota; above 1 a queue borrows from others.",
                        "percentunit",
                        Query(
                            f"sum by (cluster_queue, flavor) (max by (cluster, cluster_queue, flavor, resource)"
                            f" (kueue_cluster_queue_resource_usage{{{WHERE}}})) / (sum by (cluster_queue, flavor)"
                            f" (max by (cluster, cluster_queue, flavor, resource)"
                            f" (kueue_cluster_queue_nominal_quota{{{WHERE}}})) > 0)",
                            "{{cluster_queue}} {{flavor}}",
                        ),
                        lines={1: YELLOW},
                    ),
                    lines(
                        "Evictions",
                        "Jobs that gave their quota back, by reason, an hour. Alert: KueueEvicting.",
                        "short",
                        Query(
                            f"sum by (cluster_queue, reason) (increase(kueue_evicted_workloads_total{{{WHERE}}}[1h]))",
                            "{{cluster_queue}} {{reason}}",
                        ),
                    ),
                ],
            ],
            "Machines that come and go": [
                [
                    lines(
                        "Machines made",
                        "An hour, by pool. Many made and ended is churn that costs minutes each.",
                        "short",
                        Query(
                            f"sum by (nodepool) (increase(karpenter_nodeclaims_created_total{{{WHERE}}}[1h]))",
                            "{{nodepool}}",
                        ),
                    ),
                    lines(
                        "Machines disrupted",
                        "An hour, by reason: spot that was taken back, drift, consolidation.",
                        "short",
                        Query(
                            f"sum by (nodepool, reason)"
                            f" (increase(karpenter_nodeclaims_disrupted_total{{{WHERE}}}[1h]))",
                            "{{nodepool}} {{reason}}",
                        ),
                    ),
                    lines(
                        "What the cloud refuses",
                        "Errors when machines are asked for, an hour. Alert: CloudRefusesMachines.",
                        "short",
                        Query(
                            "sum by (error)"
                            f' (increase(karpenter_cloudprovider_errors_total{{{WHERE},method="Create"}}[1h]))',
                            "{{error}}",
                        ),
                    ),
                    bars(
                        "Pools, of their limit",
                        "What each pool has of what it may have. Alert: NodePoolAtLimit.",
                        "percentunit",
                        Query(f"{usage} / ({limit} > 0)", "{{nodepool}} {{resource_type}}"),
                        lines={0.8: YELLOW, 0.95: RED},
                        top=1,
                    ),
                ],
            ],
            "Nodes": [
                [
                    lines(
                        "CPU",
                        "Part of time in which cores work; the five busiest nodes.",
                        "percentunit",
                        Query(
                            "topk(5, 1 - avg by (cluster, instance)"
                            f' (rate(node_cpu_seconds_total{{{WHERE},mode="idle"}}[{WINDOW}])))',
                            "{{instance}}",
                        ),
                        top=1,
                    ),
                    lines(
                        "Memory left",
                        "The five nodes with the least.",
                        "percentunit",
                        Query(
                            f"bottomk(5, node_memory_MemAvailable_bytes{{{WHERE}}}"
                            f" / node_memory_MemTotal_bytes{{{WHERE}}})",
                            "{{instance}}",
                        ),
                        top=1,
                    ),
                    lines(
                        "Disk left",
                        "The five file systems with the least. Alert: NodeDiskFull.",
                        "percentunit",
                        Query(
                            f"bottomk(5, node_filesystem_avail_bytes{{{disk}}} / node_filesystem_size_bytes{{{disk}}})",
                            "{{instance}} {{mountpoint}}",
                        ),
                        lines={0.1: RED},
                        top=1,
                    ),
                    lines(
                        "Errors on the network",
                        "Packets a second that were received broken; the five worst interfaces.",
                        "pps",
                        Query(
                            f"topk(5, rate(node_network_receive_errs_total{{{WHERE}}}[{WINDOW}]) > 0)",
                            "{{instance}} {{device}}",
                        ),
                        empty="none",
                    ),
                ],
            ],
            "Would we know?": [
                [
                    bars(
                        "Targets that can't be read",
                        "By job. What they would tell is missing here and in alerts. Alert: TargetDown.",
                        "short",
                        Query(f"count by (cluster, job) (up{{{WHERE}}} == 0)", "{{cluster}} {{job}}"),
                        lines={1: RED},
                        empty="all can",
                    ),
                    lines(
                        "Long-term storage, behind by",
                        "Age of the newest sample that it has. Alert: RemoteWriteBehind.",
                        "s",
                        Query(
                            "time() - max by (cluster, instance)"
                            f" (prometheus_remote_storage_queue_highest_sent_timestamp_seconds{{{WHERE}}})",
                            "{{cluster}} {{instance}}",
                        ),
                        lines={600: RED},
                    ),
                    lines(
                        "Telemetry refused and lost",
                        "Spans a second that collectors refuse, or cannot hand on. Alerts: CollectorRefusing, "
                        "CollectorDropping.",
                        "cps",
                        Query(lost % ("receiver_refused", "spans"), "{{cluster}} refused"),
                        Query(lost % ("exporter_send_failed", "spans"), "{{cluster}} lost"),
                        empty="none",
                    ),
                    lines(
                        "Notifications that fail",
                        "Part of what Alertmanager tried to tell. Alert: NotificationsFailing.",
                        "percentunit",
                        Query(
                            f"{told % 'failed_total'} / ({told % 'total'} > 0)",
                            "{{cluster}} {{integration}}",
                        ),
                        lines={0.05: RED},
                        top=1,
                        empty="nothing was told",
                    ),
                ],
            ],
        },
    )
