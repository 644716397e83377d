"""The node labels and taints by which pods find their pool; both sides of that contract read them from here."""

POOL = "aicloud.dev/pool"
"""Label: the node pool's name."""

ACCELERATOR = "aicloud.dev/accelerator"
"""Label: the accelerator's key in the catalog, such as `l4`; absent on nodes without one."""

PURPOSE = "aicloud.dev/purpose"
"""Label, and on training pools also a taint: `system`, `serving` or `training`."""

TEAM = "aicloud.dev/team"
"""Label of namespaces and pods: whose they are, by which their cost is told."""

COMPUTE_CLASS = "cloud.google.com/compute-class"
"""Label on GKE: the pool's name. A pod that selects it has the pool's ladder tried from the first rung to the last."""

QUEUED = "aicloud.dev/queued"
"""Label of namespaces, `true`: Kueue looks at their jobs and pods, and at no others."""

ACCELERATOR_TAINTS = {
    "nvidia.com/gpu": "present",
    "google.com/tpu": "present",
    "aws.amazon.com/neuron": "present",
}
"""Taint (effect NoSchedule) of every node with accelerators, by the Kubernetes resource that it offers. These are the
keys that GKE and the device plugins themselves use."""
