"""The timeline as a self-contained SVG image with its own backbackground."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from coordinator.console.units import time_text
from coordinator.traces.timeline.layout import Arrow, Box, Timeline, visible_span
from coordinator.traces.timeline.style import (
    ACTION_STYLES,
    DARK,
    DROPPED,
    KIND_STYLES,
    actions,
    describe_shape,
    kinds,
    ticks,
)

MAX_SHAPES: Final = 5_000
"""The number of boxes and arrows up to which an image is readable."""
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
"""The fraction of the way for which a message that was not received is drawn."""
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
.crossing{{stroke-width:1;stroke-opacity:.28}}
.dropped{{stroke-dasharray:4 3}}
.waiting{{stroke-dasharray:1.5 3}}
"""
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Canvas:
    """Coordinates in the image."""

    timeline: Timeline

    @property
    def bottom(self) -> float:
        """The lower edge of the lowest lane."""
        return self.floor(len(self.timeline.lanes) - 1)

    def x(self, time: float) -> float:
        """The horizontal coordinate of `time`."""
        window = self.timeline.window
        return LEFT + (time - window.start) / window.length * (WIDTH - LEFT - RIGHT)

    def ceiling(self, lane: int) -> float:
        """The upper edge of `lane`."""
        return TOP + lane * (HEIGHT + GAP)

    def floor(self, lane: int) -> float:
        """The lower edge of `lane`; one without boxes is thin."""
        thin = self.timeline.lanes[lane].busy is None
        return self.ceiling(lane) + (THIN if thin else HEIGHT)

    def line(self, arrow: Arrow) -> tuple[Point, Point]:
        """The two ends of the line of `arrow`, clipped to the window."""
        up = arrow.receiver < arrow.sender
        start = self.ceiling(arrow.sender) if up else self.floor(arrow.sender)
        stop = self.floor(arrow.receiver) if up else self.ceiling(arrow.receiver)
        begin, end = (self.x(arrow.begin), start), (self.x(arrow.end), stop)
        if arrow.unreceived:
            end = end[0], start + (stop - start) * STUB
        return _clip(begin, end)


def _clip(begin: Point, end: Point) -> tuple[Point, Point]:
    """The part of a line between the left and the right end of the lanes."""
    left, right = float(LEFT), float(WIDTH - RIGHT)
    if begin[0] >= left and end[0] <= right:
        return begin, end

    def at(x: float) -> Point:
        inside = min(max(x, left), right)
        share = (inside - begin[0]) / (end[0] - begin[0]) if end[0] != begin[0] else 0.0
        return inside, begin[1] + share * (end[1] - begin[1])

    return at(begin[0]), at(end[0])


def draw_svg(timeline: Timeline) -> str:
    """The image. Raises RunError if `timeline` has too many boxes and arrows."""
    timeline.require_at_most(MAX_SHAPES)
    canvas = _Canvas(timeline)
    legend = list(_legend(timeline, canvas.bottom + 52))
    height = canvas.bottom + 52 + 22 * (1 + max((row for row, _ in legend), default=0))
    size = f'viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}"'
    background = f'width="{WIDTH - 1}" height="{height - 1:g}" rx="8" fill="#fff" stroke="#d0d7de"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{_text(_title(timeline))}</title>",
        f"<style>{_STYLE}</style>",
        f"<defs>{''.join(map(_head, KIND_STYLES))}</defs>",
        f'<rect x=".5" y=".5" {background}/>',
        *_titles(timeline),
        *_axis(canvas),
        *_lanes(canvas),
        *_shapes(canvas),
        *(line for _, line in legend),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(text: str) -> str:
    """Escape `text` for XML, which cannot represent control characters."""
    return escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def _title(timeline: Timeline) -> str:
    return f"{timeline.name} with {timeline.rule}"


def _titles(timeline: Timeline) -> Iterator[str]:
    window = timeline.window
    yield f'<text class="title" x="16" y="28">{_text(_title(timeline))}</text>'
    when = f"{time_text(window.length)}, from {window.start / 1e9:.3f} s after the start"
    yield f'<text class="quiet end" x="{WIDTH - RIGHT}" y="28">{when}</text>'
    yield f'<text class="quiet end" x="{WIDTH - 14}" y="{TOP - 10}">busy</text>'


def _axis(canvas: _Canvas) -> Iterator[str]:
    start, y = canvas.timeline.window.start, canvas.bottom + 24
    for time, label in ticks(canvas.timeline.window.length, TICKS):
        x = canvas.x(start + time)
        yield (
            f'<path d="M{x:.1f} {TOP - 8}V{canvas.bottom + 9:g}" stroke="#d8dee4"/>'
            f'<text class="quiet middle" x="{x:.1f}" y="{y:g}">{label}</text>'
        )


