"""The timeline as a picture for a page: SVG with nothing beside it, on a ground of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from coordinator.commands.trace_parsing import time_text
from coordinator.traces.timeline.layout import Arrow, Box, Timeline, span
from coordinator.traces.timeline.style import (
    ARROWS,
    DARK,
    DROPPED,
    LOOKS,
    actions,
    describe,
    kinds,
    ticks,
)

MOST: Final = 5_000
"""Boxes and arrows of which a picture still tells something."""
WIDTH: Final = 960
LEFT: Final = 78
RIGHT: Final = 62
TOP: Final = 62
HEIGHT: Final = 30
THIN: Final = 10
GAP: Final = 40
TICKS: Final = 9
DIGIT: Final = 6.4
CROSS: Final = 3.2
STUB: Final = 0.3
"""How far on its way a message is drawn that never was received."""
_FONT: Final = "-apple-system,'Segoe UI',Helvetica,Arial,'DejaVu Sans',sans-serif"
_STYLE: Final = f"""
text{{font:12px {_FONT};fill:{DARK}}}
.title{{font-size:16px;font-weight:600}}
.quiet{{fill:#57606a}}
.number{{font-size:10.5px;text-anchor:middle}}
.end{{text-anchor:end}}
.middle{{text-anchor:middle}}
.box{{stroke:#fff;stroke-width:.8}}
.arrow{{fill:none;stroke-width:1.3;stroke-opacity:.85}}
.far{{stroke-width:1;stroke-opacity:.28}}
.dropped{{stroke-dasharray:4 3}}
.waiting{{stroke-dasharray:1.5 3}}
"""
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Sheet:
    """Where things lie on the picture."""

    timeline: Timeline

    @property
    def bottom(self) -> float:
        """Under the lowest lane."""
        return self.floor(len(self.timeline.lanes) - 1)

    def x(self, time: float) -> float:
        """Across, at `time`."""
        window = self.timeline.window
        return LEFT + (time - window.start) / window.length * (WIDTH - LEFT - RIGHT)

    def ceiling(self, lane: int) -> float:
        """The upper edge of `lane`."""
        return TOP + lane * (HEIGHT + GAP)

    def floor(self, lane: int) -> float:
        """The lower edge of `lane`; one without boxes is thin."""
        thin = self.timeline.lanes[lane].busy is None
        return self.ceiling(lane) + (THIN if thin else HEIGHT)

    def way(self, arrow: Arrow) -> tuple[Point, Point]:
        """From where to where a message goes, cut off at the ends of the window."""
        up = arrow.receiver < arrow.sender
        leaves = self.ceiling(arrow.sender) if up else self.floor(arrow.sender)
        arrives = self.floor(arrow.receiver) if up else self.ceiling(arrow.receiver)
        begin, end = (self.x(arrow.begin), leaves), (self.x(arrow.end), arrives)
        if arrow.unreceived:
            end = end[0], leaves + (arrives - leaves) * STUB
        return _cut(begin, end)


def _cut(begin: Point, end: Point) -> tuple[Point, Point]:
    """The part of a line that lies between the left and the right end of the lanes."""
    left, right = float(LEFT), float(WIDTH - RIGHT)
    if begin[0] >= left and end[0] <= right:
        return begin, end

    def at(x: float) -> Point:
        inside = min(max(x, left), right)
        share = (inside - begin[0]) / (end[0] - begin[0]) if end[0] != begin[0] else 0.0
        return inside, begin[1] + share * (end[1] - begin[1])

    return at(begin[0]), at(end[0])


def svg(timeline: Timeline) -> str:
    """The picture. Raises RunError where there is too much to be drawn."""
    timeline.no_more_than(MOST)
    sheet = _Sheet(timeline)
    legend = list(_legend(timeline, sheet.bottom + 52))
    height = sheet.bottom + 52 + 22 * (1 + max((row for row, _ in legend), default=0))
    size = f'viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}"'
    ground = f'width="{WIDTH - 1}" height="{height - 1:g}" rx="8" fill="#fff" stroke="#d0d7de"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{_text(_title(timeline))}</title>",
        f"<style>{_STYLE}</style>",
        f"<defs>{''.join(map(_head, ARROWS))}</defs>",
        f'<rect x=".5" y=".5" {ground}/>',
        *_titles(timeline),
        *_axis(sheet),
        *_lanes(sheet),
        *_ordered(sheet),
        *(line for _, line in legend),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(text: str) -> str:
    """`text` for XML, which has no way to write control characters."""
    return escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def _title(timeline: Timeline) -> str:
    return f"{timeline.name} with {timeline.rule}"


def _titles(timeline: Timeline) -> Iterator[str]:
    window = timeline.window
    yield f'<text class="title" x="16" y="28">{_text(_title(timeline))}</text>'
    when = f"{time_text(window.length)}, from {window.start / 1e9:.3f} s after the start"
    yield f'<text class="quiet end" x="{WIDTH - RIGHT}" y="28">{when}</text>'
    yield f'<text class="quiet end" x="{WIDTH - 14}" y="{TOP - 10}">busy</text>'


def _axis(sheet: _Sheet) -> Iterator[str]:
    start, y = sheet.timeline.window.start, sheet.bottom + 24
    for time, words in ticks(sheet.timeline.window.length, TICKS):
        x = sheet.x(start + time)
        yield (
            f'<path d="M{x:.1f} {TOP - 8}V{sheet.bottom + 9:g}" stroke="#d8dee4"/>'
            f'<text class="quiet middle" x="{x:.1f}" y="{y:g}">{words}</text>'
        )


def _lanes(sheet: _Sheet) -> Iterator[str]:
    for number, lane in enumerate(sheet.timeline.lanes):
        top, height = sheet.ceiling(number), sheet.floor(number) - sheet.ceiling(number)
        y = top + height / 2 + 4
        yield (
            f'<rect x="{LEFT}" y="{top}" width="{WIDTH - LEFT - RIGHT}" height="{height}" '
            'fill="#eaeef2" fill-opacity=".7"/>'
            f'<text class="end" x="{LEFT - 10}" y="{y:g}">{_text(lane.name)}</text>'
        )
        if lane.busy is not None:
            yield f'<text class="end" x="{WIDTH - 14}" y="{y:g}">{lane.busy:.0%}</text>'


def _ordered(sheet: _Sheet) -> Iterator[str]:
    """Arrows that pass over other lanes lie under the boxes, the others upon them."""
    arrows = sheet.timeline.arrows
    far = [arrow for arrow in arrows if abs(arrow.sender - arrow.receiver) > 1]
    near = [arrow for arrow in arrows if abs(arrow.sender - arrow.receiver) == 1]
    yield from (_arrow(sheet, arrow, " far") for arrow in far)
    yield from (_box(sheet, box) for box in sheet.timeline.boxes)
    yield from (_arrow(sheet, arrow, "") for arrow in near)


def _box(sheet: _Sheet, box: Box) -> str:
    look = LOOKS[box.action]
    left, right = (sheet.x(time) for time in span(box, sheet.timeline.window))
    width, top = max(right - left, 0.6), sheet.ceiling(box.lane)
    drawn = (
        f'<g><title>{_text(describe(sheet.timeline, box))}</title><rect class="box" '
        f'x="{left:.2f}" y="{top}" width="{width:.2f}" height="{HEIGHT}" fill="{look.colour}"/>'
    )
    if width >= DIGIT * len(str(box.batch)) + 3:
        place = f'x="{left + width / 2:.1f}" y="{top + HEIGHT / 2 + 4:g}" style="fill:{look.ink}"'
        drawn += f'<text class="number" {place}>{box.batch}</text>'
    return drawn + "</g>"


def _arrow(sheet: _Sheet, arrow: Arrow, far: str) -> str:
    begin, end = sheet.way(arrow)
    inside = arrow.end <= sheet.timeline.window.end
    state = " dropped" if arrow.dropped else " waiting" if arrow.fate != "used" else ""
    head = f' marker-end="url(#{arrow.kind})"' if inside and not state else ""
    cross = _cross(end) if inside and arrow.dropped else ""
    return (
        f"<g><title>{_text(describe(sheet.timeline, arrow))}</title>"
        f'<path class="arrow{far}{state}" d="M{begin[0]:.2f} {begin[1]:g}L{end[0]:.2f} {end[1]:g}" '
        f'stroke="{ARROWS[arrow.kind].colour}"{head}/>{cross}</g>'
    )


def _cross(at: Point) -> str:
    x, y, c = at[0], at[1], CROSS
    lines = f"M{x - c:.1f} {y - c:.1f}l{2 * c} {2 * c}m0 {-2 * c}l{-2 * c} {2 * c}"
    return f'<path d="{lines}" stroke="{DARK}" stroke-width="1.4" fill="none"/>'


def _head(kind: str) -> str:
    return (
        f'<marker id="{kind}" viewBox="0 0 8 8" refX="7.4" refY="4" markerWidth="7" '
        'markerHeight="7" markerUnits="userSpaceOnUse" orient="auto">'
        f'<path d="M0 .8L8 4L0 7.2z" fill="{ARROWS[kind].colour}"/></marker>'
    )


def _legend(timeline: Timeline, y: float) -> Iterator[tuple[int, str]]:
    """The legend's entries, each with the row that it is in."""
    row, x = 0, float(LEFT)
    for words, sample in _samples(timeline):
        width = 22 + 5.6 * len(words) + 18
        if x + width > WIDTH - 14:
            row, x = row + 1, float(LEFT)
        place = f"translate({x:g} {y + 22 * row:g})"
        yield row, f'<g transform="{place}">{sample}<text x="22" y="4">{words}</text></g>'
        x += width


def _samples(timeline: Timeline) -> Iterator[tuple[str, str]]:
    for action in actions(timeline):
        look = LOOKS[action]
        square = f'<rect y="-6" width="14" height="12" rx="2" fill="{look.colour}"/>'
        yield look.words, square
    for kind in kinds(timeline):
        line = f'<path class="arrow" d="M0 0H16" stroke="{ARROWS[kind].colour}"'
        yield ARROWS[kind].words, f'{line} marker-end="url(#{kind})"/>'
    if any(arrow.dropped for arrow in timeline.arrows):
        line = f'<path class="arrow dropped" d="M0 0H13" stroke="{DARK}"/>'
        yield DROPPED, line + _cross((14, 0))
