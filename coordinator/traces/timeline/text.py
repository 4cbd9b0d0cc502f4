"""The timeline for a terminal: a row of blocks per stage, and arrows for messages between rows.

Colours show the kind of work; without colours the characters show it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from rich.text import Text

from coordinator.console.columns import GAP, Phrases
from coordinator.traces.timeline.layout import Timeline, visible_span
from coordinator.traces.timeline.style import (
    ACTION_STYLES,
    DROPPED,
    KIND_STYLES,
    ShapeStyle,
    actions,
    heading,
    kinds,
    ticks,
)

MIN_WIDTH: Final = 40
TICK: Final = 10
"""The smallest number of columns between two ticks of the axis."""
IDLE: Final = "·"
MIN_FRACTION: Final = 0.25
"""The smallest fraction of a column that work must fill to be shown."""
_FULL: Final = " 100%"
_BOTH: Final = "↕"
_CROSS: Final = "\N{MULTIPLICATION SIGN}"
Cells = dict[int, str]


def draw_text(timeline: Timeline, width: int) -> Text:
    """The image, `width` columns wide."""
    width = max(width, MIN_WIDTH)
    margin = max(len(lane.name) for lane in timeline.lanes) + 1
    columns = width - margin - len(_FULL)
    lines = Phrases(heading(timeline).split(", ")).lines(width)
    drawn = Text("\n".join(lines) + "\n", no_wrap=True, overflow="ignore")
    for number, lane in enumerate(timeline.lanes):
        if number:
            drawn.append(" " * margin)
            drawn.append_text(_between(timeline, number, columns)).append("\n")
        drawn.append(f"{lane.name:<{margin}}")
        drawn.append_text(_lane(timeline, number, columns))
        drawn.append("\n" if lane.busy is None else f" {lane.busy:4.0%}\n")
    drawn.append(" " * margin + _axis(timeline, columns) + "\n")
    return drawn.append_text(_legend(timeline, width))


def _lane(timeline: Timeline, number: int, columns: int) -> Text:
    row = Text()
    if timeline.lanes[number].busy is None:
        return row.append(" " * columns)
    cells = _cells(timeline, number, columns)
    for column in range(columns):
        if column in cells:
            style = ACTION_STYLES[cells[column]]
            row.append(style.character, style.colour)
        else:
            row.append(IDLE, "dim")
    return row


def _cells(timeline: Timeline, number: int, columns: int) -> Cells:
    """The action of each column: the one with the largest share; short spans get a column too."""
    shares: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    window = timeline.window
    for box in timeline.boxes:
        if box.lane == number:
            begin, end = (
                (time - window.start) / window.length * columns
                for time in visible_span(box, window)
            )
            middle = min(int((begin + end) / 2), columns - 1)
            shares[middle][box.action] += 0.0
            for column in range(int(begin), min(int(end) + 1, columns)):
                share = min(end, column + 1) - max(begin, column)
                if share >= MIN_FRACTION:
                    shares[column][box.action] += share
    return {column: max(found, key=found.__getitem__) for column, found in shares.items()}


def _between(timeline: Timeline, number: int, columns: int) -> Text:
    """The messages between lane `number` and the lane above it, at the time of sending."""
    window = timeline.window
    characters: dict[int, set[str]] = defaultdict(set)
    for arrow in timeline.arrows:
        if {arrow.sender, arrow.receiver} == {number - 1, number}:
            time = arrow.begin if arrow.outcome == "unsent" or not arrow.dropped else arrow.end
            column = (time - window.start) * columns // window.length
            if 0 <= column < columns:
                characters[column].add(
                    _CROSS if arrow.dropped else KIND_STYLES[arrow.kind].character
                )
    row = Text()
    for column in range(columns):
        row.append_text(_arrow(characters.get(column, set())))
    return row


def _arrow(characters: set[str]) -> Text:
    colours = {
        style.character: style.colour
        for style in (KIND_STYLES["gradient"], KIND_STYLES["activation"])
    }
    if not characters:
        return Text(" ")
    if _CROSS in characters:
        character = _CROSS
    else:
        character = _BOTH if len(characters) > 1 else next(iter(characters))
    return Text(character, colours.get(character, ""))


def _axis(timeline: Timeline, columns: int) -> str:
    """Ticks followed by their labels; a tick near the end has its label in front."""
    length = timeline.window.length
    line = ""
    for time, label in ticks(length, max(2, columns // TICK)):
        at = time * columns // length
        if at + len(label) < columns + len(_FULL):
            line = f"{line:<{at}}|{label}"
        else:
            line = f"{line:<{at - len(label)}}{label}|"
    return line


def _legend(timeline: Timeline, width: int) -> Text:
    """The meaning of the blocks and characters, in lines that are broken between entries."""
    boxes = [_entry(ACTION_STYLES[action]) for action in actions(timeline)]
    arrows = [_entry(KIND_STYLES[kind]) for kind in kinds(timeline)]
    if any(arrow.dropped for arrow in timeline.arrows):
        arrows.append(Text(f"{_CROSS} {DROPPED}"))
    return Text("\n").join([*_filled(boxes, width), *_filled(arrows, width)])


def _entry(style: ShapeStyle) -> Text:
    return Text.assemble((style.character, style.colour), f" {style.label}")


def _filled(entries: Sequence[Text], width: int) -> Iterator[Text]:
    """The entries in lines of `width` columns."""
    made = Text()
    for entry in entries:
        if made and len(made) + len(GAP) + len(entry) > width:
            yield made
            made = Text()
        made = Text(GAP).join([made, entry]) if made else entry
    if made:
        yield made
