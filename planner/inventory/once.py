"""Readings of an inventory that several ask for, made when the first one asks, and once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from planner.inventory.inventory import Inventory

T = TypeVar("T")


def once(read: Callable[[Inventory], T]) -> Callable[[Inventory], T]:
    """Keeps what a function has read from an inventory, in that inventory."""

    @wraps(read)
    def kept(inventory: Inventory) -> T:
        if read not in inventory.readings:
            inventory.readings[read] = read(inventory)
        return inventory.readings[read]

    return kept
