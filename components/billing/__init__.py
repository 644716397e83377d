"""What an environment may spend, and who hears of it."""

from components.billing.budget_alarm import BudgetAlarm, BudgetAlarmArgs

__all__ = ["BudgetAlarm", "BudgetAlarmArgs"]
