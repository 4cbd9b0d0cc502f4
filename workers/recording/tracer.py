"""Writes the trace of one stage while it works; protocol.trace_format has the format.

If the file cannot be written, tracing ends and training continues; the worker's log states why.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from protocol import DataMessage, Edge, Pipeline, Stage, trace_format
from protocol.clock import ClockSample
from protocol.codec.quantization import FLOAT32
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
from workers.recording.trace_writer import TraceWriter

_MAX_U32: Final = (1 << 32) - 1
_MAX_U16: Final = (1 << 16) - 1
_now: Final = time.monotonic_ns


_last: Final[list[object]] = [None]
"""The tracer in this process whose stage took up a message last. It is no attribute of the class,
because every change of a class invalidates the interpreter's caches of its methods."""


class FileTracer:
    """Writes the trace of `stage` into the file of its name in `folder`. See `protocol.Tracer`.

    If the file cannot be written, tracing ends with a line on standard error.
    """

    def __init__(self, stage: Stage, pipeline: Pipeline, folder: Path, clock: ClockSample) -> None:
        self._stage = stage
        edges = [edge for edge in pipeline.edges if stage.name in edge]
        self._out = {e.receiver: i for i, e in enumerate(edges) if e.sender == stage.name}
        self._into = {e.sender: i for i, e in enumerate(edges) if e.receiver == stage.name}
        self._waiting = [0] * len(edges)
        self._cause = 0
        self._newest = 0, 0, 0
        self._writer: TraceWriter | None = None
        path = folder / f"{stage.name}{trace_format.SUFFIX}"
        ring = pipeline.trace.mode != "full"
        capacity = (pipeline.trace.megabytes << 20) // trace_format.RECORD.itemsize if ring else 0
        try:
            metadata = _metadata(stage.name, edges, clock)
            self._writer = TraceWriter(path, metadata, capacity, self._disk_full)
        except OSError as error:
            _report_stop(path, error)

    # -- called by the process

    def sending(self, to: str, message: DataMessage, edge_dtype: str = FLOAT32) -> None:
        """Record that `message` is about to be sent to `to`, on an edge of `edge_dtype`."""
        if self._writer is not None:
            edge, version, cause = self._out[to], self._stage.version, self._cause
            kind, number = kind_and_number(message)
            size = array_bytes(message, edge_dtype)
            if size > _MAX_U32:
                size = _MAX_U32
            self._writer.write(_now(), 0, number, version, size, 0, 0, edge, SENT, kind, 0, cause)

    def received(self, sender: str, message: DataMessage) -> None:
        """Record that `message` arrived; the stage receives it next."""
        if self._writer is not None:
            edge = self._into[sender]
            self._waiting[edge] = queue = self._waiting[edge] + 1
            if queue > _MAX_U16:
                queue = _MAX_U16
            kind, number = kind_and_number(message)
            self._writer.write(_now(), 0, number, 0, 0, 0, queue, edge, RECEIVED, kind, 0, 0)

    def work_done(self) -> None:
        """Record the end of the work on the last message that was used."""
        if self._writer is not None:
            self._writer.end_span()
        self._cause = 0

    def clock_sample(self, estimate: ClockSample) -> None:
        """Record an estimate of the coordinator's clock."""
        if self._writer is not None:
            here, there, bound = estimate
            self._writer.write(here, 0, there, 0, min(bound, _MAX_U32), 0, 0, 0, CLOCK, 0, 0, 0)

    def close(self) -> None:
        """Close the file."""
        self.work_done()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    # -- called by the stage

    def used(self, sender: str, message: DataMessage, staleness: int = 0) -> None:
        """Write the use of `message`; an activation or a gradient begins a span of work."""
        if self._writer is not None:
            edge = self._into[sender]
            self._waiting[edge] -= 1
            kind, number = kind_and_number(message)
            if kind in WORK:
                self._begin(self._writer, USED, edge, kind, number, staleness)
            else:
                version = self._stage.version
                self._writer.write(_now(), 0, number, version, 0, 0, 0, edge, USED, kind, 0, 0)

    def resumed(self, sender: str, batch: int) -> None:
        """If no stage in this process has used a message since, the last span goes on."""
        if self._writer is not None:
            edge = self._into[sender]
            if _last[0] is self and self._newest == (edge, ACTIVATION, batch):
                self._writer.resume_span()
                self._cause = 1 + edge
            else:
                self._begin(self._writer, RESUMED, edge, ACTIVATION, batch, 0)

    def dropped(self, sender: str, message: DataMessage, reason: DropReason) -> None:
        if self._writer is not None:
            edge = self._into[sender]
            self._waiting[edge] -= 1
            kind, number = kind_and_number(message)
            version, index = self._stage.version, DROP_REASONS.index(reason)
            self._writer.write(_now(), 0, number, version, 0, 0, 0, edge, DROPPED, kind, index, 0)

    def unsent(self, to: str, kind: MessageKind, batch: int) -> None:
        if self._writer is not None:
            edge, version, cause = self._out[to], self._stage.version, self._cause
            k, reason = KINDS.index(kind), DROP_REASONS.index("behind")
            self._writer.write(_now(), 0, batch, version, 0, 0, 0, edge, DROPPED, k, reason, cause)

    def _begin(
        self, writer: TraceWriter, event: int, edge: int, kind: int, number: int, staleness: int
    ) -> None:
        writer.end_span()
        self._cause = 1 + edge
        self._newest = edge, kind, number
        _last[0] = self
        version = self._stage.version
        if staleness > _MAX_U32:
            staleness = _MAX_U32
        writer.write(_now(), 0, number, version, 0, staleness, 0, edge, event, kind, 0, 0)
        writer.begin_span()

    def _disk_full(self, error: OSError) -> None:
        """Close the file, which holds all records up to now."""
        _report_stop(error.filename, error)
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


def open_tracer(
    stage: Stage, pipeline: Pipeline, folder: str | Path, clock: ClockSample | None = None
) -> FileTracer | None:
    """The tracer of `stage`; None if the pipeline does not want traces.

    `clock` relates the local clock to the coordinator's; None if they are the same clock.
    """
    if pipeline.trace.mode == "off":
        return None
    return FileTracer(stage, pipeline, Path(folder), clock or ClockSample(0, 0, 0))


def _metadata(stage: str, edges: Sequence[Edge], clock: ClockSample) -> TraceMetadata:
    return TraceMetadata(
        stage=stage,
        pid=os.getpid(),
        host=socket.gethostname(),
        offset_ns=clock.there - clock.here,
        bound_ns=clock.bound,
        monotonic_ns=time.monotonic_ns(),
        unix_ns=time.time_ns(),
        edges=tuple(map(str, edges)),
    )


def _report_stop(path: Path | str, error: OSError) -> None:
    warn(f"{path}: {error.strerror}; nothing more is traced here")
