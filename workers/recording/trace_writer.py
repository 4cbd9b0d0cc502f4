"""A trace file while it is written; protocol.trace_format has the format.

It lies in shared memory, so a record costs no system call and outlives its writer.
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

from protocol import trace_format as form
from protocol.trace_format import TraceMetadata

CHUNK: Final = 1 << 16
"""Records by which a file grows that keeps all of them."""
SETTLED: Final = 1 << 12
"""Records of a ring that are added to its totals at once."""
_SIZE: Final = form.RECORD.itemsize
_pack: Final = form.PACKING.pack_into
_pack_end: Final = struct.Struct("<Q").pack_into
_now: Final = time.monotonic_ns


def _raise(error: OSError) -> None:
    raise error


class Log:
    """A trace file that is being written: a ring of `capacity` records, or a growing one for 0.

    Raises OSError where there is no room to begin it; calls `no_room` where there is none later.
    What is done for each message is seldom in the processor's caches, so every call counts.
    """

    def __init__(
        self,
        path: Path,
        origin: TraceMetadata,
        capacity: int,
        no_room: Callable[[OSError], None] = _raise,
    ) -> None:
        self._path = path
        self._no_room = no_room
        self._edges = origin.edges
        self._capacity = capacity
        first, totals, self._start = form.new_file(origin, capacity)
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
            self._begun, self._open = (self._map, 0), False
        except BaseException:  # whatever it is, Ctrl-C too, half a file is not left
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
        start = self._start + record * _SIZE
        size = (self._capacity or CHUNK) * _SIZE
        self._allocate(start, size)
        self._map = mmap.mmap(self._file.fileno(), size, offset=start)
        self._at, self._full, self._size = 0, size, size
        if self._capacity:
            self._full = min(SETTLED * _SIZE, size)

    def write(
        self,
        now: int,
        end: int,
        number: int,
        version: int,
        size: int,
        age: int,
        queue: int,
        edge: int,
        event: int,
        kind: int,
        why: int,
        cause: int,
    ) -> None:
        """Append a record, its fields as in `RECORD`, as long as there is room."""
        at = self._at
        if at == self._full:
            if not self._turn():
                return
            at = self._at
        m = self._map
        _pack(m, at, now, end, number, version, size, age, queue, edge, event, kind, why, cause)
        self._at = at + _SIZE
        self._count = count = self._count + 1
        self._numbers[0] = count

    def begun(self) -> None:
        """What was written last goes on until `end`."""
        self._begun = self._map, self._at - _SIZE
        self._open = True

    def again(self) -> None:
        """What was begun last goes on."""
        self._open = True

    def end(self) -> None:
        """What was begun last ends now, if it has not ended."""
        if self._open:
            memory, at = self._begun
            self._open = False
            _pack_end(memory, at + 8, _now())

    def _turn(self) -> bool:
        """Whether there is room for more."""
        if self._capacity:
            self.settle()
            self._at %= self._size
            self._full = min(self._at + SETTLED * _SIZE, self._size)
            return True
        try:
            self._map_from(self._count)
        except OSError as error:
            self._no_room(error)
            return False
        return True

    def settle(self) -> None:
        """Bring the totals of a ring up to date."""
        if not self._capacity or self._settled == self._count:
            return
        ring = np.frombuffer(self._map, form.RECORD)
        places = np.arange(self._settled, self._count) % self._capacity
        self._totals += form.totals_of(ring[places], self._edges)
        self._settled = self._count
        self._numbers[1] = self._settled

    def close(self) -> None:
        """Nothing more comes; what was not needed of the file is given back."""
        self.end()
        self.settle()
        self._numbers[2] = 1
        if not (self._capacity and self._count >= self._capacity):
            self._file.truncate(self._start + self._count * _SIZE)
        self._file.close()