def _lanes(canvas: _Canvas) -> Iterator[str]:
    for number, lane in enumerate(canvas.timeline.lanes):
        top, height = canvas.ceiling(number), canvas.floor(number) - canvas.ceiling(number)
        y = top + height / 2 + 4
        yield (
            f'<rect x="{LEFT}" y="{top}" width="{WIDTH - LEFT - RIGHT}" height="{height}" '
            'fill="#eaeef2" fill-opacity=".7"/>'
            f'<text class="end" x="{LEFT - 10}" y="{y:g}">{_text(lane.name)}</text>'
        )
        if lane.busy is not None:
            yield f'<text class="end" x="{WIDTH - 14}" y="{y:g}">{lane.busy:.0%}</text>'


def _shapes(canvas: _Canvas) -> Iterator[str]:
    """Boxes and arrows; arrows that cross other lanes lie under the boxes, others above them."""
    arrows = canvas.timeline.arrows
    crossing = [arrow for arrow in arrows if abs(arrow.sender - arrow.receiver) > 1]
    near = [arrow for arrow in arrows if abs(arrow.sender - arrow.receiver) == 1]
    yield from (_arrow(canvas, arrow, " crossing") for arrow in crossing)
    yield from (_box(canvas, box) for box in canvas.timeline.boxes)
    yield from (_arrow(canvas, arrow, "") for arrow in near)


def _box(canvas: _Canvas, box: Box) -> str:
    style = ACTION_STYLES[box.action]
    left, right = (canvas.x(time) for time in visible_span(box, canvas.timeline.window))
    width, top = max(right - left, 0.6), canvas.ceiling(box.lane)
    drawn = (
        f'<g><title>{_text(describe_shape(canvas.timeline, box))}</title><rect class="box" '
        f'x="{left:.2f}" y="{top}" width="{width:.2f}" height="{HEIGHT}" fill="{style.colour}"/>'
    )
    if width >= DIGIT * len(str(box.batch)) + 3:
        at = f'x="{left + width / 2:.1f}" y="{top + HEIGHT / 2 + 4:g}"'
        drawn += f'<text class="number" {at} style="fill:{style.text_colour}">{box.batch}</text>'
    return drawn + "</g>"


def _arrow(canvas: _Canvas, arrow: Arrow, crossing: str) -> str:
    begin, end = canvas.line(arrow)
    inside = arrow.end <= canvas.timeline.window.end
    state = " dropped" if arrow.dropped else " waiting" if arrow.outcome != "used" else ""
    head = f' marker-end="url(#{arrow.kind})"' if inside and not state else ""
    cross = _cross(end) if inside and arrow.dropped else ""
    return (
        f"<g><title>{_text(describe_shape(canvas.timeline, arrow))}</title>"
        f'<path class="arrow{crossing}{state}" d="M{begin[0]:.2f} {begin[1]:g}'
        f'L{end[0]:.2f} {end[1]:g}" '
        f'stroke="{KIND_STYLES[arrow.kind].colour}"{head}/>{cross}</g>'
    )


def _cross(at: Point) -> str:
    x, y, c = at[0], at[1], CROSS
    lines = f"M{x - c:.1f} {y - c:.1f}l{2 * c} {2 * c}m0 {-2 * c}l{-2 * c} {2 * c}"
    return f'<path d="{lines}" stroke="{DARK}" stroke-width="1.4" fill="none"/>'


def _head(kind: str) -> str:
    return (
        f'<marker id="{kind}" viewBox="0 0 8 8" refX="7.4" refY="4" markerWidth="7" '
        'markerHeight="7" markerUnits="userSpaceOnUse" orient="auto">'
        f'<path d="M0 .8L8 4L0 7.2z" fill="{KIND_STYLES[kind].colour}"/></marker>'
    )


def _legend(timeline: Timeline, y: float) -> Iterator[tuple[int, str]]:
    """The entries of the legend, each with its row."""
    row, x = 0, float(LEFT)
    for label, sample in _samples(timeline):
        width = 22 + 5.6 * len(label) + 18
        if x + width > WIDTH - 14:
            row, x = row + 1, float(LEFT)
        place = f"translate({x:g} {y + 22 * row:g})"
        yield row, f'<g transform="{place}">{sample}<text x="22" y="4">{label}</text></g>'
        x += width


def _samples(timeline: Timeline) -> Iterator[tuple[str, str]]:
    for action in actions(timeline):
        style = ACTION_STYLES[action]
        square = f'<rect y="-6" width="14" height="12" rx="2" fill="{style.colour}"/>'
        yield style.label, square
    for kind in kinds(timeline):
        line = f'<path class="arrow" d="M0 0H16" stroke="{KIND_STYLES[kind].colour}"'
        yield KIND_STYLES[kind].label, f'{line} marker-end="url(#{kind})"/>'
    if any(arrow.dropped for arrow in timeline.arrows):
        line = f'<path class="arrow dropped" d="M0 0H13" stroke="{DARK}"/>'
        yield DROPPED, line + _cross((14, 0))
