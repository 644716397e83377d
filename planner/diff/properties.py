"""Which properties of one resource differ, by a path that a person can read.

What the cloud makes up (ids, ARNs) is compared and shown as the resource and output that it comes from. So a
preview with simulated values, one with unknown values and an export of the real thing compare alike.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from planner.diff.model import Property
from planner.plan import SECRET, UNKNOWN, Plan, Resource

KNOWN_AFTER_APPLY = "(known after apply)"

SENSITIVE = re.compile(
    r"(password|passphrase|secret|secretstring|secretkey|secretvalue|client_?secret|token|api_?key|access_?key"
    r"|private_?key|kubeconfig|credentials?)(base64)?$",
    re.IGNORECASE,
)
"""Properties, and names of environment variables, whose text is not shown even where nobody has said it is secret."""

_SECRET_DATA = {"kubernetes:core/v1:Secret": ("data", "stringData")}
_BY_KEY = ("name", "key", "id", "mountPath", "sid", "Sid", "containerPort", "path", "host")
"""What elements of a list are known by, the first that every element has and no two share."""

_OF_PROVIDERS = frozenset({"__defaults", "tagsAll", "effectiveLabels", "pulumiLabels"})
"""Inputs that a provider adds to those of the program: they are in exports and not in offline previews."""
_OF_KUBERNETES = frozenset({"pulumi.com/autonamed", "app.kubernetes.io/managed-by", "resourceNames", "checksum"})


@dataclass(frozen=True)
class Side:
    """A resource, its plan, and what the resources that it depends on are called in the comparison."""

    resource: Resource
    plan: Plan
    identity: Mapping[str, str]
    """URN -> the URN that both sides have in common; what is not in it, is its own."""

    def sources(self, key: str) -> Sequence[str]:
        """URNs that a top-level property comes from."""
        if not self.resource.property_dependencies:
            return self.resource.dependencies
        return self.resource.property_dependencies.get(key, ())

    def named(self, key: str, text: str) -> str:
        """A text with every output of another resource in it by name."""
        others = [other for urn in self.sources(key) if (other := self.plan.by_urn.get(urn)) is not None]
        for other in others:
            if output := next((name for name, value in made(other) if value == text), ""):
                return told(self._name(other), output)
        for other in others:
            for output, value in made(other):
                if is_in(value, text):
                    text = _whole(value).sub(told(self._name(other), output).replace("\\", r"\\"), text)
        return text

    def _name(self, other: Resource) -> str:
        return self.identity.get(other.urn, other.urn).split("::", 3)[3]


def told(name: str, output: str = "") -> str:
    """How an output of another resource is written in place of its value."""
    return f"\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}{name}{output and '.'}{output}{_CLOSING}"


_CLOSING = "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}"


def is_in(value: str, text: str) -> bool:
    """Whether an output is a text, or stands in it, as an ARN does in a policy; not as a part of a longer name."""
    return value == text or (len(value) >= 8 and value in text and _whole(value).search(text) is not None)


def _whole(value: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-]){re.escape(value)}(?![\w-])")


def made(resource: Resource) -> Iterator[tuple[str, str]]:
    """Outputs (the id first) that are the cloud's own: not among the inputs, and not the same for every resource."""
    given = [value for value in resource.inputs.values() if isinstance(value, str)]
    if resource.id and resource.id not in given:
        yield "id", resource.id
    for name, value in resource.outputs.items():
        if isinstance(value, str) and len(value) > 3 and name not in _SHARED and value not in given:
            yield name, value


_SHARED = frozenset(
    {"accountId", "hostedZoneId", "ownerId", "partition", "project", "region", "state", "status", "zoneId"}
)
"""Outputs that stay what they are when a resource is made anew."""


