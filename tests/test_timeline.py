"""A timeline shows what was recorded, all of it and nothing else, in whichever form."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from cli import run
from coordinator.traces.events import NEVER
from coordinator.traces.run import Traces
from coordinator.traces.timeline import svg as drawing
from coordinator.traces.timeline.html import draw_html
from coordinator.traces.timeline.layout import Arrow, Box, Lane, Timeline, read_timeline
from coordinator.traces.timeline.style import ticks
from coordinator.traces.timeline.svg import draw_svg
from coordinator.traces.timeline.text import draw_text
from coordinator.traces.timeline.window import BATCHES, TimeWindow
from protocol import DataConfig, LayerConfig, Pipeline, RunError, TrainConfig
from protocol import trace_format as form

NAME = "<script>alert(1)&\"'"
RULES = ("backprop", "cdni", "unlocked-cdni")
SVG = "{http://www.w3.org/2000/svg}"
HIDDEN = LayerConfig(("linear 8", "relu"))
MS = 1_000_000


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each rule in `RULES`, in one process."""
    made = {}
    for rule in RULES:
        pipeline = Pipeline(
            name=NAME,
            rule=rule,
            data=DataConfig(name="digits", batch=32),
            train=TrainConfig(steps=60, eval_every=30, threads=1),
            layer=(HIDDEN, HIDDEN, LayerConfig(("linear 10",))),
        )
        made[rule] = tmp_path_factory.mktemp("runs") / rule
        assert run(pipeline, engine="inline", run_dir=made[rule]).end.outcome == "completed"
    return made


@pytest.fixture(scope="module", params=RULES)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


def spells(traces: Traces, window: TimeWindow) -> Iterator[tuple[str, int, int, int]]:
    """Core, batch, begin and end of every spell that was recorded in `window`."""
    for stage in traces.pipeline.stages:
        work = traces.work(stage)
        assert work is not None
        for batch, begin, end in zip(work.batch, work.begin, work.end, strict=True):
            since, until = int(begin) - traces.start, int(end) - traces.start
            assert end != NEVER
            if since < window.end and until > window.start:
                yield stage, int(batch), since, until


def sendings(traces: Traces, window: TimeWindow) -> Iterator[tuple[str, str, int, int, int]]:
    """Edge, kind, batch, sending and use of every message used that was about in `window`."""
    for edge in traces.edges:
        for found in traces.messages(edge):
            if found.kind not in form.WORK:
                continue
            for i in range(len(found)):
                sent, used = int(found.sent[i]) - traces.start, int(found.used[i]) - traces.start
                about = sent < window.end and used >= window.start
                if about and NEVER not in (found.sent[i], found.used[i]):
                    yield str(edge), form.KINDS[found.kind], int(found.batch[i]), sent, used


def edge(timeline: Timeline, arrow: Arrow) -> str:
    names = [lane.name for lane in timeline.lanes]
    return f"{names[arrow.sender]}>{names[arrow.receiver]}"


# -- what is in it


def test_every_recorded_spell_of_the_window_is_a_box_and_nothing_else_is(folder: Path) -> None:
    timeline = read_timeline(folder)
    names = [lane.name for lane in timeline.lanes]
    shown = [(names[box.lane], box.batch, box.begin, box.end) for box in timeline.boxes]
    assert sorted(shown) == sorted(spells(Traces(folder), timeline.window))
    assert len(shown) > BATCHES


def test_every_message_of_the_window_is_an_arrow_from_its_sending_to_its_use(folder: Path) -> None:
    timeline = read_timeline(folder)
    shown = [
        (edge(timeline, arrow), arrow.kind, arrow.batch, arrow.sent, arrow.used)
        for arrow in timeline.arrows
        if arrow.sent is not None
    ]
    assert sorted(shown) == sorted(sendings(Traces(folder), timeline.window))
    assert len(shown) > BATCHES


def test_the_whole_run_can_be_shown(folder: Path) -> None:
    timeline = read_timeline(folder, 0, 10**12)
    traces = Traces(folder)
    assert len(timeline.boxes) == len(list(spells(traces, timeline.window)))
    of_layers = [traces.work(stage) for stage in traces.pipeline.stages]
    assert len(timeline.boxes) == sum(len(work) for work in of_layers if work)
    assert {box.batch for box in timeline.boxes} >= set(range(1, 61))


