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
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args, get_origin, get_type_hints

import msgpack
import numpy as np

from protocol.messages import (
    Activation,
    Array,
    Credit,
    Evaluated,
    Failed,
    Go,
    Gradient,
    Hello,
    Leave,
    Mark,
    Message,
    Ready,
    Report,
    Start,
    State,
    Stop,
)

VERSION: Final = 1
MAX_HEADER: Final = 1 << 20
MAX_ARRAYS: Final = 1 << 12
INLINE: Final = 1 << 13
"""Bytes of arrays that `encode` puts into the header; `decode` takes any number."""
MAX_DIMENSIONS: Final = 8

KINDS: Final[dict[int, type[Message]]] = {
    1: Activation,
    2: Gradient,
    3: Credit,
    4: Mark,
    16: Hello,
    17: Start,
    18: Ready,
    19: Go,
    20: Report,
    21: Evaluated,
    22: Failed,
    23: State,
    24: Stop,
    25: Leave,
}
DTYPES: Final = {
    name: np.dtype(name)
    for name in (
        *("|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8"),
        *("<f2", "<f4", "<f8"),
    )
}

_BIG_ENDIAN: Final = sys.byteorder == "big"

Frame: TypeAlias = bytes | memoryview
Rest: TypeAlias = Callable[[], Sequence[Frame]]
Check: TypeAlias = Callable[[object], bool] | None


class WireError(Exception):
    """Bytes that are no message of this protocol; the text says what is wrong with them."""


def _check(hint: object) -> Check:
    """The test that a decoded header field must pass to have the type `hint`.

    None stands for a whole number: the most frequent, tested in place.
    """
    if get_origin(hint) is Literal:
        words = get_args(hint)
        return lambda value: isinstance(value, str) and value in words
    if hint == (float | None):
        return lambda value: value is None or isinstance(value, float)
    if hint == tuple[str, ...]:
        return lambda value: isinstance(value, list) and all(isinstance(v, str) for v in value)
    kind = get_origin(hint) or hint
    if kind is int:
        return None
    if kind is dict:
        return lambda value: type(value) is dict and all(isinstance(k, str) for k in value)
    if kind in (str, float, bool):
        return lambda value: type(value) is kind
    raise TypeError(f"no wire form for {hint!r}")


@dataclass(frozen=True, slots=True)
class _Schema:
    """How one message class is laid out: its fields in order, arrays behind all others.

    `opening` is how its header begins. `values` and `arrays` take the fields of either sort from a
    message, and `make` makes one of both together. `count` is how many arrays it has, None where
    its last field is a tuple of any number of them.
    """

    message: type[Message]
    opening: bytes
    names: tuple[str, ...]
    checks: tuple[Check, ...]
    count: int | None
    values: Callable[[Message], tuple[object, ...]]
    arrays: Callable[[Message], tuple[Array, ...]]
    make: Callable[[list[Any]], Message]


def _schema(kind: int, message: type[Message]) -> _Schema:
    hints = get_type_hints(message)
    arrays = tuple(name for name in hints if hints[name] == Array)
    many = tuple(name for name in hints if hints[name] == tuple[Array, ...])
    names = tuple(name for name in hints if name not in arrays + many)
    if names + (many or arrays) != tuple(hints):
        raise TypeError(f"{message.__name__}: arrays must stand behind all other fields")
    return _Schema(
        message,
        opening=msgpack.packb((VERSION, kind, [], []))[:-2],
        names=names,
        checks=tuple(_check(hints[name]) for name in names),
        count=None if many else len(arrays),
        values=_taker(names),
        arrays=attrgetter(*many) if many else _taker(arrays),
        make=getattr(message, "_make", None) or _maker(message),
    )


def _maker(message: Callable[..., Message]) -> Callable[[list[Any]], Message]:
    """What makes a message of a list of its fields; lists among them become tuples."""
    return lambda fields: message(*(tuple(f) if type(f) is list else f for f in fields))