def differences(old: Side, new: Side) -> list[Property]:
    """Properties of a resource that differ; neither what the provider adds nor what its options ignore."""
    inputs = ignoring(old.resource.inputs, new.resource.inputs, new.resource.ignore_changes)
    new = replace(new, resource=replace(new.resource, inputs=inputs))
    return [
        _hidden_where_secret(change)
        for key in sorted(old.resource.inputs.keys() | inputs.keys())
        if key not in _OF_PROVIDERS and not key.startswith("__")
        for change in _Differ(key, old, new).top()
    ]


def ignoring(old: Any, new: Any, paths: Sequence[str]) -> Any:
    """New inputs with what `ignoreChanges` names set back to what it was, as Pulumi does before it asks a provider."""
    for path in paths:
        new = _reset(old, new, steps_of(path))
    return new


def _reset(old: Any, new: Any, steps: Sequence[str]) -> Any:
    if not steps:
        return old
    step, rest = steps[0], steps[1:]
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        result = dict(new)
        for key in (old.keys() | new.keys()) if step == "*" else {step}:
            if key in old and (key in new or not rest):
                result[key] = _reset(old[key], new.get(key), rest)
            elif not rest:
                result.pop(key, None)
        return result
    if isinstance(old, list) and isinstance(new, list):
        chosen = range(len(new)) if step == "*" else [int(step)] if step.isdigit() else []
        return [_reset(old[i], item, rest) if i in chosen and i < len(old) else item for i, item in enumerate(new)]
    return new


def steps_of(path: str) -> list[str]:
    """The steps of a property path as options have them: `a.b`, `a["b.c"][0]`, `a[*]`."""
    return [quoted or plain for quoted, plain in _STEPS.findall(path)]


_STEPS = re.compile(r"""\[["']?([^\]"']+)["']?\]|([^.\[\]]+)""")


def covers(option: str, path: str) -> bool:
    """Whether what an option such as `replaceOnChanges` names is a path here, or above it."""
    steps = [*steps_of(path), *(["[]"] if path.endswith("[]") else [])]
    wanted = steps_of(option)
    # Elements have names here and numbers there, so a number may be any of them.
    return len(wanted) <= len(steps) and all(
        want in ("*", step) or want.isdigit() for want, step in zip(wanted, steps, strict=False)
    )


def schema_path(path: str) -> str:
    """A path without what stands in brackets: `spec.containers[triton].image` as `spec.containers.image`."""
    return re.sub(r"\[[^\]]*\]", "", path)


def is_known(value: Any) -> bool:
    """Whether nothing in a value waits for the cloud."""
    if isinstance(value, str):
        return UNKNOWN not in value
    if isinstance(value, Mapping):
        return all(map(is_known, value.values()))
    return not isinstance(value, list) or all(map(is_known, value))


