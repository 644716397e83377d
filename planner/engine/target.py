"""What is previewed, and what the engine says when it refuses a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STACK_REFERENCE = "pulumi:pulumi:StackReference"
"""The type under which a program reads the outputs of another stack."""


class EngineError(Exception):
    """The engine refuses a request, as the real one would; the program sees it as a failed registration."""


@dataclass(frozen=True)
class Target:
    """What is previewed: the environment and the configuration that the engine hands to the program."""

    project: str
    stack: str
    organization: str = "organization"
    root: Path | None = None
    """The project's directory; lines of the program are told relative to it."""
    directory: Path | None = None
    """The program's working directory; files that it names are relative to it."""
    config: Mapping[str, str] = field(default_factory=dict)
    secret_keys: tuple[str, ...] = ()
    stack_references: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Recorded outputs of other stacks, by the name under which the program refers to them; secrets are `[secret]`."""
    strict: bool = False
    """Refuse invented answers (placeholders, unknown stack references) instead of warning about them."""
