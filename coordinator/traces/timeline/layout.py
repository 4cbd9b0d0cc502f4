"""The content of a timeline in every format: lanes of boxes, and arrows between the lanes.

All times are ns since the start of the run; None for an event that did not occur.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from coordinator.traces.clocks import Times
from coordinator.traces.events import NEVER, Numbers, WorkSpans
from coordinator.traces.messages import OUTCOMES, Messages
from coordinator.traces.run import Traces
from coordinator.traces.timeline.window import TimeWindow, batch_filter, choose_window
from protocol import Pipeline, RunError
from protocol import trace_format as form
from protocol.pipeline import SOURCE

ACTIONS: Final = ("forward", "step", "predict", "gradient", "input", "test")
"""What a stage does in a box.

forward   computes the activation that it sends up; if not interrupted, also does `predict`
step      the output layer: forward, loss, backward, update
predict   resumes a batch: predicts its gradient, updates, sends a gradient down
gradient  uses a true gradient
input     fits the model of its input to a real activation
test      computes the activation of a test batch"""


class Box(NamedTuple):
    """A span of work in a lane; `end` is None if the span did not end."""

    lane: int
    begin: int
    end: int | None
    batch: int
    action: str
    edge: str


class Arrow(NamedTuple):
    """A message from one lane to another. `used` is the time of its use or drop."""

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
    outcome: str
    reason: str
    cause: str

    @property
    def begin(self) -> int:
        """The time of the first recorded event."""
        return next(time for time in (self.sent, self.received, self.used) if time is not None)

    @property
    def end(self) -> int:
        """The time of the last recorded event."""
        return next(time for time in (self.used, self.received, self.sent) if time is not None)

    @property
    def dropped(self) -> bool:
        """Whether the sender or the receiver dropped the message."""
        return self.outcome in ("dropped", "unsent")

    @property
    def unreceived(self) -> bool:
        """Whether the receiver has no record of the message."""
        return self.outcome in ("unsent", "missing", "overwritten")


class Lane(NamedTuple):
    """A stage, and the fraction of the window in which it computed; None if it records no spans."""

    name: str
    busy: float | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """A time window of a run. The lanes are the output layer first and the source last."""

    name: str
    rule: str
    window: TimeWindow
    lanes: tuple[Lane, ...]
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]

    def require_at_most(self, shapes: int) -> None:
        """Raise RunError if the timeline has more boxes and arrows than `shapes`."""
        count = len(self.boxes) + len(self.arrows)
        if count > shapes:
            raise RunError(
                f"{count:,} boxes and arrows, more than the {shapes:,} that can be drawn; "
                "choose a shorter time with --for"
            )


def read_timeline(folder: Path, start: int | None = None, length: int | None = None) -> Timeline:
    """The timeline of the run in `folder` for `length` ns from `start`, ns since its start.

    Without `start` and `length` it shows some batches in the middle of training. Raises RunError
    if the folder holds no traces, or if nothing is recorded in the window.
    """
    everything = Traces(folder)
    window = choose_window(everything, start, length)
    traces = Traces(folder, batch_filter(everything, window))
    stages = traces.pipeline.stages[::-1]
    boxes = tuple(
        box for lane in range(len(stages)) for box in _boxes(traces, stages, lane, window)
    )
    arrows = tuple(_arrows(traces, stages, window))
    if not boxes and not arrows:
        seconds = window.start / 1e9, window.end / 1e9
        raise RunError(f"{folder}: no work was recorded from {seconds[0]:g} s to {seconds[1]:g} s")
    without_spans = {name for name in stages if name == SOURCE or name not in traces.files}
    lanes = tuple(
        Lane(name, _busy([box for box in boxes if box.lane == lane], window, name in without_spans))
        for lane, name in enumerate(stages)
    )
    pipeline = traces.pipeline
    return Timeline(pipeline.name, pipeline.rule, window, lanes, boxes, arrows)


def _boxes(traces: Traces, stages: tuple[str, ...], lane: int, window: TimeWindow) -> Iterator[Box]:
    work = traces.work(stages[lane])
    if work is None:
        return
    begin, end = _since(traces, work.begin), _since(traces, work.end)
    chosen = (begin < window.end) & ((end > window.start) | (end == NEVER))
    actions = _actions(traces.pipeline, work)
    for i in np.flatnonzero(chosen).tolist():
        edge = work.edges[work.edge[i]]
        action = ACTIONS[actions[i]]
        yield Box(lane, int(begin[i]), _time(end[i]), int(work.batch[i]), action, edge)


def _actions(pipeline: Pipeline, work: WorkSpans) -> Numbers:
    """The index in `ACTIONS` of each span."""
    from_layer = [pipeline.unlocked and not name.startswith(f"{SOURCE}>") for name in work.edges]
    forward = "step" if work.stage == pipeline.stages[-1] else "forward"
    return np.select(
        [
            work.kind == form.TEST,
            work.kind == form.GRADIENT,
            work.resumed.astype(bool),
            np.array(from_layer, bool)[work.edge],
        ],
        [ACTIONS.index(action) for action in ("test", "gradient", "predict", "input")],
        ACTIONS.index(forward),
    )


def _arrows(traces: Traces, stages: tuple[str, ...], window: TimeWindow) -> Iterator[Arrow]:
    lanes = {name: lane for lane, name in enumerate(stages)}
    for edge in traces.edges:
        for messages in traces.messages(edge):
            if messages.kind in form.WORK:
                between = lanes[edge.sender], lanes[edge.receiver]
                yield from _arrows_of(traces, messages, between, window)


def _arrows_of(
    traces: Traces, messages: Messages, between: tuple[int, int], window: TimeWindow
) -> Iterator[Arrow]:
    """The messages that were in transit, or waited, within `window`."""
    sent, received, used = (
        _since(traces, times) for times in (messages.sent, messages.received, messages.used)
    )
    last = np.maximum(np.maximum(sent, received), used)
    first = np.where(sent != NEVER, sent, np.where(received != NEVER, received, used))
    edges = ("", *messages.edges)
    for i in np.flatnonzero((first < window.end) & (last >= window.start)).tolist():
        yield Arrow(
            *between,
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
            outcome=OUTCOMES[messages.outcome[i]],
            reason=form.DROP_REASONS[messages.reason[i]],
            cause=edges[messages.cause[i]],
        )


def _since(traces: Traces, times: Times) -> Times:
    return np.where(times == NEVER, NEVER, np.maximum(times - traces.start, 0))


def _time(value: np.int64) -> int | None:
    return None if value == NEVER else int(value)


def _busy(boxes: Sequence[Box], window: TimeWindow, without_spans: bool) -> float | None:
    """The fraction of `window` that `boxes` fill; None if the stage records no spans."""
    if without_spans and not boxes:
        return None
    spans = (visible_span(box, window) for box in boxes)
    return sum(end - begin for begin, end in spans) / window.length


def visible_span(box: Box, window: TimeWindow) -> tuple[int, int]:
    """The part of the span of `box` that lies in `window`."""
    end = window.end if box.end is None else box.end
    return max(box.begin, window.start), min(end, window.end)
