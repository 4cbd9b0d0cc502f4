"""Messages to frames and back: the one door through which foreign bytes enter.

A message is a msgpack header and, behind it, one raw frame for each array that is not small:

    [ msgpack [VERSION, kind, [field, ...], [[dtype, [dim, ...], where], ...]], array, ... ]

`where` is nil for the next frame, bytes for an array that lies right there, and a number for one
that lies at that place of the memory that both ends share
(`workers.transport.shared_memory`). For an array in one of the forms of
`protocol.codec.quantization` the name of the form stands where its dtype would.

`decode` raises WireError and nothing else, allocates nothing in proportion to what a header
claims, never unpickles and never evaluates; decoded arrays are read-only views of the frames, but
for narrow ones, which are made of as many bytes as came.
docs/protocol.md describes the format to the byte.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import msgpack
import numpy as np

from protocol.codec import layouts, quantization
from protocol.codec.layouts import INLINE, MAX_DIMENSIONS, Form, Incoming, Outgoing, described
from protocol.codec.schema import BY_CLASS, BY_KIND, DTYPES, VERSION
from protocol.messages import Activation, Array, Gradient, Message

MAX_HEADER: Final = 1 << 20
MAX_ARRAYS: Final = 1 << 12

_FOREIGN: Final = ">" if sys.byteorder == "little" else "=>"
"""Of what byte order arrays must be turned round."""

Frame: TypeAlias = bytes | memoryview
Rest: TypeAlias = Callable[[], Sequence[Frame]]


class WireError(Exception):
    """Bytes that are no message of this protocol; the text says what is wrong with them."""


_packer: Final = msgpack.Packer()
_pack: Final = _packer.pack
_pack_length: Final = _packer.pack_array_header
_SIZES: Final = {name: (dtype.itemsize, 0) for name, dtype in DTYPES.items()} | quantization.SIZES
"""Of each form the bytes of an element, and of what there is once a row."""


def _portable(array: Array) -> Array:
    """A copy of `array` that is contiguous and little-endian."""
    return array.astype(array.dtype.newbyteorder("<"), order="C")


def encode(
    message: Message, shelf: Outgoing | None = None, wire: str = quantization.FULL
) -> list[bytes | Array]:
    """The frames of `message`; array frames share memory with the arrays in it.

    Small arrays travel inside the header, for a frame costs more than a copy of them. The first
    array of an activation or a gradient is as narrow as `wire` says, and goes to the `shelf` where
    there is one. Raises TypeError for what no peer would decode: that is our mistake, not theirs.
    """
    schema = BY_CLASS[type(message)]
    arrays = schema.arrays(message)
    if batch := isinstance(message, Activation | Gradient):
        parts: list[Any] = [layouts.head(message)]
    else:
        parts = [schema.opening, _pack(schema.values(message))]
    parts.append(_pack_length(len(arrays)))
    frames: list[bytes | Array] = [b""]
    room = INLINE
    for i, array in enumerate(arrays):
        if array.dtype.byteorder in _FOREIGN or not array.flags.c_contiguous:
            array = _portable(array)
        form: Form = array.dtype
        shape, first = array.shape, batch and i == 0
        if first and quantization.narrows(shape, array.dtype, wire):
            form, array = quantization.pack(array, wire)
        size = array.nbytes
        if size <= room:
            room -= size
            parts += described(form, shape, size), array
            continue
        place = shelf.put(array) if first and shelf is not None else None
        if place is None:
            frames.append(array)
        parts += described(form, shape, None), layouts.place(place)
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
        message = schema.make((*values, *arrays))
        if arrays and type(frames[0]) is bytes and described[0][0] in DTYPES:
            place = described[0][2]
            if type(place) is int:
                layouts.learn(message, frames[0], place)
            elif sum(a.nbytes for a in arrays) < len(frames[0]):
                layouts.learn(message, frames[0])
        return message
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
            size, of_row = _SIZES[name]
        except (KeyError, TypeError):
            raise WireError(f"dtype {name!r:.80}") from None
        if type(shape) is not tuple or len(shape) > MAX_DIMENSIONS:
            raise WireError(f"shape {shape!r:.80}")
        for n in shape:
            if type(n) is not int or n < 0:
                raise WireError(f"shape {shape!r:.80}")
            size *= n
        if of_row:
            size += of_row * shape[0]
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
        dtype = DTYPES.get(name)
        arrays.append(
            np.ndarray(shape, dtype, data) if dtype else quantization.unpacked(name, shape, data)
        )
    if used != len(frames):
        raise WireError("more frames came than the header describes")
    return arrays
