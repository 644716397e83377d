"""Simulated answers about AWS identities, and IAM policy documents rendered as the provider renders them.

The rules of rendering are those of the provider's `aws_iam_policy_document` data source
(hashicorp/terraform-provider-aws, internal/service/iam/policy_document_data_source.go and policy_model.go).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from planner.engine.simulated.ask import Ask, Refused, existing, simulations
from planner.engine.simulated.aws_resources import describe
from planner.engine.simulated.made import MOMENT, partition

_OLD_VERSION, _VERSION = "2008-10-17", "2012-10-17"

_ORDER = (
    *("Sid", "Effect", "Action", "NotAction", "Resource", "NotResource"),
    *("Principal", "NotPrincipal", "Condition"),
)


def _policy_document(ask: Ask) -> dict[str, Any]:
    document: dict[str, Any] = {"Version": "", "Id": "", "Statement": []}
    seen: set[str] = set()
    for source in [ask.text("sourceJson"), *ask.texts("sourcePolicyDocuments")]:
        if source:
            parsed = _parsed(source)
            _refuse_duplicates([s["Sid"] for s in parsed["Statement"] if s.get("Sid")], seen)
            _merge(document, parsed)
    version = ask.text("version", default=_VERSION)
    statements = [_statement(given, version) for given in ask.args.get("statements") or []]
    _refuse_duplicates([s["Sid"] for s in statements if "Sid" in s], set())
    _merge(document, {"Version": version, "Id": ask.text("policyId"), "Statement": statements})
    for override in [*ask.texts("overridePolicyDocuments"), ask.text("overrideJson")]:
        if override:
            _merge(document, _parsed(override))
    document = {key: value for key, value in document.items() if value}
    text = _go_json(json.dumps(document, indent=2, ensure_ascii=False))
    minified = _go_json(json.dumps(document, separators=(",", ":"), ensure_ascii=False))
    return {"id": str(zlib.crc32(text.encode())), "json": text, "minifiedJson": minified}


def _parsed(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise Refused(f"a policy document is not JSON ({error.msg} at character {error.pos}): {text[:80]!r}") from None
    statements = document.get("Statement") or []
    statements = statements if isinstance(statements, list) else [statements]
    found = [{key: _written(key, s[key]) for key in _ORDER if s.get(key)} for s in statements]
    return {"Version": document.get("Version", ""), "Id": document.get("Id", ""), "Statement": found}


def _written(key: str, value: Any) -> Any:
    """A part of a document that was read, as it is written again."""
    if key in ("Principal", "NotPrincipal") and isinstance(value, dict):
        ordered = {kind: sorted(v, reverse=True) if isinstance(v, list) else v for kind, v in sorted(value.items())}
        return "*" if ordered in ({"*": "*"}, {"*": ["*"]}) else ordered
    if key == "Condition" and isinstance(value, dict):
        return {
            test: {name: _condition_value(v) for name, v in sorted(variables.items())}
            for test, variables in sorted(value.items())
        }
    return value


def _condition_value(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _refuse_duplicates(sids: Iterable[str], seen: set[str]) -> None:
    for sid in sids:
        if sid in seen:
            raise Refused(f"two statements of a policy document have the sid {sid!r}; each needs its own, or none")
        seen.add(sid)


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Later statements replace those of the same sid, and stand in their place."""
    into["Id"] = other["Id"] or into["Id"]
    into["Version"] = max(into["Version"], other["Version"])
    for statement in other["Statement"]:
        places = {s["Sid"]: i for i, s in enumerate(into["Statement"]) if s.get("Sid")}
        if (sid := statement.get("Sid")) in places and sid:
            into["Statement"][places[sid]] = statement
        else:
            into["Statement"].append(statement)


def _statement(given: Mapping[str, Any], version: str) -> dict[str, Any]:
    statement = {
        "Sid": given.get("sid"),
        "Effect": given.get("effect") or "Allow",
        "Action": _one_or_reversed(given.get("actions")),
        "NotAction": _one_or_reversed(given.get("notActions")),
        "Resource": _one_or_reversed(_variables(given.get("resources"), version)),
        "NotResource": _one_or_reversed(_variables(given.get("notResources"), version)),
        "Principal": _principals(given.get("principals"), version),
        "NotPrincipal": _principals(given.get("notPrincipals"), version),
        "Condition": _conditions(given.get("conditions"), version),
    }
    return {key: value for key, value in statement.items() if value}


def _one_or_reversed(values: Iterable[str] | None) -> str | list[str] | None:
    """A set of one is written as text, a larger one sorted, last first."""
    found = sorted(set(values or ()), reverse=True)
    return found[0] if len(found) == 1 else found or None


def _variables(values: Iterable[str] | None, version: str) -> list[str]:
    """Policy variables are written `&{...}`, so that Terraform leaves them alone."""
    found = list(values or ())
    if version == _OLD_VERSION and any("&{" in value for value in found):
        raise Refused(f"policy variables (&{{...}}) need version {_VERSION} of the policy language, not {version}")
    return [value.replace("&{", "${") for value in found]


