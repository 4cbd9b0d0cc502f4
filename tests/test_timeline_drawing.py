"""A timeline is drawn as SVG, as text and as an HTML page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from coordinator.traces.timeline import svg as drawing
from coordinator.traces.timeline.html import draw_html
from coordinator.traces.timeline.layout import Arrow, Box, Lane, Timeline, read_timeline
from coordinator.traces.timeline.style import ticks
from coordinator.traces.timeline.svg import draw_svg
from coordinator.traces.timeline.text import draw_text
from coordinator.traces.timeline.window import TimeWindow
from tests.timeline_runs import NAME, RULES, timeline_run

SVG = "{http://www.w3.org/2000/svg}"
MS = 1_000_000


@pytest.fixture(params=RULES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return timeline_run(tmp_path_factory, request.param)


def drawn(timeline: Timeline) -> ElementTree.Element:
    return ElementTree.fromstring(draw_svg(timeline))


def test_svg_has_a_box_per_span_and_a_line_per_message(folder: Path) -> None:
    timeline = read_timeline(folder)
    root = drawn(timeline)
    boxes = [r for r in root.iter(f"{SVG}rect") if r.get("class") == "box"]
    titled = [g for g in root.iter(f"{SVG}g") if g.find(f"{SVG}title") is not None]
    arrows = [p for g in titled for p in g.iter(f"{SVG}path") if "arrow" in p.get("class", "")]
    assert (len(boxes), len(arrows)) == (len(timeline.boxes), len(timeline.arrows))


def test_nothing_in_the_svg_is_outside_the_lanes(folder: Path) -> None:
    root = drawn(read_timeline(folder))
    left, right = drawing.LEFT, drawing.WIDTH - drawing.RIGHT
    for box in (r for r in root.iter(f"{SVG}rect") if r.get("class") == "box"):
        begin = float(box.get("x", "nan"))
        assert left <= begin
        assert begin + float(box.get("width", "nan")) <= right + 0.7
    ends = re.findall(
        r'class="arrow[^"]*" d="M([\d.]+) [\d.]+L([\d.]+) ', draw_svg(read_timeline(folder))
    )
    assert ends
    assert all(left <= float(x) <= right for pair in ends for x in pair)


def test_name_of_the_pipeline_is_escaped(folder: Path) -> None:
    timeline = read_timeline(folder)
    title = drawn(timeline).find(f"{SVG}title")
    assert title is not None
    assert title.text == f"{NAME} with {timeline.rule}"
    assert "<script" not in draw_svg(timeline)
    odd = replace(timeline, name="bell\x07")
    assert drawn(odd).find(f"{SVG}title") is not None


# -- a handmade timeline

WINDOW = TimeWindow(100 * MS, 10 * MS)


def message(sender: int, receiver: int, kind: str, **fields: Any) -> Arrow:
    common = {"bytes": 8, "queue": 1, "staleness": 0, "version": 1, "used_version": 1}
    defaults = {
        "batch": 7,
        "received": None,
        "outcome": "used",
        "reason": "",
        "cause": "",
        **common,
    }
    return Arrow(sender, receiver, kind, **{**defaults, **fields})


KNOWN = Timeline(
    "known",
    "cdni",
    WINDOW,
    (Lane("layer1", 0.5), Lane("layer0", 0.25), Lane("source", None)),
    (
        Box(0, 95 * MS, 105 * MS, 7, "step", "layer0>layer1"),
        Box(1, 105 * MS, 106 * MS, 8, "gradient", "layer1>layer0"),
        Box(1, 109 * MS, None, 9, "forward", "source>layer0"),
    ),
    (
        message(0, 1, "gradient", sent=102 * MS, used=105 * MS),
        message(1, 0, "activation", sent=None, used=104 * MS, outcome="unsent", reason="behind"),
        message(1, 0, "activation", sent=90 * MS, used=110 * MS),
        message(0, 1, "gradient", sent=107 * MS, used=108 * MS, outcome="dropped", reason="late"),
    ),
)


def test_box_is_clipped_to_the_window() -> None:
    boxes = [r for r in drawn(KNOWN).iter(f"{SVG}rect") if r.get("class") == "box"]
    places = [(float(r.get("x", "")), float(r.get("width", ""))) for r in boxes]
    across = (drawing.WIDTH - drawing.LEFT - drawing.RIGHT) / 10
    left = drawing.LEFT
    wanted = [(left, 5 * across), (left + 5 * across, across), (left + 9 * across, across)]
    for place, true in zip(places, wanted, strict=True):
        assert place == pytest.approx(true, abs=0.01)


def test_line_is_clipped_to_the_lanes() -> None:
    long = re.findall(r'd="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', draw_svg(KNOWN))[2]
    x1, y1, x2, y2 = map(float, long)
    start = drawing.TOP + drawing.HEIGHT + drawing.GAP
    stop = drawing.TOP + drawing.HEIGHT
    assert (x1, x2) == (drawing.LEFT, drawing.WIDTH - drawing.RIGHT)
    assert y1 == pytest.approx((start + stop) / 2)  # half of the line is before the window
    assert y2 == stop


def test_dropped_message_is_dashed_and_ends_in_a_cross() -> None:
    dashed = re.findall(
        r'class="arrow dropped" d="[^"]*" stroke="[^"]*"/>(<path)?', draw_svg(KNOWN)
    )
    assert dashed == ["<path"] * 3  # and once in the legend
    used = draw_svg(replace(KNOWN, arrows=KNOWN.arrows[:1]))
    assert 'class="arrow dropped"' not in used
    assert "unsent, behind" in draw_svg(KNOWN)


def test_text_has_blocks_at_the_times_of_work() -> None:
    lines = draw_text(KNOWN, 52).plain.splitlines()  # 40 columns for the lanes, 4 a millisecond
    assert lines[0] == "known, cdni: 10 ms from 0.100 s on"
    assert lines[1] == "layer1 " + "■" * 20 + "·" * 20 + "  50%"
    assert lines[2] == " " * 7 + f"{'↓':>9}{'×':>8}{'×':>16}".ljust(40)  # noqa: RUF001
    assert lines[3] == "layer0 " + "·" * 20 + "▓" * 4 + "·" * 12 + "█" * 4 + "  25%"
    assert lines[5].rstrip() == "source"
    assert lines[6].startswith("       |0 ")
    assert lines[6].endswith("10 ms|")
    assert max(map(len, lines)) <= 52
    assert "■ output layer" in lines[8]
    assert "dropped" in lines[-1]


def test_text_shows_the_shortest_span(folder: Path) -> None:
    timeline = read_timeline(folder, 0, 10**9)
    rows = draw_text(timeline, 100).plain.splitlines()
    assert all(len(row) == 100 for row in rows[1:7:2] if row.endswith("%"))
    short = Box(0, 108 * MS, 108 * MS + 1, 9, "test", "layer0>layer1")
    row = draw_text(replace(KNOWN, boxes=(short,)), 52).plain.splitlines()[1]
    assert row.count("░") == 1
    assert row[7 + 32] == "░"


@pytest.mark.parametrize("length", [900, 5_000, 123_456, 12_345_678, 3 * 10**9])
def test_ticks_are_round_and_equally_spaced(length: int) -> None:
    times, labels = zip(*ticks(length, 9), strict=True)
    assert 3 <= len(times) <= 9
    assert len({after - before for before, after in pairwise(times)}) == 1
    assert str(times[1]).rstrip("0") in "125"
    assert len(set(labels)) == len(labels)
    assert times[-1] <= length


# -- HTML


def embedded(page: str) -> dict[str, Any]:
    """The data of a page, found as a browser finds it: up to the next end tag of a script."""
    opening = '<script type="application/json" id="data">'
    assert page.count(opening) == 1
    found: dict[str, Any] = json.loads(page.split(opening)[1].split("</script")[0])
    return found


def test_page_holds_every_shape(folder: Path) -> None:
    timeline = read_timeline(folder)
    data = embedded(draw_html(timeline))
    assert [Box(*values) for values in data["boxes"]] == list(timeline.boxes)
    assert [Arrow(*values) for values in data["arrows"]] == list(timeline.arrows)
    assert data["boxFields"] == list(Box._fields)
    assert data["arrowFields"] == list(Arrow._fields)
    assert {box.action for box in timeline.boxes} == data["actionStyles"].keys()
    assert (data["start"], data["length"]) == timeline.window


def test_page_contains_no_markup_of_the_run(folder: Path) -> None:
    timeline = replace(read_timeline(folder), name="</script><script>alert(1)</script><!--@SCRIPT@")
    page = draw_html(timeline)
    assert embedded(page)["title"].startswith(timeline.name)
    assert "alert(1)</script>" not in page
    assert page.count("<script") == 2
    assert page.count('"use strict"') == 1


def test_page_needs_no_network(folder: Path) -> None:
    page = draw_html(read_timeline(folder))
    assert not re.search(r"https?:|//\w+\.\w|\bfetch\(|\bimport\b|\bsrc=", page)
    assert "default-src 'none'" in page
