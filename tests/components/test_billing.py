"""BudgetAlarm: whom it tells, of what, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from components import BudgetAlarm
from planner.engine import PreviewFailed
from tests.samples import samples
from tests.support import plan_of


def budget(on: str, **changes: Any) -> Any:
    arguments = {**samples(on)["BudgetAlarm"], **changes}
    return plan_of(lambda: BudgetAlarm("month", arguments))


def test_aws_mails_before_and_when_the_money_is_spent_and_when_it_is_going_to_be() -> None:
    inputs = budget("aws").one("aws:budgets/budget:Budget").inputs
    assert (inputs["limitAmount"], inputs["timeUnit"]) == ("5000.00", "MONTHLY")
    told = [(one["notificationType"], one["threshold"]) for one in inputs["notifications"]]
    assert told == [("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100)]
    assert all(one["subscriberEmailAddresses"] == ["ml-platform@example.com"] for one in inputs["notifications"])


def test_gcp_budgets_one_project_and_tells_the_same_people() -> None:
    plan = budget("gcp")
    inputs = plan.one("gcp:billing/budget:Budget").inputs
    assert inputs["amount"] == {"specifiedAmount": {"currencyCode": "USD", "units": "5000"}}
    assert len(inputs["budgetFilter"]["projects"]) == 1
    assert [one["thresholdPercent"] for one in inputs["thresholdRules"]] == [0.8, 1.0, 1.0]
    channel = plan.one("gcp:monitoring/notificationChannel:NotificationChannel")
    assert channel.inputs["labels"] == {"email_address": "ml-platform@example.com"}
    assert plan.one("gcp:billing/budget:Budget").property_dependencies["allUpdatesRule"] == (channel.urn,)


@pytest.mark.parametrize(
    ("cloud", "changes", "said"),
    [
        ("aws", {"cloud": "azure"}, "accepted are 'aws' and 'gcp'"),
        ("aws", {"usd_per_month": 0}, "expected more than 0"),
        ("aws", {"billing_account": "01AB23-45CD67-89EF01"}, "expected none on AWS"),
        ("gcp", {"billing_account": ""}, "expected one such as"),
        ("gcp", {"billing_account": "my-account"}, "expected one such as"),
    ],
)
def test_a_wrong_argument_is_refused(cloud: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(PreviewFailed, match=said):
        budget(cloud, **changes)
