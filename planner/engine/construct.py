"""Remote components: what can be known of their children, outputs and methods without the components' own provider."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from planner import urn as urns
from planner.engine import schema, values
from planner.engine.diagnostics import Diagnostics
from planner.engine.outputs import object_placeholder
from planner.engine.provider import with_unknown_outputs
from planner.engine.simulated import other_resources
from planner.engine.simulated.made import ACCOUNT, AWS_REGION, PROJECT, Made
from planner.engine.state import State
from planner.plan import UNKNOWN

_YAML_COMPONENTS = ("kubernetes:yaml/v2:ConfigFile", "kubernetes:yaml/v2:ConfigGroup")


def children(component: State, diagnostics: Diagnostics, directory: Path) -> Iterator[State]:
    """The resources that a remote component makes. Where they cannot be known, say so once per component."""
    place = component.place
    if component.type not in _YAML_COMPONENTS:
        message = f"{component.type} {component.name!r} makes its resources inside its own provider; they are not shown"
        diagnostics.add("info", message, urn=component.urn, place=place)
        return
    try:
        documents = list(_documents(component.inputs, directory))
    except (OSError, yaml.YAMLError) as error:
        diagnostics.add("error", f"{component.type} {component.name!r}: {error}", urn=component.urn, place=place)
        return
    for document in documents:
        yield _child(component, document)


_RENDERED = (
    "kubernetes:helm.sh/v2:Chart",
    "kubernetes:helm.sh/v3:Chart",
    "kubernetes:kustomize:Directory",
    "kubernetes:yaml:ConfigFile",
)
"""Components that the program itself renders into resources, with the help of the provider's functions."""


def report_unrendered(states: Iterable[State], diagnostics: Diagnostics) -> None:
    """Warn of charts and manifests without a resource: rendering waits for values that a preview does not know."""
    states = list(states)
    parents = {state.parent for state in states}
    for one in states:
        if one.type in _RENDERED and one.urn not in parents:
            message = f"{one.type} {one.name!r}: its resources are not in the preview, since it could not be rendered"
            place = one.place
            diagnostics.add("warning", message, urn=one.urn, place=place)


def _documents(inputs: Mapping[str, Any], directory: Path) -> Iterator[dict[str, Any]]:
    texts: list[str] = []
    files = inputs.get("files") or [inputs.get("file")]
    for pattern in files if isinstance(files, list) else [files]:
        if isinstance(pattern, str) and pattern != UNKNOWN:
            paths = sorted(directory.glob(pattern)) if "*" in pattern else [directory / pattern]
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


# ---- simulated updates


def outputs(component: State) -> dict[str, Any]:
    """The outputs of a component after a simulated update. UNKNOWN where nobody but its provider can tell."""
    _, known = other_resources.describe(_made(component))
    declared = _schema(component.type)
    secret = declared.secret_outputs if declared else ()
    known = {key: values.secret(value) if key in secret else value for key, value in known.items()}
    return with_unknown_outputs(component.type, known)


def answer(token: str, component: State | None) -> dict[str, Any]:
    """A made-up answer to a method, such as `eks:index:Cluster/getKubeconfig`: the output of that name, as a text.

    Where there is none, a placeholder of the declared type; where no installed SDK has the method, nothing.
    """
    type, _, method = token.rpartition("/")
    declared = _schema(type)
    result = getattr(declared.cls, f"{method[:1].upper()}{method[1:]}Result", None) if declared else None
    if component is None or result is None:
        return {}
    placeholder = object_placeholder(result, _made(component))
    name = method.removeprefix("get")
    known = values.plain(component.outputs.get(f"{name[:1].lower()}{name[1:]}"))
    if known is not None and known != UNKNOWN and set(placeholder) == {"result"}:
        placeholder["result"] = known if isinstance(known, str) else json.dumps(known)
    return placeholder


def _made(component: State) -> Made:
    return Made(
        token=component.type,
        seed=component.urn,
        base=component.name,
        inputs={key: values.plain(value) for key, value in component.inputs.items() if not values.has_unknown(value)},
        region=component.region or AWS_REGION,
        account=ACCOUNT,
        project=PROJECT,
    )


def _schema(type: str) -> schema.ResourceSchema | None:
    try:
        return schema.resource_schema(type)
    except schema.UnknownType:
        return None
