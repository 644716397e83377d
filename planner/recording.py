"""Recorded answers to invokes (`aicloud record`): from the log of a real preview, or by hand.

A real preview writes every call of its providers as JSON lines where it is told to:

    PULUMI_DEBUG_GRPC=grpc.json pulumi preview -s dev

(pulumi/pulumi, sdk/go/pulumi-internal/rpcdebug). That file has credentials in it. What is written here has none:
whatever Pulumi or a property's name calls a secret is replaced with `[secret]`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planner import urn as urns
from planner.engine import invokes, values
from planner.engine.invokes import Recorded
from planner.engine.target import STACK_REFERENCE
from planner.plan import SECRET

_MONITOR = "/pulumirpc.ResourceMonitor/Invoke"
_PROVIDER = "/pulumirpc.ResourceProvider/Invoke"
_CHECK_CONFIG = "/pulumirpc.ResourceProvider/CheckConfig"
_REGISTER = "/pulumirpc.ResourceMonitor/RegisterResource"
_READ = "/pulumirpc.ResourceMonitor/ReadResource"
_RUN = "/pulumirpc.LanguageRuntime/Run"

_SECRET_NAME = re.compile(
    r"(password|passphrase|secretString|secretBinary|secretData|secretKey|secretAccessKey|clientSecret|plaintext|token"
    r"|privateKey(Pem|PemPkcs8|Openssh)?|clientKey|apiKey|authKey|connectionString|kubeconfig|credentials?)$",
    re.IGNORECASE,
)
"""Properties whose text is a secret even where a provider does not mark it as one."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a recording did; counts are of distinct calls."""

    path: Path
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    simulated: int = 0
    """Left out: the preview answers them itself, and would not look at a record."""
    unknown: int = 0
    """Left out: their arguments or answers were not known in that preview."""
    failed: int = 0
    """Left out: the real provider answered with an error."""
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        left_out = {
            "the preview answers them itself": self.simulated,
            "unknown in that preview": self.unknown,
            "answered with an error": self.failed,
        }
        lines = [f"{self.path}: {self.added} added, {self.changed} changed, {self.unchanged} unchanged"]
        lines += [f"left out: {count} ({why})" for why, count in left_out.items() if count]
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])


def record_from_log(log: Path, into: Path) -> Summary:
    """Merge the answers in a gRPC log into a file of recorded answers; an answer to the same call is replaced.

    ValueError where the log cannot be read or is another kind of log, or where `into` is malformed.
    """
    warnings: list[str] = []
    entries = list(_entries(log, warnings))
    regions = _Regions(entries)
    counts = dict.fromkeys(("added", "changed", "unchanged", "simulated", "unknown", "failed"), 0)
    merged = {_key(one): one for one in invokes.read_recorded(into)}
    seen: set[str] = set()
    # The monitor's log tells the provider of a call, and so its region; the provider's own log has calls that
    # components made in other processes.
    calls = [(e, m) for m in (_MONITOR, _PROVIDER) for e in entries if e["method"] == m and _is_complete(e)]
    references = [e for e in entries if e["method"] == _READ and _is_complete(e)]
    for one in filter(None, map(_stack_reference, references)):
        _count(one, merged, counts)
    for entry, method in calls:
        request, response = entry.get("request") or {}, entry.get("response") or {}
        token = str(request.get("tok", ""))
        if token.startswith("pulumi:"):
            continue  # the engine's own: stack references and resources that are known already
        args = {key: value for key, value in (request.get("args") or {}).items() if value is not None}
        call = json.dumps([token, values.redact(args)], sort_keys=True)
        if method == _MONITOR:
            call += str(request.get("provider", ""))
        elif any(one.startswith(call) for one in seen):
            continue
        if call in seen:
            continue
        seen.add(call)
        outcome = _outcome(token, args, entry, response)
        if outcome is None:
            region = None if "region" in args else regions.of(token, request.get("provider"))
            _count(Recorded(token, _without_secrets(args), _result(response), region), merged, counts)
        else:
            counts[outcome] += 1
    if not calls and not references:
        warnings.append(f"{log} has no answered invoke; was it written by a preview that ran to its end?")
    if counts["added"] or counts["changed"]:
        invokes.write_recorded(into, merged.values())
    return Summary(into, warnings=tuple(warnings), **counts)


def _count(one: Recorded, merged: dict[tuple[str, str, str], Recorded], counts: dict[str, int]) -> None:
    before = merged.get(_key(one))
    counts["added" if before is None else "unchanged" if before.result == one.result else "changed"] += 1
    merged[_key(one)] = one


