"""Writes a trace file; protocol.trace_format has the format.

The file is mapped into shared memory, so a record costs no system call and is not lost if the
process is killed.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from protocol import trace_format
from protocol.trace_format import TraceMetadata

CHUNK: Final = 1 << 16
"""The number of records by which a file without a capacity grows."""
RECORDS_PER_TOTALS: Final = 1 << 12
"""The number of records after which the totals of a ring are updated."""
_SIZE: Final = trace_format.RECORD.itemsize
_pack: Final = trace_format.PACKING.pack_into
_pack_end: Final = struct.Struct("<Q").pack_into
_now: Final = time.monotonic_ns


def _raise(error: OSError) -> None:
    raise error


class TraceWriter:
    """Writes a ring of `capacity` records, or, with 0, a file that grows by `chunk` records.

    Raises OSError if there is no space for the first records. Calls `on_full` if the disk is full
    later. The code that runs once per message is seldom in the processor's caches, so every call
    in it costs time.
    """

    def __init__(
        self,
        path: Path,
        metadata: TraceMetadata,
        capacity: int,
        on_full: Callable[[OSError], None] = _raise,
        chunk: int | None = None,
    ) -> None:
        self._path = path
        self._on_full = on_full
        self._chunk = chunk or CHUNK
        self._edges = metadata.edges
        self._capacity = capacity
        first, totals, self._start = trace_format.new_file(metadata, capacity)
        self._file = path.open("xb+")
        try:
            self._allocate(0, self._start)
            head = mmap.mmap(self._file.fileno(), self._start)
            head[: len(first)] = first
            shape = trace_format.totals_shape(metadata.edges)
            self._totals = np.frombuffer(head, "<i8", int(np.prod(shape)), totals).reshape(shape)
            at = trace_format.COUNT_AT
            self._numbers = memoryview(head)[at : at + 24].cast("Q")
            self._count = self._counted = 0
            self._map_from(0)
            self._span, self._open = (self._map, 0), False
        except BaseException:  # KeyboardInterrupt too: no half-written file stays behind
            self._file.close()
            path.unlink()
            raise

    def _allocate(self, start: int, size: int) -> None:
        """Reserve the space on the disk now, because a write to the map reports no error."""
        try:
            os.posix_fallocate(self._file.fileno(), start, size)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from None

    def _map_from(self, record: int) -> None:
        """Map the part of the file that begins with the record number `record`."""
        start = self._start + record * _SIZE
        size = (self._capacity or self._chunk) * _SIZE
        self._allocate(start, size)
        self._map = mmap.mmap(self._file.fileno(), size, offset=start)
        self._at, self._full, self._size = 0, size, size
        if self._capacity:
            self._full = min(RECORDS_PER_TOTALS * _SIZE, size)

    def write(
        self,
        now: int,
        end: int,
        batch: int,
        version: int,
        size: int,
        age: int,
        queue: int,
        edge: int,
        event: int,
        kind: int,
        reason: int,
        cause: int,
    ) -> None:
        """Append a record with the fields of `trace_format.RECORD`, unless the disk is full.

        `age` is its staleness.
        """
        at = self._at
        if at == self._full:
            if not self._advance():
                return
            at = self._at
        m = self._map
        _pack(m, at, now, end, batch, version, size, age, queue, edge, event, kind, reason, cause)
        self._at = at + _SIZE
        self._count = count = self._count + 1
        self._numbers[0] = count

    def begin_span(self) -> None:
        """The last record is one of work, which goes on until `end_span`."""
        self._span = self._map, self._at - _SIZE
        self._open = True

    def resume_span(self) -> None:
        """The work of the last span goes on."""
        self._open = True

    def end_span(self) -> None:
        """Record the current time as the end of the last span, if it is open."""
        if self._open:
            memory, at = self._span
            self._open = False
            _pack_end(memory, at + 8, _now())

    def _advance(self) -> bool:
        """Make space for more records. Returns whether there is any."""
        if self._capacity:
            self.update_totals()
            self._at %= self._size
            self._full = min(self._at + RECORDS_PER_TOTALS * _SIZE, self._size)
            return True
        try:
            self._map_from(self._count)
        except OSError as error:
            self._on_full(error)
            return False
        return True

    def update_totals(self) -> None:
        """Add the latest records of a ring to its totals."""
        if not self._capacity or self._counted == self._count:
            return
        ring = np.frombuffer(self._map, trace_format.RECORD)
        places = np.arange(self._counted, self._count) % self._capacity
        self._totals += trace_format.totals_of(ring[places], self._edges)
        self._counted = self._count
        self._numbers[1] = self._counted

    def close(self) -> None:
        """Close the file and truncate it to its records."""
        self.end_span()
        self.update_totals()
        self._numbers[2] = 1
        if not (self._capacity and self._count >= self._capacity):
            self._file.truncate(self._start + self._count * _SIZE)
        self._file.close()
