"""Order that no value carries: an output that its readers get only after certain resources exist."""

from collections.abc import Iterable
from typing import Any, Optional

import pulumi


def after(value: Any, resources: Iterable[pulumi.Resource]) -> pulumi.Output[Any]:
    """`value` as an output that depends on `resources`; known in a preview if `value` is.

    A subnet's id is known long before its route to the internet exists, and a machine started in between never joins.
    """
    # URNs are known even in a preview, unlike ids.
    return pulumi.Output.all(value, *[resource.urn for resource in resources]).apply(lambda values: values[0])


def prerequisites(opts: Optional[pulumi.ResourceOptions]) -> list[pulumi.Resource]:
    """What a component was told to wait for, for its children to wait for too: `depends_on` does not reach them.

    Raises ValueError for a `depends_on` that is itself an output.
    """
    given = opts.depends_on if opts is not None and opts.depends_on is not None else []
    resources: list[pulumi.Resource] = []
    for item in given if isinstance(given, (list, tuple)) else [given]:
        if not isinstance(item, pulumi.Resource):
            raise ValueError(f"depends_on: expected resources, got {type(item).__name__}")
        resources.append(item)
    return resources
