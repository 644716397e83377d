"""Checks Kubernetes objects as an API server would: core kinds by release, custom resources by their definitions.

Values that only the cloud can tell are accepted anywhere. CEL rules (x-kubernetes-validations) are not evaluated.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from planner.engine import kubernetes_rules
from planner.engine.checkers import KINDS, Problem, path_of
from planner.engine.schema import closest, did_you_mean, kubernetes_groups
from planner.engine.values import OUTPUT_SIGNATURE, SIGNATURE
from planner.plan import UNKNOWN


def check_core(token: str, inputs: Mapping[str, Any], version: str) -> list[Problem]:
    """What is wrong with an object of a kind that comes with Kubernetes, in release `version` ("1.34").

    The schemas are kubernetes-validate's, of the newest release that it has up to `version`. Kinds of other groups are
    none of its business; `kubernetes_rules` looks at the names, quantities and references that schemas say nothing of.
    """
    manifest = _visible(dict(inputs))
    api_version, kind = manifest.get("apiVersion"), manifest.get("kind")
    if not isinstance(api_version, str) or not isinstance(kind, str) or UNKNOWN in (api_version, kind):
        return []
    problems = [Problem(path, message, severity) for path, message, severity in kubernetes_rules.check(manifest)]
    if _group(api_version) not in kubernetes_groups() or kind.endswith("Patch") or token.endswith(("Patch", "List")):
        return problems
    release = _release(version)
    validator = _core_validator(api_version, kind, release)
    if validator is None:
        there = _served(kind, release)
        hint = f"; it has {kind} in {', '.join(there)}" if there else ""
        return [Problem("apiVersion", f"Kubernetes {release} has no {kind} in {api_version}{hint}"), *problems]
    return [*_problems(validator, manifest), *problems]


class CustomResourceDefinitions:
    """The definitions in a directory, against which custom resources are checked."""

    def __init__(self, documents: Mapping[str, list[str]]) -> None:
        self._unread = [(source, text) for source, texts in documents.items() for text in texts]
        self._definitions: dict[tuple[str, str], dict[str, Any]] = {}
        self._validators: dict[tuple[str, str], Any] = {}

    @classmethod
    def from_directory(cls, path: str | Path) -> CustomResourceDefinitions:
        """Read the *.yaml, *.yml and *.json files of a directory; other objects in them are passed over.

        A definition is parsed when a resource of its kind is first seen: some are megabytes.

        Raises:
            ValueError: it is not a directory, a file cannot be read, or there is no definition in it.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise ValueError(f"{folder}: not a directory; expected one with CustomResourceDefinitions as YAML or JSON")
        documents = {}
        for file in sorted(folder.iterdir()):
            if file.suffix in (".yaml", ".yml", ".json"):
                try:
                    text = file.read_text(encoding="utf-8")
                except (OSError, UnicodeDecodeError) as error:
                    raise ValueError(f"{file}: cannot be read: {error}") from error
                documents[str(file)] = [
                    one for one in re.split(r"(?m)^---.*$", text) if "CustomResourceDefinition" in one
                ]
        if not any(documents.values()):
            raise ValueError(f"{folder}: no CustomResourceDefinition in its {len(documents)} YAML and JSON files")
        return cls(documents)

    def check(self, api_version: str, kind: str, manifest: Mapping[str, Any]) -> list[Problem]:
        """What is wrong with a custom resource; a warning where its definition is not in the directory.

        Raises:
            ValueError: the definition's file is not valid YAML or not a definition.
        """
        group, _, version = api_version.rpartition("/")
        if UNKNOWN in (api_version, kind) or _group(api_version) in kubernetes_groups():
            return []
        definition = self._definition(group, kind)
        if definition is None:
            kinds = [known for known_group, known in self._definitions if known_group == group]
            # A directory may have some of a group's definitions: another kind is a mistake only if it looks like one.
            if not closest(kind, kinds):
                return [Problem("", f"not checked: no definition of {kind} is at hand", "warning", of_type=True)]
            return [
                Problem("kind", f"{group} has no kind {kind}{did_you_mean(kind, kinds)}; it has {', '.join(kinds)}")
            ]
        versions = {one["name"]: one for one in definition["spec"]["versions"]}
        served = [name for name, one in versions.items() if one.get("served")]
        if version not in served:
            return [Problem("apiVersion", f"{kind} is not served in {api_version}; {group} serves {', '.join(served)}")]
        if (api_version, kind) not in self._validators:
            schema = versions[version].get("schema", {}).get("openAPIV3Schema", {})
            self._validators[api_version, kind] = _validator_class()(_strict(schema, root=True))
        problems = _problems(self._validators[api_version, kind], _visible(dict(manifest)))
        if versions[version].get("deprecated"):
            why = versions[version].get("deprecationWarning") or f"{api_version} {kind} is deprecated"
            problems.append(Problem("apiVersion", why, "warning"))
        return problems

    def _definition(self, group: str, kind: str) -> dict[str, Any] | None:
        """A definition by name. Files that name the kind are parsed first, the group's others only in vain."""
        named = re.compile(rf'kind"?:\s*"?{re.escape(kind)}\b')
        for likely in (lambda text: group in text and named.search(text), lambda text: group in text):
            for entry in [one for one in self._unread if likely(one[1])]:
                self._unread.remove(entry)
                self._parse(*entry)
            if (group, kind) in self._definitions:
                break
        return self._definitions.get((group, kind))

    def _parse(self, source: str, text: str) -> None:
        try:
            definition = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            spec = definition["spec"]
            for version in spec["versions"]:
                version["name"]
            self._definitions[spec["group"], spec["names"]["kind"]] = definition
        except yaml.YAMLError as error:
            raise ValueError(f"{source}: not YAML: {str(error).splitlines()[0]}") from error
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{source}: not a CustomResourceDefinition of apiextensions.k8s.io/v1 ({error})"
            ) from error


