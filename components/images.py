"""Container images that arguments name: the same image tomorrow as today."""

from __future__ import annotations

import re


def problem(image: str) -> str:
    """What is wrong with an image reference; empty when it will be the same image tomorrow."""
    reference, at, digest = image.partition("@")
    tag = reference.rpartition("/")[2].partition(":")[2]
    if at and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        return "a digest is written @sha256: and 64 hexadecimal digits"
    if not at and not re.fullmatch(r"\w[\w.-]{0,127}", tag):
        return "give it a tag, as in registry/name:26.11-1, or a digest"
    if not at and tag == "latest":
        return "'latest' is another image tomorrow; give a tag that stays, or a digest"
    return ""


def parts(image: str) -> tuple[str, str, str]:
    """Repository, tag and digest of an image reference; what it doesn't have is empty."""
    reference, _, digest = image.partition("@")
    path, slash, last = reference.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{path}{slash}{name}", tag, digest
