"""What a core does with its messages, written down as it happens; protocol.trace has the format.

The file lies in shared memory, so a record costs no system call and outlives its writer. What
cannot be written is not: training goes on, and the worker's log says so.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from protocol import Core, DataMessage, Edge, Pipeline
from protocol import trace as form
from protocol.clock import Estimate
from protocol.narrow import FULL
from protocol.trace import Kind, Origin, Why, identity, weight
from workers.complain import complain

CHUNK: Final = 1 << 16
"""Records by which a file grows that keeps all of them."""
_MOST: Final = (1 << 32) - 1
_DEEPEST: Final = (1 << 16) - 1
_END: Final = struct.Struct("<Q")

_SIZE: Final = form.RECORD.itemsize
_pack: Final = form.PACKING.pack_into
_now: Final = time.monotonic_ns

Place: TypeAlias = tuple[mmap.mmap, int]


class Log:
    """A trace file that is being written: a ring of `capacity` records, or a growing one for 0.

    Raises OSError where there is no room for it.
    """

    def __init__(self, path: Path, origin: Origin, capacity: int) -> None:
        self._path = path
        self._edges = origin.edges
        self._capacity = capacity
        first, totals, self._start = form.opening(origin, capacity)
        self._file = path.open("xb+")
        try:
            self._allocate(0, self._start)
            head = mmap.mmap(self._file.fileno(), self._start)
            head[: len(first)] = first
            shape = form.totals_shape(origin.edges)
            self._totals = np.frombuffer(head, "<i8", int(np.prod(shape)), totals).reshape(shape)
            self._numbers = memoryview(head)[form.COUNT_AT : form.COUNT_AT + 24].cast("Q")
            self._count = self._settled = 0
            self._map_from(0)
        except BaseException:
            self._file.close()
            path.unlink()
            raise

    def _allocate(self, start: int, size: int) -> None:
        """Take the room on the disk now, so that a write to memory cannot fail later."""
        try:
            os.posix_fallocate(self._file.fileno(), start, size)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from None

    def _map_from(self, record: int) -> None:
        """Let the records from `record` on be written."""
        start = self._start + record * form.RECORD.itemsize
        size = (self._capacity or CHUNK) * form.RECORD.itemsize
        self._allocate(start, size)
        self._map = mmap.mmap(self._file.fileno(), size, offset=start)
        self._at, self._full = 0, size

    def write(self, *fields: int) -> None:
        """Append a record, its fields as in `RECORD`."""
        if self._at == self._full:
            self._turn()
        _pack(self._map, self._at, *fields)
        self._at += _SIZE
        self._count += 1
        self._numbers[0] = self._count

    @property
    def last(self) -> Place:
        """Where the record lies that was written last."""
        return self._map, self._at - _SIZE

    def _turn(self) -> None:
        if self._capacity:
            self.settle()
            self._at = 0
        else:
            self._map_from(self._count)

    def settle(self) -> None:
        """Bring the totals of a ring up to date."""
        if not self._capacity or self._settled == self._count:
            return
        ring = np.frombuffer(self._map, form.RECORD)
        places = np.arange(self._settled, self._count) % self._capacity
        self._totals += form.count(ring[places], self._edges)
        self._settled = self._count
        self._numbers[1] = self._settled

    def close(self) -> None:
        """Nothing more comes; what was not needed of the file is given back."""
        self.settle()
        self._numbers[2] = 1
        if not (self._capacity and self._count >= self._capacity):
            self._file.truncate(self._start + self._count * form.RECORD.itemsize)
        self._file.close()


class Trace:
    """Writes a journal of `core` into the file of its name in `folder`. See `protocol.Journal`.

    Where the file cannot be written the journal ends there, with a line on standard error.
    """

    def __init__(self, core: Core, pipeline: Pipeline, folder: Path, clock: Estimate) -> None:
        self._core = core
        edges = [edge for edge in pipeline.edges if core.name in edge]
        self._out = {e.receiver: i for i, e in enumerate(edges) if e.sender == core.name}
        self._into = {e.sender: i for i, e in enumerate(edges) if e.receiver == core.name}
        self._waiting = [0] * len(edges)
        self._cause = 0
        self._open: Place | None = None
        self._log: Log | None = None
        path = folder / f"{core.name}{form.SUFFIX}"
        ring = pipeline.trace.mode != "full"
        capacity = (pipeline.trace.megabytes << 20) // form.RECORD.itemsize if ring else 0
        try:
            self._log = Log(path, _origin(core.name, edges, clock), capacity)
        except OSError as error:
            _give_up(path, error)

    # -- what the process around the core tells

    def sends(self, to: str, message: DataMessage, wire: str = FULL) -> None:
        """`message` is about to be handed over, on a way of the width `wire`."""
        kind, number = identity(message)
        size = min(weight(message, wire), _MOST)
        self._write(self._out[to], form.SENT, kind, number, size, 0, 0, 0, self._cause)

    def received(self, sender: str, message: DataMessage) -> None:
        """`message` came, and the core is about to get it."""
        edge = self._into[sender]
        self._waiting[edge] += 1
        queue = min(self._waiting[edge], _DEEPEST)
        kind, number = identity(message)
        self._write(edge, form.RECEIVED, kind, number, 0, 0, queue)

    def ended(self) -> None:
        """What the core took up last is done."""
        if self._open is not None:
            memory, at = self._open
            self._open = None
            _END.pack_into(memory, at + 8, _now())
        self._cause = 0

    def compared(self, estimate: Estimate) -> None:
        """It was compared what time it is here and at the coordinator."""
        here, there, bound = estimate
        if self._log is not None:
            self._compare(self._log, here, there, min(bound, _MOST))

    def _compare(self, log: Log, here: int, there: int, bound: int) -> None:
        try:
            log.write(here, 0, there, 0, bound, 0, 0, 0, form.CLOCK, 0, 0, 0)
        except OSError as error:
            self._end(log, error)

    def settle(self) -> None:
        """Let the file's totals be true of now."""
        if self._log is not None:
            self._log.settle()

    def close(self) -> None:
        """Nothing more comes."""
        self.ended()
        if self._log is not None:
            self._log.close()
            self._log = None

    # -- what the core tells

    def used(self, sender: str, message: DataMessage, staleness: int = 0) -> None:
        edge = self._into[sender]
        self._waiting[edge] -= 1
        kind, number = identity(message)
        if kind in form.WORK:
            self._begin(edge, form.USED, kind, number, staleness)
        else:
            self._write(edge, form.USED, kind, number)

    def resumed(self, sender: str, batch: int) -> None:
        self._begin(self._into[sender], form.RESUMED, form.ACTIVATION, batch, 0)

    def dropped(self, sender: str, message: DataMessage, why: Why) -> None:
        edge = self._into[sender]
        self._waiting[edge] -= 1
        kind, number = identity(message)
        self._write(edge, form.DROPPED, kind, number, 0, 0, 0, form.WHY.index(why))

    def unsent(self, to: str, kind: Kind, batch: int) -> None:
        edge, number, why = self._out[to], form.KINDS.index(kind), form.WHY.index("behind")
        self._write(edge, form.DROPPED, number, batch, 0, 0, 0, why, self._cause)

    def _begin(self, edge: int, event: int, kind: int, number: int, staleness: int) -> None:
        self.ended()
        self._cause = 1 + edge
        self._write(edge, event, kind, number, 0, min(staleness, _MOST))
        self._open = self._log.last if self._log else None

    def _write(
        self,
        edge: int,
        event: int,
        kind: int,
        number: int,
        size: int = 0,
        staleness: int = 0,
        queue: int = 0,
        why: int = 0,
        cause: int = 0,
    ) -> None:
        """Write a record, as long as that is possible."""
        log = self._log
        if log is None:
            return
        now, version = _now(), self._core.version
        try:
            log.write(
                now, 0, number, version, size, staleness, queue, edge, event, kind, why, cause
            )
        except OSError as error:
            self._end(log, error)

    def _end(self, log: Log, error: OSError) -> None:
        """No more can be written; what was is whole, and nobody died."""
        _give_up(error.filename, error)
        self._log = None
        log.close()


def open_trace(
    core: Core, pipeline: Pipeline, folder: str | Path, clock: Estimate | None = None
) -> Trace | None:
    """The trace of `core` as the pipeline wants it; None for none.

    `clock` compares the clock with the coordinator's, and is None where they are one.
    """
    if pipeline.trace.mode == "off":
        return None
    return Trace(core, pipeline, Path(folder), clock or Estimate(0, 0, 0))


def _origin(core: str, edges: Sequence[Edge], clock: Estimate) -> Origin:
    return Origin(
        core=core,
        pid=os.getpid(),
        host=socket.gethostname(),
        offset_ns=clock.there - clock.here,
        bound_ns=clock.bound,
        monotonic_ns=time.monotonic_ns(),
        unix_ns=time.time_ns(),
        edges=tuple(map(str, edges)),
    )


def _give_up(path: Path | str, error: OSError) -> None:
    complain(f"{path}: {error.strerror}; nothing more is traced here")
