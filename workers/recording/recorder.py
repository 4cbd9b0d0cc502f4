"""Records the messages that a layer receives, for `workers.tools.replay`.

Every entry is written to the file at once, so that the file is complete up to its last entry if the
process is killed. If an entry cannot be written, the recording ends and training continues: the
file is truncated to its last whole entry, and the worker's log states the reason.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from protocol import Activation, Credit, DataMessage, Gradient, Pipeline, Send, Stage, State
from protocol import recording_format as recording
from protocol.pipeline import SOURCE
from protocol.recording_format import Operation, Piece, RecordingMetadata
from protocol.transport.warn import warn

RESERVE: Final = 1 << 26
"""Bytes that a recording leaves free on the disk, for metrics and weights."""
PIECES_PER_CALL: Final = 1024
"""The largest number of pieces that one system call takes."""


class MessageRecorder:
    """Writes the recording of one layer, from its first message to its last.

    If `trace.batches` begins at 1, the recording ends before the first message about a batch after
    them, with the state of the layer at that moment. If it begins later, the layer cannot be
    replayed, and only the messages are recorded.
    """

    def __init__(
        self,
        stage: Stage,
        pipeline: Pipeline,
        dataset: Mapping[str, object],
        folder: Path,
    ) -> None:
        """`dataset` holds the fields of the data set's description; `folder` is that of traces."""
        self._stage = stage
        self._first, self._last = pipeline.trace.batches or (1, sys.maxsize)
        self._whole = self._first == 1
        self._at_work = False
        senders = tuple(edge.sender for edge in pipeline.edges if edge.receiver == stage.name)
        self._places = {sender: i for i, sender in enumerate(senders)}
        number = pipeline.stages.index(stage.name) - 1
        threads, library = matrix_library()
        metadata = RecordingMetadata(
            stage.name, number, senders, self._first, dict(dataset), threads, library
        )
        self._path = folder / f"{stage.name}{recording.SUFFIX}"
        self._file: int | None = None
        self._size = 0
        try:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            self._stop(error)
        self._write([recording.encode_header(metadata)])

    def record_message(self, sender: str, message: DataMessage) -> DataMessage:
        """Record a received message. Returns the message as recorded, for the stage to use."""
        if self._file is None:
            return message
        batch = _batch(message)
        if self._whole and batch > self._last:
            self.finish(self._stage.state())
        elif self._whole or self._first <= batch <= self._last:
            message = recording.in_file_order(message)
            self._write(recording.encode_message(self._places[sender], message))
        return message

    def record_window(self, neighbour: str, window: int) -> None:
        """Record that `window` batches may be in flight to `neighbour` from now on."""
        if self._whole:
            self._write(recording.encode_window(self._places[neighbour], window))

    def record_operation(self, operation: Operation, sends: Iterator[Send]) -> Iterator[Send]:
        """Record `operation`, and yield what the stage sends in it."""
        if self._whole:
            self._write(recording.encode_operation(operation))
        self._at_work = True
        yield from sends
        self._at_work = False

    def finish(self, state: State | None) -> None:
        """Close the recording with the final `state` of the layer.

        The state is left out if the layer failed in the middle of an operation.
        """
        if self._whole and state is not None and not self._at_work:
            self._write(recording.encode_state(state))
        self.close()

    def close(self) -> None:
        """Close the file; nothing more is recorded."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, pieces: Sequence[Piece]) -> None:
        """Append all `pieces` or none."""
        if self._file is None:
            return
        try:
            _require_space(self._file)
            self._size += _write_all(self._file, pieces)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            self._stop(error)

    def _stop(self, error: OSError) -> None:
        warn(f"{self._path}: {error.strerror}; no more messages are recorded here")
        self.close()


def _require_space(file: int) -> None:
    """Raise OSError if the disk of `file` has less than `RESERVE` bytes left."""
    disk = os.fstatvfs(file)
    if disk.f_blocks and disk.f_bavail * disk.f_frsize < RESERVE:  # some disks report no blocks
        raise OSError(errno.ENOSPC, f"less than {RESERVE >> 20} MiB of the disk are left")


def _write_all(file: int, pieces: Sequence[Piece]) -> int:
    """Write all `pieces` in as many calls as needed. Returns their size in bytes."""
    rest = [piece if isinstance(piece, bytes) else piece.data.cast("B") for piece in pieces]
    total = 0
    while rest:
        written = os.writev(file, rest[:PIECES_PER_CALL])
        total += written
        while rest and written >= len(rest[0]):
            written -= len(rest.pop(0))
        if rest:
            rest[0] = rest[0][written:]
    return total


def _batch(message: DataMessage) -> int:
    """The batch that `message` is about; 0 for a marker."""
    match message:
        case Activation() | Gradient():
            return message.batch
        case Credit():
            return message.credit
    return 0


def matrix_library() -> tuple[int, str]:
    """The number of threads of numpy's matrix products here, and the library that runs them."""
    from threadpoolctl import threadpool_info  # slow to import, and needed by recordings only

    found = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    names = [
        f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}".strip()
        for pool in found
    ]
    threads = max((pool["num_threads"] for pool in found), default=1)
    return threads, ", ".join([f"numpy {np.__version__}", *sorted(names)])


def open_recorder(
    stage: Stage, pipeline: Pipeline, dataset: Mapping[str, object], folder: str | Path
) -> MessageRecorder | None:
    """The recorder of `stage`; None if the pipeline does not want its messages recorded."""
    wanted = [f"layer{i}" for i in pipeline.trace.layers] or pipeline.stages[1:]
    if pipeline.trace.mode != "messages" or stage.name == SOURCE or stage.name not in wanted:
        return None
    return MessageRecorder(stage, pipeline, dataset, Path(folder))
