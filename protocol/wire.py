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
from dataclasses import dataclass, fields
from typing import Final, Literal, Protocol, TypeAlias, get_args, get_origin, get_type_hints

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
Check: TypeAlias = Callable[[object], bool]


class WireError(Exception):
    """Bytes that are no message of this protocol; the text says what is wrong with them."""


def _check(hint: object) -> Check:
    """The test that a decoded header field must pass to have the type `hint`."""
    if get_origin(hint) is Literal:
        words = get_args(hint)
        return lambda value: isinstance(value, str) and value in words
    if hint == (float | None):
        return lambda value: value is None or isinstance(value, float)
    if hint == tuple[str, ...]:
        return lambda value: isinstance(value, list) and all(isinstance(v, str) for v in value)
    kind = get_origin(hint) or hint
    if kind is int:
        return lambda value: type(value) is int and 0 <= value < 1 << 63
    if kind is dict:
        return lambda value: type(value) is dict and all(isinstance(k, str) for k in value)
    if kind in (str, float, bool):
        return lambda value: type(value) is kind
    raise TypeError(f"no wire form for {hint!r}")


@dataclass(frozen=True, slots=True)
class _Schema:
    """How one message class is laid out: its fields in order, arrays behind all others.

    `arrays` names the fields that hold one array each; `rest` the last field, if it is one that
    takes all further arrays.
    """

    message: type[Message]
    kind: int
    names: tuple[str, ...]
    checks: tuple[Check, ...]
    arrays: tuple[str, ...]
    rest: str | None


def _schema(kind: int, message: type[Message]) -> _Schema:
    hints = get_type_hints(message)
    names = [f.name for f in fields(message)]
    arrays = tuple(name for name in names if hints[name] == Array)
    rest = next((name for name in names if hints[name] == tuple[Array, ...]), None)
    scalars = tuple(name for name in names if name not in arrays and name != rest)
    if [*scalars, *arrays, *([rest] if rest else [])] != names:
        raise TypeError(f"{message.__name__}: arrays must stand behind all other fields")
    checks = tuple(_check(hints[name]) for name in scalars)
    return _Schema(message, kind, scalars, checks, arrays, rest)


_pack: Final = msgpack.Packer().pack
_BY_KIND: Final = {kind: _schema(kind, message) for kind, message in KINDS.items()}
_BY_CLASS: Final = {schema.message: schema for schema in _BY_KIND.values()}


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
    arrays: list[Array] = [getattr(message, name) for name in schema.arrays]
    if schema.rest is not None:
        arrays += getattr(message, schema.rest)
    frames: list[bytes | Array] = [b""]
    described: list[tuple[str, tuple[int, ...], bytes | int | None]] = []
    room = INLINE
    for given in arrays:
        array = _portable(given)
        dtype, shape = array.dtype.str, array.shape
        if dtype not in DTYPES or len(shape) > MAX_DIMENSIONS:
            raise TypeError(f"an array of dtype {dtype} and shape {shape} cannot travel")
        where: bytes | int | None = None
        if array.nbytes <= room:
            room -= array.nbytes
            where = array.tobytes()
        elif shelf is not None and isinstance(message, Activation | Gradient) and not described:
            where = shelf.put(message.batch, array)
        if where is None:
            frames.append(array)
        described.append((dtype, shape, where))
    values = [getattr(message, name) for name in schema.names]
    frames[0] = header = _pack((VERSION, schema.kind, values, described))
    if len(header) > MAX_HEADER or len(described) > MAX_ARRAYS:
        raise TypeError(f"a header of {len(header)} bytes, {len(described)} arrays cannot travel")
    return frames


def decode(frames: Sequence[Frame], shelf: Incoming | None = None) -> Message:
    """The message in `frames`; its arrays are read-only views of them, or of the `shelf`.

    Raises WireError for anything that `encode` cannot have made.
    """
    try:
        return _decode(frames, shelf)
    except WireError:
        raise
    except Exception as error:  # whatever foreign bytes provoke, it is their fault
        raise WireError(f"{type(error).__name__}: {error}") from error


def _decode(frames: Sequence[Frame], shelf: Incoming | None) -> Message:
    if not 1 <= len(frames) <= 1 + MAX_ARRAYS:
        raise WireError(f"{len(frames)} frames")
    if len(frames[0]) > MAX_HEADER:
        raise WireError(f"a header of {len(frames[0])} bytes")
    header = msgpack.unpackb(frames[0], max_array_len=MAX_ARRAYS, max_map_len=MAX_ARRAYS)
    if not isinstance(header, list) or not header:
        raise WireError("the header is not a list")
    if type(header[0]) is not int or header[0] != VERSION:
        raise WireError(f"protocol version {header[0]!r}, this is version {VERSION}")
    _, kind, values, described = header
    schema = _BY_KIND.get(kind) if type(kind) is int else None
    if schema is None:
        raise WireError(f"unknown kind {kind!r}")
    if not isinstance(values, list) or len(values) != len(schema.checks):
        raise WireError(f"{schema.message.__name__} with fields {values!r:.80}")
    for i, check in enumerate(schema.checks):
        value = values[i]
        if not check(value):
            raise WireError(f"{schema.message.__name__}.{schema.names[i]} is {value!r:.80}")
        if type(value) is list:
            values[i] = tuple(value)
    return schema.message(*values, *_arrays(schema, described, frames, shelf))


def _arrays(
    schema: _Schema, described: object, frames: Sequence[Frame], shelf: Incoming | None
) -> list[object]:
    """The arrays that `described` tells of: in the header, on the shelf or in the next frame."""
    if not isinstance(described, list):
        raise WireError("the arrays are not described in a list")
    found: list[object] = []
    used = 1
    for dtype, shape, inside in described:
        if inside is None:
            if used == len(frames):
                raise WireError("fewer frames came than the header describes")
            inside = frames[used]
            used += 1
        elif type(inside) is int and shelf is not None:
            inside = shelf.view(inside, _bytes(dtype, shape))
        elif type(inside) is not bytes:
            raise WireError(f"an array inside the header is {inside!r:.80}")
        found.append(_view(dtype, shape, inside))
    expected = len(schema.arrays)
    if used != len(frames):
        raise WireError("more frames came than the header describes")
    if len(found) < expected or (len(found) > expected and schema.rest is None):
        raise WireError(f"{schema.message.__name__} with {len(found)} arrays")
    return found if schema.rest is None else [*found[:expected], tuple(found[expected:])]


def _bytes(dtype: object, shape: object) -> int:
    """The size of an array so described. Raises WireError where none can be."""
    known = DTYPES.get(dtype) if isinstance(dtype, str) else None
    if known is None:
        raise WireError(f"dtype {dtype!r:.80}")
    if type(shape) is not list or len(shape) > MAX_DIMENSIONS:
        raise WireError(f"shape {shape!r:.80}")
    for n in shape:
        if type(n) is not int or n < 0:
            raise WireError(f"shape {shape!r:.80}")
    return math.prod(shape) * known.itemsize


def _view(dtype: str, shape: list[int], data: Frame) -> Array:
    claimed, known = _bytes(dtype, shape), DTYPES[dtype]
    came = len(data) if type(data) is bytes else memoryview(data).nbytes
    if claimed != came:
        raise WireError(f"an array said to have {claimed} bytes came with {came}")
    flat = np.frombuffer(data, known) if claimed else np.empty(0, known)
    array: Array = flat.reshape(shape)
    array.flags.writeable = False
    return array
