"""What a preview has to say: messages with their place, cleaned of secrets, each said once."""

from __future__ import annotations

from collections.abc import Iterable

from planner.plan import SECRET, Diagnostic

_RANK = {"error": 0, "warning": 1, "info": 2}
_SHORTEST_SECRET = 4
"""Shorter texts are not searched for in messages: replacing every `a` would hide the message, not the secret."""


class Diagnostics:
    """Collects messages. Secrets that become known later are also removed from earlier messages."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self._messages: dict[Diagnostic, None] = {}
        self.hide(secrets)

    def hide(self, secrets: Iterable[str]) -> None:
        """Never show these texts."""
        self._secrets.update(text for text in secrets if len(text) >= _SHORTEST_SECRET)

    def add(self, severity: str, message: str, *, urn: str = "", place: str = "") -> None:
        self._messages[Diagnostic(severity, message.strip(), urn, place)] = None

    def clean(self, text: str) -> str:
        """The text without any known secret. Longer secrets go first: one may contain another."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, SECRET)
        return text

    def sorted(self) -> list[Diagnostic]:
        """Errors first; the order does not depend on how the program was run."""
        cleaned = {Diagnostic(d.severity, self.clean(d.message), d.urn, d.place) for d in self._messages}
        return sorted(cleaned, key=lambda d: (_RANK.get(d.severity, 3), d.place, d.urn, d.message))
