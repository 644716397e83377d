"""Secrets in places that only Kubernetes has: the values of charts, the command lines of containers.

Those that look like one, and environment variables that are called like one, are `no-plaintext-secrets`' wherever they
stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from planner.plan import SECRET, UNKNOWN, Resource
from policies.declare import Parameters, Violation, at, each, resource_policy
from policies.kubernetes_objects import CHARTS
from policies.kubernetes_pods import Container, Pod, container_policy

_WHY = "https://kubernetes.io/docs/concepts/security/secrets-good-practices/"

_NAME = re.compile(
    r"(.*[_.-])?(password|passwd|passphrase|token|((api|access|private|secret|signing|encryption|auth)[_.-]?key)"
    r"|((client|app|auth|webhook|jwt|shared)[_.-]?secret))",
    re.I,
)
"""Names of what is a secret, once `camelCase` is `camel_Case`."""
_NO_SECRET = re.compile(r"|[/$<{].*|.*\$[({].*|true|false|on|off|yes|no|none|null|[\d.]+[smhd]?", re.I | re.S)
"""What is none even under such a name: a path, a variable, a switch, a number, a time."""
_PASSWORD_IN_URL = re.compile(r"://[^/\s:@]+:[^/\s:@$]+@")


def _secret(name: str, value: Any) -> bool:
    if not isinstance(value, str) or value == SECRET or UNKNOWN in value:
        return False
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    named = _NAME.fullmatch(words) and not _NO_SECRET.fullmatch(value.strip())
    return bool(named or _PASSWORD_IN_URL.search(value))


@resource_policy(
    "no-secrets-in-chart-values",
    "No password or token stands in the values of a chart: Helm keeps those readable, for each release that ever was",
    types=CHARTS,
    risk="critical",
    why=_WHY,
    fix="Make a Secret and give the chart its name: most have a value such as existingSecret for that.",
)
def no_secrets_in_chart_values(release: Resource, _: Parameters) -> Iterator[Violation]:
    for place, name, value in _leaves(at(release, "values"), "values"):
        if _secret(name, value):
            yield Violation(f"{place} is a secret in the clear; expected the name of a Secret instead", release, place)


def _leaves(value: Any, place: str, name: str = "") -> Iterator[tuple[str, str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{place}.{key}", str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{place}[{index}]", name)
    else:
        yield place, name, value


@container_policy(
    "no-secrets-on-command-lines",
    "No password or token stands on a container's command line, or inside a URL that it is given",
    partial=True,
    risk="critical",
    why=_WHY,
    fix="Mount the Secret as a file and name the file, or use workload identity and have no secret.",
)
def no_secrets_on_command_lines(container: Container, _: Pod, __: Parameters) -> Iterator[str]:
    for option, value in _options([*_listed(container.spec, "command"), *_listed(container.spec, "args")]):
        if _secret(option.lstrip("-"), value):
            yield f"is given {option or 'a password in a URL'} in the clear"
    for variable in each(container.spec, "env"):
        if _secret("", variable.get("value")):
            yield f"is given a password inside the URL {variable.get('name')}"


def _options(command: list[str]) -> Iterator[tuple[str, str]]:
    """(option, value) of a command line: of `--name=value` and of `--name value`; other words have no option."""
    before = ""
    for word in command:
        option, equals, value = word.partition("=")
        if word.startswith("-") and equals:
            yield option, value
        else:
            yield ("" if word.startswith("-") else before), word
        before = word if word.startswith("--") and not equals else ""


def _listed(value: Mapping[str, Any], key: str) -> list[str]:
    found = value.get(key)
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []
