"""What whoever changes a route's weights may do in the cluster, and nothing more."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as k8s


def permit(
    name: str,
    namespace: pulumi.Input[str],
    routes: Sequence[str],
    homes: Collection[str],
    account: Mapping[str, Any],
    child: pulumi.ResourceOptions,
) -> None:
    """Roles in a route's namespace, for its HTTPRoutes by name, and in its backends', to see who is ready there.

    `account`: `namespace` and `service_account`.
    """
    change = {
        "api_groups": ["gateway.networking.k8s.io"],
        "resources": ["httproutes"],
        "resource_names": list(routes),
        "verbs": ["get", "patch"],
    }
    # Slices have names that nobody chooses; to list those of a Service takes the right to list all.
    look = {"api_groups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]}
    roles: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        (f"{name}-rollout", {"namespace": namespace, "name": f"{name}-rollout"}, change)
    ]
    for home in sorted(homes):
        roles.append((f"{name}-{home}-rollout", {"namespace": home, "name": f"{name}-rollout-endpoints"}, look))
    for called, metadata, rule in roles:
        role = k8s.rbac.v1.Role(called, metadata=metadata, rules=[rule], opts=child)
        k8s.rbac.v1.RoleBinding(
            called,
            metadata=metadata,
            role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "Role", "name": role.metadata.name},
            subjects=[
                {"kind": "ServiceAccount", "namespace": account["namespace"], "name": account["service_account"]}
            ],
            opts=child,
        )
