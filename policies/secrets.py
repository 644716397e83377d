"""No secret stands where anybody can read it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from planner.inventory import Inventory
from planner.plan import UNKNOWN
from policies import kinds
from policies.declare import Parameters, Violation, stack_policy

HOLDERS = (
    "kubernetes:core/v1:Secret",
    "aws:secretsmanager/secretVersion:SecretVersion",
    "aws:ssm/parameter:Parameter",
    "gcp:secretmanager/secretVersion:SecretVersion",
)
"""What is there to hold secrets."""

_PATTERNS: Mapping[str, tuple[str, re.Pattern[str]]] = {
    # What a secret looks like: first a text that every such secret contains, for speed.
    "an AWS access key": ("AKIA", re.compile(r"(?<![A-Z0-9])AKIA[A-Z0-9]{16}(?![A-Z0-9])")),
    "an AWS secret key": ("aws_secret_access_key", re.compile(r"aws_secret_access_key\W{1,6}[A-Za-z0-9/+]{40}")),
    "a private key": ("PRIVATE KEY", re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")),
    "a GitHub token": ("gh", re.compile(r"(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,}")),
    "a Hugging Face token": ("hf_", re.compile(r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{34}")),
    "a Google API key": ("AIza", re.compile(r"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}")),
    "an NVIDIA API key": ("nvapi-", re.compile(r"nvapi-[A-Za-z0-9_-]{40,}")),
    "a Slack token": ("xox", re.compile(r"xox[baprs]-[0-9]+-[A-Za-z0-9-]+")),
}

_NAMES = re.compile(
    r"(?:^|[_-])(?:password|passwd|passphrase|secret|token|api_?key|(?:private|secret|access)_?key)$", re.IGNORECASE
)
"""Names of environment variables that hold a secret; not those that say where it is, such as `TOKEN_FILE`."""

_HINTS = ("PASS", "SECRET", "TOKEN", "KEY", "pass", "secret", "token", "key")
_ELSEWHERE = re.compile(r"/|\$[({]|arn:|projects/|https?://|(?:true|false|on|off|yes|no)$", re.IGNORECASE)
"""How a value begins that only says where the secret is; or a switch, of something that is called after a secret."""


@stack_policy(
    "no-plaintext-secrets",
    "No secret stands in a resource, an environment variable or a machine's user data",
    risk="critical",
    why="https://kubernetes.io/docs/concepts/security/secrets-good-practices/",
    fix="Keep it in a secret store, and let the workload read it as itself (secretKeyRef, or a mounted secret).",
)
def no_plaintext_secrets(inventory: Inventory, _: Parameters) -> Iterator[Violation]:
    for resource in inventory.plan:
        if resource.is_provider or not resource.custom or resource.type in HOLDERS or resource.external:
            continue
        text = json.dumps(resource.inputs, ensure_ascii=False, default=str)
        if resource.type in (kinds.LAUNCH_TEMPLATE, kinds.EC2_INSTANCE):
            text += _decoded(resource.inputs.get("userData")) + _decoded(resource.inputs.get("userDataBase64"))
        for what, (part, pattern) in _PATTERNS.items():
            if part in text and pattern.search(text):
                yield Violation(f"holds {what}", resource, subject=what)
        if resource.package == "kubernetes" and any(hint in text for hint in _HINTS):
            for name in dict.fromkeys(_literals(resource.inputs)):
                yield Violation(f"gives {name} as plain text; expected a reference to a Secret", resource, subject=name)


def _decoded(value: Any) -> str:
    """A machine's user data, which EC2 wants in Base64."""
    if not isinstance(value, str):
        return ""
    try:
        return base64.b64decode(value, validate=True).decode(errors="replace")
    except (binascii.Error, ValueError):
        return ""


def _literals(value: Any, inside: str = "") -> Iterator[str]:
    """Names of environment variables and ConfigMap entries that are called like secrets and have a value."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _literals(item, inside)
    elif isinstance(value, Mapping):
        name, literal = value.get("name"), value.get("value")
        if inside == "env" and isinstance(name, str) and _NAMES.search(name) and _is_literal(literal):
            yield name
        for key, item in value.items():
            if inside in ("data", "env") and isinstance(key, str) and _NAMES.search(key) and _is_literal(item):
                yield key
            yield from _literals(item, str(key))


def _is_literal(value: Any) -> bool:
    return isinstance(value, str) and value != "" and UNKNOWN not in value and not _ELSEWHERE.match(value)
