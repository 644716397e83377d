"""A plan, read once: where things are, what leads to what, and what the resources amount to.

Checks, cost, diagram and report ask an Inventory instead of walking through resources of thirty kinds each on its own.
"""

from planner.inventory.inventory import Inventory
from planner.inventory.model import Cluster, Pool, Rung, Taint, Workload

__all__ = ["Cluster", "Inventory", "Pool", "Rung", "Taint", "Workload"]
