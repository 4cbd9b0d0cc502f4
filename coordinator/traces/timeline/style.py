"""What a timeline looks like wherever it is drawn: colours, words, and the scale of time.

The colours are those of Okabe and Ito, which people tell apart however they see colours. Blue goes
up and forward, vermillion is of true gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from coordinator.commands.trace_parsing import time_text
from coordinator.traces.timeline.layout import ACTIONS, Arrow, Box, Timeline


class Look(NamedTuple):
    """How something is drawn: its colour, that of writing on it, a mark on a plain terminal."""

    colour: str
    ink: str
    mark: str
    words: str


DARK: Final = "#1f2328"
LIGHT: Final = "#ffffff"
LOOKS: Final = {
    "forward": Look("#56b4e9", DARK, "█", "forward, and on if nothing came"),
    "step": Look("#0072b2", LIGHT, "■", "top layer: forward, loss, update"),
    "guess": Look("#f0b429", DARK, "▒", "then: guess the gradient, update"),
    "gradient": Look("#d55e00", LIGHT, "▓", "use the true gradient"),
    "input": Look("#cc79a7", DARK, "◆", "learn from the true input"),
    "test": Look("#b4bcc6", DARK, "░", "test"),
}
ARROWS: Final = {
    "activation": Look("#0072b2", LIGHT, "↑", "activation"),
    "gradient": Look("#d55e00", LIGHT, "↓", "gradient"),
    "test": Look("#8b949e", LIGHT, "↑", "test activation"),
}
DROPPED: Final = "dropped"
_UNITS: Final = (("s", 10**9), ("ms", 10**6), ("µs", 10**3), ("ns", 1))


def actions(timeline: Timeline) -> list[str]:
    """The actions that there are in `timeline`, in the order of the legend."""
    found = {box.action for box in timeline.boxes}
    return [action for action in ACTIONS if action in found]


def kinds(timeline: Timeline) -> list[str]:
    """The kinds of messages that there are in `timeline`."""
    found = {arrow.kind for arrow in timeline.arrows}
    return [kind for kind in ARROWS if kind in found]


def heading(timeline: Timeline) -> str:
    """What is shown, in a line."""
    window = timeline.window
    return (
        f"{timeline.name}, {timeline.rule}: {time_text(window.length)} from "
        f"{window.start / 1e9:.3f} s on"
    )


def ticks(length: int, most: int) -> Iterator[tuple[int, str]]:
    """At most `most` round times from 0 to `length` with their words; the last tells the unit."""
    step = next(size for size in _round() if length // size < most)
    name, unit = next(u for u in _UNITS if length >= 2 * u[1] or u[1] == 1)
    last = length // step * step
    for time in range(0, length + 1, step):
        yield time, f"{time / unit:g}" + (f" {name}" if time == last else "")


def _round() -> Iterator[int]:
    size = 1
    while True:
        yield from (size, 2 * size, 5 * size)
        size *= 10


def describe(timeline: Timeline, shape: Box | Arrow) -> str:
    """What `shape` is, in a line."""
    names = [lane.name for lane in timeline.lanes]
    if isinstance(shape, Box):
        took = "goes on" if shape.end is None else time_text(shape.end - shape.begin)
        return f"{names[shape.lane]}: {LOOKS[shape.action].words}, batch {shape.batch}, {took}"
    fate = f"{shape.fate}, {shape.why}" if shape.why else shape.fate
    took = time_text(shape.end - shape.begin)
    way = f"{names[shape.sender]} to {names[shape.receiver]}"
    return f"{ARROWS[shape.kind].words} {shape.batch}, {way}: {fate} after {took}"
