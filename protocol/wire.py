"""Messages to frames and back: the one door through which foreign bytes enter.

A message is a msgpack header and, behind it, one raw frame for each array that is not small:

    [ msgpack [VERSION, kind, [field, ...], [[dtype, [dim, ...], where], ...]], array, ... ]

`where` is nil for the next frame, bytes for an array that lies right there, and a number for one
that lies at that place of the memory that both ends share (`workers.shelf`).

`decode` raises WireError and nothing else, allocates nothing in proportion to what a header
claims, never unpickles and never evaluates; decoded arrays are read-only views of the frames.
docs/protocol.md describes the format to the byte.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol, TypeAlias

import msgpack
import numpy as np

from protocol.messages import Activation, Array, Gradient, Message
from protocol.schema import BY_CLASS, BY_KIND, DTYPES, VERSION

MAX_HEADER: Final = 1 << 20
MAX_ARRAYS: Final = 1 << 12
INLINE: Final = 1 << 13
"""Bytes of arrays that `encode` puts into the header; `decode` takes any number."""
MAX_DIMENSIONS: Final = 8


_FOREIGN: Final = ">" if sys.byteorder == "little" else "=>"
"""Of what byte order arrays must be turned round."""

Frame: TypeAlias = bytes | memoryview
Rest: TypeAlias = Callable[[], Sequence[Frame]]


class WireError(Exception):
    """Bytes that are no message of this protocol; the text says what is wrong with them."""


_packer: Final = msgpack.Packer()
_pack: Final = _packer.pack
_pack_length: Final = _packer.pack_array_header
_NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}


@lru_cache
def _described(dtype: np.dtype[np.generic], shape: tuple[int, ...], inside: bool) -> bytes:
    """What stands in a header before the data of an array `inside` it, else before its place."""
    name = _NAMES.get(dtype)
    if name is None or len(shape) > MAX_DIMENSIONS:
        raise TypeError(f"an array of dtype {dtype} and shape {shape} cannot travel")
    size = math.prod(shape) * dtype.itemsize if inside else 0
    whole: bytes = msgpack.packb((name, shape, bytes(size) if inside else None))
    return whole[: -size or None] if inside else whole[:-1]


def _portable(array: Array) -> Array:
    """A copy of `array` that is contiguous and little-endian."""
    return array.astype(array.dtype.newbyteorder("<"), order="C")


class Outgoing(Protocol):
    """Memory that the receiver can read; see `workers.shelf`."""

    def put(self, array: Array) -> int | None:
        """Copy `array` there; where it begins, or None where there is no room."""


class Incoming(Protocol):
    """Memory that the sender can write."""

    def view(self, start: int, size: int) -> memoryview:
        """Read-only bytes of it. Raises WireError where there are none such."""


def encode(message: Message, shelf: Outgoing | None = None) -> list[bytes | Array]:
    """The frames of `message`; array frames share memory with the arrays in it.

    Small arrays travel inside the header, for a frame costs more than a copy of them. Where there
    is a `shelf`, the first array of an activation or a gradient goes there. Raises TypeError for
    what no peer would decode: that is our mistake, not theirs.
    """
    schema = BY_CLASS[type(message)]
    arrays = schema.arrays(message)
    parts = [schema.opening, _pack(schema.values(message)), _pack_length(len(arrays))]
    frames: list[bytes | Array] = [b""]
    room = INLINE
    for array in arrays:
        if array.dtype.byteorder in _FOREIGN or not array.flags.c_contiguous:
            array = _portable(array)
        size = array.nbytes
        if size <= room:
            room -= size
            parts += _described(array.dtype, array.shape, True), array
            continue
        place = None
        if shelf is not None and len(parts) == 3 and isinstance(message, Activation | Gradient):
            place = shelf.put(array)
        if place is None:
            frames.append(array)
        parts += _described(array.dtype, array.shape, False), _pack(place)
    frames[0] = header = b"".join(parts)
    if len(header) > MAX_HEADER or len(arrays) > MAX_ARRAYS:
        raise TypeError(f"a header of {len(header)} bytes, {len(arrays)} arrays cannot travel")
    return frames


def decode(frames: Sequence[Frame], shelf: Incoming | None = None, rest: Rest = tuple) -> Message:
    """The message in `frames`; its arrays are read-only views of them, or of the `shelf`.

    Lists are tuples in it. Where `frames` is the header alone and tells of more, `rest` brings
    them. Raises WireError for anything that `encode` cannot have made.
    """
    try:
        if len(frames[0]) > MAX_HEADER:
            raise WireError(f"a header of {len(frames[0])} bytes")
        header = msgpack.unpackb(
            frames[0], use_list=False, max_array_len=MAX_ARRAYS, max_map_len=MAX_ARRAYS
        )
        if type(header) is not tuple:
            raise WireError("the header is not a list")
        if header[0] != VERSION or type(header[0]) is not int:
            raise WireError(f"protocol version {header[0]!r}, this is version {VERSION}")
        _, kind, values, described = header
        if kind not in BY_KIND or type(kind) is not int:
            raise WireError(f"unknown kind {kind!r}")
        schema = BY_KIND[kind]
        if type(values) is not tuple or len(values) != len(schema.checks):
            raise WireError(f"{schema.message.__name__} with fields {values!r:.80}")
        for i, check in enumerate(schema.checks):
            value = values[i]
            if not (check(value) if check else type(value) is int and 0 <= value < 1 << 63):
                raise WireError(f"{schema.message.__name__}.{schema.names[i]} is {value!r:.80}")
        if type(described) is not tuple:
            raise WireError("the arrays are not described in a list")
        arrays = _arrays(described, frames, shelf, rest)
        if schema.count is None:
            return schema.make((*values, tuple(arrays)))
        if len(arrays) != schema.count:
            raise WireError(f"{schema.message.__name__} with {len(arrays)} arrays")
        return schema.make((*values, *arrays))
    except WireError:
        raise
    except Exception as error:  # whatever foreign bytes provoke, it is their fault
        raise WireError(f"{type(error).__name__}: {error!s:.80}") from error


def _arrays(
    described: tuple[Any, ...], frames: Sequence[Frame], shelf: Incoming | None, rest: Rest
) -> list[Array]:
    """The arrays that `described` tells of: in the header, on the shelf or in the next frame."""
    arrays: list[Array] = []
    used = 1
    for name, shape, data in described:
        try:
            dtype = DTYPES[name]
        except (KeyError, TypeError):
            raise WireError(f"dtype {name!r:.80}") from None
        size = dtype.itemsize
        if type(shape) is not tuple or len(shape) > MAX_DIMENSIONS:
            raise WireError(f"shape {shape!r:.80}")
        for n in shape:
            if type(n) is not int or n < 0:
                raise WireError(f"shape {shape!r:.80}")
            size *= n
        if data is None:
            if len(frames) == 1:
                frames = [*frames, *rest()]
            if used == len(frames):
                raise WireError("fewer frames came than the header describes")
            data = memoryview(frames[used]).toreadonly().cast("B")
            used += 1
        elif type(data) is int and shelf is not None:
            data = shelf.view(data, size)
        elif type(data) is not bytes:
            raise WireError(f"an array inside the header is {data!r:.80}")
        if len(data) != size:
            raise WireError(f"an array said to have {size} bytes came with {len(data)}")
        arrays.append(np.ndarray(shape, dtype, data))
    if used != len(frames):
        raise WireError("more frames came than the header describes")
    return arrays
