"""The other names a resource may have had: alias options, and those that follow from its parent's aliases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pulumi.runtime.proto import alias_pb2

from planner import urn as urns


def resolve(
    aliases: Iterable[alias_pb2.Alias],
    alias_urns: Iterable[str],
    *,
    urn: str,
    parent: str,
    parent_aliases: Sequence[str],
) -> tuple[str, ...]:
    """All former URNs of the resource `urn`, in the engine's order and without repetition.

    An alias spec names only what differed; the rest is the resource's own. A parent's former URN gives each child a
    former URN too, with the parent's old name in place of the new one where the child's name begins with it
    (pulumi: sdk `inherited_child_alias`, engine `AliasSpec`).
    """
    own = urns.parse(urn)
    own_aliases = [
        alias.urn if alias.WhichOneof("alias") == "urn" else _from_spec(alias.spec, own, parent) for alias in aliases
    ]
    own_aliases += alias_urns
    inherited = []
    for parent_alias in parent_aliases:
        inherited.append(_under(parent_alias, parent, own.name, own.type, own.project, own.stack))
        for alias in own_aliases:
            former = urns.parse(alias)
            inherited.append(_under(parent_alias, parent, former.name, former.type, former.project, former.stack))
    return tuple(dict.fromkeys(alias for alias in [*own_aliases, *inherited] if alias != urn))


def _from_spec(spec: alias_pb2.Alias.Spec, own: urns.Urn, parent: str) -> str:
    if spec.noParent:
        parent = ""
    elif spec.parentUrn:
        parent = spec.parentUrn
    return urns.create(
        stack=spec.stack or own.stack,
        project=spec.project or own.project,
        parent=parent,
        type=spec.type or own.type,
        name=spec.name or own.name,
    )


def _under(parent_alias: str, parent: str, name: str, type: str, project: str, stack: str) -> str:
    parent_name, former_parent_name = urns.parse(parent).name, urns.parse(parent_alias).name
    if name.startswith(parent_name):
        name = former_parent_name + name[len(parent_name) :]
    return urns.create(stack=stack, project=project, parent=parent_alias, type=type, name=name)
