"""BudgetAlarm: somebody hears of it before the month's money is spent."""

import re
from typing import NotRequired, Optional, TypedDict

import pulumi
import pulumi_aws as aws
import pulumi_gcp as gcp

from components import arguments
from components.tags import gcp_labels

THRESHOLDS = ((80, "actual"), (100, "actual"), (100, "forecasted"))
"""Percent of the budget at which to tell, of what has been spent and of what the month is going to cost."""

_BILLING_ACCOUNT = re.compile(r"[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}")


class BudgetAlarmArgs(TypedDict):
    """Arguments of BudgetAlarm."""

    cloud: str
    """`aws` or `gcp`."""
    usd_per_month: float
    """What the account (AWS) or the project (GCP) may cost in a month, in US dollars."""
    email: str
    """Whom to tell."""
    billing_account: NotRequired[str]
    """GCP: the billing account that pays for the project, such as `01AB23-45CD67-89EF01`. Required there."""
    tags: NotRequired[dict[str, str]]
    """Tags of the budget on AWS, labels of the notification channel on GCP."""


class BudgetAlarm(pulumi.ComponentResource):
    """Mail at 80 and at 100 percent of a month's budget, and when the month is going to cost more than that.

    AWS: a budget of the account. GCP: a budget of the project and a notification channel; whoever applies it needs
    `roles/billing.costsManager` on the billing account. Neither stops anything: that is what the limits of node pools
    are for.

    ValueError when the cloud is unknown, the amount is not positive, or the billing account is missing or misspelt.
    """

    budget_id: pulumi.Output[str]
    """Id of the budget in its cloud."""

    def __init__(self, name: str, args: BudgetAlarmArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:
        arguments.check(f"BudgetAlarm {name!r}", args, BudgetAlarmArgs)
        _check(name, args)
        super().__init__("aicloud:index:BudgetAlarm", name, {**args}, opts)
        build = {"aws": _aws_budget, "gcp": _gcp_budget}[args["cloud"]]
        self.budget_id = build(self, name, args)
        self.register_outputs({"budgetId": self.budget_id})


def _check(name: str, args: BudgetAlarmArgs) -> None:
    where = f"BudgetAlarm {name!r}"
    if args["cloud"] not in ("aws", "gcp"):
        raise ValueError(f"{where}: cloud is {args['cloud']!r}; accepted are 'aws' and 'gcp'")
    if args["usd_per_month"] <= 0:
        raise ValueError(f"{where}: usd_per_month is {args['usd_per_month']}; expected more than 0")
    account = args.get("billing_account") or ""
    if args["cloud"] == "gcp" and not _BILLING_ACCOUNT.fullmatch(account):
        raise ValueError(f"{where}: billing_account is {account!r}; expected one such as '01AB23-45CD67-89EF01'")
    if args["cloud"] == "aws" and account:
        raise ValueError(f"{where}: billing_account: expected none on AWS, whose account pays; got {account!r}")


def _aws_budget(parent: pulumi.Resource, name: str, args: BudgetAlarmArgs) -> pulumi.Output[str]:
    return aws.budgets.Budget(
        name,
        budget_type="COST",
        time_unit="MONTHLY",
        limit_amount=f"{args['usd_per_month']:.2f}",
        limit_unit="USD",
        notifications=[
            {
                "comparison_operator": "GREATER_THAN",
                "notification_type": basis.upper(),
                "threshold": percent,
                "threshold_type": "PERCENTAGE",
                "subscriber_email_addresses": [args["email"]],
            }
            for percent, basis in THRESHOLDS
        ],
        tags=args.get("tags") or {},
        opts=pulumi.ResourceOptions(parent=parent),
    ).id


def _gcp_budget(parent: pulumi.Resource, name: str, args: BudgetAlarmArgs) -> pulumi.Output[str]:
    child = pulumi.ResourceOptions(parent=parent)
    project = gcp.organizations.get_project(opts=pulumi.InvokeOptions(parent=parent))
    channel = gcp.monitoring.NotificationChannel(
        name,
        display_name=f"Budget of {project.project_id}",
        type="email",
        labels={"email_address": args["email"]},
        user_labels=gcp_labels(args.get("tags") or {}),
        opts=child,
    )
    basis = {"actual": "CURRENT_SPEND", "forecasted": "FORECASTED_SPEND"}
    return gcp.billing.Budget(
        name,
        billing_account=args["billing_account"],
        display_name=name,
        budget_filter={"projects": [f"projects/{project.number}"], "calendar_period": "MONTH"},
        amount={"specified_amount": {"currency_code": "USD", "units": str(round(args["usd_per_month"]))}},
        threshold_rules=[
            {"threshold_percent": percent / 100, "spend_basis": basis[kind]} for percent, kind in THRESHOLDS
        ],
        all_updates_rule={"monitoring_notification_channels": [channel.name]},
        opts=child,
    ).id
