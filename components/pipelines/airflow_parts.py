"""What the managed offers of both clouds hand back to AirflowDeployment: the same on both."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi


@dataclass(frozen=True, kw_only=True)
class Managed:
    """Outputs of AirflowDeployment."""

    url: pulumi.Output[str]
    principal: pulumi.Output[str]
    dags_url: pulumi.Output[str]
