"""Listening to a pipeline while it runs: its workers' files are read as they are written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from coordinator.traces.clocks import clock
from coordinator.traces.files import TraceFile
from coordinator.traces.find import Choice
from coordinator.traces.run import Traces
from protocol import Edge, RunError
from protocol import trace_format as form

POLL_SECONDS: Final = 0.2


class Heard(NamedTuple):
    """What a core did with a message; `time` is ns since the run's start."""

    time: int
    core: str
    event: str
    edge: str
    kind: str
    batch: int
    bytes: int
    queue: int
    staleness: int
    version: int
    why: str


class Missed(NamedTuple):
    """So many records of a core were overwritten before they could be read."""

    core: str
    records: int


def tap(folder: Path, choice: Choice) -> Iterator[Heard | Missed]:
    """What happens from now on, in order of time; it ends with the run.

    Raises RunError where it has ended already.
    """
    traces = Traces(folder)
    if not traces.running:
        raise RunError(
            f"{folder}: does not run any more; `dni trace messages` shows what there was"
        )
    seen = {core: file.records for core, file in traces.files.items()}
    while True:
        traces = Traces(folder)  # also of workers that have only begun meanwhile
        running = traces.running
        found: list[Heard] = []
        for core in traces.files:
            file, begin = TraceFile.read(traces.files[core].path), seen.get(core, 0)
            if file.first > begin:
                yield Missed(core, file.first - begin)
            seen[core] = file.records
            found += _heard(file, max(begin, file.first), choice, traces.start)
        yield from sorted(found)
        if not running:
            return
        time.sleep(POLL_SECONDS)


def _heard(file: TraceFile, begin: int, choice: Choice, start: int) -> Iterator[Heard]:
    """The chosen records of `file` from number `begin` on."""
    now, edges, core = clock(file), file.metadata.edges, file.metadata.stage
    if choice.core not in (None, core):
        return
    touched = np.array([choice.touches(Edge.named(edge)) for edge in edges])
    for block in file.blocks(begin):
        told = block[block["event"] != form.CLOCK]
        told = told[touched[told["edge"]]]
        kept = told if choice.keep is None else told[choice.keep(told)]
        moments = (now(kept["time"]) - start).tolist()
        for moment, record in zip(moments, kept.tolist(), strict=True):
            _, _, batch, version, size, staleness, queue, edge, event, kind, why, _ = record
            yield Heard(
                moment,
                core,
                form.EVENTS[event],
                edges[edge],
                form.KINDS[kind],
                batch,
                size,
                queue,
                staleness,
                version,
                form.DROP_REASONS[why],
            )
