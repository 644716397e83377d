"""One HTML page of a run, drawn from its events alone: no script, no other file, light or dark as its reader likes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from workloads.loop import story as stories
from workloads.loop.charts import Mark, Time, bars, clock, lines, shares
from workloads.loop.events import Event
from workloads.loop.page_style import STYLE
from workloads.loop.settings import CORE_HOUR_USD
from workloads.loop.story import Story

NAME = "index.html"
ARMS = {"champion": "champion", "candidate": "candidate"}


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
    marks = [
        Mark(stage.began, stage.title)
        for stage in story.stages.values()
        if stage.name in ("shift",) and stage.state != stories.WAITING
    ]
    marks += [
        Mark(event["at"], "retraining begins: " + event["says"]) for event in story.of("trigger") if event["fired"]
    ]
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
    names = sorted({name for event in traffic for name in event["arms"]})
    bits = {name: [(e["at"], e["arms"][name]["bits"]) for e in traffic if name in e["arms"]] for name in names}
    slow = {name: [(e["at"], e["arms"][name]["p99_s"] * 1000) for e in traffic if name in e["arms"]] for name in names}
    weights = [(event["at"], event["weights"]) for event in story.of("weights")]
    order = [arm for arm in ("champion", "candidate") if any(arm in shares_ for _, shares_ in weights)]
    served = {name: [(e["at"], float(e["arms"].get(name, {}).get("answered", 0))) for e in traffic] for name in names}
    return "".join(
        [
            shares(at, weights, order, title="Traffic weights", marks=marks),
            lines(at, _smooth(bits), title="Quality of the answers", unit="bits per byte (lower is better)", marks=marks,
                  classes=ARMS),
            lines(at, {"English": [(e["at"], e["prose"] * 100) for e in traffic]}, title="English among the requests",
                  unit="%", height=110, marks=marks, low=0, classes={"English": "prose"}),
            lines(at, served, title="Requests answered", unit="a second", height=130, marks=marks, low=0, classes=ARMS),
            lines(at, slow, title="99th percentile of each second", unit="ms", height=130, marks=marks, low=0,
                  classes=ARMS),
            f'<p class="note">{_legend(story, marks)}</p>',
        ]
    )  # fmt: skip


def _legend(story: Story, marks: Sequence[Mark]) -> str:
    told = [f"{clock(mark.at - story.began)} {escape(mark.text)}" for mark in sorted(marks, key=lambda m: m.at)]
    return "Lines across: " + "; ".join(told) + "." if told else ""


def _smooth(series: dict[str, list[tuple[float, float]]], width: int = 5) -> dict[str, list[tuple[float, float]]]:
    """Means of so many seconds: a second has too few requests to see a difference by."""
    return {
        name: [
            (
                at,
                sum(value for _, value in points[max(0, i - width + 1) : i + 1])
                / len(points[max(0, i - width + 1) : i + 1]),
            )
            for i, (at, _) in enumerate(points)
        ]
        for name, points in series.items()
    }


# ---- decisions


def _drift(story: Story) -> str:
    body = ""
    if triggers := story.of("trigger"):
        rows = [
            (_at(story, event), "retrain" if event["fired"] else "no", event["reason"], event["says"])
            for event in triggers
        ]
        body += "<h3>Every look</h3>" + _table(("time", "retrain?", "reason", "because"), rows)
    reports = story.of("drift")
    for event in [reports[0], reports[-1]] if len(reports) > 1 else reports:
        rows = [
            (
                row["column"], row["test"], _number(row["effect"]), _number(row.get("q")),
                "drifted" if row["drifted"] else "",
            )
            for row in event["rows"]
        ]  # fmt: skip
        body += f"<h3>Window at {_at(story, event)}: {escape(event.get('says', ''))}</h3>"
        body += _table(("column", "test", "effect", "q value", ""), rows, strong=lambda row: bool(row[4]))
    return body


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
            rows = [(key, _number(value)) for key, value in event.get("figures", {}).items()]
            body += _table(("", ""), rows) if rows else ""
    rows = []
    for event in story.of("decision"):
        if event["rollout"] == name:
            evidence = "; ".join(f"{key} {_number(value)}" for key, value in event.get("evidence", {}).items())
            rows.append((_at(story, event), event["action"], event["reason"], event["says"], evidence))
    return body + _table(("time", "action", "reason", "because", "evidence"), rows)


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
        "this machine cost nothing.</p>"
    )


def _prometheus(story: Story) -> str:
    at = _time(story)
    return "".join(
        lines(at, {name: [tuple(p) for p in points] for name, points in event["points"].items()}, title=event["title"],  # type: ignore[misc]
              unit=event["unit"], height=140, low=0, marks=_marks(story))
        + f"<p class=\"note\"><code>{escape(event['query'])}</code></p>"
        for event in story.of("series")
        if any(event["points"].values())
    )  # fmt: skip


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
