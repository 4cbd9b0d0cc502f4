"""The binary header of data messages.

    byte   0  0xC1, with which no msgpack value begins
           1  version
           2  kind
           3  detail: 1 for a training Activation; the index of a Marker's name; else 0
        4, 5  array 0: format and location, number of dimensions
        6, 7  array 1: the same
           8  int64: batch of an Activation or a Gradient, credit of a Credit, step of a Marker
          16  int64: step of an Activation, credit of a Gradient
          24  int64: offset of array 0 in shared memory
          32  uint32 for each dimension, of array 0 and then of array 1,
              zeros up to a multiple of 16,
              the arrays that lie inside the header, with zeros up to a multiple of 16 between them

All numbers are little-endian. docs/protocol.md describes the format to the byte.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, TypeAlias, get_args

import numpy as np

from protocol.codec import limits, quantization
from protocol.codec.arrays import DTYPES
from protocol.codec.version import VERSION
from protocol.messages import MarkerName

MAGIC: Final = 0xC1
ACTIVATION, GRADIENT, CREDIT, MARKER = 1, 2, 3, 4
"""The numbers of the data messages."""
INSIDE, IN_FRAME, IN_SHARED_MEMORY = 0x00, 0x10, 0x20
"""Where an array lies: the high half of the byte with its format."""
FORMATS: Final = {name: number for number, name in enumerate((*DTYPES, *quantization.SIZES), 1)}
"""The low half of that byte: the number of each dtype and of each quantized format."""
CODES: Final = {dtype: FORMATS[name] for name, dtype in DTYPES.items()}
MARKER_NAMES: Final[tuple[MarkerName, ...]] = get_args(MarkerName)
ALIGNMENT: Final = 16
"""Arrays inside a header begin at multiples of it, so that numpy can use them where they are."""

DType: TypeAlias = np.dtype[np.generic]
Shape: TypeAlias = tuple[int, ...]

HEADER: Final = Struct("<I4B3q")
HEADER_OF_CODES: Final = Struct("<I4s3q")
"""The same bytes, with what describes the arrays as one value."""

_COUNTS: Final = range(limits.MAX_DIMENSIONS + 1)
DIMENSIONS: Final = [
    [Struct(f"<{one + two}I{-4 * (one + two) % ALIGNMENT}x") for two in _COUNTS] for one in _COUNTS
]
"""By the numbers of dimensions of both arrays: how their dimensions are packed."""


def lead(kind: int, detail: int = 0) -> int:
    """The first four bytes of a header, as one number."""
    return MAGIC | VERSION << 8 | kind << 16 | detail << 24
