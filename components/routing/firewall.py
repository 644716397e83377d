"""AWS WAF in front of an inference server: which rules, and which of them must not judge bodies."""

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_aws as aws

from components.routing.front import RATE_WINDOW
from components.tags import aws_tags

BODY_RULES = ("SizeRestrictions_BODY", "CrossSiteScripting_BODY", "GenericRFI_BODY", "GenericLFI_BODY")
"""Rules of the common set that block long bodies, markup, URLs and paths in bodies: tensors are long, and prompts hold
all of the others. They only count here.
https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-baseline.html"""

MANAGED_RULES: Mapping[str, Sequence[str]] = {
    "AWSManagedRulesAmazonIpReputationList": (),
    "AWSManagedRulesKnownBadInputsRuleSet": (),
    "AWSManagedRulesCommonRuleSet": BODY_RULES,
}
"""Rule group -> its rules that only count."""


def web_acl(
    name: str, region: str, requests_per_client: int, tags: Mapping[str, str], opts: pulumi.ResourceOptions
) -> aws.wafv2.WebAcl:
    """A web ACL for a load balancer of `region`: managed rule groups, then a limit for each client address."""
    managed = [
        {
            "name": group,
            "priority": priority,
            "override_action": {"none": {}},
            "statement": {
                "managed_rule_group_statement": {
                    "vendor_name": "AWS",
                    "name": group,
                    "rule_action_overrides": [{"name": rule, "action_to_use": {"count": {}}} for rule in counting],
                }
            },
            "visibility_config": _visible(group),
        }
        for priority, (group, counting) in enumerate(MANAGED_RULES.items(), 1)
    ]
    rate = {
        "name": "one-clients-share",
        "priority": len(managed) + 1,
        "action": {"block": {"custom_response": {"response_code": 429}}},
        "statement": {
            "rate_based_statement": {
                "limit": requests_per_client,
                "evaluation_window_sec": RATE_WINDOW,
                "aggregate_key_type": "IP",  # the accelerator preserves client addresses
            }
        },
        "visibility_config": _visible("one-clients-share"),
    }
    return aws.wafv2.WebAcl(
        name,
        region=region,
        scope="REGIONAL",
        default_action={"allow": {}},
        rules=[*managed, rate],
        visibility_config=_visible(name),
        tags=aws_tags(tags, name),
        opts=opts,
    )


def _visible(metric: str) -> dict[str, object]:
    return {"cloudwatch_metrics_enabled": True, "sampled_requests_enabled": True, "metric_name": metric}