def test_what_is_done_in_a_box_follows_from_the_rule(folders: dict[str, Path]) -> None:
    done = {
        rule: {box.action for box in read_timeline(folder, 0, 10**12).boxes}
        for rule, folder in folders.items()
    }
    assert done["backprop"] == {"forward", "step", "gradient", "test"}
    assert done["cdni"] == done["backprop"] | {"predict"}
    assert done["unlocked-cdni"] == done["cdni"] | {"input"}


def test_the_top_layer_is_on_top_and_the_source_has_no_work(folder: Path) -> None:
    lanes = read_timeline(folder).lanes
    assert [lane.name for lane in lanes] == ["layer2", "layer1", "layer0", "source"]
    assert lanes[-1].busy is None
    assert all(lane.busy is not None and 0 <= lane.busy <= 1 for lane in lanes[:-1])


# -- which stretch


def taken(timeline: Timeline, lane: int) -> list[int]:
    """The batches that a layer went forward with."""
    going = ("forward", "step")
    return [box.batch for box in timeline.boxes if box.lane == lane and box.action in going]


def test_left_alone_it_shows_some_batches_in_the_middle(folder: Path) -> None:
    timeline = read_timeline(folder)
    shown = [taken(timeline, lane) for lane in range(3)]
    assert any(BATCHES - 1 <= len(batches) <= BATCHES + 2 for batches in shown)
    every = taken(read_timeline(folder, 0, 10**12), 0)
    assert every[len(every) // 4] < max(map(max, filter(None, shown))) < every[-len(every) // 8]


def test_the_stretch_that_is_asked_for_is_shown(folder: Path) -> None:
    some = read_timeline(folder).boxes[3]
    assert some.end is not None
    timeline = read_timeline(folder, some.begin, some.end - some.begin)
    assert timeline.window == TimeWindow(some.begin, some.end - some.begin)
    assert some in timeline.boxes
    assert timeline.lanes[some.lane].busy == 1
    assert read_timeline(folder, some.begin).window.start == some.begin
    assert read_timeline(folder, None, 12345).window.length == 12345


def test_a_spell_that_is_longer_than_the_window_is_shown(folder: Path) -> None:
    longest = max(read_timeline(folder).boxes, key=lambda box: (box.end or 0) - box.begin)
    assert longest.end is not None
    third = (longest.end - longest.begin) // 3
    assert longest in read_timeline(folder, longest.begin + third, third // 4).boxes


def test_a_stretch_without_work_is_a_mistake(folder: Path) -> None:
    with pytest.raises(RunError, match=r"no work was recorded from 1000 s to 1001 s"):
        read_timeline(folder, 10**12, 10**9)


def test_more_than_can_be_drawn_is_a_mistake(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "MAX_SHAPES", 10)
    with pytest.raises(RunError, match=r"more than the 10 .* shorter time with --for"):
        draw_svg(read_timeline(folder))


# -- SVG


def drawn(timeline: Timeline) -> ElementTree.Element:
    return ElementTree.fromstring(draw_svg(timeline))


def test_the_svg_has_a_box_a_spell_and_a_line_a_message(folder: Path) -> None:
    timeline = read_timeline(folder)
    root = drawn(timeline)
    boxes = [r for r in root.iter(f"{SVG}rect") if r.get("class") == "box"]
    titled = [g for g in root.iter(f"{SVG}g") if g.find(f"{SVG}title") is not None]
    arrows = [p for g in titled for p in g.iter(f"{SVG}path") if "arrow" in p.get("class", "")]
    assert (len(boxes), len(arrows)) == (len(timeline.boxes), len(timeline.arrows))


def test_nothing_in_the_svg_is_outside_of_the_lanes(folder: Path) -> None:
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


def test_a_name_is_text_and_nothing_else(folder: Path) -> None:
    timeline = read_timeline(folder)
    title = drawn(timeline).find(f"{SVG}title")
    assert title is not None
    assert title.text == f"{NAME} with {timeline.rule}"
    assert "<script" not in draw_svg(timeline)
    odd = replace(timeline, name="bell\x07")
    assert drawn(odd).find(f"{SVG}title") is not None


# -- a timeline of which everything is known

WINDOW = TimeWindow(100 * MS, 10 * MS)


def message(sender: int, receiver: int, kind: str, **facts: Any) -> Arrow:
    common = {"bytes": 8, "queue": 1, "staleness": 0, "version": 1, "used_version": 1}
    told = {"batch": 7, "received": None, "outcome": "used", "reason": "", "cause": "", **common}
    return Arrow(sender, receiver, kind, **{**told, **facts})


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


def test_a_box_that_began_before_or_goes_on_is_cut_off() -> None:
    boxes = [r for r in drawn(KNOWN).iter(f"{SVG}rect") if r.get("class") == "box"]
    places = [(float(r.get("x", "")), float(r.get("width", ""))) for r in boxes]
    across = (drawing.WIDTH - drawing.LEFT - drawing.RIGHT) / 10
    left = drawing.LEFT
    wanted = [(left, 5 * across), (left + 5 * across, across), (left + 9 * across, across)]
    for place, true in zip(places, wanted, strict=True):
        assert place == pytest.approx(true, abs=0.01)


def test_a_line_is_cut_off_where_it_crosses_the_end_of_the_lanes() -> None:
    long = re.findall(r'd="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', draw_svg(KNOWN))[2]
    x1, y1, x2, y2 = map(float, long)
    leaves = drawing.TOP + drawing.HEIGHT + drawing.GAP
    arrives = drawing.TOP + drawing.HEIGHT
    assert (x1, x2) == (drawing.LEFT, drawing.WIDTH - drawing.RIGHT)
    assert y1 == pytest.approx((leaves + arrives) / 2)  # half of its way lies before the window
    assert y2 == arrives


def test_what_was_dropped_is_dashed_and_ends_in_a_cross() -> None:
    dashed = re.findall(
        r'class="arrow dropped" d="[^"]*" stroke="[^"]*"/>(<path)?', draw_svg(KNOWN)
    )
    assert dashed == ["<path"] * 3  # and once in the legend
    used = draw_svg(replace(KNOWN, arrows=KNOWN.arrows[:1]))
    assert 'class="arrow dropped"' not in used
    assert "unsent, behind" in draw_svg(KNOWN)


def test_in_a_terminal_blocks_stand_where_the_work_was() -> None:
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


def test_a_terminal_shows_even_the_shortest_spell(folder: Path) -> None:
    timeline = read_timeline(folder, 0, 10**9)
    rows = draw_text(timeline, 100).plain.splitlines()
    assert all(len(row) == 100 for row in rows[1:7:2] if row.endswith("%"))
    short = Box(0, 108 * MS, 108 * MS + 1, 9, "test", "layer0>layer1")
    row = draw_text(replace(KNOWN, boxes=(short,)), 52).plain.splitlines()[1]
    assert row.count("░") == 1
    assert row[7 + 32] == "░"


@pytest.mark.parametrize("length", [900, 5_000, 123_456, 12_345_678, 3 * 10**9])
def test_ticks_are_round_and_as_far_apart_as_each_other(length: int) -> None:
    times, arguments = zip(*ticks(length, 9), strict=True)
    assert 3 <= len(times) <= 9
    assert len({after - before for before, after in pairwise(times)}) == 1
    assert str(times[1]).rstrip("0") in "125"
    assert len(set(arguments)) == len(arguments)
    assert times[-1] <= length


# -- HTML


def embedded(page: str) -> dict[str, Any]:
    """The data in a page, found as a browser finds it: up to the next end of a script."""
    opening = '<script type="application/json" id="data">'
    assert page.count(opening) == 1
    found: dict[str, Any] = json.loads(page.split(opening)[1].split("</script")[0])
    return found


def test_the_page_holds_every_shape(folder: Path) -> None:
    timeline = read_timeline(folder)
    data = embedded(draw_html(timeline))
    assert [Box(*values) for values in data["boxes"]] == list(timeline.boxes)
    assert [Arrow(*values) for values in data["arrows"]] == list(timeline.arrows)
    assert data["boxFields"] == list(Box._fields)
    assert data["arrowFields"] == list(Arrow._fields)
    assert {box.action for box in timeline.boxes} == data["actionStyles"].keys()
    assert (data["start"], data["length"]) == timeline.window


def test_the_page_takes_nothing_from_the_run_but_data(folder: Path) -> None:
    timeline = replace(read_timeline(folder), name="</script><script>alert(1)</script><!--@SCRIPT@")
    page = draw_html(timeline)
    assert embedded(page)["title"].startswith(timeline.name)
    assert "alert(1)</script>" not in page
    assert page.count("<script") == 2
    assert page.count('"use strict"') == 1


def test_the_page_needs_no_network(folder: Path) -> None:
    page = draw_html(read_timeline(folder))
    assert not re.search(r"https?:|//\w+\.\w|\bfetch\(|\bimport\b|\bsrc=", page)
    assert "default-src 'none'" in page
