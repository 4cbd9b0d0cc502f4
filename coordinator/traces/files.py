"""Reading trace files: in blocks, in order of time, and as much of a broken one as can be read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from protocol import RunError
from protocol import trace_format as form
from protocol.trace_format import Records, TraceHeader, TraceMetadata

BLOCK: Final = 1 << 18
"""Records that are in memory at once."""


@dataclass(slots=True)
class TraceFile:
    """One core's trace. `problems` says what of it could not be read, and grows with reading.

    `records` counts those ever written, of which the newest lie in the file. `closed` is whether
    the writer ended in order; while it runs, and after it was killed, it is not.
    """

    path: Path
    metadata: TraceMetadata
    records: int
    closed: bool
    first: int
    totals: npt.NDArray[np.int64]
    counted_records: int
    _start: int
    _capacity: int
    problems: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> TraceFile:
        """Look into the trace at `path`. Raises RunError where there is nothing to be read."""
        try:
            with path.open("rb") as file:
                header = TraceHeader.unpack(file.read(form.METADATA_AT))
                size = file.seek(0, io.SEEK_END)
                file.seek(form.METADATA_AT)
                head = file.read(min(header.start, size) - form.METADATA_AT)
            metadata = TraceMetadata.unpack(head[: header.metadata])
            return cls._checked(path, header, metadata, head, size)
        except OSError as error:
            raise RunError(f"{path}: {error.strerror}") from None
        except ValueError as error:
            raise RunError(f"{path}: {error}") from None

    @classmethod
    def _checked(
        cls, path: Path, header: TraceHeader, metadata: TraceMetadata, head: bytes, size: int
    ) -> TraceFile:
        shape = form.totals_shape(metadata.edges)
        at = form.totals_at(header.metadata) - form.METADATA_AT
        if len(head) < at + form.totals_size(metadata.edges):
            raise ValueError("is cut off within its header")
        totals = np.frombuffer(head, "<i8", int(np.prod(shape)), at).reshape(shape)
        problems = []
        room = max(0, size - header.start) // form.RECORD.itemsize
        count, first = header.records, header.oldest
        held = min(count, header.capacity) if header.capacity else count
        if held > room:
            problems.append(f"{path}: is cut off: {held - room:,} of {held:,} records are missing")
            if header.capacity and count > header.capacity:
                raise ValueError("is cut off, and a ring cannot be read then")
            count, first = room, 0
        closed = bool(header.closed)
        return cls(
            path,
            metadata,
            count,
            closed,
            first,
            totals,
            min(header.counted, count),
            header.start,
            header.capacity,
            problems,
        )

    def blocks(self, first: int = 0) -> Iterator[Records]:
        """The records from number `first` on that are still there, in blocks, the oldest first.

        What cannot be a record is left out. Raises RunError where the file is not there any more.
        """
        try:
            yield from self._blocks(first)
        except OSError as error:
            raise RunError(f"{self.path}: {error.strerror}") from None
        except ValueError as error:
            raise RunError(f"{self.path}: {error}") from None

    def _blocks(self, first: int) -> Iterator[Records]:
        number = max(first, self.first)
        with self.path.open("rb") as file:
            while number < self.records:
                place = number % self._capacity if self._capacity else number
                count = min(BLOCK, self.records - number)
                if self._capacity:
                    count = min(count, self._capacity - place)
                file.seek(self._start + place * form.RECORD.itemsize)
                block = np.frombuffer(file.read(count * form.RECORD.itemsize), form.RECORD)
                if len(block) < count:
                    self.problems.append(f"{self.path}: was cut off while it was read")
                    return
                gone = self._overwritten(number)
                yield self._sound(block[gone:], number + gone)
                number += count

    def _overwritten(self, number: int) -> int:
        """Of the records from `number` on that were just read, how many may be newer ones."""
        if self.closed or not self._capacity:
            return 0
        with self.path.open("rb") as file:
            now = TraceHeader.unpack(file.read(form.METADATA_AT))
        return max(0, now.oldest - number)

    @property
    def horizon(self) -> int:
        """The time of the oldest record where older ones have been overwritten, else 0."""
        if not self.first:
            return 0
        oldest = next(self.blocks(), None)
        return int(oldest["time"][0]) if oldest is not None and len(oldest) else 0

    def _sound(self, block: Records, number: int) -> Records:
        good = form.valid(block, self.metadata.edges)
        if good.all():
            return block
        bad = np.flatnonzero(~good)
        self.problems.append(
            f"{self.path}: {len(bad):,} broken records were left out, the first is number "
            f"{number + int(bad[0]):,}"
        )
        return block[good]

    def counted(self) -> npt.NDArray[np.int64]:
        """Totals of all records ever written, by edge, kind and part (`protocol.trace_format`)."""
        edges = self.metadata.edges
        counted_records = self.counted_records if self._capacity else 0
        start = self.totals if counted_records else np.zeros_like(self.totals)
        return sum((form.totals_of(block, edges) for block in self.blocks(counted_records)), start)
