"""What the cluster costs by pod, and so by team, model and training job: OpenCost, with the prices of our own catalog.

Its metrics (`node_total_hourly_cost`, `container_cpu_allocation`, `container_gpu_allocation`, ...) go to Prometheus,
where they are joined with the pods' labels. Prices are list prices, wherever a machine comes from: of reservations,
spot and discounts the bill alone knows.

Fields: opencost/opencost-helm-chart 2.5.17; the price list: opencost/opencost, pkg/cloud/provider/csvprovider.go.
"""

from __future__ import annotations

from typing import Any

import pulumi

from components.accelerators import CpuMachine, MachineType, machines
from components.labels import PURPOSE
from components.machine_types import CPU_MACHINES
from components.observability.parts import OPENCOST

PODS = {"app.kubernetes.io/name": "opencost", "app.kubernetes.io/instance": "opencost"}
PORT = 9003
PRICES = "opencost-prices"
"""ConfigMap with the price list."""

_DIRECTORY, _FILE = "/var/prices", "prices.csv"
_HEADER = "EndTimestamp,InstanceID,Region,AssetClass,InstanceIDField,InstanceType,MarketPriceHourly,Version"
_BY = "metadata.labels.node.kubernetes.io/instance-type"


def prices(cloud: str) -> dict[str, str]:
    """Data of the ConfigMap: each machine of the catalog with its list price, found by the type in nodes' labels."""
    offered: tuple[MachineType | CpuMachine, ...] = (*machines(cloud=cloud), *CPU_MACHINES)
    known = {
        machine.name: (machine.on_demand_usd_per_hour, machine.price_as_of)
        for machine in offered
        if machine.cloud == cloud and machine.on_demand_usd_per_hour is not None
    }
    rows = [f"{day} 00:00:00 UTC,{name},,node,{_BY},,{usd:.6f}," for name, (usd, day) in sorted(known.items())]
    return {_FILE: "\n".join([_HEADER, *rows, ""])}


def values(
    prometheus_namespace: str, prometheus_service: str, port: int, cluster_id: pulumi.Input[str]
) -> dict[str, Any]:
    """Helm values: metrics alone; neither its own page, nor its server for agents, nor anything of the cloud's."""
    return {
        "fullnameOverride": OPENCOST,
        "podSecurityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1001,
            "fsGroup": 1001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "extraVolumes": [
            {"name": "prices", "configMap": {"name": PRICES}},
            {"name": "scratch", "emptyDir": {}},
        ],
        "opencost": {
            "nodeSelector": {PURPOSE: "system"},
            "ui": {"enabled": False},
            "mcp": {"enabled": False},
            "metrics": {"serviceMonitor": {"enabled": True}},
            "prometheus": {
                "internal": {
                    "enabled": True,
                    "serviceName": prometheus_service,
                    "namespaceName": prometheus_namespace,
                    "port": port,
                }
            },
            "exporter": {
                "defaultClusterId": cluster_id,
                "extraEnv": {"USE_CSV_PROVIDER": "true", "CSV_PATH": f"{_DIRECTORY}/{_FILE}"},
                "extraVolumeMounts": [
                    {"name": "prices", "mountPath": _DIRECTORY, "readOnly": True},
                    {"name": "scratch", "mountPath": "/var/configs"},
                ],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                },
                "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
            },
        },
    }
