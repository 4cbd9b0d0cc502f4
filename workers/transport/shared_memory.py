"""Shared memory for the arrays of one direction of an edge whose ends are on one host.

The message itself travels through its socket. Its large array is copied once, into a slot of a ring
from which the receiver reads it in place. The slots are used in turn. The ring has as many slots as
the window has batches, so no slot is written while its content may still be read:

- The slot of an activation is written again by the activation that is `window` activations later,
  which is sent only after the credit of the first. The receiver sends that credit when it is done
  with the array.
- The same holds for gradients if layers are unlocked. Otherwise the slot of a gradient is written
  again by a gradient that answers an activation at least `window` batches later, which the receiver
  sends only after it has used or dropped the first gradient.

The file of a ring lies beside the receiver's socket, in a folder that is removed with the run. The
sender makes the file when it first has an array for it; without room, arrays travel in frames. Only
the first array of a message goes through the ring, so labels stay valid as long as a receiver keeps
them. An array that is passed on may be a view of a slot, so it must be copied before the credit is
sent: `workers.stages.layer` does so for activations, `WorkerTransport.send` for everything that
leaves the worker.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Final

import numpy as np

from protocol import Array, WireError

MAX_RING_BYTES: Final = 1 << 28
"""Arrays that would need a larger ring travel in frames."""


class RingWriter:
    """The sender's end of the ring at `path`; its slots have the size of the first array."""

    def __init__(self, path: Path, slots: int) -> None:
        self._path = path
        self._slots = slots
        self._slot_bytes = 0
        self._count = 0
        self._memory: np.typing.NDArray[np.uint8] | None = None
        self._tried = False

    def write(self, array: Array) -> int | None:
        """Copy `array` into the next slot; returns its offset, None if the array does not fit."""
        if not self._tried:
            self._tried = True
            self._create(array.nbytes)
        if self._memory is None or array.nbytes > self._slot_bytes:
            return None
        start = self._count % self._slots * self._slot_bytes
        self._count += 1
        slot = self._memory[start : start + array.nbytes]
        np.copyto(slot.view(array.dtype).reshape(array.shape), array)
        return start

    def _create(self, size: int) -> None:
        """Make the file, with slots for arrays of `size` bytes, if there is room."""
        self._slot_bytes = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        total = self._slot_bytes * self._slots
        if total > MAX_RING_BYTES:
            return
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError:
            return
        try:
            os.posix_fallocate(descriptor, 0, total)  # so that no write can fail later
            self._memory = np.frombuffer(mmap.mmap(descriptor, total), np.uint8)
        except OSError:
            self._path.unlink()
        finally:
            os.close(descriptor)


class RingReader:
    """The receiver's end of the ring at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._memory: memoryview | None = None

    def view(self, start: int, size: int) -> memoryview:
        """`size` read-only bytes from `start` on. Raises WireError if they are not in the ring."""
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