# ---- schemas


def _strict(schema: Mapping[str, Any], root: bool = False) -> dict[str, Any]:
    """An openAPIV3Schema as JSON schema: what the API server would prune is an error."""
    kept = {key: value for key, value in schema.items() if not key.startswith("x-") and key not in _ANNOTATIONS}
    if schema.get("x-kubernetes-int-or-string"):
        kept.pop("type", None)
        kept["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if schema.get("nullable") and isinstance(kept.get("type"), str):
        kept["type"] = [kept["type"], "null"]
    if "pattern" in kept and not _compiles(kept["pattern"]):
        del kept["pattern"]  # Go's regular expressions have what Python's don't
    properties = {name: _strict(one) for name, one in (schema.get("properties") or {}).items()}
    if root or schema.get("x-kubernetes-embedded-resource"):
        properties = {**properties, **_OBJECT}
    if properties:
        kept["properties"] = properties
        # A default is filled in before the API server looks at what is required.
        kept["required"] = [
            name for name in kept.get("required", ()) if "default" not in (schema.get("properties") or {}).get(name, {})
        ]
    additional = schema.get("additionalProperties")
    if isinstance(additional, Mapping):
        kept["additionalProperties"] = _strict(additional)
    elif (
        schema.get("type") == "object" and additional is None and not schema.get("x-kubernetes-preserve-unknown-fields")
    ):
        kept["additionalProperties"] = False
    if isinstance(schema.get("items"), Mapping):
        kept["items"] = _strict(schema["items"])
    return kept


_ANNOTATIONS = ("default", "description", "example", "externalDocs", "nullable", "title")
_OBJECT: dict[str, Any] = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


@functools.cache
def _validator_class() -> Any:
    """jsonschema's validator, for which an unknown value satisfies every keyword."""
    import jsonschema  # type: ignore[import-untyped]  # a third of a second that a program without Kubernetes need not pay

    def tolerant(keyword: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
        def check(validator: Any, argument: Any, instance: Any, schema: Any) -> Iterator[Any]:
            if instance != UNKNOWN:
                yield from keyword(validator, argument, instance, schema) or ()

        return check

    base = jsonschema.Draft202012Validator
    keywords = {name: tolerant(keyword) for name, keyword in base.VALIDATORS.items()}
    unique = base.VALIDATORS["uniqueItems"]
    keywords["uniqueItems"] = tolerant(
        lambda validator, argument, instance, schema: (
            unique(validator, argument, [item for item in instance if item != UNKNOWN], schema)
            if isinstance(instance, list)
            else ()
        )
    )
    return jsonschema.validators.extend(base, keywords)


@functools.cache
def _release(version: str) -> str:
    """The newest release with schemas that is not newer than `version`; the oldest where all are."""
    from kubernetes_validate import utils

    wanted = _numbers(version)
    known = sorted(set(utils.all_versions()), key=_numbers)
    return ([one for one in known if _numbers(one)[:2] <= wanted[:2]] or known[:1])[-1]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


@functools.cache
def _definitions(release: str) -> dict[str, Any]:
    from kubernetes_validate import utils

    definitions = utils.schema_contents(f"{_folder(release)}/_definitions.json", release)["$defs"]
    for definition in definitions.values():
        _resolve(definition, definitions)
    return definitions


def _resolve(schema: Any, definitions: Mapping[str, Any]) -> None:
    """Put what a `$ref` names in its place: looking it up for every value would take most of the time of a check.

    Definitions that contain themselves become cycles, which a walk along a value never goes around.
    """
    for key, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if isinstance(value, dict) and isinstance(value.get("$ref"), str):
            schema[key] = definitions[value["$ref"].rpartition("/")[2]]
        elif isinstance(value, dict | list):
            _resolve(value, definitions)


def _folder(release: str) -> str:
    return f"kubernetes-json-schema/v{release}-local-strict"


@functools.cache
def _core_validator(api_version: str, kind: str, release: str) -> Any:
    """The validator of one kind, or None where the release has no such kind."""
    from kubernetes_validate import utils

    # The files are named after the first part of the group: rbac.authorization.k8s.io/v1 is rbac-v1.
    name = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    try:
        schema = utils.schema_contents(f"{_folder(release)}/{kind.lower()}-{name}.json", release)
    except FileNotFoundError:
        return None
    _resolve(schema, _definitions(release))
    return _validator_class()(schema)


def _served(kind: str, release: str) -> list[str]:
    import importlib.resources

    folder = importlib.resources.files("kubernetes_validate") / _folder(release)
    names = (file.name for file in folder.iterdir())
    return sorted(
        name[len(kind) + 1 : -len(".json")].replace("-", "/") for name in names if name.startswith(f"{kind.lower()}-")
    )


# ---- problems


def _problems(validator: Any, manifest: Mapping[str, Any]) -> list[Problem]:
    found: dict[Problem, None] = {}
    for error in validator.iter_errors(manifest):
        for path, message in _explained(error):
            found[Problem(path_of(path), message)] = None
    return list(found)


def _explained(error: Any) -> Iterator[tuple[list[Any], str]]:
    """A jsonschema error as a path and a message in the words that the checks of the SDKs use."""
    path, keyword, expected, value = list(error.absolute_path), error.validator, error.validator_value, error.instance
    if keyword == "additionalProperties" and expected is False:
        known = error.schema.get("properties", {})
        for name in value.keys() - known.keys():
            yield [*path, name], f"unknown property{did_you_mean(name, known)}"
    elif keyword == "required":
        for name in expected:
            if name not in value:
                yield [*path, name], "is required"
    elif keyword == "type":
        types = [expected] if isinstance(expected, str) else [one for one in expected if one != "null"]
        yield path, f"expected {' or '.join(types)}, got {KINDS.get(type(value), 'nothing')}"
    elif keyword == "enum":
        hint = did_you_mean(value, map(str, expected)) if isinstance(value, str) else ""
        yield path, f"expected one of {', '.join(map(str, expected))}; got {_short(value)}{hint}"
    elif keyword in ("anyOf", "oneOf") and error.context:
        if all(one.validator == "type" and not one.path for one in error.context):
            types = [str(one.validator_value) for one in error.context]
            yield path, f"expected {' or '.join(types)}, got {KINDS.get(type(value), 'nothing')}"
        else:
            for one in [one for one in error.context if one.validator != "type"] or error.context[:1]:
                yield from _explained(one)
                return
    else:
        yield path, error.message if len(error.message) <= 160 else f"{keyword}: expected {_short(expected)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]}…"


def _visible(value: Any) -> Any:
    """A wire value as the API server would see it; secrets, and whatever has no JSON form, are as good as unknown."""
    if isinstance(value, dict):
        signature = value.get(SIGNATURE)
        if signature is None:
            return {key: _visible(item) for key, item in value.items() if item is not None and not key.startswith("__")}
        if signature == OUTPUT_SIGNATURE and not value.get("secret"):
            return _visible(value.get("value", UNKNOWN))
        return UNKNOWN
    if isinstance(value, list):
        return [_visible(item) for item in value]
    return value


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0] or "core"
