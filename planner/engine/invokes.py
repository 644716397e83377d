"""Answers to invokes without a cloud: simulated, or recorded from a real one, or a placeholder of the right type."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from planner.engine import schema
from planner.engine.outputs import object_placeholder
from planner.engine.simulated import aws, aws_iam, aws_machines, aws_services, gcp, kubernetes, others
from planner.engine.simulated.ask import Ask, Cannot, Refused, Simulation
from planner.engine.simulated.made import ACCOUNT, AWS_REGION, GCP_REGION, PROJECT
from planner.engine.values import has_unknown
from planner.plan import SECRET

SIMULATED: Mapping[str, Simulation] = {
    **aws.SIMULATED,
    **aws_iam.SIMULATED,
    **aws_machines.SIMULATED,
    **aws_services.SIMULATED,
    **gcp.SIMULATED,
    **kubernetes.SIMULATED,
    **others.SIMULATED,
}
"""Token -> how it is answered."""


class NoAnswer(LookupError):
    """An invoke has no answer, or the real provider would refuse it. The message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an invoke answers: `value` with Pulumi's names, and where it came from."""

    value: dict[str, Any]
    origin: Literal["simulated", "recorded", "placeholder"]
    secrets: tuple[str, ...] = ()
    """Top-level keys of `value` that the real provider would mark as secret."""
    note: str = ""
    """What a person should know about this answer, such as what it leaves out."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded answer. `region` is None where it holds for every region."""

    token: str
    args: Mapping[str, Any]
    result: Mapping[str, Any]
    region: str | None = None

    def answers(self, token: str, args: Mapping[str, Any], region: str | None) -> bool:
        """Whether it was recorded for this call. A secret argument, which is never written down, matches any."""
        if token != self.token or (self.region and region and self.region != region):
            return False
        return _same(_given(self.args), _given(args))


