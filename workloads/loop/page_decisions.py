"""What was decided, as the page tells it: whether to retrain, whether a candidate may pass, how a rollout went on."""

from __future__ import annotations

import itertools
from html import escape
from typing import Any

from workloads.loop import page_words as words
from workloads.loop.charts import Mark, Time, lines
from workloads.loop.events import Event
from workloads.loop.story import Story

TESTS = {"ks": "KS", "psi": "PSI", "wasserstein": "Wasserstein", "mmd": "MMD", "missing": "missing"}


def drift(story: Story) -> str:
    body = ""
    if triggers := story.of("trigger"):
        rows = []
        for reason, group in itertools.groupby(triggers, key=lambda event: (event["fired"], event["reason"])):
            looks = list(group)
            when = " to ".join(dict.fromkeys((words.at(story, looks[0]), words.at(story, looks[-1]))))
            rows.append((when, str(len(looks)), "retrain" if reason[0] else "no", reason[1], looks[-1]["says"]))
        body += words.table(("time", "looks", "retrain?", "reason", "because, at the last of them"), rows)
    for event in _telling(story):
        tests = [test for test in TESTS if any(test in row["effects"] for row in event["rows"])]
        drifts = [
            (
                row["column"], *(words.number(row["effects"].get(test)) for test in tests), words.number(row["q"]),
                "drifted" if row["drifted"] else "",
            )
            for row in sorted(event["rows"], key=lambda row: (not row["drifted"], row["q"]))
        ]  # fmt: skip
        before, now = (f"{mean:.2f}" if mean is not None else "unknown" for mean in event["own"])
        body += (
            f"<h3>The window that ended at {words.at(story, event)}: {escape(event['says'])}; "
            f"the model's own bits per byte {before} before, {now} then</h3>"
        )
        head = ("column", *(TESTS[test] for test in tests), "q value", "")
        body += words.table(head, drifts, strong=lambda row: bool(row[-1]))
    return body + (
        '<p class="note">Effects by test; a column has drifted if one of them is large and the q value, after control '
        "of the false discovery rate over all columns, is small. Drift alone never retrains.</p>"
        if body
        else ""
    )


def _telling(story: Story) -> list[Event]:
    """The last window before the traffic shifted, and the one that retraining began with."""
    found = [event for event in story.of("drift") if event["rows"]]
    shifted = story.stages["notice"].began if "notice" in story.stages else 0.0
    before = [event for event in found if event["at"] <= shifted] if shifted else []
    return [*before[-1:], *[event for event in found[-1:] if event not in before[-1:]]]


def evaluation(story: Story) -> str:
    body = ""
    for event in story.of("evaluation"):
        rows = [
            (
                row["slice"], f"{row['documents']:,}", words.number(row["champion"]), words.number(row["candidate"]),
                words.change(row["champion"], row["candidate"]), row.get("says", ""),
            )
            for row in event["rows"]
        ]  # fmt: skip
        word = "passed" if event["passed"] else "did not pass"
        body += (
            f"<h3>{escape(event['version'])} against {escape(event['against'])}: {word}. {escape(event['says'])}</h3>"
        )
        body += words.table(("slice", "documents", "champion", "candidate", "change", ""), rows)
    return body + (
        '<p class="note">Bits per byte of documents that neither model learnt; lower is better.</p>' if body else ""
    )


def rollouts(story: Story) -> list[str]:
    return list(dict.fromkeys(event["rollout"] for kind in ("decision", "outcome") for event in story.of(kind)))


def rollout(story: Story, name: str) -> str:
    body = ""
    for event in story.of("outcome"):
        if event["rollout"] == name:
            good = "good" if event["outcome"] == "promoted" else "bad"
            body += f'<p class="{good}"><b>{escape(event["says"])}</b></p>'
    decisions = [event for event in story.of("decision") if event["rollout"] == name]
    if not decisions:
        return body
    at = Time(decisions[0]["at"] - 1, decisions[-1]["at"] + 1, story.began)
    marks = [Mark(e["at"], f"{e['action']}: {e['reason']}", _mark(e)) for e in decisions if e["action"] != "watch"]
    for kind, title in (
        ("alarm", "Evidence that it is worse; 1: rolled back"),
        ("proof", "Evidence that it is not worse by the margin; 1, of each: promoted"),
    ):
        guardrails = sorted({guardrail for event in decisions for guardrail in event["guardrails"]})
        series = {
            one.replace("_", " "): [
                (e["at"], max(0.0, e["guardrails"][one][kind])) for e in decisions if one in e["guardrails"]
            ]
            for one in guardrails
        }
        body += lines(at, series, title=title, unit="", height=150, marks=marks)
    rows = [
        (
            words.at(story, event), event["action"], event["reason"], event["says"],
            f"{event['seen']['candidate']} / {event['seen']['beside']} / {event['seen']['pairs']}",
            "; ".join(measured for one, found in event["guardrails"].items() if (measured := _measured(one, found))),
        )
        for event in decisions
    ]  # fmt: skip
    head = ("time", "action", "reason", "then", "candidate / beside / pairs", "evidence so far; 1 is enough")
    changes = [row for row in rows if row[1] != "watch"]
    return (
        body
        + words.table(head, changes)
        + f"<details><summary>All {len(rows)} looks</summary>{words.table(head, rows)}</details>"
    )


def _mark(decision: Event) -> str:
    return {"promote": "good", "roll-back": "bad"}.get(decision["action"], "")


def _measured(name: str, one: dict[str, Any]) -> str:
    """Nothing, as long as nothing was measured."""
    found = name.replace("_", " ")
    if one.get("pairs"):
        found += f" {one['difference']:+.3f} bits per byte on {one['pairs']:,}"
    elif "baseline_s" in one and "candidate_s" in one:
        found += f" {one['candidate_s'] * 1000:.1f} against {one['baseline_s'] * 1000:.1f} ms"
    elif "baseline" in one and (one["alarm"] or one["proof"]):
        found += f" {one['candidate']:.2%} against {one['baseline']:.2%}"
    else:
        return ""
    # The least is nothing: who bets on what is not so has lost, which is no evidence.
    alarm, proof = (f"{max(0.0, one[kind]):.2f}" for kind in ("alarm", "proof"))
    return f"{found} (alarm {alarm}, {'proven' if one['proven'] else f'proof {proof}'})"
