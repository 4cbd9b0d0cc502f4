"""As much of protobuf's wire format as it takes to write many messages of one shape at once.

A message is a list of bytes and of holes. The bytes are the same in every message of the shape,
the holes are filled from columns of numbers, a whole column at a time. A number in a hole has as
many bytes in each message, those of the largest: the format allows a varint to be longer than it
must be.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from coordinator.traces.events import Numbers

VARINT, FIXED64, DATA = 0, 1, 2
_SEVEN: Final = np.uint64(7)


class Hole(NamedTuple):
    """Room for a column of numbers."""

    values: Numbers
    width: int
    fixed: bool


Parts: TypeAlias = list[bytes | Hole]


def varint(value: int) -> bytes:
    """`value`, seven bits a byte, the lowest first."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def number(field: int, value: int | Numbers) -> Parts:
    """A field with a number that is not negative; with a column, one of it in each message."""
    tag = varint(field << 3 | VARINT)
    if isinstance(value, int):
        return [tag + varint(value)]
    width = len(varint(int(value.max(initial=0))))
    return [tag, Hole(value, width, fixed=False)]


def fixed(field: int, values: Numbers) -> Parts:
    """A field with a number of eight bytes."""
    return [varint(field << 3 | FIXED64), Hole(values, 8, fixed=True)]


def data(field: int, value: bytes | str | Parts) -> Parts:
    """A field with bytes, a text or a message."""
    inner: Parts = value if isinstance(value, list) else [_bytes(value)]
    return [varint(field << 3 | DATA) + varint(sum(map(_size, inner))), *inner]


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _size(part: bytes | Hole) -> int:
    return part.width if isinstance(part, Hole) else len(part)


def one(parts: Parts) -> bytes:
    """The message of a shape that has no holes."""
    return b"".join(part for part in parts if isinstance(part, bytes))


def many(parts: Parts, count: int) -> npt.NDArray[np.void]:
    """`count` messages of a shape, each an entry."""
    rows = np.empty((count, sum(map(_size, parts))), np.uint8)
    at = 0
    for part in parts:
        if isinstance(part, bytes):
            rows[:, at : at + len(part)] = np.frombuffer(part, np.uint8)
        elif part.fixed:
            column = np.ascontiguousarray(part.values, "<u8")
            rows[:, at : at + 8] = column.view(np.uint8).reshape(count, 8)
        else:
            _fill(rows[:, at : at + part.width], part.values.astype(np.uint64))
        at += _size(part)
    return rows.view(f"V{rows.shape[1]}").reshape(count)


def _fill(rows: npt.NDArray[np.uint8], values: npt.NDArray[np.uint64]) -> None:
    last = rows.shape[1] - 1
    for place in range(last + 1):
        more = 0x80 if place < last else 0
        rows[:, place] = (values & np.uint64(0x7F)).astype(np.uint8) | more
        values = values >> _SEVEN
