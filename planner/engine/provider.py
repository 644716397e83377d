"""What the engine asks of a cloud, and the simulated cloud that answers it.

The interface is the part of Pulumi's ResourceProvider protocol that a preview needs (check, create, read, invoke), over
plain values, so that the same provider can also be served as a plugin process.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from planner.engine import invokes, outputs, schema, values
from planner.engine.check import Problem, check_inputs
from planner.engine.kubernetes import CustomResourceDefinitions, check_core
from planner.engine.partial import with_unknown_fields
from planner.plan import UNKNOWN


@dataclass(frozen=True, slots=True)
class Created:
    """What a create answers. In a preview the id is empty and unknown outputs are left out or UNKNOWN."""

    id: str
    outputs: Mapping[str, Any]


class Provider(Protocol):
    """A cloud, as the engine sees it. Inputs are wire values: secrets and unknowns keep their envelopes."""

    def check(self, type: str, inputs: dict[str, Any]) -> list[Problem]:
        """What is wrong with a resource's inputs; empty when nothing is."""

    def create(
        self, type: str, name: str, urn: str, inputs: dict[str, Any], region: str | None, *, preview: bool
    ) -> Created:
        """Make it; in a preview only say what would be known."""

    def read(
        self, type: str, name: str, urn: str, id: str, inputs: dict[str, Any], region: str | None, *, preview: bool
    ) -> Created:
        """Look up what exists already."""

    def invoke(self, token: str, args: dict[str, Any], region: str | None, config: Mapping[str, Any]) -> invokes.Answer:
        """Answer a function of the provider. invokes.NoAnswer where it cannot."""


@dataclass
class SimulatedProvider:
    """Every installed SDK's provider at once: schemas by introspection, outputs and answers by rule."""

    answers: invokes.Answers = field(default_factory=invokes.Answers)
    crds: CustomResourceDefinitions | None = None
    kubernetes_version: str = "1.34"

    def check(self, type: str, inputs: dict[str, Any]) -> list[Problem]:
        try:
            problems = check_inputs(type, inputs)
        except schema.UnknownType as unknown:
            return [Problem("", str(unknown), "error")]
        if type.startswith("kubernetes:") and "apiVersion" in inputs:
            problems += check_core(type, inputs, self.kubernetes_version)
            if self.crds is not None:
                problems += self.crds.check(str(inputs["apiVersion"]), str(inputs.get("kind", "")), inputs)
        return problems

    def create(
        self, type: str, name: str, urn: str, inputs: dict[str, Any], region: str | None, *, preview: bool
    ) -> Created:
        inputs = _written_out(type, inputs)
        if preview:
            return Created("", with_unknown_fields(type, inputs))
        # What even an update does not know here (the outputs of another stack) stays unknown.
        unknown = {key: value for key, value in inputs.items() if values.has_unknown(value)}
        given = {key: value for key, value in inputs.items() if key not in unknown}
        id, known = outputs.synthesize(
            type, name, urn, values.plain(given), region, account=self.answers.account, project=self.answers.project
        )
        return Created(id, self._with_secrets(type, inputs, {**known, **unknown}))

    def read(
        self, type: str, name: str, urn: str, id: str, inputs: dict[str, Any], region: str | None, *, preview: bool
    ) -> Created:
        if preview:
            return Created(id, inputs)
        _, known = outputs.synthesize(
            type,
            name,
            urn,
            values.plain(inputs),
            region,
            account=self.answers.account,
            project=self.answers.project,
            existing=id,
        )
        # Of something that exists, nobody here knows that a collection is empty.
        known = {key: value for key, value in known.items() if value not in ({}, [])}
        return Created(id, self._with_secrets(type, inputs, known))

    def invoke(self, token: str, args: dict[str, Any], region: str | None, config: Mapping[str, Any]) -> invokes.Answer:
        return self.answers.answer(token, args, region, dict(config))

    @staticmethod
    def _with_secrets(type: str, inputs: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs that the SDK declares as secret are; and so is, at any depth, what was made out of a secret input."""
        try:
            declared = schema.resource_schema(type).secret_outputs
        except schema.UnknownType:
            declared = ()
        texts = sorted(text for text in values.secret_texts(inputs) if text)
        return {
            key: values.secret(value) if key in declared or values.is_secret(inputs.get(key)) else _marked(value, texts)
            for key, value in known.items()
        }


def _written_out(type: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs as a provider gives them back: what may be given as an object, such as a policy, is a text by then."""
    changed = {}
    for key in _texts(type):
        value = inputs.get(key)
        bare = values.plain(value) if values.is_secret(value) else value
        if isinstance(bare, dict | list) and not (isinstance(bare, dict) and values.SIGNATURE in bare):
            text = UNKNOWN if values.has_unknown(bare) else json.dumps(values.plain(bare))
            hidden = values.is_secret(value) or any(True for _ in values.secret_texts(bare))
            changed[key] = values.secret(text) if hidden else text
    return {**inputs, **changed} if changed else inputs


@functools.cache
def _texts(type: str) -> tuple[str, ...]:
    """Properties that are texts once the resource exists and may be given as something else."""
    try:
        described = schema.resource_schema(type)
    except schema.UnknownType:
        return ()
    return tuple(
        name
        for name, given in (described.inputs or {}).items()
        if described.outputs.get(name) is str and len(schema.alternatives(given.type)) > 1
    )


def _marked(value: Any, secrets: Sequence[str]) -> Any:
    """The value, with each text in it that holds one of the secrets wrapped as a secret."""
    if not secrets:
        return value
    if isinstance(value, dict):
        return {key: _marked(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item, secrets) for item in value]
    return values.secret(value) if isinstance(value, str) and any(text in value for text in secrets) else value


def with_unknown_outputs(type: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """A preview's outputs as Pulumi records them: everything that the resource has and that is not known, UNKNOWN."""
    try:
        names = schema.resource_schema(type).outputs
    except schema.UnknownType:
        return dict(known)
    return {**dict.fromkeys(names, UNKNOWN), **known}
