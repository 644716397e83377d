"""Who may do what in Kubeflow Pipelines' namespace, and the kind that its schedules are.

As kubeflow/pipelines' manifests have it at 2.16.1, less what only many tenants or pipelines of version 1 need: a run
may read the launcher's settings, tell Argo its results and have volumes, but neither read secrets nor make pods.
"""

from __future__ import annotations

from typing import Any

from components.pipelines.kubeflow_pods import AGENT, RUNNER, SCHEDULES, SERVER

_ALL = ["create", "get", "list", "watch", "update", "patch", "delete"]
_SEES = ["get", "list", "watch"]
LAUNCHER = "kfp-launcher"


def _may(group: str, resources: str, verbs: list[str], *names: str) -> dict[str, Any]:
    named = {"resource_names": list(names)} if names else {}
    return {"api_groups": [group], "resources": resources.split(), **named, "verbs": verbs}


RULES: dict[str, list[dict[str, Any]]] = {
    SERVER: [
        _may("", "pods pods/log", ["get", "list", "delete"]),
        _may("argoproj.io", "workflows", _ALL),
        _may("kubeflow.org", "scheduledworkflows", ["create", "get", "list", "update", "patch", "delete"]),
        _may("kubeflow.org", "scheduledworkflows/finalizers", ["update"]),
    ],
    AGENT: [
        _may("argoproj.io", "workflows", _SEES),
        _may("kubeflow.org", "scheduledworkflows", _SEES),
    ],
    SCHEDULES: [
        _may("argoproj.io", "workflows", _ALL),
        _may("kubeflow.org", "scheduledworkflows scheduledworkflows/finalizers", _ALL),
        _may("", "events", ["create", "patch"]),
    ],
    RUNNER: [
        _may("", "configmaps", ["get"], LAUNCHER),
        _may("", "pods", ["get"]),
        _may("", "persistentvolumeclaims", ["create", "get", "delete"]),
        _may("argoproj.io", "workflowtaskresults", ["create", "patch"]),
    ],
}
"""Account -> rules of its Role."""

_ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "x-kubernetes-map-type": "atomic"}
SCHEDULED_WORKFLOW: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    # Schedules are lost with their kind.
    "metadata": {"name": "scheduledworkflows.kubeflow.org", "annotations": {"helm.sh/resource-policy": "keep"}},
    "spec": {
        "group": "kubeflow.org",
        "scope": "Namespaced",
        "names": {
            "kind": "ScheduledWorkflow",
            "listKind": "ScheduledWorkflowList",
            "plural": "scheduledworkflows",
            "singular": "scheduledworkflow",
            "shortNames": ["swf"],
        },
        "versions": [
            {
                "name": "v1beta1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "required": ["spec", "status"],
                        "properties": {
                            "apiVersion": {"type": "string"},
                            "kind": {"type": "string"},
                            "metadata": {"type": "object"},
                            "spec": _ANYTHING,
                            "status": _ANYTHING,
                        },
                    }
                },
            }
        ],
    },
}
"""The definition of ScheduledWorkflow, which says no more of it than the project's own. Pulumi's typed resource has
other names for what starts with x-kubernetes, so it is for a chart to bring."""
