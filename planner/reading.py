"""Reads plan files whoever wrote them: our own plan.json, `pulumi stack export`, `pulumi preview --json`.

A file comes from another tool, another version, or half of a pipe, so nothing in it is taken for granted: whatever is
not as it should be is a PlanError that says where it stands and what was expected. No other error comes out of here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planner import urn as urns
from planner.plan import EXPORT_VERSIONS, SECRET, Diagnostic, Plan, PlanError, Resource

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"
"""The key of Pulumi's typed envelopes, and its value in that of a secret (pulumi: sdk resource.SigKey, SecretSig)."""

DIGEST_KEYS = frozenset({"config", "steps", "diagnostics", "duration", "changeSummary", "maybeCorrupt"})
"""Keys of `pulumi preview --json`, each left out where it is empty (pulumi: pkg/display/json.go, PreviewDigest)."""


@dataclass(frozen=True)
class Decision:
    """What Pulumi itself decided to do with one resource."""

    op: str
    """create, update, replace, delete, same, read, import, refresh, …: a step's word without `-replacement`."""
    replace_reasons: tuple[str, ...] = ()
    """Properties that force the replacement."""
    diff_reasons: tuple[str, ...] = ()
    """Properties that differ."""
    detailed: Mapping[str, str] = field(default_factory=dict)
    """Property path -> add, add-replace, delete, delete-replace, update or update-replace."""
    deletes_first: bool = False
    """Whether the old one goes before the new one is made; only steps in that order tell."""


@dataclass(frozen=True)
class Digest:
    """A `pulumi preview --json`: the environment before, after, and what Pulumi would do, URN by URN."""

    old: Plan
    new: Plan
    decisions: Mapping[str, Decision]


