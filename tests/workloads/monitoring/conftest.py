"""A lake in a temporary directory, and traffic as a small language model might see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from workloads.monitoring.lakehouse import Lake, local


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(local(tmp_path / "lake"))
