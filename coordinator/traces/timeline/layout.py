"""What is in the picture, whoever draws it: lanes of boxes, and arrows between the lanes.

All times are nanoseconds since the run's start, None for what never was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from coordinator.traces.clocks import Times
from coordinator.traces.events import NEVER, Numbers, Work
from coordinator.traces.messages import FATES, Messages
from coordinator.traces.run import Traces
from coordinator.traces.timeline.window import Window, batches, choose
from protocol import Pipeline, RunError
from protocol import trace_format as form
from protocol.pipeline import SOURCE

ACTIONS: Final = ("forward", "step", "guess", "gradient", "input", "test")
"""What a core does in a box.

forward   computes what it sends up; and what `guess` says, where it goes on with that at once
step      the same at the top, where the loss is known: forward, loss, back, update
guess     goes on with that batch after something else: guesses its gradient, updates, sends down
gradient  uses a true gradient
input     learns from a real activation what its input is, where that is guessed
test      goes forward with a batch that is not to be learnt from"""


class Box(NamedTuple):
    """A spell of compute in a lane; `end` is None where it did not come to that."""

    lane: int
    begin: int
    end: int | None
    batch: int
    action: str
    edge: str


class Arrow(NamedTuple):
    """A message from one lane to another. `used` is when it was taken up or dropped."""

    sender: int
    receiver: int
    kind: str
    batch: int
    sent: int | None
    received: int | None
    used: int | None
    bytes: int
    queue: int
    staleness: int
    version: int
    used_version: int
    fate: str
    why: str
    cause: str

    @property
    def begin(self) -> int:
        """The first that is known of it."""
        return next(time for time in (self.sent, self.received, self.used) if time is not None)

    @property
    def end(self) -> int:
        """The last that is known of it."""
        return next(time for time in (self.used, self.received, self.sent) if time is not None)

    @property
    def dropped(self) -> bool:
        """Whether nothing came of it."""
        return self.fate in ("dropped", "unsent")

    @property
    def unreceived(self) -> bool:
        """Whether nothing is known of it behind its sender."""
        return self.fate in ("unsent", "missing", "forgotten")


class Lane(NamedTuple):
    """A core, and the share of the window in which it was at work; None where it keeps no such."""

    name: str
    busy: float | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """A stretch of a run. Lanes stand from the top layer down to the source."""

    name: str
    rule: str
    window: Window
    lanes: tuple[Lane, ...]
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]

    def no_more_than(self, shapes: int) -> None:
        """Raise RunError where there is more to draw."""
        count = len(self.boxes) + len(self.arrows)
        if count > shapes:
            raise RunError(
                f"{count:,} boxes and arrows are more than the {shapes:,} that can be drawn here; "
                "choose a shorter time with --for"
            )


def read(folder: Path, start: int | None = None, length: int | None = None) -> Timeline:
    """The timeline of the run in `folder`, from `start` ns after its beginning for `length` ns.

    Where these are not given it shows some batches in the middle of training. Raises RunError
    where the folder holds no traces, or where nothing happened then.
    """
    everything = Traces(folder)
    window = choose(everything, start, length)
    traces = Traces(folder, batches(everything, window))
    cores = traces.pipeline.stages[::-1]
    boxes = tuple(box for lane in range(len(cores)) for box in _boxes(traces, cores, lane, window))
    arrows = tuple(_arrows(traces, cores, window))
    if not boxes and not arrows:
        seconds = window.start / 1e9, window.end / 1e9
        raise RunError(f"{folder}: no work was recorded from {seconds[0]:g} s to {seconds[1]:g} s")
    silent = {name for name in cores if name == SOURCE or name not in traces.files}
    lanes = tuple(
        Lane(name, _busy([box for box in boxes if box.lane == lane], window, name in silent))
        for lane, name in enumerate(cores)
    )
    pipeline = traces.pipeline
    return Timeline(pipeline.name, pipeline.rule, window, lanes, boxes, arrows)


def _boxes(traces: Traces, cores: tuple[str, ...], lane: int, window: Window) -> Iterator[Box]:
    work = traces.work(cores[lane])
    if work is None:
        return
    begin, end = _since(traces, work.begin), _since(traces, work.end)
    chosen = (begin < window.end) & ((end > window.start) | (end == NEVER))
    actions = _actions(traces.pipeline, work)
    for i in np.flatnonzero(chosen).tolist():
        edge = work.edges[work.edge[i]]
        action = ACTIONS[actions[i]]
        yield Box(lane, int(begin[i]), _time(end[i]), int(work.batch[i]), action, edge)


def _actions(pipeline: Pipeline, work: Work) -> Numbers:
    """A place in `ACTIONS` for each spell."""
    fed = [pipeline.unlocked and not name.startswith(f"{SOURCE}>") for name in work.edges]
    forward = "step" if work.core == pipeline.stages[-1] else "forward"
    return np.select(
        [
            work.kind == form.TEST,
            work.kind == form.GRADIENT,
            work.resumed.astype(bool),
            np.array(fed, bool)[work.edge],
        ],
        [ACTIONS.index(action) for action in ("test", "gradient", "guess", "input")],
        ACTIONS.index(forward),
    )


def _arrows(traces: Traces, cores: tuple[str, ...], window: Window) -> Iterator[Arrow]:
    lanes = {name: lane for lane, name in enumerate(cores)}
    for edge in traces.edges:
        for messages in traces.messages(edge):
            if messages.kind in form.WORK:
                ends = lanes[edge.sender], lanes[edge.receiver]
                yield from _of_kind(traces, messages, ends, window)


def _of_kind(
    traces: Traces, messages: Messages, ends: tuple[int, int], window: Window
) -> Iterator[Arrow]:
    """Those of the messages that were on their way, or waited, within `window`."""
    sent, received, used = (
        _since(traces, times) for times in (messages.sent, messages.received, messages.used)
    )
    last = np.maximum(np.maximum(sent, received), used)
    first = np.where(sent != NEVER, sent, np.where(received != NEVER, received, used))
    edges = ("", *messages.edges)
    for i in np.flatnonzero((first < window.end) & (last >= window.start)).tolist():
        yield Arrow(
            *ends,
            kind=form.KINDS[messages.kind],
            batch=int(messages.batch[i]),
            sent=_time(sent[i]),
            received=_time(received[i]),
            used=_time(used[i]),
            bytes=int(messages.bytes[i]),
            queue=int(messages.queue[i]),
            staleness=int(messages.staleness[i]),
            version=int(messages.version[i]),
            used_version=int(messages.used_version[i]),
            fate=FATES[messages.fate[i]],
            why=form.DROP_REASONS[messages.why[i]],
            cause=edges[messages.cause[i]],
        )


def _since(traces: Traces, times: Times) -> Times:
    return np.where(times == NEVER, NEVER, np.maximum(times - traces.start, 0))


def _time(value: np.int64) -> int | None:
    return None if value == NEVER else int(value)


def _busy(boxes: Sequence[Box], window: Window, silent: bool) -> float | None:
    """The share of `window` that `boxes` fill; None for a core that does not tell."""
    if silent and not boxes:
        return None
    spans = (span(box, window) for box in boxes)
    return sum(end - begin for begin, end in spans) / window.length


def span(box: Box, window: Window) -> tuple[int, int]:
    """What of `box` lies in `window`."""
    end = window.end if box.end is None else box.end
    return max(box.begin, window.start), min(end, window.end)
