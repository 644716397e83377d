"""Children of remote components: the few that can be known without the component's own provider."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from planner import urn as urns
from planner.engine.diagnostics import Diagnostics
from planner.engine.state import State
from planner.plan import UNKNOWN

_YAML_COMPONENTS = ("kubernetes:yaml/v2:ConfigFile", "kubernetes:yaml/v2:ConfigGroup")


def children(component: State, diagnostics: Diagnostics) -> Iterator[State]:
    """The resources that a remote component makes. Where they cannot be known, say so once per component."""
    place = component.source_position.removeprefix("project:///").replace("#", ":")
    if component.type not in _YAML_COMPONENTS:
        message = f"{component.type} {component.name!r} makes its resources inside its own provider; they are not shown"
        diagnostics.add("info", message, urn=component.urn, place=place)
        return
    try:
        documents = list(_documents(component.inputs))
    except (OSError, yaml.YAMLError) as error:
        diagnostics.add("error", f"{component.type} {component.name!r}: {error}", urn=component.urn, place=place)
        return
    for document in documents:
        yield _child(component, document)


def _documents(inputs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    texts: list[str] = []
    files = inputs.get("files") or [inputs.get("file")]
    for pattern in files if isinstance(files, list) else [files]:
        if isinstance(pattern, str) and pattern != UNKNOWN:
            paths = sorted(Path().glob(pattern)) if "*" in pattern else [Path(pattern)]
            texts += [path.read_text(encoding="utf-8") for path in paths]
    text = inputs.get("yaml")
    texts += [t for t in (text if isinstance(text, list) else [text]) if isinstance(t, str) and t != UNKNOWN]
    for text in texts:
        for document in yaml.safe_load_all(text):
            yield from _items(document)
    for document in inputs.get("objs") or ():
        yield from _items(document)


def _items(document: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(document, dict):
        return
    if str(document.get("kind", "")).endswith("List") and isinstance(document.get("items"), list):
        for item in document["items"]:
            yield from _items(item)
    elif document.get("kind"):
        # YAML dates and the like become what JSON would carry.
        yield json.loads(json.dumps(document, default=str))


def _child(component: State, document: dict[str, Any]) -> State:
    group = str(document.get("apiVersion", "v1"))
    token = f"kubernetes:{group if '/' in group else f'core/{group}'}:{document['kind']}"
    metadata = document.get("metadata") or {}
    identity = "/".join(part for part in (metadata.get("namespace"), metadata.get("name")) if part)
    name = f"{component.inputs.get('resourcePrefix') or component.name}:{identity}"
    former = urns.parse(component.urn)
    return State(
        urn=urns.create(stack=former.stack, project=former.project, parent=component.urn, type=token, name=name),
        type=token,
        name=name,
        custom=True,
        parent=component.urn,
        provider=component.provider,
        inputs=document,
        outputs=document,
        region=component.region,
        protect=component.protect,
        source_position=component.source_position,
    )
