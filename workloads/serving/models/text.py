"""Text on its way in and out of a language model: tokens of a prompt, and characters as soon as they are whole."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workloads.data.errors import DataError
from workloads.data.manifest import TokenizerFile
from workloads.data.tokenizer import BytePairTokenizer, Tokenizer, load_tokenizer
from workloads.serving.errors import VerificationFailed, on_disk

SETTINGS = "serving.json"
FORMAT = 1


@dataclass(frozen=True)
class Settings:
    """What of a language model's version is not weights."""

    tokenizer: TokenizerFile
    context: int
    """Longest prompt and answer together, in tokens."""
    slots: int = 16
    """Answers under way at once."""
    threads: int = 1
    """Of torch."""
    max_tokens: int = 128
    """Of an answer, where a request does not say."""

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"


def write(directory: Path, settings: Settings, tokenizer: Tokenizer) -> None:
    """The settings, and the tokenizer's file where it has one."""
    described, content = tokenizer.file()
    assert described == settings.tokenizer, "the settings are of another tokenizer"
    with on_disk(directory):
        (directory / SETTINGS).write_text(settings.to_json(), encoding="utf-8")
        if described.path:
            (directory / described.path).write_bytes(content)


def read(directory: Path) -> tuple[Settings, Tokenizer]:
    """What `write` wrote. Raises VerificationFailed if it is something else, DiskFailed."""
    path = directory / SETTINGS
    with on_disk(path):
        text = path.read_text(encoding="utf-8")
    try:
        found: dict[str, Any] = json.loads(text)
        if found.pop("format") != FORMAT:
            raise VerificationFailed(f"{path}: another format; this reads format {FORMAT}")
        settings = Settings(TokenizerFile(**found.pop("tokenizer")), **found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, VerificationFailed):
            raise
        raise VerificationFailed(f"{path}: {type(error).__name__}: {error}") from None
    try:
        with on_disk(directory):
            return settings, load_tokenizer(settings.tokenizer, lambda name: (directory / name).read_bytes())
    except DataError as error:
        raise VerificationFailed(f"{directory}: {error}") from None


def pieces(tokenizer: Tokenizer) -> tuple[bytes, ...]:
    """The bytes of each token; the end of a text has none."""
    ranks = tokenizer.ranks if isinstance(tokenizer, BytePairTokenizer) else tuple(bytes([b]) for b in range(256))
    return ranks + (b"",) * (tokenizer.vocabulary - len(ranks))


class Decoder:
    """Text of one answer, token by token: a character is given when its last byte is there."""

    def __init__(self, known: tuple[bytes, ...]) -> None:
        self._known = known
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, tokens: Iterable[int], last: bool = False) -> str:
        """The characters that these tokens complete. `last`: what is then incomplete is U+FFFD."""
        known = self._known
        # Weights may know more tokens than the tokenizer, for alignment.
        return self._decoder.decode(b"".join(known[t] for t in tokens if t < len(known)), last)
