"""Write many protobuf messages of one shape at once, with numpy.

A template is a list of bytes and columns. The bytes are the same in every message; each message
gets one number of every column. All numbers of a column take as many bytes as the largest, because
the wire format permits a varint to be longer than necessary.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from coordinator.traces.events import Numbers

VARINT, FIXED64, LENGTH_DELIMITED = 0, 1, 2
_SEVEN: Final = np.uint64(7)


class NumberColumn(NamedTuple):
    """A column of numbers, each encoded in `width` bytes: as fixed64 if `fixed`, else as varint."""

    values: Numbers
    width: int
    fixed: bool


Template: TypeAlias = list[bytes | NumberColumn]


def varint(value: int) -> bytes:
    """Encode `value` with seven bits per byte, the lowest first."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def varint_field(field: int, value: int | Numbers) -> Template:
    """A field with a non-negative number, the same in all messages or one of a column in each."""
    tag = varint(field << 3 | VARINT)
    if isinstance(value, int):
        return [tag + varint(value)]
    width = len(varint(int(value.max(initial=0))))
    return [tag, NumberColumn(value, width, fixed=False)]


def fixed64_field(field: int, values: Numbers) -> Template:
    """A field with a number of eight bytes, one of `values` in each message."""
    return [varint(field << 3 | FIXED64), NumberColumn(values, 8, fixed=True)]


def bytes_field(field: int, value: bytes | str | Template) -> Template:
    """A field with bytes, a text, or an embedded message."""
    inner: Template = value if isinstance(value, list) else [_bytes(value)]
    return [varint(field << 3 | LENGTH_DELIMITED) + varint(sum(map(_size, inner))), *inner]


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _size(part: bytes | NumberColumn) -> int:
    return part.width if isinstance(part, NumberColumn) else len(part)


def encode_one(template: Template) -> bytes:
    """The single message of a template without columns."""
    return b"".join(part for part in template if isinstance(part, bytes))


def encode_rows(template: Template, count: int) -> npt.NDArray[np.void]:
    """The `count` messages of `template`, one per entry."""
    rows = np.empty((count, sum(map(_size, template))), np.uint8)
    at = 0
    for part in template:
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
    for index in range(last + 1):
        more = 0x80 if index < last else 0
        rows[:, index] = (values & np.uint64(0x7F)).astype(np.uint8) | more
        values = values >> _SEVEN
