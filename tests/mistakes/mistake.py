"""What a planted mistake is: one change of one file, and what the preview has to say about it."""

from __future__ import annotations

from dataclasses import dataclass

DEV, STAGING = "stacks/Pulumi.dev.yaml", "stacks/Pulumi.staging.yaml"


@dataclass(frozen=True)
class Mistake:
    """One slip of the pen: `was`, which stands in `file` exactly once, becomes `becomes`."""

    name: str
    file: str
    was: str
    becomes: str
    says: tuple[str, ...]
    """What one error must contain, all of it: the place (a key's path, or resource and property) and the reason."""
    at: str = ""
    """File of which a line is named, where that isn't the changed statement: there the resource is made."""
    on: str = ""
    """Stack that is previewed; default the one whose file is changed, else dev."""
    up: bool = False
    """Can only be seen with the outputs that a cloud would give (`--simulate-up`)."""

    @property
    def stack(self) -> str:
        return self.on or ("staging" if self.file == STAGING else "dev")

    @property
    def in_settings(self) -> bool:
        return self.file.endswith(".yaml")
