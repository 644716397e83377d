"""The rules of an environment: a policy pack, one property to a policy.

`aicloud check` runs them over a plan; `pulumi preview --policy-pack policies` runs them as Pulumi's own.
"""

from types import ModuleType

from policies import (
    databases,
    encryption,
    identity,
    kubernetes_gateways,
    kubernetes_images,
    kubernetes_objects,
    kubernetes_pools,
    kubernetes_resources,
    kubernetes_secrets,
    kubernetes_security,
    kubernetes_servers,
    network,
    operations,
    secrets,
    serverless,
    storage,
)
from policies.declare import Policy

MODULES: tuple[ModuleType, ...] = (
    network,
    encryption,
    identity,
    storage,
    databases,
    secrets,
    operations,
    kubernetes_images,
    kubernetes_security,
    kubernetes_resources,
    kubernetes_servers,
    kubernetes_pools,
    kubernetes_objects,
    kubernetes_secrets,
    kubernetes_gateways,
    serverless,
)
"""Where policies are declared; every `Policy` in them counts."""

POLICIES: tuple[Policy, ...] = tuple(
    policy for module in MODULES for policy in vars(module).values() if isinstance(policy, Policy)
)
"""All of them, in the order in which they are declared."""
