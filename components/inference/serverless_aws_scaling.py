"""How many instances an asynchronous endpoint has: none while nothing waits, and by what waits for each otherwise.

Two policies, for one cannot do both: where there is no instance, there is no backlog of each. The first instance comes
by a metric of its own, in one step. https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-autoscale.html
"""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
import pulumi_aws as aws

from components.inference.serverless_arguments import Endpoint
from components.tags import aws_tags

BACKLOG_ROUNDS = 2.0
"""Requests that wait for an instance, in multiples of those that it takes at once, before another comes."""
IN_COOLDOWN_S = 600
"""Seconds between two steps down: longer than an instance takes to come, so that a pause ends none."""
OUT_COOLDOWN_S = 120
PERIOD_S = 60

_METRICS = "AWS/SageMaker"


def scale(
    name: str,
    region: str,
    endpoint: aws.sagemaker.Endpoint,
    variant: str,
    wanted: Endpoint,
    tags: Mapping[str, str],
    child: pulumi.ResourceOptions,
) -> None:
    """Nothing where as many instances as there may be always are."""
    if wanted.min_instances == wanted.max_instances:
        return
    target = aws.appautoscaling.Target(
        name,
        region=region,
        service_namespace="sagemaker",
        scalable_dimension="sagemaker:variant:DesiredInstanceCount",
        resource_id=endpoint.name.apply(lambda endpoint: f"endpoint/{endpoint}/variant/{variant}"),
        min_capacity=wanted.min_instances,
        max_capacity=wanted.max_instances,
        tags=aws_tags(tags, name),
        opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[endpoint])),
    )
    place = {
        "region": region,
        "service_namespace": target.service_namespace,
        "scalable_dimension": target.scalable_dimension,
        "resource_id": target.resource_id,
    }
    dimension = {"name": "EndpointName", "value": endpoint.name}
    aws.appautoscaling.Policy(
        f"{name}-backlog",
        **place,
        policy_type="TargetTrackingScaling",
        target_tracking_scaling_policy_configuration={
            "target_value": BACKLOG_ROUNDS * wanted.requests_per_instance,
            "customized_metric_specification": {
                "namespace": _METRICS,
                "metric_name": "ApproximateBacklogSizePerInstance",
                "statistic": "Average",
                "dimensions": [dimension],
            },
            "scale_in_cooldown": IN_COOLDOWN_S,
            "scale_out_cooldown": OUT_COOLDOWN_S,
        },
        opts=child,
    )
    if wanted.min_instances:
        return
    first = aws.appautoscaling.Policy(
        f"{name}-first",
        **place,
        policy_type="StepScaling",
        step_scaling_policy_configuration={
            "adjustment_type": "ChangeInCapacity",
            "metric_aggregation_type": "Average",
            "cooldown": OUT_COOLDOWN_S,
            "step_adjustments": [{"metric_interval_lower_bound": "0", "scaling_adjustment": 1}],
        },
        opts=child,
    )
    aws.cloudwatch.MetricAlarm(
        f"{name}-first",
        region=region,
        alarm_description=f"Requests wait for {name}, which has no instance",
        namespace=_METRICS,
        metric_name="HasBacklogWithoutCapacity",
        dimensions={"EndpointName": endpoint.name},
        statistic="Average",
        period=PERIOD_S,
        evaluation_periods=1,
        threshold=1,
        comparison_operator="GreaterThanOrEqualToThreshold",
        treat_missing_data="notBreaching",
        alarm_actions=[first.arn],
        tags=aws_tags(tags, f"{name}-first"),
        opts=child,
    )
