"""Read trace files in blocks, in order of time, including the readable part of a broken file."""

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
"""The number of records that are in memory at once."""


@dataclass(slots=True)
class TraceFile:
    """The trace of one stage.

    `records` is the number of records ever written; the file of a ring holds the newest of them,
    from number `first` on. `closed` is true once the writer has closed the file; a writer that
    still runs, or was killed, has not. `problems` lists what could not be read so far.
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
        """Read the header of the trace at `path`. Raises RunError if it is missing or broken."""
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
        """The records from number `first` on that are still in the file, the oldest first.

        Broken records are left out. Raises RunError if the file has been removed.
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
                slot = number % self._capacity if self._capacity else number
                count = min(BLOCK, self.records - number)
                if self._capacity:
                    count = min(count, self._capacity - slot)
                file.seek(self._start + slot * form.RECORD.itemsize)
                block = np.frombuffer(file.read(count * form.RECORD.itemsize), form.RECORD)
                if len(block) < count:
                    self.problems.append(f"{self.path}: was cut off while it was read")
                    return
                overwritten = self._overwritten(number)
                yield self._valid(block[overwritten:], number + overwritten)
                number += count

    def _overwritten(self, number: int) -> int:
        """How many of the records just read from `number` on may be overwritten by now."""
        if self.closed or not self._capacity:
            return 0
        with self.path.open("rb") as file:
            now = TraceHeader.unpack(file.read(form.METADATA_AT))
        return max(0, now.oldest - number)

    @property
    def horizon(self) -> int:
        """The time of the oldest record if older ones have been overwritten, else 0."""
        if not self.first:
            return 0
        oldest = next(self.blocks(), None)
        return int(oldest["time"][0]) if oldest is not None and len(oldest) else 0

    def _valid(self, block: Records, number: int) -> Records:
        """Leave out the broken records of `block`, whose first record is number `number`."""
        good = form.valid(block, self.metadata.edges)
        if good.all():
            return block
        bad = np.flatnonzero(~good)
        self.problems.append(
            f"{self.path}: {len(bad):,} broken records were left out; the first is number "
            f"{number + int(bad[0]):,}"
        )
        return block[good]

    def all_totals(self) -> npt.NDArray[np.int64]:
        """The totals of all records ever written, by edge, kind and counter."""
        edges = self.metadata.edges
        counted = self.counted_records if self._capacity else 0
        start = self.totals if counted else np.zeros_like(self.totals)
        return sum((form.totals_of(block, edges) for block in self.blocks(counted)), start)
