"""Text to tokens and back: bytes as they are, or byte pairs merged as this module's own training found them.

Byte pairs are encoded by tiktoken, which needs nothing but the merges: nothing is downloaded.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import Protocol

import numpy as np

from workloads.data.errors import NotADataset
from workloads.data.manifest import TokenizerFile

BPE_FILE = "tokenizer.json"
END_OF_TEXT = "<|end of text|>"
PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|"
    r"\s*[\r\n]|\s+(?!\S)|\s+"
)
"""Merges don't cross what this tells apart: words, up to three digits, punctuation, runs of space (as GPT-4's does)."""


class Tokenizer(Protocol):
    vocabulary: int
    end_of_text: int

    def encode(self, text: str) -> np.ndarray:
        """Tokens of a text, uint16 or uint32, without an end."""

    def decode(self, tokens: Sequence[int]) -> str: ...

    def file(self) -> tuple[TokenizerFile, bytes]:
        """What the manifest says of it, and the file that it names (empty if there is none)."""


class ByteTokenizer:
    """One token a byte of UTF-8; 256 ends a document."""

    vocabulary, end_of_text = 257, 256

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode(), np.uint8).astype(np.uint16)

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(token for token in tokens if token < 256).decode(errors="replace")

    def file(self) -> tuple[TokenizerFile, bytes]:
        return TokenizerFile("bytes", self.vocabulary, self.end_of_text), b""


class BytePairTokenizer:
    """Byte-pair encoding: `ranks` are byte strings, the first 256 single bytes, each later one two earlier ones."""

    def __init__(self, ranks: Sequence[bytes]) -> None:
        import tiktoken

        self.ranks = tuple(ranks)
        self.end_of_text, self.vocabulary = len(self.ranks), len(self.ranks) + 1
        self._encoding = tiktoken.Encoding(
            "aicloud",
            pat_str=PATTERN,
            mergeable_ranks={token: rank for rank, token in enumerate(self.ranks)},
            special_tokens={END_OF_TEXT: self.end_of_text},
        )

    def encode(self, text: str) -> np.ndarray:
        dtype = np.uint16 if self.vocabulary <= 2**16 else np.uint32
        return np.array(self._encoding.encode_ordinary(text), dtype)

    def decode(self, tokens: Sequence[int]) -> str:
        return self._encoding.decode([token for token in tokens if token != self.end_of_text])

    def file(self) -> tuple[TokenizerFile, bytes]:
        ranks = [base64.b64encode(token).decode() for token in self.ranks]
        text = json.dumps({"pattern": PATTERN, "ranks": ranks}, indent=0).encode()
        return TokenizerFile("bpe", self.vocabulary, self.end_of_text, BPE_FILE, hashlib.sha256(text).hexdigest()), text


def load_tokenizer(described: TokenizerFile, read: Callable[[str], bytes]) -> Tokenizer:
    """The tokenizer that a manifest describes; `read` gives the file of that name. Raises NotADataset."""
    if described.kind == "bytes":
        return ByteTokenizer()
    if described.kind != "bpe":
        raise NotADataset(f"tokenizer {described.kind!r}: expected bytes or bpe")
    text = read(described.path)
    found = hashlib.sha256(text).hexdigest()
    if found != described.sha256:
        raise NotADataset(f"{described.path}: its sha256 is {found}, the manifest says {described.sha256}")
    parsed = json.loads(text)
    if parsed["pattern"] != PATTERN:
        raise NotADataset(f"{described.path}: it splits text by another pattern than this version does")
    return BytePairTokenizer([base64.b64decode(token) for token in parsed["ranks"]])


def train_byte_pairs(
    texts: Iterable[str], vocabulary: int, progress: Callable[[int], None] = lambda _: None
) -> list[bytes]:
    """The byte strings of a byte-pair encoding with `vocabulary` tokens, its end of text among them.

    Repeatedly merges the pair that is most frequent in `texts`; of equally frequent ones the one whose tokens are
    older: the same texts give the same merges. Ends early when no pair occurs twice. (Sennrich et al., 2016,
    "Neural Machine Translation of Rare Words with Subword Units".)
    """
    if vocabulary < 258:
        raise ValueError(f"vocabulary {vocabulary}: expected at least 258: all bytes, one merge, the end of text")
    import regex  # type: ignore[import-untyped]

    pattern = regex.compile(PATTERN)
    counted: Counter[str] = Counter()
    for text in texts:
        counted.update(pattern.findall(text))
    words = [list(word.encode()) for word in counted]
    times = list(counted.values())
    pairs: Counter[tuple[int, int]] = Counter()
    where: dict[tuple[int, int], set[int]] = {}
    for index, word in enumerate(words):
        for pair in itertools.pairwise(word):
            pairs[pair] += times[index]
            where.setdefault(pair, set()).add(index)
    # A heap of what each pair counted when it was last looked at: entries that are out of date are put back.
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapify(heap)
    ranks = [bytes([byte]) for byte in range(256)]
    while heap and len(ranks) < vocabulary - 1:
        count, pair = heappop(heap)
        if -count != pairs[pair]:
            if pairs[pair] > 1:
                heappush(heap, (-pairs[pair], pair))
            continue
        if -count < 2:
            break
        new = len(ranks)
        ranks.append(ranks[pair[0]] + ranks[pair[1]])
        changed = set()
        for index in where.pop(pair):
            word, count = words[index], times[index]
            for old in itertools.pairwise(word):
                pairs[old] -= count
            word = words[index] = _merged(word, pair, new)
            for fresh in itertools.pairwise(word):
                pairs[fresh] += count
                if new in fresh:
                    where.setdefault(fresh, set()).add(index)
                    changed.add(fresh)
        for fresh in changed:
            heappush(heap, (-pairs[fresh], fresh))
        progress(1)
    return ranks


def _merged(word: list[int], pair: tuple[int, int], new: int) -> list[int]:
    out, at = [], 0
    while at < len(word):
        if at + 1 < len(word) and word[at] == pair[0] and word[at + 1] == pair[1]:
            out.append(new)
            at += 2
        else:
            out.append(word[at])
            at += 1
    return out
