"""Follow a run in progress: read the trace files of its stages while they are written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from coordinator.traces.clocks import clock_correction
from coordinator.traces.files import TraceFile
from coordinator.traces.find import MessageFilter
from coordinator.traces.run import Traces
from protocol import Edge, RunError
from protocol import trace_format as form

POLL_SECONDS: Final = 0.2


class FollowedEvent(NamedTuple):
    """What a stage did with a message; `time` is ns since the start of the run."""

    time: int
    stage: str
    event: str
    edge: str
    kind: str
    batch: int
    bytes: int
    queue: int
    staleness: int
    version: int
    reason: str


class OverwrittenRecords(NamedTuple):
    """A number of records of a stage that were overwritten before they could be read."""

    stage: str
    records: int


def follow(
    folder: Path, choice: MessageFilter, wait: Callable[[float], None] = time.sleep
) -> Iterator[FollowedEvent | OverwrittenRecords]:
    """Yield the selected events from now on until the run ends, roughly in order of time.

    `wait` is called between two looks at the files. Raises RunError if the run has ended already.
    """
    traces = Traces(folder)
    if not traces.running:
        raise RunError(f"{folder}: the run has ended; `dni trace messages` shows its messages")
    read = {stage: file.records for stage, file in traces.files.items()}
    while True:
        traces = Traces(folder)  # includes the files of workers that have started meanwhile
        running = traces.running
        found: list[FollowedEvent] = []
        for stage in traces.files:
            file, begin = TraceFile.read(traces.files[stage].path), read.get(stage, 0)
            if file.first > begin:
                yield OverwrittenRecords(stage, file.first - begin)
            read[stage] = file.records
            found += _events(file, max(begin, file.first), choice, traces.start)
        yield from sorted(found)
        if not running:
            return
        wait(POLL_SECONDS)


def _events(
    file: TraceFile, begin: int, choice: MessageFilter, start: int
) -> Iterator[FollowedEvent]:
    """The selected records of `file` from number `begin` on."""
    correct, edges, stage = clock_correction(file), file.metadata.edges, file.metadata.stage
    if choice.stage not in (None, stage):
        return
    accepted = np.array([choice.accepts_edge(Edge.named(edge)) for edge in edges])
    accepts = choice.record_filter
    for block in file.blocks(begin):
        records = block[block["event"] != form.CLOCK]
        records = records[accepted[records["edge"]]]
        chosen = records if accepts is None else records[accepts(records)]
        times = (correct(chosen["time"]) - start).tolist()
        for moment, record in zip(times, chosen.tolist(), strict=True):
            _, _, batch, version, size, staleness, queue, edge, event, kind, reason, _ = record
            yield FollowedEvent(
                moment,
                stage,
                form.EVENTS[event],
                edges[edge],
                form.KINDS[kind],
                batch,
                size,
                queue,
                staleness,
                version,
                form.DROP_REASONS[reason],
            )
