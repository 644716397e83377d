"""Compares two plans of one environment: what is created, updated, replaced and deleted, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from planner import urn as urns
from planner.diff import impact, replacing
from planner.diff.model import OPS, Change, Comparison, Property
from planner.diff.properties import KNOWN_AFTER_APPLY, Side, differences, element_names, is_in, made, told
from planner.plan import UNKNOWN, Plan, Resource
from planner.reading import Decision
from planner.regions import regions


def compare(old: Plan, new: Plan, decisions: Mapping[str, Decision] | None = None) -> Comparison:
    """What changes from one plan to another. `decisions` are Pulumi's own, where its preview says what it would do."""
    pairs = Pairs(old, new)
    changes = {change.urn: change for change in _direct(pairs)}
    if decisions is None:
        _spread(pairs, changes)
    else:
        changes = {change.urn: change for change in _decided(pairs, changes, decisions)}
    _renamed_without_alias(pairs, changes)
    weighed = impact.weigh(old, new, changes, pairs.old_of)
    return Comparison(
        environment=new.stack or old.stack,
        changes=tuple(sorted(weighed.changes, key=_worst_first)),
        blocking=tuple(weighed.findings),
        capacity=tuple(impact.capacity(old, new, pairs.old_of)),
        diagnostics=tuple(new.errors),
        decided_by="planner" if decisions is None else "pulumi",
    )


def _worst_first(change: Change) -> tuple[Any, ...]:
    lost = sum(loss.share_of_all or 0 for loss in change.impact.capacity) if change.impact else 0
    stops = change.impact is not None and change.impact.kind != "rolled"
    return (-lost if stops else 0, not change.data, OPS.index(change.op), -lost, change.region, change.urn)


# ---- what is the same resource


@dataclass(frozen=True)
class Pairs:
    """Two plans, and which resources are the same in both: by URN, or by an alias."""

    old: Plan
    new: Plan

    @cached_property
    def old_of(self) -> dict[str, str]:
        """New URN -> old URN. The stack's name doesn't count, so that two environments compare as well."""
        olds = {_key(resource.urn): resource.urn for resource in self.old}
        found = {r.urn: olds[_key(r.urn)] for r in self.new if _key(r.urn) in olds}
        taken = set(found.values())
        for resource in self.new:
            for alias in resource.aliases if resource.urn not in found else ():
                former = olds.get(_key(alias))
                if former is not None and former not in taken:
                    found[resource.urn] = former
                    taken.add(former)
                    break
        return found

    @cached_property
    def new_of(self) -> dict[str, str]:
        """Old URN -> new URN."""
        return {former: urn for urn, former in self.old_of.items()}

    @cached_property
    def regions(self) -> dict[str, str]:
        """URN -> region, of both plans."""
        return {**regions(self.old), **regions(self.new)}

    def sides(self, urn: str) -> tuple[Side, Side]:
        """Both states of a resource, by its new URN."""
        old, new = self.old.by_urn[self.old_of[urn]], self.new.by_urn[urn]
        return Side(old, self.old, self.new_of), Side(new, self.new, {})


def _key(urn: str) -> str:
    return urn.partition("::")[2]


# ---- what differs by itself


def _direct(pairs: Pairs) -> Iterator[Change]:
    for resource in pairs.new:
        if not _is_told(resource):
            continue
        former = pairs.old_of.get(resource.urn)
        if former is None or not pairs.old.by_urn[former].custom:
            if not resource.is_provider and not resource.external:
                yield _change("create", resource, pairs)
        elif change := _changed(pairs, resource, pairs.old.by_urn[former]):
            yield change
    for resource in pairs.old:
        kept = pairs.new_of.get(resource.urn)
        if kept is not None and pairs.new.by_urn[kept].custom:
            continue
        if _is_told(resource) and not resource.is_provider and not resource.external:
            change = _change("delete", resource, pairs)
            if resource.retain_on_delete:
                change = replace(change, notes=("stays in the cloud: retainOnDelete",))
            yield change


def _is_told(resource: Resource) -> bool:
    """Components exist in the program only."""
    return resource.custom and resource.type != urns.STACK_TYPE


def _change(op: str, resource: Resource, pairs: Pairs) -> Change:
    return Change(op, resource.urn, resource.type, pairs.regions.get(resource.urn, ""), resource.place)