def _principals(given: Iterable[Mapping[str, Any]] | None, version: str) -> str | dict[str, Any] | None:
    blocks = list(given or ())
    if len(blocks) == 1 and blocks[0].get("type") == "*" and list(blocks[0].get("identifiers") or ()) == ["*"]:
        return "*"
    found: dict[str, Any] = {}
    for block in blocks:
        values = _one_or_reversed(_variables(block.get("identifiers"), version))
        before = found.get(block["type"])
        found[block["type"]] = values if before is None else [*_listed(before), *_listed(values)]
    return dict(sorted(found.items()))


def _conditions(given: Iterable[Mapping[str, Any]] | None, version: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, list[str]]] = {}
    for block in given or ():
        variables = found.setdefault(block["test"], {})
        variables.setdefault(block["variable"], []).extend(_variables(block.get("values"), version))
    return {
        test: {name: values[0] if len(values) == 1 else values for name, values in sorted(variables.items())}
        for test, variables in sorted(found.items())
    }


def _listed(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _go_json(text: str) -> str:
    """Go's encoder writes these characters escaped."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


# ---- identities


def _trust(service: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": _VERSION, "Statement": [statement]})


_role = existing(describe, "aws:iam/role:Role")
_user = existing(describe, "aws:iam/user:User", userId="uniqueId", name="userName")


def _existing_role(ask: Ask) -> dict[str, Any]:
    found = _role(ask)
    more = {"assumeRolePolicy": _trust("ec2.amazonaws.com"), "path": "/", "createDate": MOMENT}
    return {**found, **more, "maxSessionDuration": 3600, "permissionsBoundary": "", "description": ""}


def _existing_user(ask: Ask) -> dict[str, Any]:
    name = ask.text("userName")
    arn = f"arn:{partition(ask.region)}:iam::{ask.account}:user/{name}"
    user_id = ask.made(seed=name).format("AIDA{upper17}")
    return {**_user(ask), "id": user_id, "userName": name, "userId": user_id, "arn": arn, "path": "/"}


def _existing_policy(ask: Ask) -> dict[str, Any]:
    """By ARN or by name. AWS's own policies belong to no account; which names are theirs, nobody can tell."""
    name = ask.text("arn").rsplit("/", 1)[-1] or ask.text("name", default="policy")
    arn = ask.text("arn") or f"arn:{partition(ask.region)}:iam::{ask.account}:policy/{name}"
    statement = {"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}
    policy = json.dumps({"Version": _VERSION, "Statement": [statement]})
    about = {"path": "/", "policyId": ask.made(seed=arn).format("ANPA{upper17}"), "description": ""}
    return {"id": arn, "arn": arn, "name": name, "policy": policy, **about}


def _existing_roles(ask: Ask) -> dict[str, Any]:
    return {"id": ask.region, "arns": [], "names": []}


def _oidc_provider(ask: Ask) -> dict[str, Any]:
    url = ask.text("url").removeprefix("https://") or ask.text("arn").partition(":oidc-provider/")[2]
    arn = ask.text("arn") or f"arn:{partition(ask.region)}:iam::{ask.account}:oidc-provider/{url}"
    more = {"clientIdLists": ["sts.amazonaws.com"], "thumbprintLists": [ask.made(seed=url).hex(40)]}
    return {"id": arn, "arn": arn, "url": url, **more}


def _session_context(ask: Ask) -> dict[str, Any]:
    """The role behind an assumed-role session; any other identity is its own issuer."""
    arn = ask.text("arn")
    if ":assumed-role/" not in arn:
        return {"id": arn, "issuerArn": arn, "issuerId": "", "issuerName": "", "sessionName": ""}
    role, session = arn.partition(":assumed-role/")[2].split("/", 1)
    issuer = f"arn:{partition(ask.region)}:iam::{ask.account}:role/{role}"
    issuer_id = ask.made(seed=issuer).format("AROA{upper17}")
    return {"id": arn, "issuerArn": issuer, "issuerId": issuer_id, "issuerName": role, "sessionName": session}


def _account_alias(ask: Ask) -> dict[str, Any]:
    return {"id": "simulated", "accountAlias": f"simulated-{ask.account}"}


SIMULATED = simulations(
    {
        "aws:iam/getPolicyDocument": _policy_document,
        "aws:iam/getRole": _existing_role,
        "aws:iam/getRoles": _existing_roles,
        "aws:iam/getUser": _existing_user,
        "aws:iam/getPolicy": _existing_policy,
        "aws:iam/getInstanceProfile": existing(describe, "aws:iam/instanceProfile:InstanceProfile"),
        "aws:iam/getOpenIdConnectProvider": _oidc_provider,
        "aws:iam/getSessionContext": _session_context,
        "aws:iam/getAccountAlias": _account_alias,
    }
)
