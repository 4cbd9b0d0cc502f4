"""Shared memory for the arrays of one direction of an edge, where both ends are on one machine.

The message itself travels through its socket; the large array in it is copied once, into a slot
from which the receiver reads it in place. The slots are used in turn, and with as many as the
window has batches none is written while anybody may still read it:

- an activation's slot is used again by the one that is `window` activations later, which is sent
  only after the credit of the first, and the receiver gives that credit when it is done with it;
- so it is with gradients where the layers are unlocked. Else a gradient's slot is used again by one
  that answers an activation at least `window` batches later, which the receiver sent only after it
  had used or dropped the gradient of the first.

The file lies beside the receiver's socket, in the folder that goes away with the run. The sender
makes it when it first has something to put there; where there is no room, arrays travel as frames.
Only a message's first array lies here, so labels are the receiver's for as long as it keeps them.
Whatever is sent on must be copied before the credit goes out, for it may be a view of a slot:
`workers.stages.layer` sees to that for activations, `workers.transport.sockets.put` for all that
leaves the worker.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Final

import numpy as np

from protocol import Array, WireError

LARGEST: Final = 1 << 28
"""Bytes of one shelf; what would need a larger one travels as frames."""


class RingWriter:
    """The sender's end of a shelf at `path`, with `slots` of the size of the first array put."""

    def __init__(self, path: Path, slots: int) -> None:
        self._path = path
        self._slots = slots
        self._size = 0
        self._count = 0
        self._memory: np.typing.NDArray[np.uint8] | None = None
        self._tried = False

    def write(self, array: Array) -> int | None:
        """Copy `array` into the next slot; where that begins, or None where it does not fit."""
        if not self._tried:
            self._tried = True
            self._make(array.nbytes)
        if self._memory is None or array.nbytes > self._size:
            return None
        start = self._count % self._slots * self._size
        self._count += 1
        slot = self._memory[start : start + array.nbytes]
        np.copyto(slot.view(array.dtype).reshape(array.shape), array)
        return start

    def _make(self, size: int) -> None:
        self._size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        total = self._size * self._slots
        if total > LARGEST:
            return
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError:
            return
        try:
            os.posix_fallocate(descriptor, 0, total)  # so that a write cannot fail later
            self._memory = np.frombuffer(mmap.mmap(descriptor, total), np.uint8)
        except OSError:
            self._path.unlink()
        finally:
            os.close(descriptor)


class RingReader:
    """The receiver's end of a shelf at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._memory: memoryview | None = None

    def view(self, start: int, size: int) -> memoryview:
        """Read-only bytes of the shelf. Raises WireError where there are none such."""
        if self._memory is None:
            try:
                with self._path.open("rb") as file:
                    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:
                raise WireError(f"no shared memory at {self._path}: {error}") from None
            self._memory = memoryview(mapped)
        if not 0 <= start <= start + size <= len(self._memory):
            raise WireError(f"{size} bytes at {start} are not in the shared memory")
        return self._memory[start : start + size]
