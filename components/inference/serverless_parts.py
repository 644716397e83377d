"""What each cloud's builder hands back to ServerlessInference: the same on both."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

import pulumi


@dataclass(frozen=True, kw_only=True)
class Built:
    """Every output of ServerlessInference; what a mode doesn't have is empty."""

    name: pulumi.Input[str]
    url: pulumi.Input[str]
    principal: pulumi.Input[str]
    invoker_grant: pulumi.Input[str]
    requests_url: pulumi.Input[str] = ""
    answers_url: pulumi.Input[str] = ""
    topic: pulumi.Input[str] = ""


def checked_url(name: str, url: str, prefix: str) -> str:
    """The repository's URL, if it ends in the prefix that the server may read."""
    if urlsplit(url).path.strip("/") != prefix:
        raise ValueError(
            f"ServerlessInference {name!r}: repository_url is {url!r}; with repository_prefix {prefix!r} it must be "
            f"<bucket URL>/{prefix}: the server may read nothing else"
        )
    return url.rstrip("/")
