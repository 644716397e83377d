"""`planner.engine.launch` with the SDK as it is, which is how the CLI's language host runs a program."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from planner.engine import failures, launch, sdk


@contextmanager
def unpatched() -> Iterator[failures.Failures]:
    failures.CURRENT.set(failed := failures.Failures())
    yield failed


sdk.patched = unpatched
os._exit(launch.main())
