"""The appearance of a timeline in every format: colours, labels, and the scale of time.

The colours are those of Okabe and Ito, which people with colour blindness can distinguish. Blue
stands for the forward direction, vermillion for true gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from coordinator.console.units import time_text
from coordinator.traces.timeline.layout import ACTIONS, Arrow, Box, Timeline


class ShapeStyle(NamedTuple):
    """A colour, the colour of text on it, a character for plain terminals, and a label."""

    colour: str
    text_colour: str
    character: str
    label: str


DARK: Final = "#1f2328"
LIGHT: Final = "#ffffff"
ACTION_STYLES: Final = {
    "forward": ShapeStyle("#56b4e9", DARK, "█", "forward; all of the batch if not interrupted"),
    "step": ShapeStyle("#0072b2", LIGHT, "■", "output layer: forward, loss, update"),
    "predict": ShapeStyle("#f0b429", DARK, "▒", "second half: predict the gradient, update"),
    "gradient": ShapeStyle("#d55e00", LIGHT, "▓", "fit to the true gradient"),
    "input": ShapeStyle("#cc79a7", DARK, "◆", "fit to the true input"),
    "test": ShapeStyle("#b4bcc6", DARK, "░", "test"),
}
KIND_STYLES: Final = {
    "activation": ShapeStyle("#0072b2", LIGHT, "↑", "activation"),
    "gradient": ShapeStyle("#d55e00", LIGHT, "↓", "gradient"),
    "test": ShapeStyle("#8b949e", LIGHT, "↑", "test activation"),
}
DROPPED: Final = "dropped"
_UNITS: Final = (("s", 10**9), ("ms", 10**6), ("µs", 10**3), ("ns", 1))


def actions(timeline: Timeline) -> list[str]:
    """The actions that occur in `timeline`, in the order of the legend."""
    found = {box.action for box in timeline.boxes}
    return [action for action in ACTIONS if action in found]


def kinds(timeline: Timeline) -> list[str]:
    """The kinds of messages that occur in `timeline`."""
    found = {arrow.kind for arrow in timeline.arrows}
    return [kind for kind in KIND_STYLES if kind in found]


def heading(timeline: Timeline) -> str:
    """The title of `timeline`."""
    window = timeline.window
    return (
        f"{timeline.name}, {timeline.rule}: {time_text(window.length)} from "
        f"{window.start / 1e9:.3f} s on"
    )


def ticks(length: int, limit: int) -> Iterator[tuple[int, str]]:
    """At most `limit` round times from 0 to `length`, with labels; the last label has the unit."""
    step = next(size for size in _round_numbers() if length // size < limit)
    name, unit = next(u for u in _UNITS if length >= 2 * u[1] or u[1] == 1)
    last = length // step * step
    for time in range(0, length + 1, step):
        yield time, f"{time / unit:g}" + (f" {name}" if time == last else "")


def _round_numbers() -> Iterator[int]:
    size = 1
    while True:
        yield from (size, 2 * size, 5 * size)
        size *= 10


def describe_shape(timeline: Timeline, shape: Box | Arrow) -> str:
    """Describe `shape` in a line."""
    names = [lane.name for lane in timeline.lanes]
    if isinstance(shape, Box):
        duration = "in progress" if shape.end is None else time_text(shape.end - shape.begin)
        action = ACTION_STYLES[shape.action].label
        return f"{names[shape.lane]}: {action}, batch {shape.batch}, {duration}"
    outcome = f"{shape.outcome}, {shape.reason}" if shape.reason else shape.outcome
    duration = time_text(shape.end - shape.begin)
    stages = f"{names[shape.sender]} to {names[shape.receiver]}"
    return f"{KIND_STYLES[shape.kind].label} {shape.batch}, {stages}: {outcome} after {duration}"
