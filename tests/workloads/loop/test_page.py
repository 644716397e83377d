"""The page and the live view of a loop that has happened: everything a person asks of them is there, and drawn anew."""

from __future__ import annotations

import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import resvg_py
from rich.console import Console

from workloads.loop import events, page, story, view
from workloads.loop.cli import main
from workloads.loop.events import Event
from workloads.loop.page_style import STYLE
from workloads.loop.story import Story

RECORDED = Path(__file__).parent / "events.jsonl"
"""Of `make loop ARGS=--short`, with most of what came every second left out."""


@pytest.fixture(scope="module")
def told() -> list[Event]:
    return events.read(RECORDED)


@pytest.fixture(scope="module")
def html(told: list[Event]) -> str:
    return page.html(story.story(told))


class Words(HTMLParser):
    """What a person reads, by section; and whether what was opened was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sections: dict[str, str] = {"": ""}
        self._section = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "h2" in self.open:
            self._section = data
            self.sections[data] = ""
        elif "style" not in self.open:
            self.sections[self._section] += data + " "


def read(html: str) -> Words:
    words = Words()
    words.feed(html)
    words.close()
    assert words.open == []
    return words


def test_the_page_has_what_a_person_asks_of_it(html: str) -> None:
    words = read(html).sections
    assert list(words) == [
        "", "Timeline", "Traffic and quality", "Drift, and the decision to retrain", "Evaluation",
        "Rollout of language-scorer-2", "Rollout of language-scorer-3", "What it cost", "Prometheus", "Files",
    ]  # fmt: skip
    assert "language-scorer:2 promoted" in words[""]
    assert "language-scorer:3 rolled back" in words[""]
    for stage in ("Train", "Notice", "Canary", "Roll back"):
        assert stage in words["Timeline"]
        assert stage in words["What it cost"]
    assert {"own_loss", "no_data", "drifted", "PSI"} <= set(words["Drift, and the decision to retrain"].split())
    assert "source=prose" in words["Evaluation"]
    assert "quality-worse" in words["Rollout of language-scorer-3"]
    assert "bits per byte worse" in words["Rollout of language-scorer-3"]
    assert "rollout_requests_total" in words["Prometheus"]
    assert "rollouts/language-scorer-2.jsonl" in words["Files"]


def test_it_is_one_file_that_asks_for_nothing_else(html: str) -> None:
    assert not re.search(r"<script|<link|<img|@import|url\(|https?://(?!www\.w3\.org|127\.0\.0\.1)", html)
    assert "prefers-color-scheme: dark" in html


def test_each_colour_that_is_used_is_defined_light_and_dark() -> None:
    light, dark = (set(re.findall(r"(--[\w-]+):", part)) for part in re.findall(r":root \{(.*?)\}", STYLE, re.S))
    assert set(re.findall(r"var\((--[\w-]+)\)", STYLE)) <= light
    assert light == dark


def test_each_picture_can_be_drawn(html: str) -> None:
    found = re.findall(r"<svg.*?</svg>", html, re.S)
    assert len(found) >= 12
    for svg in found:
        assert len(bytes(resvg_py.svg_to_bytes(svg_string=svg))) > 1000


def test_what_the_loop_says_cannot_break_the_page(told: list[Event]) -> None:
    evil = "<b>&\"'</td></svg>"
    changed = [{**event, **{k: evil for k in ("says", "text", "title", "reason") if k in event}} for event in told]
    assert evil not in page.html(story.story(changed))
    read(page.html(story.story(changed)))


@pytest.mark.parametrize("share", [0, 0.02, 0.2, 0.5, 0.8])
def test_a_loop_that_was_cut_short_has_a_page_and_a_view_too(told: list[Event], share: float) -> None:
    part = told[: int(len(told) * share)]
    read(page.html(story.story(part)))
    Console(file=io.StringIO()).print(view.picture(story.story(part)))


def test_a_failed_stage_is_on_the_page_with_its_log(told: list[Event]) -> None:
    part = [*told[:30], {"at": told[29]["at"] + 1, "kind": "stage", "stage": "train", "state": "failed", "seconds": 3.0,
                         "cpu_seconds": 1.0, "says": "no disk", "log": "logs/train.error"}]  # fmt: skip
    words = read(page.html(story.story(part))).sections
    assert "Train FAILED: no disk (log: logs/train.error)" in words[""]
    assert "logs/train.error" in words["Files"]


def test_the_page_is_drawn_anew_from_the_events_alone(tmp_path: Path, html: str) -> None:
    shutil.copy(RECORDED, tmp_path / events.NAME)
    assert main(["page", str(tmp_path)]) == 0
    assert (tmp_path / page.NAME).read_text() == html


# ---- while it runs


def shown(told: list[Event], until: str) -> str:
    """What the terminal shows after the first event of that kind or action."""
    at = next(i for i, e in enumerate(told) if until in (e["kind"], e.get("action"), e.get("stage"), e.get("outcome")))
    out = io.StringIO()
    Console(file=out, width=100).print(view.picture(story.story(told[: at + 1])))
    return out.getvalue()


def test_the_view_shows_stages_traffic_and_decisions(told: list[Event]) -> None:
    early = shown(told, "export")
    assert re.search(r"✓ Train +\d+ s ", early)
    assert re.search(r"▸ Export", early)
    assert "· Roll back" in early
    assert "weights" not in early
    late = shown(told, "promote")
    assert re.search(r"traffic +[\d,]+ requests, 0 failed", late)
    assert re.search(r"weights +█+ +champion 50%, candidate 50%", late)
    assert re.search(r"quality +[▁▂▃▄▅▆▇█ ]+ candidate \d\.\d\d bits per byte", late)
    assert "language-scorer-2: promote (proven)" in late
    assert re.search(r"worse:\s+quality", shown(told, "roll-back"))


def test_without_a_terminal_there_are_lines(told: list[Event]) -> None:
    out = io.StringIO()
    with view.View(out) as plain:
        for event in told:
            plain.take(event)
    lines = out.getvalue().splitlines()
    assert "\x1b" not in out.getvalue()
    assert lines[0] == "0:00  Train"
    assert any(re.fullmatch(r"\d+:\d\d    language-scorer-3: rolled-back .*", line) for line in lines)
    # What says the same again is not said.
    assert sum("too few requests" in line for line in lines) == 1
    assert re.match(r"\d+:\d\d  done", lines[-1])


def test_a_story_of_nothing() -> None:
    assert (Story().seconds, page.summary(Story())) == (0.0, [])
