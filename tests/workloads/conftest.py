"""Which tests of the workloads are slow although they are not marked: those of many processes.

Training is not finished (see README). Its tests start, stop and kill processes, and have only run on a busy machine,
where some took minutes; `make test-slow` runs them until they have been measured on a quiet one.
"""

from __future__ import annotations

import pytest

MANY_PROCESSES = frozenset(
    {
        "test_chaos",
        "test_checkpoint",
        "test_checkpoint_kills",
        "test_checkpoint_ranks",
        "test_checkpoint_remote",
        "test_health",
        "test_launch",
        "test_preemption",
        "test_train",
        "test_train_processes",
        "test_watch",
    }
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of many processes as slow."""
    for item in items:
        if item.path.parent.name == "training" and item.path.stem in MANY_PROCESSES:
            item.add_marker(pytest.mark.slow)
        if item.name.startswith("test_a_termination_notice_does_not_take_the_data_away"):
            item.add_marker(pytest.mark.slow)
