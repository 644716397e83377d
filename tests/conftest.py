"""Fixtures that every room's tests may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest


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
            result = assertion(*args, **kwargs)
            if name in waiting:
                waiting.remove(name)
            return result

        return run

    yield wrap
    assert not waiting, f"never ran, so it asserted nothing: {', '.join(waiting)}"