def _changed(pairs: Pairs, new: Resource, old: Resource) -> Change | None:
    change = _change("update", new, pairs)
    if old.urn != new.urn and _key(old.urn) != _key(new.urn):
        change = replace(change, old_urn=old.urn, notes=(f"was {old.name}: an alias keeps it",))
    if new.external != old.external:
        said = (
            "from now on only read: Pulumi lets go of it" if new.external else "was only read, is managed from now on"
        )
        return replace(change, op="read", notes=(*change.notes, said))
    if new.external or (new.is_provider and new.name.startswith("default")):
        return None
    properties = [replace(p, forces=replacing.forces(new, p.path)) for p in differences(*pairs.sides(new.urn))]
    by_provider = replacing.provider_change(old, new, pairs.old_of)
    if by_provider:
        before, after = (urns.provider_urn(r.provider).rpartition("::")[2] or None for r in (old, new))
        properties.append(Property("provider", before, after, by_provider))
    if new.is_provider and not any(p.forces for p in properties):
        return None
    if properties:
        return _with(change, properties, old, new)
    return replace(change, op="rename") if change.old_urn else None


def _with(change: Change, properties: Iterable[Property], old: Resource, new: Resource) -> Change:
    """The change with these properties, and what follows from them."""
    properties = tuple(properties)
    replaced = any(p.forces == "replace" for p in properties)
    return replace(
        change,
        op="replace" if replaced else "update",
        properties=properties,
        reasons=replacing.reasons(p for p in properties if p.forces == "replace" or not replaced),
        may_replace=not replaced and any(p.forces == "may" for p in properties),
        deletes_first=replaced and replacing.deletes_first(old, new),
        causes=tuple(dict.fromkeys(p.cause for p in properties if p.cause)),
    )


# ---- what follows from it


def _spread(pairs: Pairs, changes: dict[str, Change]) -> None:
    """A replaced resource has another id: whatever holds it changes too, and so on."""
    dependents = _dependents(pairs.new)
    waiting = [urn for urn, change in changes.items() if change.op in ("replace", "update")]
    done: set[tuple[str, str]] = set()
    while waiting:
        cause = waiting.pop()
        op = changes[cause].op
        if (cause, op) in done or cause not in pairs.old_of:
            continue
        done.add((cause, op))
        for urn, key in dependents.get(cause, ()):
            if urn not in pairs.old_of or not _is_told(pairs.new.by_urn[urn]):
                continue
            before = changes.get(urn)
            if before is not None and before.op not in ("update", "replace", "rename"):
                continue
            after = _following(pairs, before, urn, key, cause, replaced=op == "replace")
            if after is not None:
                changes[urn] = after
                waiting.append(urn)


def _dependents(plan: Plan) -> dict[str, list[tuple[str, str]]]:
    """URN -> the resources that depend on it, each with the property; `deletedWith` and `provider` are among them."""
    found: dict[str, list[tuple[str, str]]] = {}
    for resource in plan:
        for key, sources in resource.property_dependencies.items():
            for urn in sources:
                found.setdefault(urn, []).append((resource.urn, key))
        if not resource.property_dependencies:
            for urn in resource.dependencies:
                found.setdefault(urn, []).extend((resource.urn, key) for key in resource.inputs)
        if resource.deleted_with:
            found.setdefault(resource.deleted_with, []).append((resource.urn, "deletedWith"))
        if resource.provider:
            found.setdefault(urns.provider_urn(resource.provider), []).append((resource.urn, "provider"))
    return found


def _following(pairs: Pairs, before: Change | None, urn: str, key: str, cause: str, *, replaced: bool) -> Change | None:
    """The change of a resource of which one property comes from a changed one; None where nothing new follows."""
    new = pairs.new.by_urn[urn]
    old = pairs.old.by_urn[pairs.old_of[urn]]
    if new.external or (new.is_provider and new.name.startswith("default")):
        return None
    known = {p.path for p in before.properties} if before else set()
    if key in ("deletedWith", "provider") and key not in new.inputs:
        name = cause.split("::", 3)[3]
        found = [Property(key, name, name, "replace", cause)] if replaced and key not in known else []
    else:
        found = [
            replace(p, forces=(certain and replacing.forces(new, p.path)) or ((not certain and "may") or ""))
            if replacing.forces(new, p.path)
            else p
            for p, certain in _affected(pairs, urn, key, cause, replaced=replaced)
            if not any(p.path == path or path.startswith(f"{p.path}.") for path in known)
        ]
    if not found or (new.is_provider and not any(p.forces for p in found)):
        return None
    change = before or _change("update", new, pairs)
    return _with(change, (*change.properties, *sorted(found, key=lambda p: p.path)), old, new)


