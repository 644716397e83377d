"""One HTML page of a run, drawn from its events alone: no script, no other file, light or dark as its reader likes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from workloads.loop import story as stories
from workloads.loop.charts import Mark, Points, Time, bars, clock, lines, shares
from workloads.loop.events import Event
from workloads.loop.page_style import STYLE
from workloads.loop.settings import CORE_HOUR_USD
from workloads.loop.story import Story

NAME = "index.html"
ARMS = ("champion", "candidate")
"""From the bottom up."""


def write(story: Story, directory: Path) -> Path:
    """Into `directory`, whole or not at all."""
    target = directory / NAME
    new = target.with_suffix(".new")
    new.write_text(html(story), encoding="utf-8")
    new.replace(target)
    return target


def html(story: Story) -> str:
    parts = [
        _head(story),
        _section("Timeline", _timeline(story)),
        _section("Traffic and quality", _traffic(story)),
        _section("Drift, and the decision to retrain", _drift(story)),
        _section("Evaluation", _evaluation(story)),
        *(_section(f"Rollout of {name}", _rollout(story, name)) for name in _rollouts(story)),
        _section("What it cost", _costs(story)),
        _section("Prometheus", _prometheus(story)),
        _section("Files", _files(story)),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>The closed loop</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>\n"
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


# ---- what happened, in a few sentences


def _head(story: Story) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(story.began)) if story.began else ""
    cores = story.machine.get("cores")
    machine = f"{cores} cores, Python {story.machine.get('python', '')}" if cores else ""
    facts = [when, f"{clock(story.seconds)} minutes", machine, f"seed {story.settings.get('seed', '')}"]
    tiles = "".join(
        f'<div class="tile {kind}"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
        for value, what, kind in _tiles(story)
    )
    sentences = "".join(f"<li>{escape(text)}</li>" for text in summary(story))
    return (
        f'<header><h1>The closed loop</h1><p class="facts">{" · ".join(escape(fact) for fact in facts if fact)}</p>'
        f'<div class="tiles">{tiles}</div><ol class="summary">{sentences}</ol></header>'
    )


def summary(story: Story) -> list[str]:
    """What each stage said when it ended, in order; and what went wrong, if something did."""
    told = [f"{stage.title}: {stage.says}" for stage in story.stages.values() if stage.state == stories.DONE]
    told += [
        f"{stage.title} FAILED: {stage.says}" + (f" (log: {stage.log})" if stage.log else "")
        for stage in story.stages.values()
        if stage.state == stories.FAILED
    ]
    if story.state == stories.STOPPED:
        told.append("It was stopped before its end.")
    return told


def _tiles(story: Story) -> list[tuple[str, str, str]]:
    tiles = []
    if traffic := story.last("traffic"):
        tiles.append((f"{traffic['asked']:,}", "requests", ""))
        tiles.append(
            (f"{traffic['failed']}", "failed, other than by a bad model", "bad" if traffic["failed"] else "good")
        )
    for outcome in story.of("outcome"):
        kind = "good" if outcome["outcome"] == "promoted" else "bad"
        tiles.append((outcome["version"], outcome["outcome"].replace("-", " "), kind))
    if harmed := story.last("traffic"):
        tiles.append((f"{harmed['harmed']}", "requests that the bad model harmed", ""))
    return tiles


# ---- time


def _time(story: Story) -> Time:
    return Time(story.began, max(story.now, story.began + 1))


def _marks(story: Story) -> list[Mark]:
    """Moments that explain what the curves do."""
    # The traffic shifts at the end of its stage, which has watched it until then.
    marks = [
        Mark(stage.began + stage.seconds, "the traffic shifts")
        for name, stage in story.stages.items()
        if name == "shift" and stage.state == stories.DONE
    ]
    marks += [Mark(event["at"], "retraining begins") for event in story.of("trigger") if event["fired"]]
    marks += [
        Mark(
            event["at"], f"{event['version']}: {event['outcome']}", "good" if event["outcome"] == "promoted" else "bad"
        )
        for event in story.of("outcome")
    ]
    return marks


def _timeline(story: Story) -> str:
    rows = []
    for stage in story.stages.values():
        if stage.state == stories.WAITING:
            continue
        end = stage.began + stage.seconds if stage.state != stories.RUNNING else story.now
        rows.append((stage.title, stage.began, end, stage.state, f"{end - stage.began:.1f} s"))
    return bars(_time(story), rows) if rows else ""


def _traffic(story: Story) -> str:
    traffic = story.of("traffic")
    if not traffic:
        return ""
    at, marks = _time(story), _marks(story)
    names = [name for name in ARMS if any(name in event["arms"] for event in traffic)]
    bits = {name: _smooth(traffic, name) for name in names}
    slow = {name: [(e["at"], e["arms"][name]["p99_s"] * 1000) for e in traffic if name in e["arms"]] for name in names}
    weights = [(event["at"], event["weights"]) for event in story.of("weights")]
    order = [arm for arm in ARMS if any(arm in each for _, each in weights)]
    served = {
        name: [(e["at"], float(e["arms"][name]["answered"])) for e in traffic if name in e["arms"]] for name in names
    }
    english = {"English": [(e["at"], e["prose"] * 100) for e in traffic]}
    drawn = [
        shares(at, weights, order, title="Traffic weights", marks=marks),
        _line(at, marks, bits, "Quality of the answers", "bits per byte (lower is better)", height=190, low=None),
        _line(at, marks, english, "English among the requests", "%", height=110),
        _line(at, marks, served, "Requests answered", "a second"),
        _line(at, marks, slow, "99th percentile of each second", "ms"),
    ]
    return "".join(drawn) + f'<p class="note">{_legend(story, marks)}</p>'


def _line(
    at: Time,
    marks: Sequence[Mark],
    series: Mapping[str, Points],
    title: str,
    unit: str,
    *,
    height: int = 130,
    low: float | None = 0,
) -> str:
    classes = {name: name for name in ARMS} | {f"triton-{name}": name for name in ARMS}
    classes |= {"English": "prose", "baseline": "champion", "control": "series-2"}
    return lines(at, series, title=title, unit=unit, height=height, marks=marks, low=low, classes=classes)


def _legend(story: Story, marks: Sequence[Mark]) -> str:
    told = [f"{clock(mark.at - story.began)} {escape(mark.text)}" for mark in sorted(marks, key=lambda m: m.at)]
    return "Lines across: " + "; ".join(told) + "." if told else ""


def _smooth(traffic: Sequence[Event], name: str, width: int = 5) -> list[tuple[float, float]]:
    """Bits per byte of the requests of the last seconds: one second has too few to see a difference by."""
    told = [(event["at"], event["arms"][name]) for event in traffic if name in event["arms"]]
    points = []
    for number, (at, _) in enumerate(told):
        last = [arm for when, arm in told[: number + 1] if when > at - width]
        points.append((at, sum(arm["bits"] * arm["answered"] for arm in last) / sum(arm["answered"] for arm in last)))
    return points


# ---- decisions


TESTS = {"ks": "KS", "psi": "PSI", "wasserstein": "Wasserstein", "mmd": "MMD", "missing": "missing"}


def _drift(story: Story) -> str:
    body = ""
    if triggers := story.of("trigger"):
        rows = []
        for reason, group in itertools.groupby(triggers, key=lambda event: (event["fired"], event["reason"])):
            looks = list(group)
            when = " to ".join(dict.fromkeys((_at(story, looks[0]), _at(story, looks[-1]))))
            rows.append((when, str(len(looks)), "retrain" if reason[0] else "no", reason[1], looks[-1]["says"]))
        body += _table(("time", "looks", "retrain?", "reason", "because, at the last of them"), rows)
    for event in _telling(story):
        tests = [test for test in TESTS if any(test in row["effects"] for row in event["rows"])]
        drifts = [
            (
                row["column"], *(_number(row["effects"].get(test)) for test in tests), _number(row["q"]),
                "drifted" if row["drifted"] else "",
            )
            for row in sorted(event["rows"], key=lambda row: (not row["drifted"], row["q"]))
        ]  # fmt: skip
        before, now = (f"{mean:.2f}" if mean is not None else "unknown" for mean in event["own"])
        body += (
            f"<h3>The window that ended at {_at(story, event)}: {escape(event['says'])}; the model's own bits per byte "
            f"{before} before, {now} then</h3>"
        )
        head = ("column", *(TESTS[test] for test in tests), "q value", "")
        body += _table(head, drifts, strong=lambda row: bool(row[-1]))
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


def _evaluation(story: Story) -> str:
    body = ""
    for event in story.of("evaluation"):
        rows = [
            (
                row["slice"], f"{row['documents']:,}", _number(row["champion"]), _number(row["candidate"]),
                _change(row["champion"], row["candidate"]), row.get("says", ""),
            )
            for row in event["rows"]
        ]  # fmt: skip
        word = "passed" if event["passed"] else "did not pass"
        body += (
            f"<h3>{escape(event['version'])} against {escape(event['against'])}: {word}. {escape(event['says'])}</h3>"
        )
        body += _table(("slice", "documents", "champion", "candidate", "change", ""), rows)
    return body + (
        '<p class="note">Bits per byte of documents that neither model learnt; lower is better.</p>' if body else ""
    )


def _rollouts(story: Story) -> list[str]:
    return list(dict.fromkeys(event["rollout"] for kind in ("decision", "outcome") for event in story.of(kind)))


def _rollout(story: Story, name: str) -> str:
    body = ""
    for event in story.of("outcome"):
        if event["rollout"] == name:
            good = "good" if event["outcome"] == "promoted" else "bad"
            body += f'<p class="{good}"><b>{escape(event["outcome"])}</b>: {escape(event["says"])}</p>'
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
                (e["at"], max(-1.0, e["guardrails"][one][kind])) for e in decisions if one in e["guardrails"]
            ]
            for one in guardrails
        }
        body += lines(at, series, title=title, unit="", height=150, marks=marks)
    rows = [
        (
            _at(story, event), event["action"], event["reason"], event["says"],
            f"{event['seen']['candidate']} / {event['seen']['beside']} / {event['seen']['pairs']}",
            "; ".join(words for one, found in event["guardrails"].items() if (words := _measured(one, found))),
        )
        for event in decisions
    ]  # fmt: skip
    head = ("time", "action", "reason", "then", "candidate / control / pairs", "evidence so far; 1 is enough")
    changes = [row for row in rows if row[1] != "watch"]
    return (
        body
        + _table(head, changes)
        + f"<details><summary>All {len(rows)} looks</summary>{_table(head, rows)}</details>"
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
    proof = "proven" if one["proven"] else f"proof {one['proof']:.2f}"
    return f"{found} (alarm {one['alarm']:.2f}, {proof})"


# ---- costs, Prometheus, files


def cost_usd(cpu_seconds: float) -> float:
    return cpu_seconds / 3600 * CORE_HOUR_USD


def _costs(story: Story) -> str:
    done = [stage for stage in story.stages.values() if stage.state in (stories.DONE, stories.FAILED)]
    if not done:
        return ""

    def row(name: str, seconds: float, cpu: float) -> tuple[str, ...]:
        return name, f"{seconds:.1f}", f"{cpu:.1f}", f"{cost_usd(cpu) * 100:.3f}"

    rows = [row(stage.title, stage.seconds, stage.cpu_seconds) for stage in done]
    rows.append(row("all", sum(s.seconds for s in done), sum(s.cpu_seconds for s in done)))
    body = _table(("stage", "seconds", "CPU seconds, users' requests included", "US cents"), rows, last=True)
    if steps := story.of("step"):
        body += "<h3>Steps of the pipeline</h3>" + _table(
            ("run", "step", "seconds", "US cents", ""),
            [
                (
                    step.get("run", ""), step["step"], f"{step['seconds']:.1f}", f"{step['cost_usd'] * 100:.3f}",
                    "done before" if step.get("reused") else "",
                )
                for step in steps
            ],
        )  # fmt: skip
    return body + (
        f'<p class="note">At {CORE_HOUR_USD} USD a vCPU-hour, what a cloud asks where seconds are paid for; '
        "this machine cost nothing. Steps are priced by their seconds and the CPUs that they ask for in a cluster, "
        "stages by the CPU seconds that they used here.</p>"
    )


def _prometheus(story: Story) -> str:
    at, marks, body = _time(story), _marks(story), ""
    for event in story.of("series"):
        points = {name: [(at_, value) for at_, value in found] for name, found in event["points"].items()}
        if any(points.values()):
            body += _line(at, marks, points, event["title"], event["unit"], height=140)
            body += f'<p class="note"><code>{escape(event["query"])}</code></p>'
    return body


def _files(story: Story) -> str:
    found = {event["path"]: event["title"] for event in story.of("file")}
    for stage in story.stages.values():
        if stage.log:
            found.setdefault(stage.log, f"log of: {stage.title}")
    items = "".join(
        f'<li><a href="{escape(path)}">{escape(path)}</a> {escape(title)}</li>' for path, title in found.items()
    )
    return f"<ul>{items}</ul>" if items else ""


# ---- small things


def _at(story: Story, event: Event) -> str:
    return clock(event["at"] - story.began)


def _number(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _change(before: Any, after: Any) -> str:
    return f"{after / before - 1:+.1%}" if before and after else ""


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, last: bool = False, strong: Any = lambda _: False
) -> str:
    """`last`: the last row is a sum."""
    if not rows:
        return ""
    titles = "".join(f"<th>{escape(word)}</th>" for word in head) if any(head) else ""
    body = ""
    for number, row in enumerate(rows):
        names = " ".join(
            word for word, there in (("sum", last and number == len(rows) - 1), ("strong", strong(row))) if there
        )
        body += f'<tr class="{names}">' + "".join(f"<td{_kind(cell)}>{escape(cell)}</td>" for cell in row) + "</tr>"
    top = f"<thead><tr>{titles}</tr></thead>" if titles else ""
    return f'<div class="wide"><table>{top}<tbody>{body}</tbody></table></div>'


def _kind(cell: str) -> str:
    return ' class="number"' if cell[:1] in "+-0123456789" and cell.strip("+-.,:%e0123456789") == "" else ""
