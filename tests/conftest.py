"""Fixtures that every room's tests may use."""

from __future__ import annotations

import gc
import os

# Before gRPC is imported. Its handlers of forks start its threads anew in a child, which ends where they cannot. Some
# tests fork in the process in which others have asked a server over gRPC, and no child of theirs does.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import settings

from planner.engine import preview
from planner.engine.project import load
from planner.plan import Plan
from tests.support import ROOT

# A busy machine is no failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def environment_plan() -> Callable[[str], Plan]:
    """Previews of dev, staging and prod by name, each made once in a session: a preview takes seconds."""
    return cache(lambda name: _kept(preview(load(ROOT, name))))


@pytest.fixture(scope="session")
def simulated_plan() -> Callable[[str], Plan]:
    """As `environment_plan`, with plausible outputs in place of unknown ones: what `aicloud check` judges."""
    return cache(lambda name: _kept(preview(load(ROOT, name), simulate_up=True)))


def _kept(plan: Plan) -> Plan:
    """As commands do (planner.commands.source): the collector does not look through what a preview leaves any more."""
    gc.freeze()
    return plan


@pytest.fixture
def must_run() -> Iterator[Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """Wraps an assertion that is handed to `Output.apply`; the test fails if it never ran.

    An output that is unknown never runs what is applied to it, and a test whose assertion never ran passes in silence.
    """
    waiting: list[str] = []

    def wrap(assertion: Callable[..., Any]) -> Callable[..., Any]:
        name = getattr(assertion, "__name__", repr(assertion))
        waiting.append(name)

        def run(*args: Any, **kwargs: Any) -> Any:
            if name in waiting:
                waiting.remove(name)
            return assertion(*args, **kwargs)

        return run

    yield wrap
    assert not waiting, f"never ran, so it asserted nothing: {', '.join(waiting)}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the scores that tests have recorded, whichever process they ran in."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    for report in reports:
        for name, value in getattr(report, "user_properties", ()):
            if name == "score":
                terminalreporter.write_line(str(value))
