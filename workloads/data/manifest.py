"""What a dataset is made of: its shards in order, their sha256, its tokenizer; and one fingerprint of all that.

A shard is nothing but tokens, little-endian and unsigned: it can be mapped into memory as it is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from workloads.data.errors import NotADataset

NAME = "manifest.json"
FORMAT = "aicloud-tokens/1"
LARGEST = 64 * 2**20
"""Bytes: a manifest of 300,000 shards has as many."""
BYTES = {"uint16": 2, "uint32": 4}
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Shard:
    """A file of tokens. `path` is relative to the manifest's directory."""

    path: str
    tokens: int
    sha256: str


@dataclass(frozen=True)
class TokenizerFile:
    """How the tokens were made: `kind` bytes or bpe; bpe has a file of merges beside the manifest."""

    kind: str
    vocabulary: int
    end_of_text: int
    path: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Manifest:
    dtype: str
    tokenizer: TokenizerFile
    shards: tuple[Shard, ...]
    source: Mapping[str, Any] = field(default_factory=dict)
    """Where the text is from, for people; not part of the fingerprint."""

    @property
    def item_bytes(self) -> int:
        return BYTES[self.dtype]

    @property
    def tokens(self) -> int:
        return sum(shard.tokens for shard in self.shards)

    def size(self, shard: Shard) -> int:
        """Bytes of a shard's file."""
        return shard.tokens * self.item_bytes

    @property
    def fingerprint(self) -> str:
        """sha256 of whatever decides which token is where: format, type, tokenizer, and the shards in their order."""
        return hashlib.sha256(json.dumps(self._identity(), sort_keys=True).encode()).hexdigest()

    def _identity(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "dtype": self.dtype,
            "tokenizer": dict(vars(self.tokenizer)),
            "shards": [dict(vars(shard)) for shard in self.shards],
        }

    def to_json(self) -> str:
        return json.dumps({**self._identity(), "source": dict(self.source), "fingerprint": self.fingerprint}, indent=1)

    @staticmethod
    def from_json(text: bytes | str, place: str) -> Manifest:
        """Read and check a manifest. Raises NotADataset, which names `place` and what is wrong."""
        try:
            manifest, said = _parse(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            missing = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise NotADataset(f"{place}: not a manifest of token shards: {missing}") from None
        if said != manifest.fingerprint:
            raise NotADataset(
                f"{place}: its fingerprint is {manifest.fingerprint}, but it says {said}: it was changed after it was "
                "written"
            )
        return manifest


def _parse(found: Any) -> tuple[Manifest, str]:
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(
            f"expected format {FORMAT!r}, found {found.get('format') if isinstance(found, dict) else found!r}"
        )
    if found["dtype"] not in BYTES:
        raise ValueError(f"dtype {found['dtype']!r}: expected one of {', '.join(BYTES)}")
    tokenizer = TokenizerFile(**found["tokenizer"])
    if tokenizer.path:
        _check_path(tokenizer.path)
    if not 0 < _count(tokenizer.vocabulary) <= 2 ** (8 * BYTES[found["dtype"]]):
        raise ValueError(f"a vocabulary of {tokenizer.vocabulary} does not fit into {found['dtype']}")
    shards = tuple(Shard(**shard) for shard in found["shards"])
    if not shards:
        raise ValueError("it names no shards")
    for shard in shards:
        _check_path(shard.path)
        if _count(shard.tokens) < 1 or not SHA256.fullmatch(shard.sha256):
            raise ValueError(f"shard {shard.path!r}: {shard.tokens} tokens, sha256 {shard.sha256!r}")
    return Manifest(found["dtype"], tokenizer, shards, found.get("source", {})), found["fingerprint"]


def _count(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r}: expected a whole number")
    return value


def _check_path(path: Any) -> None:
    """A manifest may not reach outside its directory."""
    if not isinstance(path, str) or not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError(f"path {path!r}: expected one below the manifest's directory")
