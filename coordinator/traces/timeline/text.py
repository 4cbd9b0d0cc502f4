"""The timeline in a terminal: a row of blocks a core, and between rows what was sent up and down.

Colours tell what was done where there are any, and the blocks themselves where there are none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from rich.text import Text

from coordinator.console.columns import GAP, Phrases
from coordinator.traces.timeline.layout import Timeline, span
from coordinator.traces.timeline.style import (
    ARROWS,
    DROPPED,
    LOOKS,
    Look,
    actions,
    heading,
    kinds,
    ticks,
)

LEAST: Final = 40
TICK: Final = 10
"""Columns that a tick of the axis takes at least."""
IDLE: Final = "·"
ENOUGH: Final = 0.25
"""The share of a column that must be work for the column to show it."""
_FULL: Final = " 100%"
_BOTH: Final = "↕"
_CROSS: Final = "\N{MULTIPLICATION SIGN}"
Cells = dict[int, str]


def text(timeline: Timeline, width: int) -> Text:
    """The picture, `width` columns wide."""
    width = max(width, LEAST)
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
            look = LOOKS[cells[column]]
            row.append(look.mark, look.colour)
        else:
            row.append(IDLE, "dim")
    return row


def _cells(timeline: Timeline, number: int, columns: int) -> Cells:
    """The action that each column shows: what took the most of it; a short spell has one too."""
    shares: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    window = timeline.window
    for box in timeline.boxes:
        if box.lane == number:
            begin, end = (
                (time - window.start) / window.length * columns for time in span(box, window)
            )
            middle = min(int((begin + end) / 2), columns - 1)
            shares[middle][box.action] += 0.0
            for column in range(int(begin), min(int(end) + 1, columns)):
                share = min(end, column + 1) - max(begin, column)
                if share >= ENOUGH:
                    shares[column][box.action] += share
    return {column: max(found, key=found.__getitem__) for column, found in shares.items()}


def _between(timeline: Timeline, number: int, columns: int) -> Text:
    """What passed between lane `number` and the one above it, at the time of its sending."""
    window = timeline.window
    marks: dict[int, set[str]] = defaultdict(set)
    for arrow in timeline.arrows:
        if {arrow.sender, arrow.receiver} == {number - 1, number}:
            time = arrow.begin if arrow.fate == "unsent" or not arrow.dropped else arrow.end
            column = (time - window.start) * columns // window.length
            if 0 <= column < columns:
                marks[column].add(_CROSS if arrow.dropped else ARROWS[arrow.kind].mark)
    row = Text()
    for column in range(columns):
        row.append_text(_mark(marks.get(column, set())))
    return row


def _mark(marks: set[str]) -> Text:
    colours = {look.mark: look.colour for look in (ARROWS["gradient"], ARROWS["activation"])}
    if not marks:
        return Text(" ")
    mark = _CROSS if _CROSS in marks else _BOTH if len(marks) > 1 else next(iter(marks))
    return Text(mark, colours.get(mark, ""))


def _axis(timeline: Timeline, columns: int) -> str:
    """Ticks with their words behind them, or before one that is too near the end."""
    length = timeline.window.length
    line = ""
    for time, words in ticks(length, max(2, columns // TICK)):
        at = time * columns // length
        if at + len(words) < columns + len(_FULL):
            line = f"{line:<{at}}|{words}"
        else:
            line = f"{line:<{at - len(words)}}{words}|"
    return line


def _legend(timeline: Timeline, width: int) -> Text:
    """What the blocks and the marks mean, in lines that are broken between entries."""
    boxes = [_entry(LOOKS[action]) for action in actions(timeline)]
    marks = [_entry(ARROWS[kind]) for kind in kinds(timeline)]
    if any(arrow.dropped for arrow in timeline.arrows):
        marks.append(Text(f"{_CROSS} {DROPPED}"))
    return Text("\n").join([*_filled(boxes, width), *_filled(marks, width)])


def _entry(look: Look) -> Text:
    return Text.assemble((look.mark, look.colour), f" {look.words}")


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
