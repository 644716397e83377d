"""The node labels and taints by which pods find their pool; both sides of that contract read them from here."""

POOL = "aicloud.dev/pool"
"""Label: the node pool's name."""

ACCELERATOR = "aicloud.dev/accelerator"
"""Label: the accelerator's key in the catalog, such as `l4`; absent on nodes without one."""

PURPOSE = "aicloud.dev/purpose"
"""Label, and on training pools also a taint: `system`, `serving` or `training`."""

ACCELERATOR_TAINTS = {
    "nvidia.com/gpu": "present",
    "google.com/tpu": "present",
    "aws.amazon.com/neuron": "present",
}
"""Taint (effect NoSchedule) of every node with accelerators, by the Kubernetes resource that it offers. These are the
keys that GKE and the device plugins themselves use."""