def _stack_reference(entry: Mapping[str, Any]) -> Recorded | None:
    """Another stack's outputs: the engine reads them like a resource, and the preview takes them like an answer."""
    request, properties = entry.get("request") or {}, (entry.get("response") or {}).get("properties") or {}
    if request.get("type") != STACK_REFERENCE or not isinstance(outputs := properties.get("outputs"), dict):
        return None
    name = (request.get("properties") or {}).get("name") or request.get("id")
    return Recorded(STACK_REFERENCE, {"name": str(name)}, _without_secrets(outputs))


def record_by_hand(token: str, args: Mapping[str, Any], into: Path, region: str | None = None) -> Path:
    """Add an entry for a call, with placeholders of the right types for a person to replace.

    Where no installed SDK has the function, its result is an empty object. ValueError where the call is recorded
    already, or where `token` or `args` are not such.
    """
    if token.count(":") != 2 or not all(token.split(":")):
        raise ValueError(
            f"{token!r} is not a function; expected <package>:<module>:<function>, as in aws:ec2/getVpc:getVpc"
        )
    if not isinstance(args, Mapping):
        raise ValueError(f'the arguments are {type(args).__name__}; expected an object, as in \'{{"name": "main"}}\'')
    there = invokes.read_recorded(into)
    if any(one.answers(token, args, region) for one in there):
        raise ValueError(f"{into} has an answer to {token} with these arguments already; edit that one")
    try:
        result = invokes.placeholder(token, args, region)
    except invokes.NoAnswer:
        result = {}
    invokes.write_recorded(into, [*there, Recorded(token, _without_secrets(args), _without_secrets(result), region)])
    return into


# ---- reading a log


def _entries(log: Path, warnings: list[str]) -> Iterator[dict[str, Any]]:
    try:
        lines = log.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{log}: cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            entry = None
        if isinstance(entry, dict) and isinstance(entry.get("method"), str):
            yield entry
        elif number == len(lines) and number > 1:
            warnings.append(f"{log}: line {number}, the last, is cut off; it was left out")
        else:
            raise ValueError(
                f"{log}: line {number} is not an entry of a gRPC log: {line[:60]!r}. The log of `pulumi preview -v=9` "
                "has no answers in it; run `PULUMI_DEBUG_GRPC=grpc.json pulumi preview` and give grpc.json"
            )


def _is_complete(entry: Mapping[str, Any]) -> bool:
    """A call is logged when it starts and when it ends; logs of older versions have one entry without `progress`."""
    return entry.get("progress", "response_completed") == "response_completed"


def _outcome(token: str, args: Mapping[str, Any], entry: Mapping[str, Any], response: Mapping[str, Any]) -> str | None:
    """Why a call is left out; None where it is to be recorded."""
    if entry.get("errors") or response.get("failures") or not isinstance(response.get("return"), dict):
        return "failed"
    if values.has_unknown([args, response["return"]]):
        return "unknown"
    try:
        answer = invokes.Answers(strict=True).answer(token, values.plain(args), None)
    except invokes.NoAnswer:
        return None
    return "simulated" if answer.origin == "simulated" else None


class _Regions:
    """The regions of the providers that a log speaks of."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self._of: dict[str, str] = {}
        self._config: dict[str, str] = {}
        for entry in entries:
            request, method = entry.get("request") or {}, entry["method"]
            if method == _RUN:
                self._config |= request.get("config") or {}
            elif method == _CHECK_CONFIG:
                self._learn(request.get("urn"), request.get("news"))
            elif method == _REGISTER and str(request.get("type", "")).startswith(urns.PROVIDER_PREFIX):
                self._learn((entry.get("response") or {}).get("urn"), request.get("object"))

    def _learn(self, urn: Any, config: Any) -> None:
        region = (config or {}).get("region")
        if isinstance(urn, str) and isinstance(region, str) and not values.has_unknown(region):
            self._of[urn] = region

    def of(self, token: str, reference: Any) -> str | None:
        """The region of a call: its provider's, or that of its package's default provider."""
        package = token.split(":", 1)[0]
        if isinstance(reference, str) and reference:
            return self._of.get(urns.provider_urn(reference))
        for urn, region in self._of.items():
            parts = urns.parse(urn)
            if parts.type == urns.PROVIDER_PREFIX + package and parts.name.startswith("default"):
                return region
        return self._config.get(f"{package}:region")


# ---- what is written


def _key(one: Recorded) -> tuple[str, str, str]:
    return one.token, json.dumps(one.args, sort_keys=True), one.region or ""


def _result(response: Mapping[str, Any]) -> dict[str, Any]:
    result = _without_secrets(response["return"])
    if result.get("type") == "SecureString":  # a parameter of AWS Systems Manager, decrypted
        result |= {key: SECRET for key in ("value", "insecureValue") if result.get(key)}
    return result


def _without_secrets(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values, with `[secret]` for what is marked or named as one."""
    return _hidden(values.redact(dict(properties)))


def _hidden(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _hidden(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_hidden(item, name) for item in value]
    return SECRET if isinstance(value, str) and value and _SECRET_NAME.search(name) else value
