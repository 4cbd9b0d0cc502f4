"""What both forms of a header share: dtypes, frames, and the error for foreign bytes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np

from protocol.messages import Array

DTYPES: Final = {
    name: np.dtype(name)
    for name in (
        *("|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8"),
        *("<f2", "<f4", "<f8"),
    )
}
DTYPE_NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}

Frame: TypeAlias = bytes | memoryview
Rest: TypeAlias = Callable[[], Sequence[Frame]]
"""Receives the frames behind the header."""
Place: TypeAlias = Callable[[Array], int | None]
"""Copies an array into memory that the receiver can read. Returns the offset of the copy; returns
None and copies nothing if there is no room."""
View: TypeAlias = Callable[[int, int], memoryview]
"""Returns `size` (second) read-only bytes at an offset (first) of memory that the sender can write.
Raises WireError if they are not within it."""

_FOREIGN_BYTE_ORDERS: Final = ">" if sys.byteorder == "little" else "=>"


class WireError(Exception):
    """Bytes that are no message of this protocol; the text says why."""


def portable(array: Array) -> Array:
    """`array` in C order and little-endian: the same object if it is both, else a copy."""
    if array.flags.c_contiguous and array.dtype.byteorder not in _FOREIGN_BYTE_ORDERS:
        return array
    return array.astype(array.dtype.newbyteorder("<"), order="C")
