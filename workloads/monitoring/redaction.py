"""Takes out of a text what identifies people or opens doors, before the text is kept anywhere.

Recognisers, not understanding: names, street addresses and secrets of no known form stay. So texts are kept only where
that is allowed (`workloads.monitoring.request_log`), and then redacted; features are all that is kept otherwise.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

KINDS = ("key", "secret", "email", "card", "iban", "address", "phone")


@dataclass(frozen=True)
class Recogniser:
    kind: str
    pattern: re.Pattern[str]
    accepts: Callable[[str], bool] = lambda _: True
    """Whether what the pattern found is one, as far as check digits and the like can tell."""


def luhn(text: str) -> bool:
    """Whether the digits of a text end in the check digit of payment cards (ISO/IEC 7812-1)."""
    digits = [int(c) for c in text if c.isdecimal()]
    doubled = (2 * d - 9 * (d > 4) for d in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _card(text: str) -> bool:
    """Whether some of the groups in a run of digits are the number of a card: dates and amounts may stand beside it."""
    groups = re.split("[ -]", text)
    spans = ("".join(groups[i:j]) for i in range(len(groups)) for j in range(i + 1, min(len(groups), i + 8) + 1))
    return any(13 <= len(digits) <= 19 and luhn(digits) for digits in spans)


def _iban(text: str) -> bool:
    """ISO 7064, mod 97-10."""
    compact = text.replace(" ", "").upper()
    moved = compact[4:] + compact[:4]
    return int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _opaque(text: str) -> bool:
    """A long word of letters of both cases and digits, or of hexadecimal digits: no identifier that people choose."""
    if re.fullmatch(r"[0-9a-fA-F]+", text):
        return bool(re.search(r"[a-fA-F]", text) and re.search(r"\d", text))
    return all(re.search(each, text) for each in ("[a-z]", "[A-Z]", "[0-9]"))


_PLACEHOLDER = rf"\[(?:{'|'.join(KINDS)})\](?!\S)"
_NAMES = r"(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|credential)s?[\"']?\s*[=:]\s*"
_VALUE = r"(?:\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|\S+)"
_WORD = r"""[^\s@<>()\[\]"',;:]"""
RECOGNISERS = (
    Recogniser("key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*KEY-----|\Z)", re.S)),
    # `Authorization: Bearer …`, `password = "…"`, `api_key: …`, `https://user:password@…`
    Recogniser("secret", re.compile(r"\b(?:bearer|basic)\s+[\w.~+/-]{16,}=*", re.I)),
    Recogniser("secret", re.compile(rf"(?P<name>{_NAMES})(?!{_PLACEHOLDER}){_VALUE}", re.I)),
    Recogniser("secret", re.compile(r"(?<=://)[^\s/@\[\]]+@")),
    # Of AWS, GitHub, GitLab, Google, OpenAI and Anthropic, Slack, Stripe, Hugging Face; and JSON web tokens.
    Recogniser(
        "key",
        re.compile(
            r"\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}|gh[opsur]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}|AIza[\w-]{30,}"
            r"|sk-[\w-]{20,}|xox[abprs]-[\w-]{10,}|[rs]k_(?:live|test)_\w{16,}|hf_\w{20,}"
            r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
        ),
    ),
    Recogniser("key", re.compile(r"(?<![\w+/-])[\w+/-]{32,}={0,2}(?![\w+/-])", re.A), _opaque),
    Recogniser("email", re.compile(rf"(?<!{_WORD}){_WORD}+@{_WORD}+\.[^\W\d_]{{2,}}")),
    Recogniser("iban", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", re.A), _iban),
    Recogniser("card", re.compile(r"(?<!\d)\d(?:[ -]?\d){12,}(?!\d)"), _card),
    Recogniser("address", re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)", re.A), _address),
    Recogniser("address", re.compile(r"(?<![\w:])(?:[\da-fA-F]{0,4}:){2,7}[\da-fA-F]{0,4}(?![\w:])", re.A), _address),
    # With a country's code, or as groups of digits such as (555) 123-4567 and 555.123.4567.
    Recogniser("phone", re.compile(r"(?<![\w+])(?:\+|00)\d(?:[ ().\-/]{0,2}\d){6,14}(?!\d)")),
    Recogniser("phone", re.compile(r"(?<!\w)(?:\(\d{3}\) ?|\d{3}[ .\-])\d{3}[ .\-]\d{4}(?!\w)")),
)


def found(text: str) -> Iterator[tuple[str, str]]:
    """Kind and text of all that a recogniser finds."""
    for recogniser in RECOGNISERS:
        for match in recogniser.pattern.finditer(text):
            if recogniser.accepts(match.group()):
                yield recogniser.kind, match.group()


def redact(text: str, counts: Counter[str] | None = None) -> str:
    """The text with `[email]`, `[card]` and so on in place of what the recognisers find; `counts` hears of each.

    Goes on until nothing is found: what a replacement brings together may match in turn. So a redacted text has
    nothing left that matches, and to redact it again changes nothing.
    """
    while True:
        replaced = text
        for recogniser in RECOGNISERS:
            replaced = recogniser.pattern.sub(partial(_replacement, recogniser, counts), replaced)
        if replaced == text:
            return text
        text = replaced


def _replacement(recogniser: Recogniser, counts: Counter[str] | None, match: re.Match[str]) -> str:
    if not recogniser.accepts(match.group()):
        return match.group()
    if counts is not None:
        counts[recogniser.kind] += 1
    # What names the secret stays: `password: [secret]`.
    return f"{match.groupdict().get('name') or ''}[{recogniser.kind}]"