def _affected(pairs: Pairs, urn: str, key: str, cause: str, *, replaced: bool) -> Iterator[tuple[Property, bool]]:
    """Values in a property that come from a resource which is replaced (or updated): each, and whether that is sure."""
    old_side, new_side = pairs.sides(urn)
    source_old, source_new = pairs.old.by_urn[pairs.old_of[cause]], pairs.new.by_urn[cause]
    outputs = None if replaced else replacing.CHANGES_WITH_UPDATE.get(source_new.type, ())
    if outputs == ():
        return
    sole = len(new_side.sources(key)) == 1
    before = dict(_leaves(key, old_side.resource.inputs.get(key)))
    for path, value in _leaves(key, new_side.resource.inputs.get(key)):
        # Whichever side knows the value tells what it is.
        for source, text in ((source_new, value), (source_old, before.get(path, UNKNOWN))):
            if UNKNOWN not in text:
                held = _output_in(source, text, outputs)
                if held:
                    yield Property(path, told(source_new.name, held), KNOWN_AFTER_APPLY, cause=cause), True
                break
        else:
            step = path.rpartition(".")[2].lower()
            if outputs is None or any(name.lower().endswith(step) for name in outputs):
                yield Property(path, told(source_new.name), KNOWN_AFTER_APPLY, cause=cause), sole and outputs is None


def _output_in(source: Resource, text: str, outputs: tuple[str, ...] | None) -> str:
    """Which output that will be another one is, or is in, a text; empty if none."""
    if outputs is not None:
        return next((name for name in outputs if str(source.outputs.get(name)) == text), "")
    return next((name for name, value in made(source) if is_in(value, text)), "")


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every text (and number, as text) in a value, with its path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}", item)
    elif isinstance(value, list):
        for name, item in zip(element_names(value), value, strict=True):
            yield from _leaves(f"{path}[{name}]", item)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield path, str(value)


# ---- what Pulumi itself decided


def _decided(pairs: Pairs, changes: Mapping[str, Change], decisions: Mapping[str, Decision]) -> Iterator[Change]:
    """Changes as Pulumi sees them, with the values that the states on both sides tell."""
    for urn, decision in decisions.items():
        resource = pairs.new.by_urn.get(urn) or pairs.old.by_urn.get(urn)
        op = {"import": "create"}.get(decision.op, decision.op)
        if resource is None or not _is_told(resource) or op not in OPS or (op == "read" and urn in pairs.old_of):
            continue
        if resource.is_provider and op != "replace":
            continue
        change = changes.get(urn) or _change(op, resource, pairs)
        forcing = {path for path, kind in decision.detailed.items() if kind.endswith("-replace")}
        forcing |= set(decision.replace_reasons)
        told = {p.path for p in change.properties}
        # What Pulumi knows to differ though the inputs don't, such as an output that was changed outside of it.
        more = [
            Property(path, None, KNOWN_AFTER_APPLY)
            for path in (*decision.detailed, *decision.diff_reasons, *decision.replace_reasons)
            if not any(_related(path, other) for other in told)
        ]
        if op in ("create", "delete"):
            more = []
        properties = tuple(
            replace(p, forces="replace" if any(_related(path, p.path) for path in forcing) else "", cause="")
            for p in (*change.properties, *dict.fromkeys(more))
        )
        yield replace(
            change,
            op=op,
            properties=properties if op in ("update", "replace") else (),
            reasons=replacing.reasons(properties)
            or tuple(f"{reason}: cannot be changed in place" for reason in decision.replace_reasons),
            may_replace=False,
            deletes_first=decision.deletes_first,
            causes=(),
        )


def _related(path: str, other: str) -> bool:
    return replacing.one_above_other(*(".".join(replacing.plain_steps(p)) for p in (path, other)))


# ---- what looks like a slip


def _renamed_without_alias(pairs: Pairs, changes: dict[str, Change]) -> None:
    """A deletion and a creation of the same thing under another name: Pulumi would take it down and make it anew."""
    gone: dict[tuple[str, ...], list[str]] = {}
    for urn, change in changes.items():
        if change.op == "delete":
            gone.setdefault(_content(pairs, pairs.old.by_urn[urn]), []).append(urn)
    for urn, change in list(changes.items()):
        if change.op != "create":
            continue
        same = gone.get(_content(pairs, pairs.new.by_urn[urn]))
        if same:
            former = same.pop()
            changes[urn] = replace(change, notes=(*change.notes, f"is {_name(former)} under another name"))
            old = changes[former]
            changes[former] = replace(old, notes=(*old.notes, impact.RENAMED + change.name))


def _content(pairs: Pairs, resource: Resource) -> tuple[str, ...]:
    """What the program says about a resource, without what other resources say."""
    own = {k: v for k, v in resource.inputs.items() if not resource.property_dependencies.get(k)}
    provider = urns.provider_urn(resource.provider)
    return (
        resource.type,
        pairs.regions.get(resource.urn, ""),
        _key(pairs.old_of.get(provider, provider)),
        repr(sorted(own.items(), key=lambda item: item[0])),
    )


def _name(urn: str) -> str:
    return urn.split("::", 3)[3]