class _Differ:
    """Compares one top-level property of two states of a resource."""

    def __init__(self, key: str, old: Side, new: Side) -> None:
        self.key, self.old, self.new = key, old, new
        self.hidden = key in _SECRET_DATA.get(new.resource.type, ())
        self.autonamed = _autonamed(old.resource) and not _autonamed(new.resource)

    def top(self) -> Iterator[Property]:
        old, new = self.old.resource.inputs, self.new.resource.inputs
        if self.key in _defaults(old) - new.keys() or self.key in _defaults(new) - old.keys():
            return
        yield from self.compare(self.key, old.get(self.key), new.get(self.key))

    def compare(self, path: str, old: Any, new: Any) -> Iterator[Property]:
        if old == new and type(old) is type(new):
            return
        if old in (None, [], {}) and new in (None, [], {}) and not isinstance(old or new, bool):
            return
        if isinstance(old, Mapping | None) and isinstance(new, Mapping | None):
            yield from self.objects(path, old or {}, new or {})
        elif isinstance(old, list) and isinstance(new, list):
            yield from self.lists(path, old, new)
        else:
            yield from self.leaves(path, old, new)

    def objects(self, path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Property]:
        added = (_defaults(old) - new.keys()) | (_defaults(new) - old.keys())
        for key in sorted(old.keys() | new.keys()):
            one_sided = key not in old or key not in new
            if key.startswith("__") or key in added or (one_sided and key in _OF_KUBERNETES):
                continue
            if self.autonamed and path == "metadata" and one_sided and key in ("name", "namespace"):
                continue
            step = f"[{key}]" if "." in key or "/" in key else f".{key}"
            yield from self.compare(path + step, old.get(key), new.get(key))

    def lists(self, path: str, old: list[Any], new: list[Any]) -> Iterator[Property]:
        if all(isinstance(item, Mapping) for item in (*old, *new)):
            key = next((key for key in _BY_KEY if _tells_apart(key, old) and _tells_apart(key, new)), "")
            if key:
                olds, news = ({str(item[key]): item for item in items} for items in (old, new))
                for name in [*olds, *(name for name in news if name not in olds)]:
                    yield from self.element(f"{path}[{name}]", olds.get(name), news.get(name))
                return
            for index in range(max(len(old), len(new))):
                pair = [items[index] if index < len(items) else None for items in (old, new)]
                yield from self.element(f"{path}[{index}]", *pair)
        elif any(isinstance(item, Mapping | list) for item in (*old, *new)) or not (is_known(old) and is_known(new)):
            for index in range(max(len(old), len(new))):
                yield from self.compare(f"{path}[{index}]", *(i[index] if index < len(i) else None for i in (old, new)))
        else:
            yield from self.scalars(path, old, new)

    def element(self, path: str, old: Any, new: Any) -> Iterator[Property]:
        """An element of a list; one that comes or goes is told whole."""
        if old is None or new is None:
            yield Property(path, self.shown(path, old, self.old), self.shown(path, new, self.new))
        else:
            yield from self.compare(path, old, new)

    def scalars(self, path: str, old: list[Any], new: list[Any]) -> Iterator[Property]:
        olds = [self.shown(path, item, self.old) for item in old]
        news = [self.shown(path, item, self.new) for item in new]
        gone, came = [i for i in olds if i not in news], [i for i in news if i not in olds]
        if not gone and not came:
            if olds != news:
                yield Property(path, olds, news)
            return
        if len(gone) == len(came) == 1:
            yield Property(f"{path}[]", gone[0], came[0])
            return
        for item in gone:
            yield Property(f"{path}[]", item, None)
        for item in came:
            yield Property(f"{path}[]", None, item)

    def leaves(self, path: str, old: Any, new: Any) -> Iterator[Property]:
        if type(old) is not type(new) and _number(old) is not None and _number(old) == _number(new):
            return  # 3, 3.0 and "3" are one to a provider; the texts "1.3" and "1.30" are not
        if isinstance(old, str) and isinstance(new, str):
            if UNKNOWN in old or UNKNOWN in new:
                # What the cloud decides is the same as before unless it comes from something that changes: the
                # cascade tells that.
                if self.new.sources(self.key) or self.old.sources(self.key) or old == new:
                    return
            else:
                names = self.old.named(self.key, old), self.new.named(self.key, new)
                if names[0] == names[1]:
                    return
                inside = [_parsed(text) for text in names]
                if inside[0] is not None and inside[1] is not None:
                    yield from _Inside(self, path).compare(path, *inside)
                    return
                lines = [_lines(text) for text in names]
                if lines[0] is not None and lines[1] is not None:
                    yield from self.texts(path, lines[0], lines[1])
                    return
        elif UNKNOWN in (old, new) and None not in (old, new):
            return
        yield Property(path, self.shown(path, old, self.old), self.shown(path, new, self.new))

    def texts(self, path: str, old: list[str], new: list[str]) -> Iterator[Property]:
        """Of long texts, the lines that differ."""
        gone: list[str] = []
        came: list[str] = []
        for line in difflib.ndiff(old, new) if len(old) + len(new) < 400 else ():
            if line.startswith("- "):
                gone.append(line[2:])
            elif line.startswith("+ "):
                came.append(line[2:])
        if self.is_hidden(path):
            gone, came = [SECRET], [SECRET]
        if not gone and not came:
            gone, came = [f"{len(old)} lines"], [f"{len(new)} other lines"]
        hide = [[_without_secret(line) for line in lines] for lines in (gone, came)]
        yield Property(path, "\n".join(hide[0]) or None, "\n".join(hide[1]) or None)

    def is_hidden(self, path: str) -> bool:
        """Whether a value must not be shown, by the name of its property or of the element that it is in."""
        steps = [step for step in re.split(r"[.\[\]]+", path) if step]
        named = steps[-1:] + (steps[-2:-1] if steps[-1:] == ["value"] else [])
        return self.hidden or any(SENSITIVE.search(step) for step in named)

    def shown(self, path: str, value: Any, side: Side) -> Any:
        """A value as a person may see it."""
        if isinstance(value, Mapping):
            named = value.get("name") if isinstance(value.get("name"), str) else ""
            return {
                k: self.shown(f"{path}[{named}].{k}" if k == "value" and named else f"{path}.{k}", item, side)
                for k, item in value.items()
                if not k.startswith("__")
            }
        if isinstance(value, list):
            return [self.shown(path, item, side) for item in value]
        if isinstance(value, str):
            if self.is_hidden(path) or SECRET in value:
                return SECRET
            return side.named(self.key, value).replace(UNKNOWN, KNOWN_AFTER_APPLY)
        return value


