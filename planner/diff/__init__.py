"""What changes between two plans, what it takes down, and how that is told: the comment on a pull request."""

from planner.diff.compare import compare
from planner.diff.model import Capacity, Change, Comparison, Cost, Impact, Loss, Property, Report

__all__ = ["Capacity", "Change", "Comparison", "Cost", "Impact", "Loss", "Property", "Report", "compare"]