def read_document(path: str | Path) -> dict[str, Any]:
    """The JSON object in a file. PlanError, without the file's name, where there is none."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        kinds = "a plan, a `pulumi preview --json` or a `pulumi stack export`"
        raise PlanError(f"cannot be read: {error.strerror or error}; expected {kinds}") from error
    try:
        # PowerShell's `>` writes UTF-16, and others a byte order mark.
        text = data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        raise PlanError(f"cannot be read: {error}") from error
    return document(text)


def document(text: str) -> dict[str, Any]:
    """The JSON object in a text."""
    text = text.removeprefix("\ufeff")
    try:
        loaded = json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        hint = "several documents; a streamed preview?" if error.msg == "Extra data" else "is it cut off?"
        raise PlanError(f"not JSON (line {error.lineno}, column {error.colno}: {error.msg}); {hint}") from None
    except RecursionError:
        raise PlanError("objects inside one another more deeply than anything of Pulumi's") from None
    except ValueError as error:  # an integer of thousands of digits
        raise PlanError(f"not JSON: {error}") from None
    if _HALF_OF_A_PAIR.search(text):
        try:
            json.dumps(loaded, ensure_ascii=False).encode()
        except (UnicodeEncodeError, RecursionError) as error:
            raise PlanError(f"text that is not Unicode: {error}") from None
    if not isinstance(loaded, dict):
        raise PlanError(f"expected a JSON object, found {type(loaded).__name__}")
    return loaded


_HALF_OF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


def _no_number(constant: str) -> Any:
    raise PlanError(f"not JSON: {constant} is no number")


def plan_of(found: Mapping[str, Any]) -> Plan:
    """The plan in a document of any of the three kinds: of a preview, the environment as it would be afterwards."""
    try:
        return _plan_of(found)
    except RecursionError:
        raise PlanError("objects inside one another more deeply than anything of Pulumi's") from None


def _plan_of(found: Mapping[str, Any]) -> Plan:
    if "deployment" in found:
        return _of_export(found)
    if is_digest(found):
        return _digest(found).new
    hint = ""
    if "checkpoint" in found:
        hint = "; a state backend's own file: `pulumi stack export` writes what can be read"
    raise PlanError(
        "neither a plan.json or `pulumi stack export` (key 'deployment') nor a `pulumi preview --json` "
        f"(key 'steps'); found the keys {sorted(found)[:8]}{hint}"
    )


def is_digest(found: Mapping[str, Any]) -> bool:
    """Whether a document is a `pulumi preview --json`; without changes it has no steps, only a duration."""
    return "steps" in found or bool(found.keys() & {"duration", "changeSummary"} and found.keys() <= DIGEST_KEYS)


def digest_of(found: Mapping[str, Any]) -> Digest:
    """Both sides of a `pulumi preview --json`, and what Pulumi decided."""
    try:
        return _digest(found)
    except RecursionError:
        raise PlanError("objects inside one another more deeply than anything of Pulumi's") from None


# ---- the three kinds


def _of_export(found: Mapping[str, Any]) -> Plan:
    version = found.get("version")
    if version not in EXPORT_VERSIONS or isinstance(version, bool):
        raise PlanError(f"version {version!r} of a stack export; this reads {EXPORT_VERSIONS}")
    deployment = _typed(found, "deployment", dict, "")
    own = _typed(found, "aicloud", dict, "")
    resources = []
    for index, state in enumerate(_typed(deployment, "resources", list, "deployment.")):
        # What a replacement has left behind is not part of the environment any more.
        if not (isinstance(state, dict) and state.get("delete")):
            resources.append(resource(state, f"deployment.resources[{index}]"))
    _distinct(resources, "deployment.resources")
    diagnostics = _diagnostics(_typed(own, "diagnostics", list, "aicloud."), "aicloud.diagnostics")
    return _plan(resources, diagnostics, _config(own, "aicloud."), own)


def _digest(found: Mapping[str, Any]) -> Digest:
    config = _config(found, "")
    old: dict[str, Resource] = {}
    new: dict[str, Resource] = {}
    steps: dict[str, list[Mapping[str, Any]]] = {}
    for index, step in enumerate(_typed(found, "steps", list, "")):
        place = f"steps[{index}]"
        if not isinstance(step, dict):
            raise PlanError(f"{place}: is {_word(step)}; expected an object")
        for key, into in (("oldState", old), ("newState", new)):
            if step.get(key):
                # A replacement is up to three steps on one URN; all carry the same new state.
                one = resource(step[key], f"{place}.{key}")
                into[one.urn] = one
        op, urn = _typed(step, "op", str, f"{place}."), _typed(step, "urn", str, f"{place}.")
        if not op and not step.get("newState"):
            raise PlanError(f"{place}: neither 'op' nor 'newState'; expected a step of a preview")
        _typed(step, "detailedDiff", dict, f"{place}.")
        for key in ("diffReasons", "replaceReasons"):
            _texts(step, key, f"{place}.")
        if urn:
            steps.setdefault(urn, []).append(step)
    gone = {urn for urn, own in steps.items() if {step.get("op") for step in own} <= {"delete", "discard"}}
    diagnostics = _diagnostics(_typed(found, "diagnostics", list, ""), "diagnostics")
    return Digest(
        _plan(list(old.values()), [], config, {}),
        _plan([r for urn, r in new.items() if urn not in gone], diagnostics, config, {}),
        {urn: _decision(own) for urn, own in steps.items()},
    )


def _decision(steps: list[Mapping[str, Any]]) -> Decision:
    ops = [str(step.get("op") or "") for step in steps]
    replaced = any(op == "replace" or op.endswith(("-replacement", "-replaced")) for op in ops)
    detailed: dict[str, str] = {}
    for step in steps:
        for path, difference in (step.get("detailedDiff") or {}).items():
            detailed[path] = str(difference.get("kind", "")) if isinstance(difference, dict) else ""
    op = "replace" if replaced else {"discard": "delete"}.get(ops[0], ops[0])
    return Decision(
        op,
        tuple(dict.fromkeys(key for step in steps for key in step.get("replaceReasons") or ())),
        tuple(dict.fromkeys(key for step in steps for key in step.get("diffReasons") or ())),
        detailed,
        replaced and ops[0] == "delete-replaced",
    )


def _plan(
    resources: list[Resource], diagnostics: list[Diagnostic], config: Mapping[str, str], own: Mapping[str, Any]
) -> Plan:
    _no_cycle(resources)
    first = urns.parse(resources[0].urn) if resources else None
    return Plan.of(
        _typed(own, "project", str, "aicloud.") or (first.project if first else ""),
        _typed(own, "stack", str, "aicloud.") or (first.stack if first else ""),
        resources,
        diagnostics,
        config,
        simulated=own.get("simulated") is True,
    )


# ---- their parts


def resource(state: Any, place: str = "a resource") -> Resource:
    """Read ResourceV3 JSON. PlanError names the property that has the wrong type."""
    if not isinstance(state, dict):
        raise PlanError(f"{place}: is {_word(state)}: {_short(state)}; expected an object")
    for key in ("urn", "type"):
        if not isinstance(state.get(key), str) or not state[key]:
            raise PlanError(f"{place}: without {key!r}: {_short(state)}")
    try:
        named = urns.parse(state["urn"])
    except ValueError as error:
        raise PlanError(f"{place}: {error}") from None
    place = f"{place} ({named.name})."
    return Resource(
        urn=state["urn"],
        type=state["type"],
        custom=_typed(state, "custom", bool, place),
        id=_typed(state, "id", str, place),
        inputs=without_envelopes(_typed(state, "inputs", dict, place)),
        outputs=without_envelopes(_typed(state, "outputs", dict, place)),
        parent=_typed(state, "parent", str, place),
        provider=_typed(state, "provider", str, place),
        dependencies=_texts(state, "dependencies", place),
        property_dependencies=_dependencies(state, place),
        protect=_typed(state, "protect", bool, place),
        external=_typed(state, "external", bool, place),
        retain_on_delete=_typed(state, "retainOnDelete", bool, place),
        deleted_with=_typed(state, "deletedWith", str, place),
        delete_before_replace=_typed(state, "deleteBeforeReplace", bool, place),
        import_id=_typed(state, "importID", str, place),
        aliases=_texts(state, "aliases", place),
        ignore_changes=_texts(state, "ignoreChanges", place),
        replace_on_changes=_texts(state, "replaceOnChanges", place),
        additional_secret_outputs=_texts(state, "additionalSecretOutputs", place),
        custom_timeouts=_timeouts(state, place),
        source_position=_typed(state, "sourcePosition", str, place),
    )


def _dependencies(state: Mapping[str, Any], place: str) -> dict[str, tuple[str, ...]]:
    found = _typed(state, "propertyDependencies", dict, place)
    return {key: _texts(found, key, f"{place}propertyDependencies.") for key in found}


def _timeouts(state: Mapping[str, Any], place: str) -> dict[str, float]:
    found = _typed(state, "customTimeouts", dict, place)
    for key, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float | type(None)):
            raise PlanError(f"{place}customTimeouts.{key}: is {_word(value)}; expected a number of seconds")
    return {key: value for key, value in found.items() if value is not None}


def _config(own: Mapping[str, Any], place: str) -> dict[str, str]:
    config = _typed(own, "config", dict, place)
    for key, value in config.items():
        if not isinstance(value, str):
            raise PlanError(f"{place}config.{key}: is {_word(value)}; expected text, or JSON as text")
    return config


def _diagnostics(found: list[Any], place: str) -> list[Diagnostic]:
    read = []
    for index, one in enumerate(found):
        if not isinstance(one, dict):
            raise PlanError(f"{place}[{index}]: is {_word(one)}; expected an object")
        text = {key: _typed(one, key, str, f"{place}[{index}].") for key in ("severity", "message", "urn", "place")}
        # `info#err` is what a program printed on its standard error.
        severity = text["severity"].partition("#")[0]
        text["severity"] = severity if severity in ("info", "warning", "error") else "info"
        read.append(Diagnostic(text["severity"], text["message"].strip(), text["urn"], text["place"]))
    return read


def without_envelopes(value: Any) -> Any:
    """An export's secret envelopes (ciphertext or plaintext alike) as `[secret]`."""
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET_SIGNATURE:
            return SECRET
        return {key: without_envelopes(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_envelopes(item) for item in value]
    return value


# ---- what must hold among resources


def _distinct(resources: Iterable[Resource], place: str) -> None:
    seen: set[str] = set()
    for one in resources:
        if one.urn in seen:
            raise PlanError(f"{place}: two resources have the URN {one.urn!r}")
        seen.add(one.urn)


def _no_cycle(resources: Iterable[Resource]) -> None:
    """A resource that is its own ancestor would send every reader of the tree around for ever."""
    parents = {one.urn: one.parent for one in resources}
    safe: set[str] = set()
    for urn in parents:
        path: dict[str, None] = {}
        while urn in parents and urn not in safe:
            if urn in path:
                raise PlanError(f"{urn!r} is its own parent: {' -> '.join(_cycle(path, urn))}")
            path[urn] = None
            urn = parents[urn]
        safe.update(path)


def _cycle(path: Iterable[str], start: str) -> Iterator[str]:
    inside = False
    for urn in path:
        inside = inside or urn == start
        if inside:
            yield urn.split("::", 3)[3]
    yield start.split("::", 3)[3]


# ---- types

_WORDS = {dict: "an object", list: "a list", str: "text", bool: "true or false"}


def _typed(found: Mapping[str, Any], key: str, kind: type, place: str) -> Any:
    """The value of a key, empty where there is none."""
    value = found.get(key)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise PlanError(f"{place}{key}: is {_word(value)}: {_short(value)}; expected {_WORDS[kind]}")
    return value


def _texts(found: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    values = _typed(found, key, list, place)
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise PlanError(f"{place}{key}[{index}]: is {_word(value)}: {_short(value)}; expected text")
    return tuple(values)


def _word(value: Any) -> str:
    return "nothing" if value is None else _WORDS.get(type(value), f"the number {str(value)[:20]}")


def _short(value: Any) -> str:
    return json.dumps(value)[:120]