class _Inside(_Differ):
    """Compares what is inside a JSON text, whose references have been told already."""

    def __init__(self, differ: _Differ, path: str) -> None:
        self.key, self.old, self.new = differ.key, differ.old, differ.new
        self.hidden, self.autonamed = differ.is_hidden(path), False

    def leaves(self, path: str, old: Any, new: Any) -> Iterator[Property]:
        yield Property(path, self.shown(path, old, self.old), self.shown(path, new, self.new))


def _hidden_where_secret(change: Property) -> Property:
    """A property that is secret on one side is secret on both: the other holds what was, or will be, the secret."""
    if change.old == SECRET and change.new not in (None, SECRET):
        return Property(change.path, SECRET, SECRET)
    if change.new == SECRET and change.old not in (None, SECRET):
        return Property(change.path, SECRET, SECRET)
    return change


def _defaults(value: Mapping[str, Any]) -> set[str]:
    """Properties that the provider has filled in, by what it says itself."""
    named = value.get("__defaults")
    return {name for name in named if isinstance(name, str)} if isinstance(named, list) else set()


def _autonamed(resource: Resource) -> bool:
    metadata = resource.inputs.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    return isinstance(annotations, Mapping) and "pulumi.com/autonamed" in annotations


def _tells_apart(key: str, items: Sequence[Any]) -> bool:
    values = [item.get(key) for item in items]
    return all(isinstance(v, str | int) and v != UNKNOWN for v in values) and len({str(v) for v in values}) == len(
        values
    )


def element_names(items: Sequence[Any]) -> list[str]:
    """What the elements of a list are called in a path: by name or key, else by number."""
    maps = all(isinstance(item, Mapping) for item in items)
    key = next((key for key in _BY_KEY if _tells_apart(key, items)), "") if maps and items else ""
    return [str(item[key]) for item in items] if key else [str(index) for index in range(len(items))]


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _parsed(text: str) -> Any:
    """What is in a JSON text such as a policy; None where it is none."""
    if not text.startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _lines(text: str) -> list[str] | None:
    """The lines of a long text, also of one in Base64 such as user data; None where it is one line."""
    if "\n" not in text and len(text) > 100 and re.fullmatch(r"[A-Za-z0-9+/=]+", text):
        try:
            text = base64.b64decode(text, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
    return text.splitlines() if "\n" in text.strip() else None


def _without_secret(line: str) -> str:
    name, separator, _ = re.sub(r"^\s*(export\s+)?[-\"']*", "", line).partition("=" if "=" in line else ":")
    return f"{name}{separator} {SECRET}" if separator and SENSITIVE.search(name.strip(" \"'")) else line
