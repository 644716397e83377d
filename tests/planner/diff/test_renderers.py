"""The comment fits, folds end, and nothing that a change is called becomes Markdown, HTML, a mention or a link."""

import html.parser
import json
import re
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from planner.cost.model import Amount
from planner.diff import Capacity, Change, Comparison, Cost, Impact, Loss, Property, Report, assess
from planner.diff.markdown import MARKER, markdown, marker
from planner.diff.page import LIMIT, code, link, plain, summary
from planner.diff.plain_data import as_json
from planner.diff.terminal import show
from planner.diff.words import groups, headline
from planner.finding import Finding
from planner.plan import Diagnostic
from tests.faults.fault import the

NASTY = st.sampled_from(
    [
        "</details>", "<script>alert(1)</script>", "<!-- x", "-->", "| a | b |", "`", "``", "```sh\nrm -rf /\n```",
        "@team",        "#123", "![x](https://evil.example/x.png)", "[click](javascript:alert(1))", "https://evil.example",
        "www.evil.example",        "\n# heading\n", "\n\n- item", "&lt;",
        "<img src=x onerror=alert(1)>", "\u202egpj.exe", "\x1b[31m", "1. x",
        "---",        "$$x$$", "~~gone~~", "*bold*", "<details><summary>", "\\", "😀", "GH-1", ":tada:", "a" * 5_000,
    ]
)  # fmt: skip
# Named functions, for Hypothesis takes minutes to print lambdas.
TEXT = st.one_of(NASTY, st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.just("name"))
REGION = st.sampled_from(["aws:us-east-1", "gcp:europe-west4", "global", ""]) | TEXT
VALUE = (
    TEXT
    | st.integers()
    | st.none()
    | st.booleans()
    | st.lists(TEXT, max_size=2)
    | st.dictionaries(TEXT, TEXT, max_size=2)
)
SHARE = st.none() | st.floats(0, 1)
AMOUNT = st.builds(Amount, *[st.floats(-1e9, 1e9)] * 3)
PROPERTY = st.builds(Property, TEXT, VALUE, VALUE, st.sampled_from(["", "may", "replace"]), TEXT)
LOSS = st.builds(Loss, REGION, TEXT, st.booleans(), st.integers(0, 99), st.none() | st.integers(0, 99), SHARE, SHARE)
IMPACT = st.builds(
    Impact,
    st.sampled_from(["gone", "replaced", "rolled", "drained"]),
    st.lists(LOSS, max_size=3).map(tuple), st.lists(TEXT, max_size=4).map(tuple), st.lists(TEXT, max_size=3).map(tuple),
    st.lists(TEXT, max_size=2).map(tuple), st.integers(0, 500),
)  # fmt: skip
URN = st.builds("urn:pulumi:dev::shop::aws:sqs/queue:Queue::{}".format, TEXT)
CHANGE = st.builds(
    Change,
    st.sampled_from(["create", "update", "replace", "delete", "rename", "read"]),
    URN, TEXT, REGION, TEXT, TEXT, st.lists(PROPERTY, max_size=4).map(tuple), st.lists(TEXT, max_size=2).map(tuple),
    st.booleans(), st.booleans(), st.lists(URN, max_size=1).map(tuple), st.none() | IMPACT, TEXT,
    st.lists(TEXT, max_size=2).map(tuple),
)  # fmt: skip
FINDING = st.builds(Finding, TEXT, st.sampled_from(["error", "warning", "info"]), TEXT, URN, TEXT, TEXT, TEXT, TEXT)
CAPACITY = st.builds(
    Capacity,
    REGION,
    TEXT,
    TEXT,
    TEXT,
    TEXT,
    st.integers(0, 8),
    *[st.tuples(st.integers(0, 9), st.none() | st.just(9))] * 2,
)
FINDINGS = st.lists(FINDING, max_size=3).map(tuple)
REGIONS = st.dictionaries(TEXT, AMOUNT, max_size=2)
COST = st.builds(Cost, AMOUNT, AMOUNT, REGIONS, st.lists(TEXT, max_size=2).map(tuple))
COMPARISON = st.builds(
    Comparison, TEXT, st.lists(CHANGE, max_size=8).map(tuple), FINDINGS, st.lists(CAPACITY, max_size=2).map(tuple),
    FINDINGS, FINDINGS, FINDINGS,
    st.none() | COST,
    st.lists(st.builds(Diagnostic, st.just("error"), TEXT, TEXT, TEXT), max_size=2).map(tuple),
    st.lists(TEXT, max_size=2).map(tuple), st.sampled_from(["planner", "pulumi"]),
)  # fmt: skip
REPORT = st.builds(
    Report, TEXT, TEXT, st.lists(COMPARISON, max_size=3).map(tuple), st.lists(TEXT, max_size=2).map(tuple)
)
OFTEN = settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def without_code(text):
    """Markdown without its code spans, read as CommonMark does: a backslash counts outside of them only."""
    kept, at = [], 0
    while at < len(text):
        run = re.compile(r"`+").match(text, at)
        if run is None:
            step = 2 if text[at] == "\\" else 1
            kept.append(text[at : at + step])
            at += step
            continue
        closing = re.compile(rf"(?<!`){run.group()}(?!`)").search(text, run.end())
        kept.append("" if closing else run.group())
        at = closing.end() if closing else run.end()
    return "".join(kept)


