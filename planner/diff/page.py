"""Markdown that never outgrows its room, never ends inside a fold, and shows names as they are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from planner.diff.words import clean, cut

LIMIT = 60_000
"""Characters of a page; GitHub takes 65,536 in a comment."""

_RESERVE = 1_800
"""Characters kept for saying what was left out."""


class Page:
    """A page that is written from the top; what does not fit is counted, and said at the end."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._parts: list[str] = []
        self._used = 0
        self._left_out: Counter[str] = Counter()

    def add(self, text: str) -> None:
        """A text that must be there; short, and near the top."""
        self._parts.append(f"{text}\n")
        self._used += len(text) + 1

    def block(self, opening: str, items: Sequence[str], closing: str, what: str) -> None:
        """Items between an opening and a closing; as many as fit, with a word on the rest (`what`, in the singular)."""
        if not items:
            return
        fixed = len(opening) + len(closing) + 120
        room = self._limit - _RESERVE - self._used - fixed
        fitting = 0
        for item in items:
            room -= len(item) + 1
            if room < 0:
                break
            fitting += 1
        missing = len(items) - fitting
        if missing:
            self._left_out[what] += missing
        if not fitting:
            return
        shown = [opening, *items[:fitting]]
        if missing:
            shown.append(f"\n_… {missing:,} more not shown here_\n")
        for text in (*shown, *([closing] if closing else [])):
            self.add(text)

    def text(self) -> str:
        """The page."""
        if self._left_out:
            most = self._left_out.most_common(8)
            left = [f"{number:,}x {code(what, 60)}" for what, number in most]
            rest = self._left_out.total() - sum(number for _, number in most)
            left += [f"{rest:,} others"] if rest else []
            self.add(f"_Left out, for a comment has an end: {', '.join(left)}. `aicloud diff` shows all of it._")
        text = "".join(self._parts)
        assert len(text) <= self._limit
        return text


def code(text: str, width: int = 160) -> str:
    """Text as it is, in a code span: nothing in it is Markdown, HTML, a mention or a link."""
    text = cut(clean(text), width).replace("|", "\u2502")
    if not text.strip():
        return "` `"
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def plain(text: str, width: int = 400) -> str:
    """Text as it is, outside of a code span."""
    text = cut(clean(text), width)
    text = re.sub(r"[\\`*_\[\]|~^$!]", lambda found: f"\\{found.group()}", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # At the start of an item it would begin a list, a heading or a line.
    text = re.sub(r"^(\s*)([-+=#]|\d+(?=[.)]))", "\\1\u2060\\2", text)
    return _unlinked(text)


def _unlinked(text: str) -> str:
    """GitHub makes links and mentions of what looks like one, whatever was escaped: something invisible in between."""
    return re.sub(r"@|#(?=\d)|://|(?i:www)(?=\.)|(?i:gh)(?=-\d)", lambda found: f"{found.group()}\u2060", text)


def summary(text: str, width: int = 200) -> str:
    """Text in a `<summary>`, which is HTML."""
    text = cut(clean(text), width).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[`*_\[\]\\~$]|:(?=\w+:)", lambda found: f"&#{ord(found.group())};", _unlinked(text))


def link(words: str, url: str) -> str:
    """A link, where the address is one; else the words alone."""
    if re.fullmatch(r"https://[\w.~/#%&=?+:-]+", url):
        return f"[{plain(words)}]({url})"
    return plain(words)
