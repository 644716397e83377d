"""One HTML page of a run, drawn from its events alone: no script, no other file, light or dark as its reader likes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from workloads.loop import page_decisions as decisions
from workloads.loop import page_words as words
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
        _section("Drift, and the decision to retrain", decisions.drift(story)),
        _section("Evaluation", decisions.evaluation(story)),
        *(_section(f"Rollout of {name}", decisions.rollout(story, name)) for name in decisions.rollouts(story)),
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
        tiles.append((f"{traffic['failed']}", "failed", "bad" if traffic["failed"] else "good"))
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
    body = words.table(("stage", "seconds", "CPU seconds, users' requests included", "US cents"), rows, last=True)
    if steps := story.of("step"):
        body += "<h3>Steps of the pipeline</h3>" + words.table(
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
