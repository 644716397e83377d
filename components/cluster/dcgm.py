"""What is known of each NVIDIA GPU: DCGM's counters, the same on both clouds, and the exporter on GKE.

Fields: NVIDIA/dcgm-exporter 4.8.2, etc/default-counters.csv and etc/dcp-metrics-included.csv; DCGM's field identifiers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

COUNTERS = {
    # Utilization. GPU_UTIL says that something runs; the profiling metrics below, how much of the GPU it uses.
    "DCGM_FI_DEV_GPU_UTIL": ("gauge", "GPU utilization (in %)."),
    "DCGM_FI_DEV_MEM_COPY_UTIL": ("gauge", "Memory utilization (in %)."),
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": ("gauge", "Ratio of time the graphics engine is active."),
    "DCGM_FI_PROF_SM_ACTIVE": ("gauge", "Ratio of cycles an SM has at least one warp assigned."),
    "DCGM_FI_PROF_SM_OCCUPANCY": ("gauge", "Ratio of warps resident on an SM to the most there may be."),
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": ("gauge", "Ratio of cycles the tensor pipe is active."),
    "DCGM_FI_PROF_DRAM_ACTIVE": ("gauge", "Ratio of cycles the device memory interface is active."),
    # Memory
    "DCGM_FI_DEV_FB_FREE": ("gauge", "Framebuffer memory free (in MiB)."),
    "DCGM_FI_DEV_FB_USED": ("gauge", "Framebuffer memory used (in MiB)."),
    "DCGM_FI_DEV_FB_RESERVED": ("gauge", "Framebuffer memory reserved (in MiB)."),
    # Clocks, heat and power
    "DCGM_FI_DEV_SM_CLOCK": ("gauge", "SM clock frequency (in MHz)."),
    "DCGM_FI_DEV_MEM_CLOCK": ("gauge", "Memory clock frequency (in MHz)."),
    "DCGM_FI_DEV_GPU_TEMP": ("gauge", "GPU temperature (in C)."),
    "DCGM_FI_DEV_MEMORY_TEMP": ("gauge", "Memory temperature (in C)."),
    "DCGM_FI_DEV_POWER_USAGE": ("gauge", "Power draw (in W)."),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": ("counter", "Total energy consumption since boot (in mJ)."),
    "DCGM_FI_DEV_POWER_VIOLATION": ("counter", "Throttling duration due to power constraints (in ns)."),
    "DCGM_FI_DEV_THERMAL_VIOLATION": ("counter", "Throttling duration due to thermal constraints (in ns)."),
    # Between GPUs, and between GPU and host
    "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL": ("counter", "Total number of NVLink bandwidth counters for all lanes."),
    "DCGM_FI_PROF_PCIE_TX_BYTES": ("gauge", "Rate of data sent over the PCIe bus (in bytes per second)."),
    "DCGM_FI_PROF_PCIE_RX_BYTES": ("gauge", "Rate of data received over the PCIe bus (in bytes per second)."),
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": ("counter", "Total number of PCIe retries."),
    # What breaks
    "DCGM_FI_DEV_XID_ERRORS": ("gauge", "Value of the last XID error encountered."),
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": ("counter", "Total number of single-bit volatile ECC errors."),
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": ("counter", "Total number of double-bit volatile ECC errors."),
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": ("counter", "Number of remapped rows for uncorrectable errors."),
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": ("counter", "Number of remapped rows for correctable errors."),
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": ("gauge", "Whether remapping of rows has failed."),
}
"""Metric -> (kind, meaning). What a GPU doesn't have it doesn't export."""

NAMESPACE = "dcgm-exporter"
"""Where the exporter runs on GKE. On EKS it is the GPU operator's."""

IMAGE_TAG = "4.6.0-4.8.3-distroless"
"""The exporter that the GPU operator v26.7.0 brings, so that labels are called the same on both clouds."""

_MONITOR = {
    "enabled": True,
    "interval": "15s",
    # `pod`, `namespace` and `container` are those that hold the GPU, and absent where nobody does.
    "honorLabels": True,
    "relabelings": [{"action": "labeldrop", "regex": "pod|namespace|container"}],
}
_DRIVER = "/home/kubernetes/bin/nvidia"
"""Where GKE puts the driver. https://cloud.google.com/stackdriver/docs/managed-prometheus/exporters/nvidia-dcgm"""


def counters() -> str:
    """`COUNTERS` as the exporter reads them: a line each of field, kind and meaning."""
    return "".join(f"{field}, {kind}, {meaning}\n" for field, (kind, meaning) in COUNTERS.items())


def of_gpu_operator() -> dict[str, Any]:
    """`dcgmExporter` of the GPU operator's values (NVIDIA/gpu-operator, deployments/gpu-operator/values.yaml)."""
    config = {"name": "gpu-counters", "create": True, "data": counters()}
    return {"serviceMonitor": dict(_MONITOR), "config": config}


def exporter(tolerations: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Values of the exporter on GKE.

    GKE has a managed one, whose set of counters is fixed and leaves out errors (XID, ECC, remapped rows); it would also
    keep this one from the profiling counters. So the cluster goes without it.

    It is privileged, as Google's own manifest has it, since GKE has no container toolkit: device files and the driver
    come from the machine.
    """
    on_gpus = {"key": "cloud.google.com/gke-accelerator", "operator": "Exists"}
    return {
        "image": {"tag": IMAGE_TAG},
        "serviceMonitor": dict(_MONITOR),
        "customMetrics": counters(),
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [on_gpus]}]
                }
            }
        },
        "tolerations": list(tolerations),
        # Only kube-system may have system-node-critical on GKE without a quota for it.
        "priorityClassName": "",
        "securityContext": {"privileged": True, "runAsNonRoot": False, "runAsUser": 0},
        "extraHostVolumes": [{"name": "nvidia", "hostPath": _DRIVER}],
        # Given whole: Helm replaces lists.
        "extraVolumeMounts": [
            {
                "name": "exporter-metrics-volume",
                "mountPath": "/etc/dcgm-exporter/default-counters.csv",
                "subPath": "default-counters.csv",
            },
            {"name": "nvidia", "mountPath": "/usr/local/nvidia", "readOnly": True},
        ],
        "extraEnv": [
            {"name": "LD_LIBRARY_PATH", "value": "/usr/local/nvidia/lib64"},
            # GKE's device plugin calls GPUs nvidia0, nvidia1, ..., not by their UUIDs.
            {"name": "DCGM_EXPORTER_KUBERNETES_GPU_ID_TYPE", "value": "device-name"},
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
    }
