"""A call of a provider's function, and how one is answered."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from planner.engine.simulated.made import ACCOUNT, PROJECT, Made, under_id


class Cannot(Exception):
    """This call cannot be simulated; the text says why. `instead` is what to answer where nothing was recorded."""

    def __init__(self, reason: str, instead: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.instead = instead or {}


class Refused(Exception):
    """The real provider would refuse this call; the text says why."""


@dataclass(frozen=True)
class Ask:
    """One invoke: `args` have Pulumi's names and no nulls; `region` is where it is asked."""

    token: str
    args: Mapping[str, Any]
    region: str
    account: str = ACCOUNT
    project: str = PROJECT
    config: Mapping[str, Any] = field(default_factory=dict)
    """The configuration of the provider that is asked."""

    def made(self, token: str = "", *, base: str = "", seed: str = "", inputs: Mapping[str, Any] | None = None) -> Made:
        """Something that this call speaks of. The same call, in the same region, speaks of the same thing."""
        return Made(
            token=token or self.token,
            seed=seed or json.dumps([self.args, self.region], sort_keys=True, default=str),
            base=base or self.text("name") or "existing",
            inputs=self.args if inputs is None else inputs,
            region=self.region,
            account=self.account,
            project=self.project,
        )

    def text(self, *keys: str, default: str = "") -> str:
        """The first argument of these that is a non-empty text."""
        for key in keys:
            if isinstance(value := self.args.get(key), str) and value:
                return value
        return default

    def texts(self, key: str) -> list[str]:
        return [value for value in self.args.get(key) or [] if isinstance(value, str)]

    def filtered(self, *names: str) -> list[str]:
        """The values of EC2's filter of one of these names; empty where there is none."""
        for filter in self.args.get("filters") or []:
            if filter.get("name") in names:
                return [str(value) for value in filter.get("values") or []]
        return []

    def passes(self, value: str, *names: str) -> bool:
        """Whether a filter lets a value through; `*` and `?` stand for anything, as in EC2."""
        wanted = self.filtered(*names)
        return not wanted or any(fnmatch.fnmatchcase(value, pattern) for pattern in wanted)


Answer = Callable[[Ask], dict[str, Any]]


@dataclass(frozen=True)
class Simulation:
    """How a function is answered, which keys of its answers are secret, and what a person should know about them."""

    answer: Answer
    secrets: tuple[str, ...] = ()
    note: str = ""


def simulations(
    answers: Mapping[str, Answer], secrets: Mapping[str, tuple[str, ...]] | None = None
) -> dict[str, Simulation]:
    """Token -> Simulation. A short token such as `aws:ec2/getVpc` is completed: `aws:ec2/getVpc:getVpc`."""
    found = {}
    for short, answer in answers.items():
        token = short if short.count(":") > 1 else f"{short}:{short.rsplit('/', 1)[-1]}"
        found[token] = Simulation(answer, (secrets or {}).get(short, ()))
    return found


Describe = Callable[[Made], tuple[str, dict[str, Any]]]


def existing(describe: Describe, token: str, *keys: str, **renamed: str) -> Answer:
    """Answers about a thing that exists already, as if it had been made: by the rules of the resource type `token`.

    `keys` are the arguments that carry its id, or what is its id. `renamed` says under which name an output comes back.
    """

    def answer(ask: Ask) -> dict[str, Any]:
        given = ask.text(*keys) if keys else ""
        made = ask.made(token, seed=f"existing {given} {ask.region}" if given else "")
        id, outputs = describe(made)
        outputs = under_id(outputs, id, given)
        for old, new in renamed.items():
            if old in outputs:
                outputs[new] = outputs[old]
        return {**outputs, "id": given or id, "tags": outputs.get("tags", dict(ask.args.get("tags") or {}))}

    return answer
