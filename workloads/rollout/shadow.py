"""Scores of the same texts by both versions, where no router pairs them: in a cluster, whose copies nobody answers.

The texts are recent requests, such as the request log has them, or held-out ones. Each look scores the next few, at the
two versions' Services, not through the gateway: so it is no part of anybody's sample of traffic.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from workloads.rollout.errors import RoutingError, ShellFailed, on_disk
from workloads.rollout.observe import Observer, Pairs, Seen
from workloads.rollout.scores import bits_per_byte
from workloads.rollout.shells import JsonClient


class Scored:
    """An observer whose looks also have pairs of scores. The cursor is both's."""

    def __init__(
        self,
        observer: Observer,
        texts: Sequence[str],
        model: str,
        baseline: str,
        candidate: str,
        *,
        a_look: int = 20,
        timeout_s: float = 30.0,
    ) -> None:
        """`baseline`, `candidate`: http://HOST:PORT of a server of each version. `a_look`: texts that each scores."""
        if not texts or a_look < 1:
            raise RoutingError(f"{len(texts)} texts, {a_look} a look: expected at least one of each")
        self._observer, self._texts, self._a_look = observer, texts, a_look
        self._path = f"/v2/models/{quote(model, safe='')}/infer"
        self._servers = [JsonClient(url, timeout_s=timeout_s) for url in (baseline, candidate)]

    def look(self, cursor: Any, since: float) -> tuple[Seen, Any]:
        known = cursor or {"observer": None, "next": 0}
        seen, after = self._observer.look(known["observer"], since)
        # A text twice would be no more evidence than once.
        pairs, scored = self._pairs(self._texts[known["next"] : known["next"] + self._a_look])
        return dataclasses.replace(seen, pairs=seen.pairs + pairs), {"observer": after, "next": known["next"] + scored}

    def _pairs(self, texts: Sequence[str]) -> tuple[Pairs, int]:
        """Of those that both have scored, and how many were asked for: none after one of them cannot be reached."""
        found: list[tuple[float, float]] = []
        for number, text in enumerate(texts):
            tensor = {"name": "text_input", "datatype": "BYTES", "shape": [1, 1], "data": [text]}
            try:
                answers = [server.ask("POST", self._path, {"inputs": [tensor]}) for server in self._servers]
            except ShellFailed:
                return tuple(found), number
            baseline, candidate = (
                bits_per_byte({}, json.dumps(said).encode()) if status == 200 else None for status, said in answers
            )
            if baseline is not None and candidate is not None:
                found.append((baseline, candidate))
        return tuple(found), len(texts)


def read_texts(path: Path) -> list[str]:
    """Texts of JSON Lines: strings, or objects with a `text`. Raises RoutingError, JournalError."""
    with on_disk(path):
        lines = path.read_text(encoding="utf-8").splitlines()
    texts = []
    for number, line in enumerate(lines, 1):
        try:
            found = json.loads(line)
            texts.append(found if isinstance(found, str) else str(found["text"]))
        except (ValueError, KeyError, TypeError):
            raise RoutingError(f"{path}: line {number}: expected a JSON string, or an object with a text") from None
    return list(dict.fromkeys(texts))