def _taker(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """What takes the fields `names` from a message, as a tuple."""
    match names:
        case ():
            return lambda _: ()
        case (name,):
            return lambda message: (getattr(message, name),)
        case _:
            return attrgetter(*names)


_packer: Final = msgpack.Packer()
_BY_KIND: Final = {kind: _schema(kind, message) for kind, message in KINDS.items()}
_BY_CLASS: Final = {schema.message: schema for schema in _BY_KIND.values()}
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
    """`array` itself where it is contiguous and little-endian, else a copy that is."""
    if _BIG_ENDIAN or array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


class Outgoing(Protocol):
    """Memory that the receiver can read; see `workers.shelf`."""

    def put(self, batch: int, array: Array) -> int | None:
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
    schema = _BY_CLASS[type(message)]
    arrays = schema.arrays(message)
    parts = [
        schema.opening,
        _packer.pack(schema.values(message)),
        _packer.pack_array_header(len(arrays)),
    ]
    frames: list[bytes | Array] = [b""]
    room = INLINE
    for given in arrays:
        array = _portable(given)
        inside = array.nbytes <= room
        parts.append(_described(array.dtype, array.shape, inside))
        if inside:
            room -= array.nbytes
            parts.append(array)
            continue
        place = None
        if shelf is not None and len(parts) == 4 and isinstance(message, Activation | Gradient):
            place = shelf.put(message.batch, array)
        if place is None:
            frames.append(array)
        parts.append(_packer.pack(place))
    frames[0] = header = b"".join(parts)
    if len(header) > MAX_HEADER or len(arrays) > MAX_ARRAYS:
        raise TypeError(f"a header of {len(header)} bytes, {len(arrays)} arrays cannot travel")
    return frames


def decode(frames: Sequence[Frame], shelf: Incoming | None = None, rest: Rest = tuple) -> Message:
    """The message in `frames`; its arrays are read-only views of them, or of the `shelf`.

    Where `frames` is the header alone and tells of more, `rest` brings them. Raises WireError for anything that `encode` cannot have made.
    """
    try:
        if len(frames[0]) > MAX_HEADER:
            raise WireError(f"a header of {len(frames[0])} bytes")
        header = msgpack.unpackb(frames[0], max_array_len=MAX_ARRAYS, max_map_len=MAX_ARRAYS)
        if type(header) is not list:
            raise WireError("the header is not a list")
        if header[0] != VERSION or type(header[0]) is not int:
            raise WireError(f"protocol version {header[0]!r}, this is version {VERSION}")
        _, kind, values, described = header
        if kind not in _BY_KIND or type(kind) is not int:
            raise WireError(f"unknown kind {kind!r}")
        schema = _BY_KIND[kind]
        if type(values) is not list or len(values) != len(schema.checks):
            raise WireError(f"{schema.message.__name__} with fields {values!r:.80}")
        for i, check in enumerate(schema.checks):
            value = values[i]
            if not (check(value) if check else type(value) is int and 0 <= value < 1 << 63):
                raise WireError(f"{schema.message.__name__}.{schema.names[i]} is {value!r:.80}")
        if type(described) is not list:
            raise WireError("the arrays are not described in a list")
        arrays = _arrays(described, frames, shelf, rest)
        if schema.count is None:
            return schema.make([*values, arrays])
        if len(arrays) != schema.count:
            raise WireError(f"{schema.message.__name__} with {len(arrays)} arrays")
        return schema.make(values + arrays)
    except WireError:
        raise
    except Exception as error:  # whatever foreign bytes provoke, it is their fault
        raise WireError(f"{type(error).__name__}: {error}") from error


def _arrays(
    described: list[Any], frames: Sequence[Frame], shelf: Incoming | None, rest: Rest
) -> list[Array]:
    """The arrays that `described` tells of: in the header, on the shelf or in the next frame."""
    arrays: list[Array] = []
    used = 1
    for name, shape, data in described:
        dtype = DTYPES[name]
        size = dtype.itemsize
        if type(shape) is not list or len(shape) > MAX_DIMENSIONS:
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