class Answers:
    """Answers invokes, in this order: simulated, recorded, a typed placeholder."""

    def __init__(
        self,
        recorded: Iterable[Recorded] | None = None,
        account: str = ACCOUNT,
        gcp_project: str = PROJECT,
        strict: bool = False,
    ) -> None:
        self._recorded = list(recorded or ())
        self.account = account
        self.project = gcp_project
        self._strict = strict

    def answer(
        self,
        token: str,
        args: Mapping[str, Any],
        region: str | None,
        provider_config: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Answer one call. NoAnswer for an unknown token, and with `strict` where only a placeholder is possible."""
        ask = self._ask(token, args, region, provider_config or {})
        reason = ""
        instead: Mapping[str, Any] = {}
        if simulation := SIMULATED.get(token):
            try:
                value = simulation.answer(ask)
            except Cannot as cannot:
                reason, instead = str(cannot), cannot.instead
            except Refused as refused:
                raise NoAnswer(f"{token}: {refused}") from None
            else:
                return Answer(complete(token, value, ask), "simulated", simulation.secrets, simulation.note)
        for one in self._recorded:
            if one.answers(token, args, region):
                return Answer(dict(one.result), "recorded", _secret_keys(one.result))
        if self._strict:
            raise NoAnswer(
                f"{token} has no simulated or recorded answer{': ' + reason if reason else ''}; record it with "
                f"`aicloud record`, or leave out --strict for a placeholder"
            )
        if instead and schema.invoke_result_type(token) is None:
            return Answer(dict(instead), "placeholder", (), reason)
        return Answer(_placeholder(ask, reason, instead), "placeholder", (), reason)

    def _ask(self, token: str, args: Mapping[str, Any], region: str | None, config: Mapping[str, Any]) -> Ask:
        known = {key: value for key, value in config.items() if not has_unknown(value)}
        return Ask(
            token=token,
            args=_given(args),
            region=region or known.get("region") or (GCP_REGION if token.startswith("gcp:") else AWS_REGION),
            account=self.account,
            project=str(args.get("project") or known.get("project") or self.project),
            config=known,
        )


def placeholder(token: str, args: Mapping[str, Any] | None = None, region: str | None = None) -> dict[str, Any]:
    """An answer of the type that the SDK declares, made up. NoAnswer where no installed SDK has the function."""
    return _placeholder(Answers()._ask(token, args or {}, region, {}))


def _placeholder(ask: Ask, reason: str = "", known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    if schema.invoke_result_type(ask.token) is None:
        package = ask.token.split(":", 1)[0]
        raise NoAnswer(
            f"{ask.token} cannot be answered: {reason or f'no installed SDK of {package!r} has this function'}; "
            f"record an answer with `aicloud record STACK --token {ask.token}`"
        )
    return complete(ask.token, known or {}, ask)


def complete(token: str, value: Mapping[str, Any], ask: Ask) -> dict[str, Any]:
    """`value`, and for what the result type has besides: the arguments of the same name, then placeholders."""
    result = schema.invoke_result_type(token)
    if result is None:
        return dict(value)
    properties = schema.output_properties(result)
    echoed = {key: _converted(arg, properties[key]) for key, arg in ask.args.items() if key in properties}
    function = token.rsplit(":", 1)[-1]
    made = ask.made(base=str(ask.args.get("name") or function.removeprefix("get").lower()))
    made = made.named("name").knowing(id=str(value.get("id") or f"{function}-{made.hex(8)}"))
    known = {key: item for key, item in {**echoed, **value}.items() if key in properties}
    return {**object_placeholder(result, made), **known}


def _converted(arg: Any, declared: Any) -> Any:
    """An argument as the provider echoes it: a text where a truth value or a number is meant has become one."""
    kinds = schema.alternatives(declared)
    if not isinstance(arg, str) or str in kinds:
        return arg
    if bool in kinds and arg in ("true", "false"):
        return arg == "true"
    for kind in (int, float):
        if kind in kinds:
            try:
                return kind(arg)
            except ValueError:
                continue
    return arg


# ---- recorded answers

FILE_VERSION = 1


def read_recorded(path: Path) -> list[Recorded]:
    """Read recorded answers; none where there is no file. ValueError names the file, the entry and the key.

    The file is `{"version": 1, "invokes": [{"token": ..., "args": {...}, "region": ..., "result": {...}}]}`. Arguments
    and results have Pulumi's names; an entry without `region` holds for all; `[secret]` stands for any secret.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON (line {error.lineno}, column {error.colno}: {error.msg})") from None
    if not isinstance(document, dict) or document.get("version") != FILE_VERSION:
        found = document.get("version") if isinstance(document, dict) else type(document).__name__
        raise ValueError(f"{path}: key 'version' is {found!r}; expected an object with version {FILE_VERSION}")
    if not isinstance(entries := document.get("invokes"), list):
        raise ValueError(f"{path}: key 'invokes' is {type(entries).__name__}; expected a list")
    return [_read_entry(entry, f"{path}: invokes[{i}]") for i, entry in enumerate(entries)]


def _read_entry(entry: Any, place: str) -> Recorded:
    if not isinstance(entry, dict):
        raise ValueError(f"{place} is {type(entry).__name__}; expected an object with token, args, result")
    if unknown := entry.keys() - {"token", "args", "region", "result"}:
        raise ValueError(f"{place}: unknown key {sorted(unknown)[0]!r}; accepted are token, args, region, result")
    for key, kind in (("token", str), ("args", dict), ("result", dict), ("region", str)):
        if key == "region" and entry.get(key) is None:
            continue
        if not isinstance(entry.get(key, {} if key == "args" else None), kind):
            name = {str: "text", dict: "an object"}[kind]
            raise ValueError(f"{place}: key {key!r} is {json.dumps(entry.get(key))}; expected {name}")
    if entry["token"].count(":") != 2:
        raise ValueError(
            f"{place}: key 'token' is {entry['token']!r}; expected <package>:<module>:<function>, "
            "as in aws:ec2/getVpc:getVpc"
        )
    return Recorded(entry["token"], entry.get("args", {}), entry["result"], entry.get("region"))


def write_recorded(path: Path, answers: Iterable[Recorded]) -> None:
    """Write recorded answers, sorted, so that a recording is a readable change."""
    entries = [
        {
            "token": one.token,
            "args": one.args,
            **({"region": one.region} if one.region else {}),
            "result": one.result,
        }
        for one in answers
    ]
    entries.sort(key=lambda entry: (entry["token"], entry.get("region", ""), json.dumps(entry["args"], sort_keys=True)))
    text = json.dumps({"version": FILE_VERSION, "invokes": entries}, indent=2, ensure_ascii=False)
    written = path.with_suffix(".tmp")  # beside it, so that a reader never sees half a file
    written.write_text(text + "\n", encoding="utf-8")
    written.replace(path)


def _given(args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that were given: the SDK sends the others as null."""
    return {key: value for key, value in args.items() if value is not None}


def _same(recorded: Any, given: Any) -> bool:
    if recorded == SECRET:
        return True
    if isinstance(recorded, Mapping) and isinstance(given, Mapping):
        return recorded.keys() == given.keys() and all(_same(recorded[key], given[key]) for key in recorded)
    if isinstance(recorded, list) and isinstance(given, list):
        return len(recorded) == len(given) and all(map(_same, recorded, given))
    return recorded == given


def _secret_keys(result: Mapping[str, Any]) -> tuple[str, ...]:
    def hidden(value: Any) -> bool:
        if isinstance(value, Mapping):
            return any(map(hidden, value.values()))
        return any(map(hidden, value)) if isinstance(value, list) else value == SECRET

    return tuple(sorted(key for key, value in result.items() if hidden(value)))
