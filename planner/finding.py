"""What a check, a policy or a budget says about an environment, and the rule that it says it by."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from planner.plan import Resource

SEVERITIES = ("error", "warning", "info")
"""Worst first. An error fails `aicloud check`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, at one resource."""

    rule: str
    severity: str
    message: str
    """One sentence: what is there, and what was expected instead."""
    urn: str = ""
    place: str = ""
    """`file:line` of the program that made the resource, or empty."""
    subject: str = ""
    """Tells findings of one rule at one resource apart, such as a region or a container; never a quantity."""
    remediation: str = ""
    url: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        """The same in two plans where it is the same thing that is wrong, whatever the figures in the message."""
        return self.rule, self.urn.partition("::")[2], self.subject

    @property
    def name(self) -> str:
        """The name of the resource, or empty."""
        return self.urn.split("::", 3)[3] if self.urn.count("::") >= 3 else ""


@dataclass(frozen=True)
class Rule:
    """Something that has to hold, by a name that stays the same."""

    name: str
    """Such as `pod-fits-a-pool`; unique among all checks and policies."""
    title: str
    """What holds where the rule is kept, in a sentence."""
    severity: str = "error"
    url: str = ""
    """Where the reason is told."""
    remediation: str = ""
    """What to do about a finding."""
    parameters: dict[str, object] = field(default_factory=dict)
    """Parameter -> default; an environment may set others under `rules:parameters`."""

    def finding(
        self,
        message: str,
        resource: Resource | None = None,
        *,
        subject: str = "",
        severity: str = "",
        remediation: str = "",
    ) -> Finding:
        """A finding by this rule, at a resource."""
        return Finding(
            self.name,
            severity or self.severity,
            message,
            resource.urn if resource else "",
            resource.place if resource else "",
            subject,
            remediation or self.remediation,
            self.url,
        )


def worst_first(findings: list[Finding]) -> list[Finding]:
    """Findings by severity, then rule and resource."""
    return sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), f.rule, f.urn, f.subject, f.message))


def with_severity(finding: Finding, severity: str) -> Finding:
    """The same finding at another severity."""
    return replace(finding, severity=severity)
