"""What goes wrong with telemetry that was asked for."""

from __future__ import annotations


class TelemetryError(ValueError):
    """The environment asks for what is not there; the message says what."""
