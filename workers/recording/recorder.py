"""Records the messages that a layer receives, for `workers.tools.replay`.

Every entry is handed to the kernel at once, so the file is whole up to its last one however the
process ends. What cannot be written ends the recording and nothing else: the file is cut back to
its last whole entry, and the worker's log says so.
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
from protocol import recording_format as form
from protocol.pipeline import SOURCE
from protocol.recording_format import Call, Origin, Piece
from protocol.transport.warn import warn

RESERVE: Final = 1 << 26
"""Bytes of the disk that a recording leaves to others: a run without metrics or weights fails."""
AT_ONCE: Final = 1024
"""Pieces that one system call takes."""


class Tape:
    """The messages file of the layer `core`, from its first message to its last.

    Where `trace.batches` begins at 1 the recording ends before the first message about a batch
    behind them, with the state that the layer is in then; where it begins later there is no
    telling the layer the same again, and only the messages themselves are kept.
    """

    def __init__(
        self, core: Stage, pipeline: Pipeline, info: Mapping[str, object], folder: Path
    ) -> None:
        """`info` are those of the data, as a dict; `folder` is where traces lie."""
        self._core = core
        self._first, self._last = pipeline.trace.batches or (1, sys.maxsize)
        self._whole = self._first == 1
        self._at_work = False
        senders = tuple(edge.sender for edge in pipeline.edges if edge.receiver == core.name)
        self._into = {sender: i for i, sender in enumerate(senders)}
        number = pipeline.stages.index(core.name) - 1
        threads, library = matrix_library()
        origin = Origin(
            core.name,
            number,
            senders,
            self._first,
            dict(info),
            threads,
            library,
        )
        self._path = folder / f"{core.name}{form.SUFFIX}"
        self._file: int | None = None
        self._size = 0
        try:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            self._give_up(error)
        self._write([form.opening(origin)])

    def received(self, sender: str, message: DataMessage) -> DataMessage:
        """`message` came; what the core is to get in its place: the same as it is recorded."""
        if self._file is None:
            return message
        batch = _batch(message)
        if self._whole and batch > self._last:
            self.ended(self._core.state())
        elif self._whole or self._first <= batch <= self._last:
            message = form.portable(message)
            self._write(form.received(self._into[sender], message))
        return message

    def stretched(self, neighbour: str, window: int) -> None:
        """The core was told how many batches may be in flight to `neighbour`."""
        if self._whole:
            self._write(form.stretched(self._into[neighbour], window))

    def through(self, call: Call, sends: Iterator[Send]) -> Iterator[Send]:
        """What the core `sends` of what it is asked to do."""
        if self._whole:
            self._write(form.called(call))
        self._at_work = True
        yield from sends
        self._at_work = False

    def ended(self, state: State | None) -> None:
        """Nothing more is recorded: the core was told all, and `state` is what that made of it.

        A core that broke in the middle of its work is in no state to speak of.
        """
        if self._whole and state is not None and not self._at_work:
            self._write(form.ended(state))
        self.close()

    def close(self) -> None:
        """Nothing more is recorded."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, pieces: Sequence[Piece]) -> None:
        """Append `pieces`, all of them or none."""
        if self._file is None:
            return
        try:
            _check_room(self._file)
            self._size += _write_all(self._file, pieces)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        warn(f"{self._path}: {error.strerror}; no more messages are recorded here")
        self.close()


def _check_room(file: int) -> None:
    """Raise OSError where the disk has no more room than others may need."""
    disk = os.fstatvfs(file)
    if disk.f_blocks and disk.f_bavail * disk.f_frsize < RESERVE:  # some do not tell
        raise OSError(errno.ENOSPC, f"less than {RESERVE >> 20} MiB of the disk are left")


def _write_all(file: int, pieces: Sequence[Piece]) -> int:
    """Write all of `pieces`, however many calls that takes; returns how many bytes that were."""
    rest = [piece if isinstance(piece, bytes) else piece.data.cast("B") for piece in pieces]
    total = 0
    while rest:
        written = os.writev(file, rest[:AT_ONCE])
        total += written
        while rest and written >= len(rest[0]):
            written -= len(rest.pop(0))
        if rest:
            rest[0] = rest[0][written:]
    return total


def _batch(message: DataMessage) -> int:
    """The batch that `message` is about; a mark is about none."""
    match message:
        case Activation() | Gradient():
            return message.batch
        case Credit():
            return message.credit
    return 0


def matrix_library() -> tuple[int, str]:
    """How many threads numpy's matrix products have here, and whose work they are."""
    from threadpoolctl import threadpool_info  # takes time that only recordings need

    found = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    names = [
        f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}".strip()
        for pool in found
    ]
    threads = max((pool["num_threads"] for pool in found), default=1)
    return threads, ", ".join([f"numpy {np.__version__}", *sorted(names)])


def open_tape(
    core: Stage, pipeline: Pipeline, info: Mapping[str, object], folder: str | Path
) -> Tape | None:
    """What records the messages to `core`, where the pipeline wants that."""
    wanted = [f"layer{i}" for i in pipeline.trace.layers] or pipeline.stages[1:]
    if pipeline.trace.mode != "messages" or core.name == SOURCE or core.name not in wanted:
        return None
    return Tape(core, pipeline, info, Path(folder))
