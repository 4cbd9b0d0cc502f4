"""Writes the trace of one core as it works; protocol.trace_format has the format.

What cannot be written is not: training goes on, and the worker's log says so.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from protocol import DataMessage, Edge, Pipeline, Stage
from protocol import trace_format as form
from protocol.clock import Estimate
from protocol.codec.quantization import FULL
from protocol.trace_format import (
    ACTIVATION,
    CLOCK,
    DROP_REASONS,
    DROPPED,
    KINDS,
    RECEIVED,
    RESUMED,
    SENT,
    USED,
    WORK,
    DropReason,
    MessageKind,
    TraceMetadata,
    array_bytes,
    kind_and_number,
)
from protocol.transport.warn import warn
from workers.recording.trace_writer import Log

_MOST: Final = (1 << 32) - 1
_DEEPEST: Final = (1 << 16) - 1
_now: Final = time.monotonic_ns


_last: Final[list[object]] = [None]
"""The trace in this process whose core took up something last. It is no attribute of the class,
for with each change of a class Python forgets what it has learnt of its methods."""


class Trace:
    """Writes a journal of `core` into the file of its name in `folder`. See `protocol.Tracer`.

    Where the file cannot be written the journal ends there, with a line on standard error.
    """

    def __init__(self, core: Stage, pipeline: Pipeline, folder: Path, clock: Estimate) -> None:
        self._core = core
        edges = [edge for edge in pipeline.edges if core.name in edge]
        self._out = {e.receiver: i for i, e in enumerate(edges) if e.sender == core.name}
        self._into = {e.sender: i for i, e in enumerate(edges) if e.receiver == core.name}
        self._waiting = [0] * len(edges)
        self._cause = 0
        self._newest = 0, 0, 0
        self._log: Log | None = None
        path = folder / f"{core.name}{form.SUFFIX}"
        ring = pipeline.trace.mode != "full"
        capacity = (pipeline.trace.megabytes << 20) // form.RECORD.itemsize if ring else 0
        try:
            self._log = Log(path, _origin(core.name, edges, clock), capacity, self._end)
        except OSError as error:
            _give_up(path, error)

    # -- what the process around the core tells

    def sends(self, to: str, message: DataMessage, wire: str = FULL) -> None:
        """`message` is about to be handed over, on a way of the width `wire`."""
        if self._log is not None:
            edge, version, cause = self._out[to], self._core.version, self._cause
            kind, number = kind_and_number(message)
            size = array_bytes(message, wire)
            if size > _MOST:
                size = _MOST
            self._log.write(_now(), 0, number, version, size, 0, 0, edge, SENT, kind, 0, cause)

    def received(self, sender: str, message: DataMessage) -> None:
        """`message` came, and the core is about to get it."""
        if self._log is not None:
            edge = self._into[sender]
            self._waiting[edge] = queue = self._waiting[edge] + 1
            if queue > _DEEPEST:
                queue = _DEEPEST
            kind, number = kind_and_number(message)
            self._log.write(_now(), 0, number, 0, 0, 0, queue, edge, RECEIVED, kind, 0, 0)

    def ended(self) -> None:
        """What the core took up last is done."""
        if self._log is not None:
            self._log.end()
        self._cause = 0

    def compared(self, estimate: Estimate) -> None:
        """It was compared what time it is here and at the coordinator."""
        if self._log is not None:
            here, there, bound = estimate
            self._log.write(here, 0, there, 0, min(bound, _MOST), 0, 0, 0, CLOCK, 0, 0, 0)

    def close(self) -> None:
        """Nothing more comes."""
        self.ended()
        if self._log is not None:
            self._log.close()
            self._log = None

    # -- what the core tells

    def used(self, sender: str, message: DataMessage, staleness: int = 0) -> None:
        if self._log is not None:
            edge = self._into[sender]
            self._waiting[edge] -= 1
            kind, number = kind_and_number(message)
            if kind in WORK:
                self._begin(self._log, USED, edge, kind, number, staleness)
            else:
                version = self._core.version
                self._log.write(_now(), 0, number, version, 0, 0, 0, edge, USED, kind, 0, 0)

    def resumed(self, sender: str, batch: int) -> None:
        """Where nothing was taken up since in this process, what was begun just goes on."""
        if self._log is not None:
            edge = self._into[sender]
            if _last[0] is self and self._newest == (edge, ACTIVATION, batch):
                self._log.again()
                self._cause = 1 + edge
            else:
                self._begin(self._log, RESUMED, edge, ACTIVATION, batch, 0)

    def dropped(self, sender: str, message: DataMessage, why: DropReason) -> None:
        if self._log is not None:
            edge = self._into[sender]
            self._waiting[edge] -= 1
            kind, number = kind_and_number(message)
            version, reason = self._core.version, DROP_REASONS.index(why)
            self._log.write(_now(), 0, number, version, 0, 0, 0, edge, DROPPED, kind, reason, 0)

    def unsent(self, to: str, kind: MessageKind, batch: int) -> None:
        if self._log is not None:
            edge, version, cause = self._out[to], self._core.version, self._cause
            what, why = KINDS.index(kind), DROP_REASONS.index("behind")
            self._log.write(_now(), 0, batch, version, 0, 0, 0, edge, DROPPED, what, why, cause)

    def _begin(
        self, log: Log, event: int, edge: int, kind: int, number: int, staleness: int
    ) -> None:
        log.end()
        self._cause = 1 + edge
        self._newest = edge, kind, number
        _last[0] = self
        version = self._core.version
        if staleness > _MOST:
            staleness = _MOST
        log.write(_now(), 0, number, version, 0, staleness, 0, edge, event, kind, 0, 0)
        log.begun()

    def _end(self, error: OSError) -> None:
        """No more can be written; what was is whole, and nobody died."""
        _give_up(error.filename, error)
        log, self._log = self._log, None
        if log is not None:
            log.close()


def open_trace(
    core: Stage, pipeline: Pipeline, folder: str | Path, clock: Estimate | None = None
) -> Trace | None:
    """The trace of `core` as the pipeline wants it; None for none.

    `clock` compares the clock with the coordinator's, and is None where they are one.
    """
    if pipeline.trace.mode == "off":
        return None
    return Trace(core, pipeline, Path(folder), clock or Estimate(0, 0, 0))


def _origin(core: str, edges: Sequence[Edge], clock: Estimate) -> TraceMetadata:
    return TraceMetadata(
        stage=core,
        pid=os.getpid(),
        host=socket.gethostname(),
        offset_ns=clock.there - clock.here,
        bound_ns=clock.bound,
        monotonic_ns=time.monotonic_ns(),
        unix_ns=time.time_ns(),
        edges=tuple(map(str, edges)),
    )


def _give_up(path: Path | str, error: OSError) -> None:
    warn(f"{path}: {error.strerror}; nothing more is traced here")