class Tags(html.parser.HTMLParser):
    """Which tags a text has, after its code spans are taken out, as a Markdown reader does."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.seen, self.comments = [], set(), []
        self.feed(without_code(text))
        self.close()

    def handle_starttag(self, tag, attrs):
        assert not attrs
        self.seen.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_comment(self, data):
        self.comments.append(data)


def is_sound(text, limit=LIMIT):
    assert len(text) <= limit
    assert text.count("<details>") == text.count("</details>") or "`" in text
    tags = Tags(text)
    assert tags.open == []  # every fold ends
    assert tags.seen <= {"details", "summary", "br"}
    assert tags.comments == [" aicloud:diff "]
    outside = without_code(text)
    outside = re.sub(r"\]\(https://[^)\s]+\)", "]", outside)  # the rules' own links
    assert not re.search(r"@\w|(?<!\\)!\[|(?<!\\)\]\(|://\w|\bwww\.|\u202e|\x1b", outside)
    assert not re.search(r"^#{1,6} (?!#|[❌⚠✅]|What|Node|Findings|Exchanged)", outside, re.MULTILINE)


@OFTEN
@given(REPORT)
def test_any_report_is_a_sound_comment(report):
    is_sound(markdown(report))


@OFTEN
@given(REPORT, st.integers(6_000, 20_000))
def test_any_report_fits_whatever_the_room(report, limit):
    is_sound(markdown(report, limit=limit), limit)


@settings(OFTEN, max_examples=20)
@given(REPORT)
def test_any_report_is_shown_and_is_json(report):
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    show(report, console)
    show(report, console, full=True)
    assert "\x1b[31m" not in console.export_text()
    assert json.loads(as_json(report))["errors"] == report.errors


def test_a_report_that_is_far_too_long_says_what_it_leaves_out():
    changes = tuple(
        Change("replace", f"urn:pulumi:dev::shop::aws:sqs/queue:Queue::queue-{i}", "aws:sqs/queue:Queue",
               f"aws:region-{i % 50}",
               properties=tuple(Property(f"p{n}", "x" * 200, f"{i}", "replace") for n in range(20)), reasons=("p: x",))
        for i in range(3_000)
    )  # fmt: skip
    findings = tuple(Finding(f"rule-{i}", "error", "m" * 900) for i in range(400))
    text = markdown(Report("a", "b", (Comparison("prod", changes, new_findings=findings),)))
    is_sound(text)
    assert len(text) > LIMIT * 0.9  # the room is used
    assert re.search(r"2,\d\d\d more not shown here", text)
    assert "Left out, for a comment has an end" in text.splitlines()[-1]


@pytest.mark.parametrize(
    "text", ["<b>", "@a", "#1", "a|b", "![x](y)", "https://x.example", "- x", "# x", "1. x", "a_b_c"]
)
def test_plain_text_is_plain(text):
    shown = plain(text)
    assert "<b>" not in shown
    assert not re.search(r"@a|#1|(?<!\\)\||(?<!\\)\[|://x|^- |^# |^1\.", shown)
    restored = re.sub(r"\\([\\`*_\[\]|~^$!])", r"\1", shown).replace("\u2060", "")
    assert html.unescape(restored) == text


def test_code_summary_and_links():
    assert code("a`b") == "``a`b``"
    assert code("`") == "`` ` ``"
    assert code("") == "` `"
    assert code("a\nb\u202e") == "`a⏎b\ufffd`"
    assert summary("<b>`x`") == "&lt;b&gt;&#96;x&#96;"
    assert link("rule", "https://example.com/a") == "[rule](https://example.com/a)"
    assert link("rule", "javascript:alert(1)") == "rule"
    assert marker("Pulumi prod-->") == "<!-- aicloud:pulumi-prod- -->"


def test_the_same_change_in_several_regions_is_told_once():
    def change(region, code):
        return Change(
            "update", f"urn:pulumi:prod::p::t::{code}-nodes", "t", region, properties=(Property("n", 1, f"{code}a"),)
        )

    alike = [change("aws:us-east-1", "us-east-1"), change("aws:eu-west-1", "eu-west-1")]
    [group] = groups(alike)
    assert group.regions == ("aws:us-east-1", "aws:eu-west-1")
    other = replace(alike[1], properties=(Property("n", 2, "eu-west-1a"),))
    assert len(groups([alike[0], other])) == 2


def test_the_headline_says_the_worst():
    def line(*comparisons):
        return headline(Report("a", "b", comparisons))

    gone = Change("delete", "urn:pulumi:prod::p::t::n", "t", "")
    assert line(Comparison("prod")) == ("ok", "Nothing changes")
    assert line(Comparison("prod", (replace(gone, op="update"),))) == ("ok", "Nothing is deleted or replaced")
    assert line(Comparison("prod", (gone,))) == ("warning", "1 deleted")
    failing = Comparison("prod", (gone,), blocking=(Finding("protected-stays", "error", "m"),))
    assert line(Comparison("dev"), failing) == ("error", "1 error in prod, 1 deleted")


def test_a_change_of_dev_is_judged_priced_and_shown(simulated, edit):
    def drop_encryption(states):
        bucket = the(states, "aws:s3/bucket:Bucket", "us-east-1-storage-cold-logs")
        bucket["inputs"]["tags"] = {}
        the(states, "aws:ec2/natGateway:NatGateway")["inputs"]["tags"] = {}
        for pool in states:
            if pool["type"] == "kubernetes:karpenter.sh/v1:NodePool" and "serving" in pool["urn"]:
                pool["inputs"]["spec"]["limits"] = {"nodes": "40"}

    old = simulated("dev")
    new = edit(old, drop_encryption)
    today = date(2026, 11, 22)
    comparison = assess.assess(old, new, today)
    back = assess.assess(new, old, today)
    assert comparison.new_findings
    assert {f.identity for f in back.fixed_findings} == {f.identity for f in comparison.new_findings}
    assert comparison.cost.delta.largest > 100
    assert back.cost.delta.largest == pytest.approx(-comparison.cost.delta.largest)
    report = Report("main", "branch", (comparison,))
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    show(report, console)
    assert "serving" in console.export_text()
    assert markdown(report).startswith(MARKER)
    assert assess.assess(old, old, today).new_findings == ()
