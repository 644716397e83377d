"""docs/policies.md is the list of the policies."""

from __future__ import annotations

import json
import os

from policies import POLICIES
from policies.declare import Policy
from tests.support import ROOT

DOCUMENT = ROOT / "docs" / "policies.md"


def test_the_document_is_the_list() -> None:
    text = document()
    if os.environ.get("AICLOUD_WRITE_GOLDEN"):
        DOCUMENT.write_text(text, encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == text, "AICLOUD_WRITE_GOLDEN=1 writes the document anew"


def document() -> str:
    """The page, Markdown."""
    return "\n".join(
        [
            "# Policies",
            "",
            f"What every environment keeps: {len(POLICIES)} policies, one property each. `aicloud check prod` runs",
            "them over a plan, `pulumi preview --policy-pack policies` as Pulumi's own. A stack sets levels,",
            "parameters and exceptions, each with its reason, under `rules:levels`, `rules:parameters` and",
            "`rules:exceptions`.",
            "This page is written by `tests/policies/test_document.py`.",
            "",
            "| policy | what holds | level | at stake | parameters |",
            "|---|---|---|---|---|",
            *(_row(policy) for policy in POLICIES),
            "",
        ]
    )


def _row(policy: Policy) -> str:
    given = ", ".join(f"`{name}: {json.dumps(value)}`" for name, value in policy.rule.parameters.items())
    return (
        f"| [`{policy.name}`]({policy.rule.url}) | {policy.rule.title} | {policy.rule.severity} | {policy.risk} "
        f"| {given.replace('|', '/')} |"
    )
